"""Log-mel images as a CPU makes them fast: block by block in the same memory, as images from the product on."""

from __future__ import annotations

import numpy as np
import torch

from hf_inatsounds.frontends.blocks import BAND, Bands, Frames

BLOCK_FRAMES = 171
"""Whose spectrum is taken at a time, at most: their samples and spectrum are 1.4 MB. Blocks of 32 to 513 were tried."""

STRETCH_FRAMES = 3 * BLOCK_FRAMES
"""Whose magnitudes, 1 MB, are multiplied with the filters at a time: 3 s. Those are eight small products, which cost
as much to begin as to do of a block alone."""


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
    """:func:`level_of` of ``Σ_k mel[k, m] · |DFT(w · x_t)_k|`` of each row's frames, on a CPU and without gradients.

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
    images = waveforms.new_zeros((len(waveforms), mel.shape[1], frames.n), dtype=torch.float32)
    whole = [waveforms.shape[1]] * len(waveforms) if lengths is None else lengths.tolist()
    parts = [(first, low, high, mel[low:high, first : first + BAND].T.contiguous()) for first, low, high in bands]
    windowed = window.new_zeros((min(frames.n, BLOCK_FRAMES), fft_samples))  # zero behind the window, in every block
    magnitudes = torch.empty((min(frames.n, STRETCH_FRAMES), fft_samples // 2 + 1), dtype=torch.float32)
    for image, waveform, length in zip(images, waveforms.to(window.dtype), whole, strict=True):
        real = min(1 + (length - frames.size) // frames.hop, frames.n)
        for begin, end in pieces(0, real, STRETCH_FRAMES):
            for first, stop in pieces(begin, end, BLOCK_FRAMES):
                cut = waveform[frames.samples(first, stop)].unfold(0, frames.size, frames.hop)
                torch.mul(cut, window, out=windowed[: stop - first, : frames.size])
                spectrum = torch.fft.rfft(windowed[: stop - first]).numpy()
                np.abs(spectrum, out=magnitudes[first - begin : stop - begin].numpy(), casting="same_kind")
            for band, low, high, filters in parts:
                columns = magnitudes[: end - begin, low:high].T
                torch.mm(filters, columns, out=image[band : band + len(filters), begin:end])
            level_of(image[:, begin:end], levels_a_neper)
    return images


def pieces(first: int, stop: int, most: int) -> list[tuple[int, int]]:
    """[first, stop) in as few pieces of at most ``most`` as it takes, about as long as each other.

    >>> pieces(10, 20, 4)
    [(10, 13), (13, 16), (16, 20)]
    """
    n = max(-(-(stop - first) // most), 0)
    return [(first + (stop - first) * i // n, first + (stop - first) * (i + 1) // n) for i in range(n)]


def level_of(values: torch.Tensor, levels_a_neper: float) -> torch.Tensor:
    """``⌊clip(levels_a_neper · ln(values), 0, 255)⌋``, in place; 0 of 0.

    >>> level_of(torch.tensor([0.0, 1.0, 2.72, 1e30]), 10.5)
    tensor([  0.,   0.,  10., 255.])
    """
    return values.log_().mul_(levels_a_neper).clamp_(0.0, 255.0).floor_()
