"""Damaged stretches of a recording: (first sample, behind the last), ascending, and read as silence."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

LOUDEST = 1e6
"""Of a sample; full scale is 1. Damaged floating point and lossy files hold anything, up to what overflows a filter."""

BLOCK_SAMPLES = 4096
"""Wrong samples are looked at in blocks that begin at multiples of it, whatever window they are read in."""

MANY = 8
"""Where one in so many is wrong, the others around it are too: they are bytes of something else."""

Waveform = np.ndarray[Any, np.dtype[np.float32]]


def merged(gaps: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Stretches without their overlaps, ascending.

    >>> merged([(5, 9), (0, 3), (2, 4)])
    [(0, 4), (5, 9)]
    """
    made: list[tuple[int, int]] = []
    for start, stop in sorted(gaps):
        if made and start <= made[-1][1]:
            made[-1] = (made[-1][0], max(stop, made[-1][1]))
        else:
            made.append((start, stop))
    return made


def only_numbers(samples: Waveform, start: int) -> tuple[Waveform, list[tuple[int, int]]]:
    """Samples without those that are no number or absurd, and where these were.

    In a block it is all from the first to the last of them, or all of the block where they are many.

    Args:
        samples: (T,) float32.
        start: of the first one in the recording.

    >>> only_numbers(np.array([0.5, np.nan, *[0.5] * 8], np.float32), 10)[1]
    [(11, 12)]
    """
    wrong = np.flatnonzero(~(np.abs(samples) < LOUDEST))  # no numbers are not less
    if not len(wrong):
        return samples, []
    made, gaps = samples.copy(), []
    blocks = (wrong + start) // BLOCK_SAMPLES
    for block in np.unique(blocks).tolist():
        inside = wrong[blocks == block]
        first = max(block * BLOCK_SAMPLES - start, 0)
        last = min((block + 1) * BLOCK_SAMPLES - start, len(samples))
        if MANY * len(inside) < last - first:
            first, last = int(inside[0]), int(inside[-1]) + 1
        made[first:last] = 0.0
        gaps.append((first + start, last + start))
    return made, gaps
