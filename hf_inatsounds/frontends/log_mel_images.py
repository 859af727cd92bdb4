"""Log-mel images as a CPU makes them fast: block by block in the same memory, as images from the product on."""

from __future__ import annotations

import numpy as np
import torch

from hf_inatsounds.frontends.blocks import BAND, Bands, Frames

BLOCK_FRAMES = 257
"""Of a block, at most: its samples, spectrum and magnitudes are 2.6 MB. Fewer fit a cache better, but torch plans each
FFT anew: blocks of 64 to 513 were tried, this is the fastest for 3 s (513 frames) and for 10 s."""


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
    size = min(frames.n, BLOCK_FRAMES)
    windowed = window.new_zeros((size, fft_samples))  # zero behind the window, in every block
    magnitudes = torch.empty((size, fft_samples // 2 + 1), dtype=torch.float32)
    for image, waveform, length in zip(images, waveforms.to(window.dtype), whole, strict=True):
        real = min(1 + (length - frames.size) // frames.hop, frames.n)
        blocks = max(-(-real // BLOCK_FRAMES), 1)
        for first, stop in ((real * i // blocks, real * (i + 1) // blocks) for i in range(blocks if real > 0 else 0)):
            n = stop - first
            cut = waveform[frames.samples(first, stop)].unfold(0, frames.size, frames.hop)
            torch.mul(cut, window, out=windowed[:n, : frames.size])
            np.abs(torch.fft.rfft(windowed[:n]).numpy(), out=magnitudes[:n].numpy(), casting="same_kind")
            for band, low, high, filters in parts:
                torch.mm(filters, magnitudes[:n, low:high].T, out=image[band : band + len(filters), first:stop])
        if real > 0:
            level_of(image[:, :real], levels_a_neper)
    return images


def level_of(values: torch.Tensor, levels_a_neper: float) -> torch.Tensor:
    """``⌊clip(levels_a_neper · ln(values), 0, 255)⌋``, in place; 0 of 0.

    >>> level_of(torch.tensor([0.0, 1.0, 2.72, 1e30]), 10.5)
    tensor([  0.,   0.,  10., 255.])
    """
    return values.log_().mul_(levels_a_neper).clamp_(0.0, 255.0).floor_()
