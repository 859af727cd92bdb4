"""Reading the members of many seek blocks in turns, in threads, each block fetched in pieces."""

from __future__ import annotations

import functools
import os
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future

import numpy as np

from hf_inatsounds.archives.sealing import key_start
from hf_inatsounds.archives.seekable import Run, SeekableArchive, Span, UnfitError, told_again
from hf_inatsounds.archives.side_by_side import Pool

PIECE_BYTES = 256 << 10
"""Least size of a request for a block that is read with pauses, its first request aside: about one recording's, so
that some hundred open blocks hold little."""

SLICE_BYTES = 256 << 10
"""Compressed bytes decompressed at a time in such a block."""


class Readers:
    """Threads that fetch and decompress, with more requests in flight than recordings are decompressed at a time.

    A request waits for its server; decompression wants a core, and the recording that is wanted first should have it.

    Args:
        threads: requests to the archive in flight; as many may be to a far index.
    """

    def __init__(self, threads: int) -> None:
        self.pool, self.windows = Pool(threads), Pool(threads)
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self.cores = threading.Semaphore(cores)

    def close(self) -> None:
        """Drop what has not begun."""
        for pool in (self.pool, self.windows):
            pool.close()


class BlockRun:
    """A seek block's wanted members, read with pauses and fetched in pieces, in a pool's threads.

    Args:
        archive: the archive.
        block: number of the seek point.
        spans: the members, ascending, all beginning in the block.
        readers: fetch and decompress.
    """

    def __init__(self, archive: SeekableArchive, block: int, spans: Sequence[Span], readers: Readers) -> None:
        self._archive, self._block, self._spans, self._readers = archive, block, spans, readers
        ends = np.array([span.offset + span.size for span in spans])
        self._guesses = archive.guesses(ends).tolist()
        self._last = int(archive.index.compressed_ends(ends[-1:])[0])
        self._open()
        self._latest = threading.Event()
        self._latest.set()

    def _open(self) -> None:
        """Go to the block's beginning, with nothing fetched."""
        index = self._archive.index
        self._bounds = deque([key_start(index.point(self._block))])
        for end in self._guesses:
            if len(self._bounds) == 1 or end - self._bounds[-1] >= PIECE_BYTES:
                self._bounds.append(end)
        self._bounds += [bound for bound in (self._guesses[-1], self._last) if bound > self._bounds[-1]]
        self._slices: deque[bytes] = deque()
        # a far index is asked beside the archive; one on disk when its window is needed
        window = functools.partial(index.sealed_window, self._block)
        sealed = self._readers.windows.submit(window).result if index.location.is_remote else None
        self._run = Run(self._archive, self._block, self._fetched(), sealed)

    def begin(self, k: int) -> Future[bytes]:
        """Begin to read the ``k``-th member; ``k`` rises from call to call."""
        earlier, self._latest = self._latest, threading.Event()
        return self._readers.pool.submit(functools.partial(self._take, k, earlier, self._latest))

    def _take(self, k: int, earlier: threading.Event, done: threading.Event) -> bytes:
        earlier.wait()  # it was begun before, so that the pool's queue had it before this one
        try:
            try:
                return self._taken(k)
            except UnfitError as error:
                told_again(error, self._archive.ranges)
                self._open()
                return self._taken(k)
        finally:
            done.set()

    def _taken(self, k: int) -> bytes:
        while self._bounds[0] < self._guesses[k]:
            self._fetch()
        with self._readers.cores:
            return self._run.take(self._spans[k])

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
