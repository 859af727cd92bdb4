"""Log-mel images as a CPU makes them fast: some frames at a time in the same memory, as images from the product on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from hf_inatsounds.frontends.blocks import BAND, Bands, Frames

BLOCK_FRAMES = 171
"""Whose spectrum is taken at a time, at most: their samples and spectrum are 1.4 MB. Blocks of 32 to 513 were tried."""

STRETCH_FRAMES = 3 * BLOCK_FRAMES
"""Whose magnitudes, 1 MB, are multiplied with the filters at a time: 3 s. Those are eight small products, which cost
as much to begin as to do of a block alone."""


@dataclass(frozen=True)
class _Stretch:
    """Views of the memory for so many frames: to make them anew would take a tenth of the time.

    Attributes:
        blocks: first frame, one behind the last, (n, fft_samples) samples, their front under the window, and where
            their magnitudes go.
        products: filters, the magnitudes that they take, and where their bands go.
        values: (M, frames), what the products give.
    """

    blocks: list[tuple[int, int, torch.Tensor, torch.Tensor, np.ndarray[Any, Any]]]
    products: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]
    values: torch.Tensor


class _Memory:
    """What all rows are worked on in."""

    def __init__(self, frames: Frames, window: torch.Tensor, fft_samples: int, mel: torch.Tensor, bands: Bands) -> None:
        n = min(frames.n, STRETCH_FRAMES)
        self._size = frames.size
        self._samples = window.new_zeros((min(n, BLOCK_FRAMES), fft_samples))  # zero behind the window, always
        self._magnitudes = torch.empty((n, fft_samples // 2 + 1), dtype=torch.float32)
        self._values = torch.empty((mel.shape[1], n), dtype=torch.float32)
        self._filters = [(mel[low:high, i : i + BAND].T.contiguous(), i, low, high) for i, low, high in bands]
        self._stretches: dict[int, _Stretch] = {}

    def stretch(self, n: int) -> _Stretch:
        """Views for ``n`` frames, made once."""
        if n not in self._stretches:
            self._stretches[n] = self._viewed(n)
        return self._stretches[n]

    def _viewed(self, n: int) -> _Stretch:
        magnitudes, values = self._magnitudes[:n], self._values[:, :n]
        blocks = [
            (
                first,
                stop,
                whole := self._samples[: stop - first],
                whole[:, : self._size],
                magnitudes[first:stop].numpy(),
            )
            for first, stop in pieces(n, BLOCK_FRAMES)
        ]
        products = [
            (filters, magnitudes[:, low:high].T, values[i : i + len(filters)])
            for filters, i, low, high in self._filters
        ]
        return _Stretch(blocks, products, values)


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
    """:func:`level_of`, rounded down, of ``Σ_k mel[k, m] · |DFT(w · x_t)_k|`` of each row's frames; on a CPU.

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
        (B, M, frames.n) float32, whole numbers from 0 to 255; 0 where a frame is not all real.
    """
    images = torch.empty((len(waveforms), mel.shape[1], frames.n), dtype=torch.float32)
    whole = [waveforms.shape[1]] * len(waveforms) if lengths is None else lengths.tolist()
    memory = _Memory(frames, window, fft_samples, mel, bands)
    for image, waveform, length in zip(images, waveforms.to(window.dtype), whole, strict=True):
        real = min(1 + (length - frames.size) // frames.hop, frames.n)
        for begin, end in pieces(real, STRETCH_FRAMES):
            stretch = memory.stretch(end - begin)
            cut = waveform[frames.samples(begin, end)].unfold(0, frames.size, frames.hop)
            for first, stop, samples, front, magnitudes in stretch.blocks:
                torch.mul(cut[first:stop], window, out=front)
                np.abs(torch.fft.rfft(samples).numpy(), out=magnitudes, casting="same_kind")
            for filters, columns, out in stretch.products:
                torch.mm(filters, columns, out=out)
            torch.floor(level_of(stretch.values, levels_a_neper), out=image[:, begin:end])
        image[:, max(real, 0) :] = 0.0
    return images


def level_of(values: torch.Tensor, levels_a_neper: float) -> torch.Tensor:
    """``clip(levels_a_neper · ln(values), 0, 255)``, in place; 0 of 0.

    >>> level_of(torch.tensor([0.0, 1.0, 1e30]), 10.0)
    tensor([  0.,   0., 255.])
    """
    return values.log_().mul_(levels_a_neper).clamp_(0.0, 255.0)


def pieces(n: int, most: int) -> list[tuple[int, int]]:
    """[0, n) in as few pieces of at most ``most`` as it takes, about as long as each other; none of n below 1.

    >>> pieces(10, 4)
    [(0, 3), (3, 6), (6, 10)]
    """
    count = max(-(-n // most), 0)
    return [(n * i // count, n * (i + 1) // count) for i in range(count)]
