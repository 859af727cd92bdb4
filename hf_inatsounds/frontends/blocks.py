"""Spectra as a CPU computes them fast: some frames at a time, mel filters without their zeros."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

BLOCK_FRAMES = 600
"""Frames that a CPU works on at a time, at most: fewer fit its cache better, but torch plans each FFT anew, which takes
as long as that of 128 frames. From 32 to 1,000 were tried."""

BAND = 16
"""Mel filters that are multiplied together: neighbours share bins, and need few of all."""

Bands = tuple[tuple[slice, slice], ...]
"""Neighbouring filters, and the bins that they need."""


@dataclass(frozen=True)
class Frames:
    """How a waveform is cut: frame t is its samples from ``hop · t`` on, ``size`` of them; ``n`` frames of a row,
    each of which becomes ``values``.
    """

    size: int
    hop: int
    n: int
    values: int

    def __post_init__(self) -> None:
        if min(self.size, self.hop, self.values) < 1 or self.n < 0:
            raise ValueError(f"sizes must be positive; got {self}")

    def samples(self, first: int, stop: int) -> slice:
        """Where frames [first, stop) are.

        >>> Frames(400, 160, 5, 128).samples(1, 2)
        slice(160, 560, None)
        """
        return slice(first * self.hop, (stop - 1) * self.hop + self.size)

    def real(self, waveforms: torch.Tensor, lengths: torch.Tensor | None) -> list[int]:
        """How many frames of each row (B, T) are all real, by the rows' lengths (B,); None for rows full of samples."""
        whole = [waveforms.shape[1]] * len(waveforms) if lengths is None else lengths.tolist()
        return [min(max(1 + (length - self.size) // self.hop, 0), self.n) for length in whole]


def pieces(n: int, most: int) -> list[tuple[int, int]]:
    """[0, n) in as few pieces of at most ``most`` as it takes, about as long as each other; none of n below 1.

    >>> pieces(10, 4)
    [(0, 3), (3, 6), (6, 10)]
    """
    count = max(-(-n // most), 0)
    return [(n * i // count, n * (i + 1) // count) for i in range(count)]


def by_frames(
    function: Callable[[torch.Tensor], torch.Tensor],
    waveforms: torch.Tensor,
    frames: Frames,
    lengths: torch.Tensor | None = None,
) -> torch.Tensor:
    """``function`` of the waveforms' frames: on a CPU of a few frames of a row at a time, which gives the same.

    A few frames fit a CPU's cache. A whole batch's (33 MB for 16 spectrogram images) do not, and are memory new
    from the system at every call: measured 3 to 6 times as slow. What padding would give is not computed there.

    Args:
        function: (B, T) → (B, frames of T, ``frames.values``) float32, a frame's values from its samples alone.
        waveforms: (B, T) float.
        frames: the cut.
        lengths: (B,) real samples of each row.

    Returns:
        (B, ``frames.n``, ``frames.values``); on a CPU 0 where a frame is not all real.
    """
    if waveforms.device.type != "cpu" or torch.compiler.is_compiling():
        return function(waveforms[:, frames.samples(0, frames.n)])
    found = waveforms.new_zeros((len(waveforms), frames.n, frames.values), dtype=torch.float32)
    for row, waveform, real in zip(found, waveforms, frames.real(waveforms, lengths), strict=True):
        for first, stop in pieces(real, BLOCK_FRAMES):
            row[first:stop] = function(waveform[None, frames.samples(first, stop)])[0]
    return found


def bands_of(mel: torch.Tensor, size: int = BAND) -> Bands:
    """Where each ``size`` filters of (bins, M) have their bins.

    >>> bands_of(torch.eye(40)[:, :32])
    ((slice(0, 16, None), slice(0, 16, None)), (slice(16, 32, None), slice(16, 32, None)))
    """
    found = []
    for first in range(0, mel.shape[1], size):
        filters = slice(first, min(first + size, mel.shape[1]))
        used = torch.nonzero(mel[:, filters].any(1)).flatten().tolist() or [0]
        found.append((filters, slice(used[0], used[-1] + 1)))
    return tuple(found)


def banded(values: torch.Tensor, mel: torch.Tensor, bands: Bands) -> torch.Tensor:
    """``values @ mel`` without the zeros of ``mel``: a third of the work for 128 filters.

    >>> mel = torch.eye(40)[:, :32]
    >>> torch.equal(banded(torch.ones(2, 40), mel, bands_of(mel)), torch.ones(2, 40) @ mel)
    True
    """
    return torch.cat([values[..., bins] @ mel[bins, filters] for filters, bins in bands], -1)


def magnitude(spectrum: torch.Tensor) -> torch.Tensor:
    """``|spectrum|``; on a CPU by numpy, which was measured at a quarter of the time of torch's strided halves.

    >>> magnitude(torch.tensor([3 + 4j]))
    tensor([5.])
    """
    if spectrum.device.type == "cpu" and not torch.compiler.is_compiling() and not spectrum.requires_grad:
        return torch.from_numpy(np.abs(spectrum.numpy()))
    return (spectrum.real.square() + spectrum.imag.square()).sqrt()


def by_rows(function: Callable[[torch.Tensor], torch.Tensor], batch: torch.Tensor) -> torch.Tensor:
    """``function(batch)``, on a CPU row by row, which gives the same.

    A row's frames fit a CPU's cache. A whole batch's (33 MB for 16 spectrogram images) do not, and are memory new
    from the system at every call: a row by itself was measured 3 to 6 times as fast.

    >>> by_rows(lambda rows: rows * 2, torch.ones(3, 2)).sum()
    tensor(12.)
    """
    if batch.device.type != "cpu" or torch.compiler.is_compiling() or len(batch) < 2:
        return function(batch)
    return torch.cat([function(row[None]) for row in batch])
