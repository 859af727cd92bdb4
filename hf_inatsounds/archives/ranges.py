"""Ranges of a file's bytes, wherever it is: one small interface to disk, HTTP and the rest."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from hf_inatsounds.archives import retries
from hf_inatsounds.archives.http_answers import NotAllowedError
from hf_inatsounds.archives.http_ranges import CHUNK_BYTES, HttpRanges
from hf_inatsounds.errors import SourceError


class RangeReader(Protocol):
    """Bytes of one file, by range."""

    @property
    def where(self) -> str:
        """Its path or URL, for errors."""

    def size(self) -> int:
        """The file's size in bytes."""

    def stream(self, start: int, stop: int | None = None) -> Iterator[bytes]:
        """The bytes [start, stop) in chunks, to the end where ``stop`` is None."""

    def read(self, start: int, stop: int) -> bytes:
        """The bytes [start, stop) in one piece."""

    def identity(self) -> str:
        """What tells two states of the file apart: its size, and its time or ETag."""


@dataclass(frozen=True)
class LocalRanges:
    """Ranges of a file on disk."""

    where: str

    def size(self) -> int:
        """The file's size in bytes."""
        return os.path.getsize(self.where)

    def stream(self, start: int, stop: int | None = None) -> Iterator[bytes]:
        """The bytes [start, stop) in chunks."""
        with open(self.where, "rb") as file:
            position, end = start, os.fstat(file.fileno()).st_size if stop is None else stop
            # by position: a descriptor's own is shared with a process that was forked meanwhile
            while position < end and (chunk := os.pread(file.fileno(), min(CHUNK_BYTES, end - position), position)):
                position += len(chunk)
                yield chunk

    def read(self, start: int, stop: int) -> bytes:
        """The bytes [start, stop); fewer where the file ends."""
        with open(self.where, "rb") as file:
            file.seek(start)
            return file.read(stop - start)

    def identity(self) -> str:
        """Size and time of the last change."""
        found = os.stat(self.where)
        return f"{found.st_size}:{found.st_mtime_ns}"


@dataclass(frozen=True)
class FsspecRanges:
    """Ranges of a file of any other kind of URL (s3://, hf:// …), through fsspec."""

    where: str

    def size(self) -> int:
        """The file's size in bytes."""
        filesystem, path = _fsspec(self.where)
        return int(filesystem.size(path))

    def stream(self, start: int, stop: int | None = None) -> Iterator[bytes]:
        """The bytes [start, stop) in pieces of 8 MiB."""
        end = self.size() if stop is None else stop
        for position in range(start, end, 8 << 20):
            yield self.read(position, min(position + (8 << 20), end))

    def read(self, start: int, stop: int) -> bytes:
        """The bytes [start, stop)."""
        filesystem, path = _fsspec(self.where)
        for failures in range(1, retries.RETRY.attempts + 1):
            try:
                found: bytes = filesystem.cat_file(path, start=start, end=stop)
                return found
            except FileNotFoundError as error:
                raise SourceError("no such file", where=self.where) from error
            except PermissionError as error:
                raise NotAllowedError("not allowed", where=self.where, found=error) from error
            except OSError as error:
                if failures == retries.RETRY.attempts:
                    raise SourceError(
                        f"no answer after {failures} tries", where=self.where, found=error, fix=retries.HOW_ON
                    ) from error
                retries.RETRY.wait(failures, error, self.where)
        raise SourceError("no attempts allowed", where=self.where)

    def identity(self) -> str:
        """Size, and what the filesystem names of ETag and times."""
        filesystem, path = _fsspec(self.where)
        found = filesystem.info(path)
        keys = ("size", "ETag", "etag", "LastModified", "last_modified", "mtime", "updated")
        return ":".join(str(found[key]) for key in keys if found.get(key) is not None)


def open_ranges(where: str) -> RangeReader:
    """The reader for a path or URL."""
    if re.match(r"^https?://", where, re.IGNORECASE):
        return HttpRanges(where)
    return FsspecRanges(where) if "://" in where else LocalRanges(where)


def _fsspec(where: str) -> tuple[Any, str]:
    import fsspec

    try:
        filesystem, path = fsspec.core.url_to_fs(where)
    except ImportError as error:
        raise SourceError(
            "this kind of URL needs one more package", where=where, found=error, fix="pip install s3fs"
        ) from error
    return filesystem, path
