"""Starting a DEFLATE stream in its middle with an ordinary inflate library.

A seek point is the beginning of a DEFLATE block: a bit of the compressed file, and the 32 KiB of decompressed
data before it (its window), to which the block may refer. Libraries take the window as a preset dictionary, but
begin at a byte. A block that begins ``bits`` bits before a byte's end is therefore preceded by empty blocks of
as many bits as are missing: an empty block with fixed codes has 10 bits, one with dynamic codes 93, and sums of
these leave every remainder of a division by 8.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from isal import isal_zlib

WINDOW_BYTES = 32 << 10
GZIP_HEADER = bytes([0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 255])
FOOTER_BYTES = 8
FILLER_BYTES = 4
PASSED_BYTES = 1 << 20
"""Bytes read or made at a time of what is passed over."""

ERRORS: Any = (zlib.error, isal_zlib.error, EOFError)
"""What inflating damaged data raises."""


_RAW, _GZIP = -15, 31
_CODE_LENGTH_ORDER = (16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15)


@dataclass(frozen=True)
class Point:
    """Where decompression can begin.

    Attributes:
        out: offset in the decompressed data.
        at: offset in the compressed file of the first whole byte.
        bits: bits of the byte before ``at`` that belong to the point too, 0 … 7.
    """

    out: int
    at: int
    bits: int

    @classmethod
    def at_bit(cls, bit: int, out: int) -> Point:
        """The point at a bit of the compressed file.

        >>> Point.at_bit(19, 100)
        Point(out=100, at=3, bits=5)
        """
        return cls(out, -(-bit // 8), -bit % 8)


def alignment(bits: int, byte: int) -> bytes:
    """Empty blocks, ended by the uppermost ``bits`` bits of ``byte``, as whole bytes.

    >>> inflater = zlib.decompressobj(-15)
    >>> inflater.decompress(alignment(3, 0b010_10101) + bytes([0, 0])), inflater.unused_data
    (b'', b'')
    """
    missing = -bits % 8
    made = _empty_dynamic_block() if missing % 2 else []
    while len(made) % 8 != missing:
        made += [0, 1, 0, *[0] * 7]  # not the last, fixed codes, end of block
    made += [byte >> (8 - bits + i) & 1 for i in range(bits)]
    return bytes(sum(bit << i for i, bit in enumerate(made[start : start + 8])) for start in range(0, len(made), 8))


def _empty_dynamic_block() -> list[int]:
    """An empty block with dynamic codes, 93 bits: an odd number. Source: RFC 1951, 3.2.7."""
    made: list[int] = []

    def put(value: int, n: int) -> None:
        made.extend(value >> i & 1 for i in range(n))

    for value, n in ((0, 1), (2, 2)):  # not the last; dynamic codes
        put(value, n)
    for value, n in ((0, 5), (0, 5), (15, 4)):  # 257 literal codes, 1 distance code, 19 code lengths
        put(value, n)
    for symbol in _CODE_LENGTH_ORDER:
        put(1 if symbol in (1, 18) else 0, 3)  # "length 1" is written 0, "many zeros" is written 1
    for count in (138, 118):
        put(1, 1)
        put(count - 11, 7)  # literals 0 … 255 have no code
    put(0, 2)  # end of block and the one distance code have one bit each
    put(0, 1)  # end of block
    return made


def as_gzip(window: bytes, bits: int, byte: int, crc32: int) -> bytes:
    """What put before the file's bytes from a point on makes a gzip stream of a filler, the window and the rest.

    The filler's FILLER_BYTES are chosen so that the stream's CRC is that of the whole one: a reader that
    compares it with the file's footer still finds damage.

    Args:
        window: the point's window.
        bits: of the point.
        byte: the one before the point.
        crc32: of all decompressed data before the point.
    """
    content = _filler(window, crc32) + window
    stored = struct.pack("<BHH", 0, len(content), len(content) ^ 0xFFFF) + content
    return GZIP_HEADER + stored + alignment(bits, byte)


def _filler(window: bytes, target: int) -> bytes:
    """Four bytes b with crc32(b ‖ window) = target: a CRC is linear in its input's bits, over GF(2)."""

    def crc(value: int) -> int:
        return zlib.crc32(window, zlib.crc32(value.to_bytes(FILLER_BYTES, "little")))

    basis: dict[int, tuple[int, int]] = {}  # bit length → (change of the CRC, bits that make it)
    for i in range(8 * FILLER_BYTES):
        change, made = crc(1 << i) ^ crc(0), 1 << i
        while change and change.bit_length() in basis:
            known = basis[change.bit_length()]
            change, made = change ^ known[0], made ^ known[1]
        if change:
            basis[change.bit_length()] = (change, made)
    left, value = target ^ crc(0), 0
    while left:
        change, made = basis[left.bit_length()]
        left, value = left ^ change, value ^ made
    return value.to_bytes(FILLER_BYTES, "little")


