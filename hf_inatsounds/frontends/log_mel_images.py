"""Log-mel images as a CPU makes them fast: some frames at a time in the same memory, as images from the product on."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import numpy as np
import torch

from hf_inatsounds.frontends.blocks import Bands, Frames, pieces

BLOCK_FRAMES = 513
"""Whose spectrum is taken, and multiplied with the filters, at a time, at most: 3 s. On two quiet cores a few percent
faster than blocks of 171, since torch plans each FFT anew; beside other work, which takes of the cache, as fast."""


@dataclass(frozen=True)
class _Block:
    """Views of the memory for so many frames: to make them anew would take a tenth of the time.

    Attributes:
        samples: (n, fft_samples), zero behind the window.
        front: their part under the window.
        magnitudes: (n, bins), of their spectrum.
        products: filters, the magnitudes that they take, and where their bands go.
        values: (M, n), what the products give.
    """

    samples: torch.Tensor
    front: torch.Tensor
    magnitudes: torch.Tensor
    products: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]
    values: torch.Tensor


class _Memory:
    """What all rows are worked on in; of ordinary tensors also in inference mode, since others use it afterwards."""

    @torch.inference_mode(False)
    def __init__(self, frames: Frames, window: torch.Tensor, fft_samples: int, mel: torch.Tensor, bands: Bands) -> None:
        n = _most(frames)
        self.key, self.mel = (n, frames.size, fft_samples, window.dtype), mel
        self._size = frames.size
        self._samples = window.new_zeros((n, fft_samples))
        self._magnitudes = torch.empty((n, fft_samples // 2 + 1), dtype=torch.float32)
        self._values = torch.empty((mel.shape[1], n), dtype=torch.float32)
        self._filters = [(mel[bins, filters].T.contiguous(), filters, bins) for filters, bins in bands]
        self._blocks: dict[int, _Block] = {}

    @torch.inference_mode(False)
    def block(self, n: int) -> _Block:
        """Views for ``n`` frames, made once."""
        if n not in self._blocks:
            samples, magnitudes, values = self._samples[:n], self._magnitudes[:n], self._values[:, :n]
            products = [(product, magnitudes[:, bins].T, values[filters]) for product, filters, bins in self._filters]
            self._blocks[n] = _Block(samples, samples[:, : self._size], magnitudes, products, values)
        return self._blocks[n]


_held = threading.local()


def _memory(frames: Frames, window: torch.Tensor, fft_samples: int, mel: torch.Tensor, bands: Bands) -> _Memory:
    """The thread's own, kept from call to call, some 5 MB: new memory costs a page fault every 4 KiB."""
    kept: _Memory | None = getattr(_held, "memory", None)
    if kept is None or kept.mel is not mel or kept.key != (_most(frames), frames.size, fft_samples, window.dtype):
        kept = _held.memory = _Memory(frames, window, fft_samples, mel, bands)
    return kept


def _most(frames: Frames) -> int:
    return min(frames.n, BLOCK_FRAMES)


def log_mel_images(
    waveforms: torch.Tensor,
    lengths: torch.Tensor | None,
    frames: Frames,
    window: torch.Tensor,
    fft_samples: int,
    mel: torch.Tensor,
    bands: Bands,
    levels_a_neper: float,
) -> torch.Tensor:
    """:func:`level_of`, rounded down, of ``ln Σ_k mel[k, m] · |DFT(w · x_t)_k|`` of each row's frames; on a CPU.

    Args:
        waveforms: (B, T) float.
        lengths: (B,) real samples of each row; None for all.
        frames: the cut; its ``size`` is the window's, and at most ``fft_samples``.
        window: (frames.size,), in the precision of the spectrum.
        fft_samples: of the DFT; behind the window are zeros.
        mel: (fft_samples // 2 + 1, M) float32.
        bands: of ``mel``.
        levels_a_neper: as of :func:`level_of`.

    Returns:
        (B, M, frames.n) uint8; 0 where a frame is not all real.
    """
    images = torch.empty((len(waveforms), mel.shape[1], frames.n), dtype=torch.uint8)
    memory = _memory(frames, window, fft_samples, mel, bands)
    for image, waveform, real in zip(images, waveforms.to(window.dtype), frames.real(waveforms, lengths), strict=True):
        for first, stop in pieces(real, BLOCK_FRAMES):
            block = memory.block(stop - first)
            cut = waveform[frames.samples(first, stop)].unfold(0, frames.size, frames.hop)
            torch.mul(cut, window, out=block.front)
            np.abs(torch.fft.rfft(block.samples).numpy(), out=block.magnitudes.numpy(), casting="same_kind")
            for filters, columns, out in block.products:
                torch.mm(filters, columns, out=out)
            values = block.values.numpy()  # numpy's logarithm and cast take a third of the time of torch's
            with np.errstate(divide="ignore", invalid="ignore"):  # of 0: clipped; of no number: anything
                np.log(values, out=values)
                level_of(block.values, levels_a_neper)
                np.copyto(image[:, first:stop].numpy(), values, casting="unsafe")
        image[:, real:] = 0
    return images


def level_of(logarithms: torch.Tensor, levels_a_neper: float) -> torch.Tensor:
    """``clip(levels_a_neper · logarithms, 0, 255)``, in place.

    >>> level_of(torch.tensor([0.0, 1.0, 1e30]).log(), 10.0)
    tensor([  0.,   0., 255.])
    """
    return logarithms.mul_(levels_a_neper).clamp_(0.0, 255.0)
