"""Bits of a byte string, most significant first, in compiled code: no read leaves it, whatever the position."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

F = TypeVar("F", bound=Callable[..., Any])

PEEKED_BITS = 57
"""Valid bits of what ``peek`` gives, at least: 64 less the up to seven that lie before the position in its byte."""


_intrinsic = cast(Callable[[Any], Any], intrinsic)
"""Instructions of the machine for which Python has no words; numba's decorator has no types."""

LEAST_BYTES = 8
"""Of a byte string that is read; a FLAC file has more before its first frame."""


def compiled(function: F) -> F:
    """To machine code, as part of whatever calls it; without the GIL, division as numpy does it."""
    return njit(error_model="numpy", nogil=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)(function)


@_intrinsic
def leading_zeros(typingctx: Any, word: Any) -> Any:
    """Zero bits before the first one of a uint64; 64 of 0."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ctlz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.uint64(types.uint64), codegen


@_intrinsic
def _load(typingctx: Any, data: Any, place: Any) -> Any:
    """Bytes [place, place + 8) of ``data`` as one big-endian uint64; the caller has seen that they are there."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        pointer = builder.bitcast(builder.gep(array.data, [arguments[1]]), ir.IntType(64).as_pointer())
        word = builder.load(pointer, align=1)
        return builder.bswap(word) if sys.byteorder == "little" else word

    return types.uint64(data, types.uint64), codegen


@compiled
def load(data: Any, place: Any) -> Any:
    """Eight bytes from byte ``place`` on as a uint64; zeros behind the end. ``data`` has at least ``LEAST_BYTES``."""
    last = np.uint64(data.size) - np.uint64(8)
    if place <= last:
        return _load(data, place)
    missing = place - last
    return _load(data, last) << (missing << np.uint64(3)) if missing < np.uint64(8) else np.uint64(0)


@compiled
def peek(data: Any, position: Any) -> Any:
    """Bits from bit ``position`` on, in the upper ``PEEKED_BITS`` of a uint64; zeros behind the end."""
    return load(data, position >> np.uint64(3)) << (position & np.uint64(7))


@compiled
def unsigned(data: Any, position: Any, count: Any) -> Any:
    """``count`` ≤ 57 bits from bit ``position`` on, as a uint64."""
    if count == np.uint64(0):
        return np.uint64(0)
    return peek(data, position) >> (np.uint64(64) - count)


@compiled
def signed(data: Any, position: Any, count: Any) -> Any:
    """``count`` ≤ 57 bits from bit ``position`` on, as an int64 in two's complement."""
    if count == np.uint64(0):
        return np.int64(0)
    return np.int64(peek(data, position)) >> np.int64(np.uint64(64) - count)


@compiled
def unary(data: Any, position: Any) -> Any:
    """Zeros from bit ``position`` on before the next one; behind the end there is always one."""
    count = np.uint64(0)
    end = np.uint64(8) * np.uint64(data.size)
    while position < end:
        word = peek(data, position) >> np.uint64(64 - PEEKED_BITS)
        if word != np.uint64(0):
            return count + leading_zeros(word) - np.uint64(64 - PEEKED_BITS)
        position += np.uint64(PEEKED_BITS)
        count += np.uint64(PEEKED_BITS)
    return count