class Inflater:
    """Decompresses from a point on, across the ends of gzip members.

    Args:
        window: the point's window; None at the file's beginning.
        bits: of the point.
        byte: the one before the point.
    """

    def __init__(self, window: bytes | None = None, bits: int = 0, byte: int = 0) -> None:
        self._footer = 0  # bytes of a member's footer still to pass over
        self._rest = b""
        self._input = b""
        self._full = False
        self.ended = False
        if window is None:
            self._stream = isal_zlib.decompressobj(wbits=_GZIP)
            self._raw = False
        else:
            self._stream = isal_zlib.decompressobj(wbits=_RAW, zdict=window)
            self._raw = True
            self._stream.decompress(alignment(bits, byte))

    def first(self, compressed: bytes, n: int) -> bytes:
        """The first ``n`` bytes, or fewer, that ``compressed`` decompresses to; nothing can be fed after it."""
        made: bytes = self._stream.decompress(compressed, n)
        return made

    def feed(self, compressed: bytes) -> None:
        """Give it what follows in the compressed file."""
        self._input += compressed

    def read(self, n: int) -> bytes:
        """Up to ``n`` bytes, made without making more; empty where it must be fed, or the data are over.

        Raises:
            zlib.error: (or isal's) if it is no DEFLATE data.
        """
        made = b""
        while not made and (self._input or self._full) and not self.ended:
            if self._stream.eof:
                self._input, self._full = self._next_member(self._input), False
                continue
            made = self._stream.decompress(self._input, n)
            self._full = len(made) == n  # it may hold more, although all input is taken
            self._input = self._stream.unconsumed_tail
            if self._stream.eof:
                self._input = self._stream.unused_data
                self._footer = FOOTER_BYTES if self._raw else 0
        return made

    def _next_member(self, compressed: bytes) -> bytes:
        passed = min(self._footer, len(compressed))
        self._footer -= passed
        self._rest += compressed[passed:]
        if len(self._rest) < 2:
            return b""
        compressed, self._rest = self._rest, b""
        if compressed[:2] != GZIP_HEADER[:2]:  # padding or garbage behind the last member
            self.ended, self._rest = True, compressed
            return b""
        self._stream, self._raw = isal_zlib.decompressobj(wbits=_GZIP), False
        return compressed

    @property
    def behind(self) -> int | None:
        """Bytes that were fed from behind the last member's end; None where it has not come."""
        return len(self._rest) + len(self._input) if self._stream.eof and not self._footer else None


def stream_end(read: Callable[[int, int], bytes], inflater: Inflater, at: int, size: int) -> int:
    """Where the gzip stream of a file ends that has other bytes behind it.

    Args:
        read: gives the file's bytes [start, stop).
        inflater: begun at a point.
        at: the point's offset in the file.
        size: of the file, in bytes.

    Raises:
        EOFError: if the file ends within the stream.
        zlib.error: (or isal's) if it is no DEFLATE data.
    """
    while at < size and not inflater.ended:
        chunk = read(at, min(at + PASSED_BYTES, size))
        at += len(chunk)
        inflater.feed(chunk)
        while inflater.read(PASSED_BYTES):
            pass
    if inflater.behind is None:
        raise EOFError("the file ends within the gzip stream")
    return at - inflater.behind
