"""The decompressed archive as an index build reads it: forward through rapidgzip, seek points picked up on the way."""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from isal import isal_zlib

from hf_inatsounds.archives.compressed import Compressed, View
from hf_inatsounds.archives.decompress import require_no_bomb
from hf_inatsounds.archives.deflate import ERRORS, FILLER_BYTES, WINDOW_BYTES, Inflater, Point, as_gzip
from hf_inatsounds.archives.tar_walk import DamagedError
from hf_inatsounds.errors import SourceError

READ_BYTES = 1 << 20
POLL_BYTES = 8 << 20
"""Decompressed bytes between two looks at rapidgzip's list of blocks, which is made anew each time."""

CHECKED_BYTES = 16 << 10
"""Of decompressed data behind a point that are compared before it is taken into the index."""

KEPT_BYTES = 24 << 20
"""Decompressed data held to cut windows out of; rapidgzip names a block's offset at the latest with its data."""


@dataclass(frozen=True)
class Start:
    """Where decompression begins.

    Attributes:
        point: the seek point.
        window: its window; None at the archive's beginning.
        crc32: of all decompressed data before it.
    """

    point: Point
    window: bytes | None
    crc32: int


def _threads() -> int:
    """One more than there are cores: on two, a build is then a sixth faster, since rapidgzip reads further ahead."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return cores + 1


class CrcMismatch(Exception):
    """The CRC in a gzip footer is not that of the data."""


@dataclass(frozen=True)
class _Kept:
    """A chunk of decompressed data that is still held.

    Attributes:
        buffer: what it lies in.
        data: the part of the buffer that it fills.
        crc32: of all decompressed data before it.
    """

    buffer: memoryview
    data: memoryview
    crc32: int


class Plain:
    """Decompressed bytes from a point on.

    Args:
        compressed: the archive.
        start: where to begin.
        spacing: least distance of two points, in decompressed bytes.
        found: called with each point, ready to start from, in ascending order.
        where: the archive's name, for errors.
        end: where in the archive its gzip stream ends.
    """

    def __init__(
        self, compressed: Compressed, start: Start, spacing: int, found: Callable[[Start], None], where: str, end: int
    ) -> None:
        import rapidgzip

        self._compressed, self._spacing, self._found, self._where = compressed, spacing, found, where
        point = start.point
        before = compressed.read(point.at - 1, point.at)[0] if point.bits else 0
        prefix = b"" if start.window is None else as_gzip(start.window, point.bits, before, start.crc32)
        lead = 0 if start.window is None else FILLER_BYTES + len(start.window)
        self._shift_bits = 8 * (point.at - len(prefix))
        self._origin = point.out - lead
        self.position = self._made = self._begun = self._last = self._polled = point.out
        self._rest = memoryview(b"")
        self._kept: deque[_Kept] = deque()
        self._free: list[memoryview] = []  # buffers used again: new ones cost a fifth of the processor time
        self._kept_from, self._crc32 = point.out, start.crc32
        self._view = View(compressed, prefix, point.at, end)
        self._file: Any = None
        with self._named():
            self._file = rapidgzip.open(self._view, parallelization=_threads())
            while lead:
                lead -= len(self._file.read(lead))

    def read(self, size: int) -> bytes:
        """``size`` decompressed bytes, fewer only at the end."""
        return b"".join(self._pieces(size))

    def skip(self, size: int) -> int:
        """Pass over ``size`` bytes; returns how many there were."""
        return sum(len(piece) for piece in self._pieces(size))

    def crc32(self, size: int) -> tuple[int, int]:
        """CRC-32 of the next ``size`` bytes, and how many there were; none is copied."""
        crc = n = 0
        for piece in self._pieces(size):
            crc, n = isal_zlib.crc32(piece, crc), n + len(piece)
        return crc, n

    def skip_to(self, offset: int) -> None:
        """Read on until ``offset`` of the decompressed stream is next."""
        self.skip(offset - self.position)
        if self.position < offset:
            raise self._damaged("its end", f"at least {offset:,} decompressed bytes")

    def _pieces(self, size: int) -> Iterator[memoryview]:
        while size > 0 and (self._rest or self._more()):
            piece = self._rest[:size]
            self._rest = self._rest[len(piece) :]
            self.position += len(piece)
            size -= len(piece)
            yield piece

    def _more(self) -> bool:
        """Decompress some; False at the end."""
        buffer = self._free.pop() if self._free else memoryview(bytearray(READ_BYTES))
        with self._named():
            n = self._file.readinto(buffer)
        self._rest = buffer[:n]
        self._made += n
        require_no_bomb(self._where, self._made - self._begun, self._view.furthest)
        self._kept.append(_Kept(buffer, self._rest, self._crc32))
        self._crc32 = isal_zlib.crc32(self._rest, self._crc32)
        while self._made - self._kept_from - len(self._kept[0].data) > KEPT_BYTES:
            oldest = self._kept.popleft()
            self._kept_from += len(oldest.data)
            self._free.append(oldest.buffer)
        if self._made - self._polled >= POLL_BYTES or not n:
            self._polled = self._made
            self._pick()
        return bool(n)

    def close(self) -> None:
        """Stop rapidgzip's threads."""
        if self._file is not None:
            self._file.close()

    def _pick(self) -> None:
        for bit, offset in sorted(self._file.available_block_offsets().items()):
            point = Point.at_bit(bit + self._shift_bits, offset + self._origin)
            if point.out - self._last < self._spacing or point.out + CHECKED_BYTES > self._made:
                continue
            window = self._cut(point.out - WINDOW_BYTES, point.out)
            if self._holds(point, window):
                self._last = point.out
                self._found(Start(point, window, self._crc_before(point.out)))

    def _holds(self, point: Point, window: bytes) -> bool:
        """Whether decompression from the point gives what the stream holds there."""
        raw = self._compressed.read(point.at - 1, point.at + 4 * CHECKED_BYTES)
        try:
            got = Inflater(window, point.bits, raw[0]).first(raw[1:], CHECKED_BYTES)
        except ERRORS:
            return False
        return len(window) == WINDOW_BYTES and got == self._cut(point.out, point.out + CHECKED_BYTES)

    def _cut(self, start: int, stop: int) -> bytes:
        """A piece of what is held; empty where it is held no more."""
        made, at = [], self._kept_from
        for kept in self._kept:
            if at + len(kept.data) > start and at < stop:
                made.append(kept.data[max(start - at, 0) : stop - at])
            at += len(kept.data)
        return b"".join(made) if start >= self._kept_from else b""

    def _crc_before(self, offset: int) -> int:
        """CRC-32 of all decompressed data before an offset that is held."""
        at, found = self._kept_from, 0
        for kept in self._kept:
            if at <= offset:
                found = isal_zlib.crc32(kept.data[: offset - at], kept.crc32)
            at += len(kept.data)
        return found

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        """Rapidgzip's errors as ours; what the archive's reader met comes first."""
        try:
            yield
        except (RuntimeError, ValueError, OSError, EOFError, *ERRORS) as error:
            cause = self._view.failure or error
            if "Mismatching CRC32" in str(cause):
                raise CrcMismatch from error
            raise cause if isinstance(cause, SourceError) else self._damaged(cause, "a whole gzip tar") from error

    def _damaged(self, found: object, expected: str) -> DamagedError:
        return DamagedError(
            "damaged archive",
            where=self._where,
            found=f"{found}, {self._made:,} decompressed bytes in",
            expected=expected,
            fix="Download it again and compare its md5.",
        )
