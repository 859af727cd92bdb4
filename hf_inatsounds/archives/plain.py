"""The decompressed archive as an index build reads it: forward through rapidgzip, seek points picked up on the way."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from isal import isal_zlib

from hf_inatsounds.archives.compressed import Compressed, View
from hf_inatsounds.archives.deflate import ERRORS, FILLER_BYTES, WINDOW_BYTES, Inflater, Point, as_gzip
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


class CrcMismatch(Exception):
    """The CRC in a gzip footer is not that of the data."""


class Plain:
    """Decompressed bytes from a point on.

    Args:
        compressed: the archive.
        start: where to begin.
        spacing: least distance of two points, in decompressed bytes.
        found: called with each point, ready to start from, in ascending order.
        where: the archive's name, for errors.
    """

    def __init__(
        self, compressed: Compressed, start: Start, spacing: int, found: Callable[[Start], None], where: str
    ) -> None:
        import rapidgzip

        self._compressed, self._spacing, self._found, self._where = compressed, spacing, found, where
        point = start.point
        before = compressed.read(point.at - 1, point.at)[0] if point.bits else 0
        prefix = b"" if start.window is None else as_gzip(start.window, point.bits, before, start.crc32)
        lead = 0 if start.window is None else FILLER_BYTES + len(start.window)
        self._shift_bits = 8 * (point.at - len(prefix))
        self._origin = point.out - lead
        self.position = self._last = self._polled = point.out
        self._kept: deque[tuple[bytes, int]] = deque()  # data, and the CRC before them
        self._kept_from, self._crc32 = point.out, start.crc32
        self._view = View(compressed, prefix, point.at)
        self._file: Any = None
        with self._named():
            self._file = rapidgzip.open(self._view, parallelization=0)
            while lead:
                lead -= len(self._file.read(lead))

    def read(self, n: int) -> bytes:
        """Up to ``n`` decompressed bytes; empty at the end."""
        with self._named():
            chunk: bytes = self._file.read(min(n, READ_BYTES))
        self.position += len(chunk)
        self._kept.append((chunk, self._crc32))
        self._crc32 = isal_zlib.crc32(chunk, self._crc32)
        while self.position - self._kept_from - len(self._kept[0][0]) > KEPT_BYTES:
            self._kept_from += len(self._kept.popleft()[0])
        if self.position - self._polled >= POLL_BYTES or not chunk:
            self._polled = self.position
            self._pick()
        return chunk

    def skip_to(self, offset: int) -> None:
        """Read on until ``offset`` of the decompressed stream is next."""
        while self.position < offset:
            if not self.read(offset - self.position):
                raise self._damaged("its end", f"at least {offset:,} decompressed bytes")

    def close(self) -> None:
        """Stop rapidgzip's threads."""
        if self._file is not None:
            self._file.close()

    def _pick(self) -> None:
        for bit, offset in sorted(self._file.available_block_offsets().items()):
            point = Point.at_bit(bit + self._shift_bits, offset + self._origin)
            if point.out - self._last < self._spacing or point.out + CHECKED_BYTES > self.position:
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
        for chunk, _ in self._kept:
            if at + len(chunk) > start and at < stop:
                made.append(chunk[max(start - at, 0) : stop - at])
            at += len(chunk)
        return b"".join(made) if start >= self._kept_from else b""

    def _crc_before(self, offset: int) -> int:
        """CRC-32 of all decompressed data before an offset that is held."""
        at, found = self._kept_from, 0
        for chunk, crc in self._kept:
            if at <= offset:
                found = isal_zlib.crc32(chunk[: offset - at], crc)
            at += len(chunk)
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

    def _damaged(self, found: object, expected: str) -> SourceError:
        return SourceError(
            "damaged archive",
            where=self._where,
            found=f"{found}, {self.position:,} decompressed bytes in",
            expected=expected,
            fix="Download it again and compare its md5.",
        )
