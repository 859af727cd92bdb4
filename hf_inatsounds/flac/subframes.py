"""One channel of a FLAC frame in compiled code.

Source: RFC 9639, section 9.2.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from hf_inatsounds.flac.bits import compiled, signed, unary, unsigned
from hf_inatsounds.flac.predictors import MAX_ORDER, restore_escaped, restore_rice

FAILED = np.uint64(0xFFFF_FFFF_FFFF_FFFF)
"""In place of a position: no subframe, or its end is missing."""

_FIXED = np.array([[0, 0, 0, 0], [1, 0, 0, 0], [2, -1, 0, 0], [3, -3, 1, 0], [4, -6, 4, -1]], np.int64)
_ONE = np.uint64(1)


@compiled
def _residual(data: Any, position: Any, size: Any, order: Any, s: Any, coefficients: Any, shift: Any) -> Any:
    """Samples from ``order`` on of a block of ``size``; the position behind them, or FAILED."""
    method = unsigned(data, position, np.uint64(2))
    parts = np.int64(1) << np.int64(unsigned(data, position + np.uint64(2), np.uint64(4)))
    position += np.uint64(6)
    length = size // parts
    if method > _ONE or length * parts != size or length < order:
        return FAILED
    width = np.uint64(4) + method
    end = np.uint64(8) * np.uint64(data.size)
    for part in range(parts):
        k = unsigned(data, position, width)
        position += width
        first = np.uint64(MAX_ORDER + max(part * length, order))
        stop = np.uint64(MAX_ORDER + (part + 1) * length)
        if k == (_ONE << width) - _ONE:
            count = unsigned(data, position, np.uint64(5))
            position += np.uint64(5)
            position = restore_escaped(data, position, count, s, first, stop, coefficients, shift)
        else:
            position = restore_rice(data, position, k, s, first, stop, coefficients, order, shift)
        if position > end:
            return FAILED
    return position


@compiled
def _verbatim(data: Any, position: Any, bits: Any, s: Any, count: Any) -> Any:
    """The first ``count`` samples, as they are; the position behind them."""
    for i in range(count):
        s[MAX_ORDER + i] = signed(data, position, bits)
        position += bits
    return position


@compiled
def _predicted(data: Any, position: Any, bits: Any, kind: Any, size: Any, s: Any, coefficients: Any) -> Any:
    """A subframe with a predictor, fixed or its own."""
    own = kind >= 32
    order = (kind & 31) + 1 if own else kind - 8
    if order > size or (not own and order > 4):
        return FAILED
    position = _verbatim(data, position, bits, s, order)
    for j in range(MAX_ORDER):
        coefficients[j] = 0
    if not own:
        for j in range(4):
            coefficients[j] = _FIXED[order, j]
        return _residual(data, position, size, order, s, coefficients, np.int64(0))
    precision = unsigned(data, position, np.uint64(4)) + _ONE
    shift = signed(data, position + np.uint64(4), np.uint64(5))
    position += np.uint64(9)
    if precision == np.uint64(16) or shift < 0:
        return FAILED
    for j in range(order):
        coefficients[j] = signed(data, position, precision)
        position += precision
    return _residual(data, position, size, order, s, coefficients, shift)


@compiled
def subframe(data: Any, position: Any, bits: Any, size: Any, s: Any, coefficients: Any) -> Any:
    """One channel's samples.

    Args:
        data: (n,) uint8, the file.
        position: of the subframe, in bits.
        bits: of a sample, one more than the recording's for a difference of channels.
        size: samples of the block.
        s: (MAX_ORDER + size or more,) int64; gets them from MAX_ORDER on.
        coefficients: (MAX_ORDER,) int64, room to work in.

    Returns:
        The position behind it, in bits; FAILED where it is no subframe or its end is missing.
    """
    head = unsigned(data, position, np.uint64(8))
    position += np.uint64(8)
    kind, wasted = np.int64(head >> _ONE), np.uint64(0)
    if head & _ONE:
        wasted = unary(data, position) + _ONE
        position += wasted
    if kind >= 64 or wasted >= bits:
        return FAILED
    bits -= wasted
    if kind == 0:
        constant = signed(data, position, bits)
        for i in range(MAX_ORDER, MAX_ORDER + size):
            s[i] = constant
        position += bits
    elif kind == 1:
        position = _verbatim(data, position, bits, s, size)
    elif 8 <= kind < 16 or kind >= 32:
        position = _predicted(data, position, bits, kind, size, s, coefficients)
    else:
        return FAILED
    if position > np.uint64(8) * np.uint64(data.size):  # FAILED is further than any
        return FAILED
    if wasted:
        for i in range(MAX_ORDER, MAX_ORDER + size):
            s[i] <<= np.int64(wasted)
    return position
