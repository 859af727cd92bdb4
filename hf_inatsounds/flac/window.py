"""A window of a FLAC file in compiled code: the one function that numba compiles as a whole, and keeps on disk."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit, types

from hf_inatsounds.flac.bits import LEAST_BYTES, compiled
from hf_inatsounds.flac.checksums import crc16
from hf_inatsounds.flac.frames import LEFT_SIDE, MID_SIDE, SIDE_RIGHT, frame_of, header
from hf_inatsounds.flac.predictors import MAX_ORDER
from hf_inatsounds.flac.subframes import FAILED, subframe

_SIGNATURE = types.boolean(
    types.Array(types.uint8, 1, "C", readonly=True),
    types.int64,
    types.UniTuple(types.int64, 5),
    types.int64,
    types.Array(types.float32, 1, "C"),
)


@compiled
def _frame(data: Any, place: Any, number: Any, layout: Any, s: Any, other: Any, coefficients: Any) -> Any:
    """Decode frame ``number`` at byte ``place``: what its channels hold, its samples, and the byte behind it or -1."""
    channels, bits = layout[0], np.uint64(layout[1])
    found, held, size, after = header(data, place, layout)
    if found != number:
        return held, size, np.int64(-1)
    position = np.uint64(after) << np.uint64(3)
    first_bits = bits + np.uint64(1) if held == SIDE_RIGHT else bits
    position = subframe(data, position, first_bits, size, s, coefficients)
    if channels == 2 and position != FAILED:
        second_bits = bits + np.uint64(1) if held in (LEFT_SIDE, MID_SIDE) else bits
        position = subframe(data, position, second_bits, size, other, coefficients)
    stop = (position + np.uint64(7)) >> np.uint64(3)
    if position == FAILED or stop + np.uint64(2) > np.uint64(data.size):
        return held, size, np.int64(-1)
    unused = (stop << np.uint64(3)) - position
    if unused and np.uint64(data[stop - np.uint64(1)]) & ((np.uint64(1) << unused) - np.uint64(1)):
        return held, size, np.int64(-1)
    stated = np.uint64(data[stop]) << np.uint64(8) | np.uint64(data[stop + np.uint64(1)])
    if crc16(data, np.uint64(place), stop) != stated:
        return held, size, np.int64(-1)
    return held, size, np.int64(stop) + 2


@compiled
def _mono(s: Any, half: Any, unit: Any, first: Any, stop: Any, out: Any, at: Any) -> Any:
    """Samples [first, stop) of one channel as float32 into ``out``; whether all are in [-half, half)."""
    outside = np.int64(0)
    for i in range(stop - first):
        value = s[MAX_ORDER + first + i]
        outside |= (value + half) & ~(2 * half - 1)
        out[at + i] = np.float32(np.int32(value)) * unit
    return outside == 0


@compiled
def _mean(s: Any, other: Any, held: Any, half: Any, unit: Any, first: Any, stop: Any, out: Any, at: Any) -> Any:
    """The same of the mean of two channels, in float32 as numpy's."""
    outside = np.int64(0)
    for i in range(stop - first):
        left, right = s[MAX_ORDER + first + i], other[MAX_ORDER + first + i]
        if held == LEFT_SIDE:
            right = left - right
        elif held == SIDE_RIGHT:
            left = left + right
        elif held == MID_SIDE:
            total = left * 2 | right & 1
            left, right = (total + right) >> 1, (total - right) >> 1
        outside |= ((left + half) | (right + half)) & ~(2 * half - 1)
        both = np.float32(np.int32(left)) * unit + np.float32(np.int32(right)) * unit
        out[at + i] = both * np.float32(0.5)
    return outside == 0


def _window(source_digest: int) -> Any:
    """``read_window``; the digest of this folder's modules is part of what numba knows its work on disk by.

    Its own key is this module's time and size, which do not change with the modules that are compiled into it.
    """

    def read_window(data: Any, position: Any, layout: Any, start: Any, out: Any) -> Any:
        """Decode samples [start, start + len(out)) into ``out``, channels averaged.

        Args:
            data: (n,) uint8, the file.
            position: of the first frame, in bytes.
            layout: (channels, bits, rate in Hz, samples of a block, samples of the recording).
            start: first sample; start + len(out) is at most the samples of the recording.
            out: (T,) float32.

        Returns:
            Whether every frame that was touched is whole and sound; ``out`` is void if not.
        """
        channels, bits, _, block, total = layout
        if source_digest < 0 or data.size < LEAST_BYTES or position < 0 or start < 0 or start + out.size > total:
            return False
        s, other = np.zeros(MAX_ORDER + block, np.int64), np.zeros(MAX_ORDER + block * (channels - 1), np.int64)
        coefficients = np.zeros(MAX_ORDER, np.int64)
        half, unit = np.int64(1) << (bits - 1), np.float32(1.0 / (np.int64(1) << (bits - 1)))
        number, done = start // block, np.int64(0)
        place = frame_of(data, position, number, layout)
        while done < out.size:
            if place < 0:
                return False
            held, size, place = _frame(data, place, number, layout, s, other, coefficients)
            if place < 0:
                return False
            first = start + done - number * block
            stop = min(size, first + out.size - done)
            if channels == 1:
                sound = _mono(s, half, unit, first, stop, out, done)
            else:
                sound = _mean(s, other, held, half, unit, first, stop, out, done)
            if not sound or stop <= first:
                return False
            done += stop - first
            number += 1
        return True

    return read_window


def _source_digest() -> int:
    folder = Path(__file__).parent
    return zlib.crc32(b"".join(path.read_bytes() for path in sorted(folder.glob("*.py"))))


def _compiled_window() -> Any:
    function = _window(_source_digest())
    try:
        return njit(_SIGNATURE, error_model="numpy", nogil=True, cache=True)(function)
    except (RuntimeError, OSError):  # no folder can be written to
        return njit(_SIGNATURE, error_model="numpy", nogil=True)(function)


read_window = _compiled_window()
