"""Reading single members of an indexed gzip tar by range requests."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
from isal import isal_zlib

from hf_inatsounds.archives.deflate import ERRORS, Inflater
from hf_inatsounds.archives.ranges import LocalRanges, RangeReader, open_ranges
from hf_inatsounds.archives.sealing import key_start, unseal
from hf_inatsounds.archives.seek_index import SeekIndex, forget_windows
from hf_inatsounds.errors import SourceError
from hf_inatsounds.progress import note

MADE_BYTES = 1 << 20
"""Most decompressed bytes made at a time of what is passed over."""

MARGIN_BYTES = 64 << 10
"""Added to a guess of where in the archive a member ends: inside a block the ratio varies a little."""

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Span:
    """Where a member's content is in the decompressed stream, and the CRC-32 that it must have."""

    name: str
    offset: int
    size: int
    crc32: int


@dataclass(frozen=True)
class SeekableArchive:
    """An archive with its index.

    Attributes:
        where: path or URL of the archive.
        index: its index.
    """

    where: str
    index: SeekIndex

    @functools.cached_property
    def ranges(self) -> RangeReader:
        """Reader of the archive's bytes; one, so that all of them are of one state of the file."""
        return open_ranges(self.where)

    def blocks(self, offsets: Array) -> Array:
        """The last seek point at or before each of the ``offsets`` (N,): reading begins there."""
        found: Array = np.searchsorted(self.index.out, offsets, side="right") - 1
        return found

    def read(self, span: Span) -> bytes:
        """One member's content.

        Raises:
            SourceError: if archive or index cannot be read, or do not fit.
        """
        return next(self.read_in_order([span]))

    def read_in_order(self, spans: Sequence[Span]) -> Iterator[bytes]:
        """Contents of members in archive order: each seek block is decompressed once, adjacent ones in one request.

        Between two members with a whole block between them a new request begins at the later one's point.
        """
        for group in self._groups(spans):
            run = self._run(group)
            for i, span in enumerate(group):
                try:
                    content = run.take(span)
                except UnfitError as error:
                    told_again(error, self.ranges)
                    run = self._run(group[i:])
                    content = run.take(span)
                yield content

    def is_over(self, offset: int) -> bool:
        """Whether nothing but the end mark, or nothing at all, is at ``offset`` of the decompressed stream."""
        first = self.index.point_before(offset)
        run = Run(self, first, self.ranges.stream(key_start(self.index.point(first))))
        return not run.header_at(offset).strip(b"\0")

    def _run(self, group: Sequence[Span]) -> Run:
        first = self.index.point_before(group[0].offset)
        start = key_start(self.index.point(first))
        end = np.array([group[-1].offset + group[-1].size])
        guess, stop = int(self.guesses(end)[0]), int(self.index.compressed_ends(end)[0])
        return Run(self, first, chain(self.ranges.stream(start, guess), self._lazily(guess, stop)))

    def guesses(self, offsets: Array) -> Array:
        """(N,) where in the archive all before each of the ``offsets`` (N,) of the stream is most likely over."""
        out, at = self.index.edges
        i = self.blocks(offsets)
        share = (offsets - out[i]) / np.maximum(out[i + 1] - out[i], 1)
        guess = at[i] + (share * (at[i + 1] - at[i])).astype(np.int64) + MARGIN_BYTES
        nearer: Array = np.minimum(guess, self.index.compressed_ends(offsets))
        return nearer

    def _groups(self, spans: Sequence[Span]) -> Iterator[list[Span]]:
        group: list[Span] = []
        for span in spans:
            if group:
                over = int(np.searchsorted(self.index.out, group[-1].offset + group[-1].size, side="left"))
                if self.index.point_before(span.offset) > over:
                    yield group
                    group = []
            group.append(span)
        if group:
            yield group

    def _lazily(self, start: int, stop: int) -> Iterator[bytes]:
        if start < stop:
            yield from self.ranges.stream(start, stop)


