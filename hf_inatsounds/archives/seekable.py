"""Reading single members of an indexed gzip tar by range requests."""

from __future__ import annotations

import functools
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
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

SLICE_BYTES = 256 << 10
"""Compressed bytes decompressed at a time in such a block."""

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
            end = np.array([group[-1].offset + group[-1].size])
            guess, stop = int(self.guesses(end)[0]), int(self.index.compressed_ends(end)[0])
            run = Run(self, first, chain(self.ranges.stream(start, guess), self._lazily(guess, stop)))
            for span in group:
                yield run.take(span)

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
            window = unseal(self._sealed(), point, before, where=self._archive.where)
            inflater = Inflater(window, point.bits, before[-1])
        inflater.feed(behind)
        return inflater

    def _unfit(self, span: Span, found: object) -> SourceError:
        return SourceError(
            "a recording is not as it was indexed",
            where=f"{self._archive.where}, {span.name}",
            found=found,
            expected=f"{span.size:,} bytes with CRC-32 {span.crc32:08x}",
            fix=f"Compare the archive's md5 with {self._archive.index.archive['md5']}.",
        )


class Readers:
    """Threads that fetch and decompress, with more requests in flight than recordings are decompressed at a time.

    A request waits for its server; decompression wants a core, and the recording that is wanted first should have it.

    Args:
        threads: requests to the archive in flight; as many may be to a far index.
    """

    def __init__(self, threads: int) -> None:
        self.pool, self.windows = ThreadPoolExecutor(threads), ThreadPoolExecutor(threads)
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self.cores = threading.Semaphore(cores)

    def close(self) -> None:
        """Finish what is running, drop the rest."""
        for pool in (self.pool, self.windows):
            pool.shutdown(wait=False, cancel_futures=True)


class BlockRun:
    """A seek block's wanted members, read with pauses and fetched in pieces, in a pool's threads.

    Args:
        archive: the archive.
        block: number of the seek point.
        spans: the members, ascending, all beginning in the block.
        readers: fetch and decompress.
    """

    def __init__(self, archive: SeekableArchive, block: int, spans: Sequence[Span], readers: Readers) -> None:
        self._archive, self._spans, self._readers = archive, spans, readers
        ends = np.array([span.offset + span.size for span in spans])
        self._guesses = archive.guesses(ends).tolist()
        self._bounds = deque([key_start(archive.index.point(block))])
        for end in self._guesses:
            if len(self._bounds) == 1 or end - self._bounds[-1] >= PIECE_BYTES:
                self._bounds.append(end)
        last = int(archive.index.compressed_ends(ends[-1:])[0])
        self._bounds += [bound for bound in (self._guesses[-1], last) if bound > self._bounds[-1]]
        self._slices: deque[bytes] = deque()
        index = archive.index
        # a far index is asked beside the archive; one on disk when its window is needed
        sealed = readers.windows.submit(index.sealed_window, block).result if index.location.is_remote else None
        self._run = Run(archive, block, self._fetched(), sealed)
        self._latest = threading.Event()
        self._latest.set()

    def begin(self, k: int) -> Future[bytes]:
        """Begin to read the ``k``-th member; ``k`` rises from call to call."""
        earlier, self._latest = self._latest, threading.Event()
        return self._readers.pool.submit(self._take, k, earlier, self._latest)

    def _take(self, k: int, earlier: threading.Event, done: threading.Event) -> bytes:
        earlier.wait()  # it was begun before, so that the pool's queue had it before this one
        try:
            while self._bounds[0] < self._guesses[k]:
                self._fetch()
            with self._readers.cores:
                return self._run.take(self._spans[k])
        finally:
            done.set()

    def _fetch(self) -> None:
        """Fetch the next piece."""
        start = self._bounds.popleft()
        piece = memoryview(self._archive.ranges.read(start, self._bounds[0]))
        # in slices: what is left of the piece while the block waits is one or two of them
        self._slices += (bytes(piece[at : at + SLICE_BYTES]) for at in range(0, len(piece), SLICE_BYTES))

    def _fetched(self) -> Iterator[bytes]:
        """What is fetched; where a guess fell short, more is fetched here."""
        while self._slices or len(self._bounds) > 1:
            if not self._slices:
                self._fetch()
            yield self._slices.popleft()


def spans_of(members: pa.Table) -> list[Span]:
    """A member table's rows."""
    return [Span(row["file_name"], row["offset"], row["size"], row["crc32"]) for row in members.to_pylist()]
