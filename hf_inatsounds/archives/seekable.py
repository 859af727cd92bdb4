"""Reading single members of an indexed gzip tar by range requests."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Any

import numpy as np
import pyarrow as pa
from isal import isal_zlib

from hf_inatsounds.archives.deflate import ERRORS, Inflater
from hf_inatsounds.archives.ranges import RangeReader, open_ranges
from hf_inatsounds.archives.sealing import key_start, unseal
from hf_inatsounds.archives.seek_index import SeekIndex
from hf_inatsounds.errors import SourceError

PIECE_BYTES = 256 << 10
"""Least size of a request for a block that is read with pauses, its first request aside: about one recording's, so
that some hundred open blocks hold little."""

SLICE_BYTES = 64 << 10
"""Compressed bytes decompressed at a time in such a block."""

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

    @property
    def ranges(self) -> RangeReader:
        """Reader of the archive's bytes."""
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
            first = self.index.point_before(group[0].offset)
            start = key_start(self.index.point(first))
            end = group[-1].offset + group[-1].size
            guess, stop = self.guess(end), self.index.compressed_end(end)
            run = Run(self, first, chain(self.ranges.stream(start, guess), self._lazily(guess, stop)))
            for span in group:
                yield run.take(span)

    def guess(self, offset: int) -> int:
        """Where in the archive everything before ``offset`` of the decompressed stream is most likely over."""
        index = self.index
        i, stop = index.point_before(offset), index.compressed_end(offset)
        following = i + 1 < len(index.out)
        out_end = int(index.out[i + 1]) if following else int(index.archive["decompressed_bytes"])
        share = (offset - int(index.out[i])) / max(out_end - int(index.out[i]), 1)
        at_end = int(index.at[i + 1]) if following else int(index.archive["bytes"])
        return min(int(index.at[i]) + int(share * (at_end - int(index.at[i]))) + MARGIN_BYTES, stop)

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


class Run:
    """Members from one seek point on, in ascending order.

    Holds the decompressor's state and at most a chunk of decompressed data.

    Args:
        archive: the archive.
        first: number of the seek point.
        compressed: the archive's bytes from ``key_start`` of that point on.
    """

    def __init__(self, archive: SeekableArchive, first: int, compressed: Iterator[bytes]) -> None:
        self._archive, self._first, self._compressed = archive, first, compressed
        self._position = int(archive.index.out[first])
        self._rest = memoryview(b"")
        self._inflater: Inflater | None = None

    def take(self, span: Span) -> bytes:
        """A member's content; what is before it is passed over.

        Raises:
            SourceError: if the archive is damaged or not the indexed one.
        """
        try:
            for _ in self._bytes(span.offset - self._position):
                pass
            content = b"".join(self._bytes(span.size))
        except ERRORS as error:
            raise self._unfit(span, error) from error
        if isal_zlib.crc32(content) != span.crc32:
            raise self._unfit(span, "another checksum")
        return content

    def _bytes(self, n: int) -> Iterator[memoryview]:
        while n > 0:
            if not self._rest:
                self._rest = memoryview(self._more())
            piece = self._rest[:n]
            self._rest = self._rest[len(piece) :]
            self._position += len(piece)
            n -= len(piece)
            yield piece

    def _more(self) -> bytes:
        if self._inflater is None:
            return self._open()
        for chunk in self._compressed:
            if made := self._inflater.feed(chunk):
                return made
        raise EOFError("the data end early")

    def _open(self) -> bytes:
        """Open the point's window with the bytes before it, and decompress what came with them."""
        index = self._archive.index
        point = index.point(self._first)
        n = point.at - key_start(point)
        head = b""
        while len(head) < n and (chunk := next(self._compressed, b"")):
            head += chunk
        before, behind = head[:n], head[n:]
        if point.at == 0:
            self._inflater = Inflater()
        else:
            sealed = index.sealed_window(self._first)
            window = unseal(sealed, point, before, where=self._archive.where)
            self._inflater = Inflater(window, point.bits, before[-1])
        return self._inflater.feed(behind) or self._more()

    def _unfit(self, span: Span, found: object) -> SourceError:
        return SourceError(
            "a recording is not as it was indexed",
            where=f"{self._archive.where}, {span.name}",
            found=found,
            expected=f"{span.size:,} bytes with CRC-32 {span.crc32:08x}",
            fix=f"Compare the archive's md5 with {self._archive.index.archive['md5']}.",
        )


class BlockRun:
    """A seek block's wanted members, read with pauses and fetched in pieces, in a pool's threads.

    Args:
        archive: the archive.
        block: number of the seek point.
        spans: the members, ascending, all beginning in the block.
        pool: fetches and decompresses.
    """

    def __init__(self, archive: SeekableArchive, block: int, spans: Sequence[Span], pool: ThreadPoolExecutor) -> None:
        self._archive, self._spans, self._pool = archive, spans, pool
        start = key_start(archive.index.point(block))
        self._bounds = [start]
        for span in spans:
            end = archive.guess(span.offset + span.size)
            if len(self._bounds) == 1 or end - self._bounds[-1] >= PIECE_BYTES:
                self._bounds.append(end)
        last = archive.index.compressed_end(spans[-1].offset + spans[-1].size)
        guess = archive.guess(spans[-1].offset + spans[-1].size)
        self._bounds += [bound for bound in (guess, last) if bound > self._bounds[-1]]
        self._run = Run(archive, block, self._pieces())
        self._latest = threading.Event()
        self._latest.set()

    def begin(self, k: int) -> Future[bytes]:
        """Begin to read the ``k``-th member; ``k`` rises from call to call."""
        earlier, self._latest = self._latest, threading.Event()
        return self._pool.submit(self._take, self._spans[k], earlier, self._latest)

    def _take(self, span: Span, earlier: threading.Event, done: threading.Event) -> bytes:
        earlier.wait()  # it was begun before, so that the pool's queue had it before this one
        try:
            return self._run.take(span)
        finally:
            done.set()

    def _pieces(self) -> Iterator[bytes]:
        for start, stop in pairwise(self._bounds):
            piece = memoryview(self._archive.ranges.read(start, stop))
            slices = deque(bytes(piece[at : at + SLICE_BYTES]) for at in range(0, len(piece), SLICE_BYTES))
            del piece  # what is left of it while the block waits is a slice or two
            while slices:
                yield slices.popleft()


def spans_of(members: pa.Table) -> list[Span]:
    """A member table's rows."""
    return [Span(row["file_name"], row["offset"], row["size"], row["crc32"]) for row in members.to_pylist()]