class UnfitError(SourceError):
    """Bytes that are not what the index says: of another archive, or damaged on the way."""


def told_again(error: UnfitError, ranges: RangeReader) -> None:
    """A word on what is fetched again; what is on disk would be the same again.

    Raises:
        UnfitError: of a file on disk.
    """
    if isinstance(ranges, LocalRanges):
        raise error
    forget_windows()
    note(f"{error} Fetching it again.")


class Run:
    """Members from one seek point on, in ascending order.

    Between two members it holds the decompressor's state and what is fetched, and no decompressed data.

    Args:
        archive: the archive.
        first: number of the seek point.
        compressed: the archive's bytes from ``key_start`` of that point on.
        sealed: gives the point's sealed window; None to ask the index when it is needed.
    """

    def __init__(
        self,
        archive: SeekableArchive,
        first: int,
        compressed: Iterator[bytes],
        sealed: Callable[[], bytes] | None = None,
    ) -> None:
        self._archive, self._first, self._compressed = archive, first, compressed
        self._sealed = sealed or functools.partial(archive.index.sealed_window, first)
        self._position = int(archive.index.out[first])
        self._inflater: Inflater | None = None

    def take(self, span: Span) -> bytes:
        """A member's content; what is before it is passed over.

        Raises:
            SourceError: if the archive is damaged or not the indexed one.
        """
        try:
            while self._position < span.offset:
                self._read(min(span.offset - self._position, MADE_BYTES))
            parts, left = [], span.size
            while left:
                parts.append(self._read(left))
                left -= len(parts[-1])
            content = b"".join(parts)
        except ERRORS as error:
            raise self._unfit(span, error) from error
        if isal_zlib.crc32(content) != span.crc32:
            raise self._unfit(span, "another checksum")
        return content

    def header_at(self, offset: int) -> bytes:
        """The block of 512 bytes at ``offset``; fewer bytes where the archive is over, none where it is before.

        Raises:
            SourceError: if the archive is damaged or not the indexed one.
        """
        made = b""
        try:
            while self._position < offset:
                self._read(min(offset - self._position, MADE_BYTES))
            while len(made) < 512:
                made += self._read(512 - len(made))
        except EOFError:
            return made
        except ERRORS as error:
            raise self._unfit(Span("its end", offset, 512, 0), error) from error
        return made

    def _read(self, n: int) -> bytes:
        """Some of the next ``n`` bytes."""
        if self._inflater is None:
            self._inflater = self._opened()
        while not (made := self._inflater.read(n)):
            chunk = next(self._compressed, b"")
            if not chunk:
                raise EOFError("the data end early")
            self._inflater.feed(chunk)
        self._position += len(made)
        return made

    def _opened(self) -> Inflater:
        """A decompressor that begins at the point: its window is opened with the bytes before it."""
        point = self._archive.index.point(self._first)
        n = point.at - key_start(point)
        head = b""
        while len(head) < n and (chunk := next(self._compressed, b"")):
            head += chunk
        before, behind = head[:n], head[n:]
        inflater = Inflater()
        if point.at:
            try:
                window = unseal(self._sealed(), point, before, where=self._archive.where)
            except SourceError as error:
                raise UnfitError(str(error)) from error
            inflater = Inflater(window, point.bits, before[-1])
        inflater.feed(behind)
        return inflater

    def _unfit(self, span: Span, found: object) -> UnfitError:
        return UnfitError(
            "a recording is not as it was indexed",
            where=f"{self._archive.where}, {span.name}",
            found=found,
            expected=f"{span.size:,} bytes with CRC-32 {span.crc32:08x}",
            fix=f"Compare the archive's md5 with {self._archive.index.archive['md5']}.",
        )


def spans_of(members: pa.Table) -> list[Span]:
    """A member table's rows."""
    return [Span(row["file_name"], row["offset"], row["size"], row["crc32"]) for row in members.to_pylist()]
