"""The compressed archive as an index build reads it: once, forward, hashed on the way, with some look-back."""

from __future__ import annotations

import hashlib
import io
import os
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

from hf_inatsounds.archives.ranges import LocalRanges, RangeReader

BLOCK_BYTES = 1 << 20
KEPT_BLOCKS = 96
"""Blocks held for whoever reads again: rapidgzip reads ahead of the data that it hands out by some 4 MiB a thread."""

PENDING_BLOCKS = 64
AHEAD_BYTES = 32 << 20


class Compressed(Protocol):
    """A compressed file that is read about forward, and hashed whole."""

    size: int
    """In bytes."""

    def read(self, start: int, stop: int) -> bytes:
        """The bytes [start, stop); several threads may ask."""

    def skip_to(self, offset: int) -> None:
        """Make sure that what is before ``offset`` goes into the digest."""

    def md5(self) -> str:
        """Digest of the whole file, what was not read yet included."""

    def close(self) -> None:
        """Stop the threads."""


def open_compressed(reader: RangeReader, size: int, report: Callable[[int], None]) -> Compressed:
    """The way that suits where the file is.

    Args:
        reader: of the file.
        size: of the file, in bytes.
        report: told the bytes read so far, now and then.
    """
    if isinstance(reader, LocalRanges):
        return LocalCompressed(reader.where, size, report)
    return FetchedCompressed(reader, size, report)


class LocalCompressed:
    """A file on disk: read where it is asked for, and once more for its MD5, by a thread, out of the page cache.

    Holding its blocks for both, as for a fetched file, took a quarter of the build's processor time.
    """

    def __init__(self, path: str, size: int, report: Callable[[int], None]) -> None:
        self.size, self._report, self._path = size, report, path
        self._file = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        self._told = 0
        self._stop = threading.Event()
        self._hasher = ThreadPoolExecutor(1)
        self._digest = self._hasher.submit(self._hash)

    def read(self, start: int, stop: int) -> bytes:
        """The bytes [start, stop)."""
        if start >= min(stop, self.size):
            return b""
        if stop - self._told >= BLOCK_BYTES:
            self._told = min(stop, self.size)
            self._report(self._told)
        return os.pread(self._file, stop - start, start)

    def skip_to(self, offset: int) -> None:
        """Nothing to do: the digest's thread reads by itself."""

    def md5(self) -> str:
        """Digest of the whole file."""
        return self._digest.result()

    def close(self) -> None:
        """Stop the thread and close the file."""
        self._stop.set()
        self._hasher.shutdown()
        os.close(self._file)

    def _hash(self) -> str:
        digest = hashlib.md5()  # noqa: S324 - the authors publish MD5s
        block = memoryview(bytearray(BLOCK_BYTES))
        with open(self._path, "rb", buffering=0) as file:
            while not self._stop.is_set() and (n := file.readinto(block)):
                digest.update(block[:n])
        return digest.hexdigest()


class FetchedCompressed:
    """A compressed file, fetched forward in one stream; its MD5 is taken in a thread beside.

    Args:
        reader: of the file.
        size: of the file, in bytes.
        report: told the bytes fetched so far, now and then.
    """

    def __init__(self, reader: RangeReader, size: int, report: Callable[[int], None]) -> None:
        self._reader, self.size, self._report = reader, size, report
        self._lock = threading.Lock()
        self._stream = reader.stream(0)
        self._blocks: deque[bytes] = deque()
        self._first = 0  # offset of the first block that is held
        self._fetched = 0
        self._rest = b""
        self._md5 = hashlib.md5()  # noqa: S324 - the authors publish MD5s
        self._hasher = ThreadPoolExecutor(1)
        self._pending: deque[Future[None]] = deque()

    def read(self, start: int, stop: int) -> bytes:
        """The bytes [start, stop); rapidgzip's threads ask beside the caller's."""
        with self._lock:
            return self._read(start, stop)

    def _read(self, start: int, stop: int) -> bytes:
        stop = min(stop, self.size)
        if start >= stop:
            return b""
        if start < self._first or stop > self._fetched + AHEAD_BYTES:
            return self._reader.read(start, stop)  # rare: the header again, or a look at the end
        while self._fetched < stop:
            self._fetch()
        if start < self._first:
            return self._reader.read(start, stop)
        first = (start - self._first) // BLOCK_BYTES
        last = (stop - 1 - self._first) // BLOCK_BYTES
        joined = b"".join(self._blocks[i] for i in range(first, last + 1))
        begin = start - self._first - first * BLOCK_BYTES
        return joined[begin : begin + stop - start]

    def md5(self) -> str:
        """Digest of the whole file, what was not read yet included."""
        self.skip_to(self.size)
        while self._pending:
            self._pending.popleft().result()
        return self._md5.hexdigest()

    def skip_to(self, offset: int) -> None:
        """Fetch what is before ``offset`` for the digest's sake."""
        with self._lock:
            while self._fetched < min(offset, self.size):
                self._fetch()

    def close(self) -> None:
        """Stop the thread."""
        self._hasher.shutdown(cancel_futures=True)

    def _fetch(self) -> None:
        parts, n = [self._rest], len(self._rest)
        while n < BLOCK_BYTES and self._fetched + n < self.size:
            chunk = next(self._stream, b"")
            if not chunk:
                raise EOFError(f"the file ends at byte {self._fetched + n:,} of {self.size:,}")
            parts.append(chunk)
            n += len(chunk)
        joined = b"".join(parts)
        block, self._rest = joined[:BLOCK_BYTES], joined[BLOCK_BYTES:]
        if len(self._pending) >= PENDING_BLOCKS:
            self._pending.popleft().result()
        self._pending.append(self._hasher.submit(self._md5.update, block))
        self._blocks.append(block)
        self._fetched += len(block)
        if len(self._blocks) > KEPT_BLOCKS:
            self._first += len(self._blocks.popleft())
        self._report(self._fetched)


class View:
    """A file made of ``prefix`` and the compressed file from ``start`` to ``end``, as rapidgzip reads one."""

    def __init__(self, compressed: Compressed, prefix: bytes, start: int, end: int) -> None:
        self._compressed, self._prefix, self._start = compressed, prefix, start
        self._position = 0
        self._size = len(prefix) + end - start
        self.failure: Exception | None = None
        self.furthest = 0  # position up to which it was read

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """Position."""
        return self._position

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move, as files do."""
        self._position = offset + (0, self._position, self._size)[whence]
        return self._position

    def read(self, n: int = -1) -> bytes:
        """The next ``n`` bytes; the first failure is kept, since rapidgzip tells only that there was one."""
        stop = self._size if n < 0 else min(self._position + n, self._size)
        head = self._prefix[self._position : stop]
        begin = self._position + len(head) - len(self._prefix) + self._start
        end = stop - len(self._prefix) + self._start
        try:
            made = head + (self._compressed.read(begin, end) if end > begin and begin >= self._start else b"")
        except Exception as error:
            self.failure = self.failure or error
            raise
        self._position += len(made)
        self.furthest = max(self.furthest, self._position)
        return made

    def write(self, _: bytes) -> int:
        """It is read-only; rapidgzip looks for the method."""
        raise io.UnsupportedOperation("write")

    def close(self) -> None:
        """Nothing to do; rapidgzip calls it."""
