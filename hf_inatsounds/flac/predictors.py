"""Restoring predicted samples in compiled code, for predictors of up to 4, 8, 12 and 32 coefficients.

A sample is ``(Σ_j c_j · s[i - 1 - j]) >> shift`` plus its residual. Residuals are Rice codes: the quotient in unary,
the remainder in ``k`` bits. The loop takes ``GROUP`` codes out of one load of 64 bits: each code's place hangs on the
one before, and waiting for a load a code would take most of the time.

Source: RFC 9639, sections 9.2.5 to 9.2.7.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from hf_inatsounds.flac.bits import PEEKED_BITS, compiled, leading_zeros, peek, signed, unary, unsigned

MAX_ORDER = 32
"""Coefficients of a predictor. So many values lie before a block's, so that no sum asks where the block begins."""

GROUP = 4
GROUP_K = 11
"""Of which remainder ``GROUP`` codes mostly fit ``PEEKED_BITS``."""

_ONE = np.uint64(1)

Restorer = Callable[..., Any]


@compiled
def _four(c: Any, s: Any, i: Any) -> Any:
    """Sum over the last four samples before ``i``, the newest last: it is what the next sum waits for."""
    total = c[3] * s[i - np.uint64(4)] + c[2] * s[i - np.uint64(3)] + c[1] * s[i - np.uint64(2)]
    return total + c[0] * s[i - _ONE]


@compiled
def _eight(c: Any, s: Any, i: Any) -> Any:
    old = c[7] * s[i - np.uint64(8)] + c[6] * s[i - np.uint64(7)]
    return old + (c[5] * s[i - np.uint64(6)] + c[4] * s[i - np.uint64(5)]) + _four(c, s, i)


@compiled
def _twelve(c: Any, s: Any, i: Any) -> Any:
    old = c[11] * s[i - np.uint64(12)] + c[10] * s[i - np.uint64(11)]
    return old + (c[9] * s[i - np.uint64(10)] + c[8] * s[i - np.uint64(9)]) + _eight(c, s, i)


@compiled
def _all(c: Any, s: Any, i: Any) -> Any:
    total = np.int64(0)
    for j in range(MAX_ORDER):
        total += c[j] * s[i - np.uint64(j + 1)]
    return total


@compiled
def _first_four(c: Any) -> Any:
    return c[0], c[1], c[2], c[3]


@compiled
def _first_eight(c: Any) -> Any:
    return c[0], c[1], c[2], c[3], c[4], c[5], c[6], c[7]


@compiled
def _first_twelve(c: Any) -> Any:
    return c[0], c[1], c[2], c[3], c[4], c[5], c[6], c[7], c[8], c[9], c[10], c[11]


@compiled
def _as_they_are(c: Any) -> Any:
    return c


@compiled
def _zigzag(code: Any) -> Any:
    """0, 1, 2, 3, … → 0, -1, 1, -2, …"""
    return np.int64(code >> _ONE) ^ -np.int64(code & _ONE)


@compiled
def _code(word: Any, k: Any) -> Any:
    """The first code of ``word``, what follows it, and its bits; void where those are more than ``word`` holds."""
    quotient = leading_zeros(word | _ONE)
    rest = word << quotient << _ONE
    return quotient << k | rest >> _ONE >> (np.uint64(63) - k), rest << k, quotient + _ONE + k


@compiled
def _any_code(data: Any, position: Any, k: Any) -> Any:
    """The code at bit ``position``, however long, and the position behind it."""
    code, _, used = _code(peek(data, position), k)
    if used <= np.uint64(PEEKED_BITS):
        return code, position + used
    quotient = unary(data, position)
    position += quotient + _ONE
    return quotient << k | unsigned(data, position, k), position + k


def _restorer(predicted: Restorer, taken: Restorer) -> Restorer:
    """The loop over Rice codes with ``predicted`` built into it."""

    @compiled
    def restore(data: Any, position: Any, k: Any, s: Any, i: Any, stop: Any, coefficients: Any, shift: Any) -> Any:
        c = taken(coefficients)
        grouped = k <= np.uint64(GROUP_K)
        while i < stop:
            if grouped and i + np.uint64(GROUP) <= stop:
                first, word, used0 = _code(peek(data, position), k)
                second, word, used1 = _code(word, k)
                third, word, used2 = _code(word, k)
                fourth, word, used3 = _code(word, k)
                used = used0 + used1 + used2 + used3
                if used <= np.uint64(PEEKED_BITS):
                    s[i] = (predicted(c, s, i) >> shift) + _zigzag(first)
                    s[i + _ONE] = (predicted(c, s, i + _ONE) >> shift) + _zigzag(second)
                    s[i + np.uint64(2)] = (predicted(c, s, i + np.uint64(2)) >> shift) + _zigzag(third)
                    s[i + np.uint64(3)] = (predicted(c, s, i + np.uint64(3)) >> shift) + _zigzag(fourth)
                    i += np.uint64(GROUP)
                    position += used
                    continue
            code, position = _any_code(data, position, k)
            s[i] = (predicted(c, s, i) >> shift) + _zigzag(code)
            i += _ONE
        return position

    return restore


_restore_four = _restorer(_four, _first_four)
_restore_eight = _restorer(_eight, _first_eight)
_restore_twelve = _restorer(_twelve, _first_twelve)
_restore_all = _restorer(_all, _as_they_are)


@compiled
def restore_rice(
    data: Any, position: Any, k: Any, s: Any, i: Any, stop: Any, coefficients: Any, order: Any, shift: Any
) -> Any:
    """Samples [i, stop) from Rice codes of ``k`` bits of remainder; the position behind them.

    Args:
        data: (n,) uint8, the file.
        position: of the first code, in bits.
        k: 0 to 30.
        s: (MAX_ORDER + block,) int64; those before ``i`` are there, MAX_ORDER ≤ i ≤ stop ≤ its length.
        i: first sample.
        stop: behind the last one.
        coefficients: (MAX_ORDER,) int64, 0 from ``order`` on.
        order: of the predictor.
        shift: of its sums, 0 to 15.
    """
    if order <= 4:
        return _restore_four(data, position, k, s, i, stop, coefficients, shift)
    if order <= 8:
        return _restore_eight(data, position, k, s, i, stop, coefficients, shift)
    if order <= 12:
        return _restore_twelve(data, position, k, s, i, stop, coefficients, shift)
    return _restore_all(data, position, k, s, i, stop, coefficients, shift)


@compiled
def restore_escaped(
    data: Any, position: Any, count: Any, s: Any, i: Any, stop: Any, coefficients: Any, shift: Any
) -> Any:
    """As :func:`restore_rice` from residuals written plainly in ``count`` bits each."""
    while i < stop:
        s[i] = (_all(coefficients, s, i) >> shift) + signed(data, position, count)
        position += count
        i += _ONE
    return position
