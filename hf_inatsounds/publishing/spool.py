"""Encoded recordings of one shard on disk, in the order in which they came; a kill costs the last one at most."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from hf_inatsounds.files import write_text
from hf_inatsounds.publishing.encoding import KEPT, Encoded

_HEADER = struct.Struct("<IBQI")  # row, index into KEPT, length, crc32 of the content


class Spool:
    """A file of records ``row, kept, length, crc32, content``, appended to and read at random.

    Opening one that a killed run left behind drops what is incomplete at its end.

    Args:
        path: the file; its folder must exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._mark = path.with_suffix(".whole")
        self._entries: dict[int, tuple[int, int, str]] = {}  # row → offset, length, kept
        self._end = 0
        if path.exists():
            with open(path, "r+b") as stream:
                for row, kept, offset, length in _whole_records(stream):
                    self._entries[row] = (offset, length, kept)
                    self._end = offset + length
                stream.truncate(self._end)

    def __contains__(self, row: int) -> bool:
        return row in self._entries

    def add(self, row: int, encoded: Encoded) -> None:
        """Append one recording; opened each time, since a mirror has more spools than a process may have files."""
        content = encoded.content
        with open(self.path, "ab") as stream:
            stream.write(_HEADER.pack(row, KEPT.index(encoded.kept), len(content), zlib.crc32(content)))
            stream.write(content)
        self._entries[row] = (self._end + _HEADER.size, len(content), encoded.kept)
        self._end += _HEADER.size + len(content)

    @property
    def is_whole(self) -> bool:
        """Whether the archive was read to its end and everything that it gave is still here."""
        try:
            return self._mark.read_text() == str(len(self._entries))
        except OSError:
            return False

    def mark_whole(self) -> None:
        """Note that the archive was read to its end: what is not here, it does not have."""
        write_text(self._mark, str(len(self._entries)))

    def remove(self) -> None:
        """Remove the file and its mark."""
        self._mark.unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)

    def read(self, rows: Iterator[int]) -> Iterator[tuple[int, Encoded]]:
        """The recordings of ``rows`` in their order; rows that never came are passed over."""
        if not self._entries:
            return
        with open(self.path, "rb") as stream:
            for row in rows:
                if row in self._entries:
                    offset, length, kept = self._entries[row]
                    stream.seek(offset)
                    yield row, Encoded(stream.read(length), kept)


def _whole_records(stream: BinaryIO) -> Iterator[tuple[int, str, int, int]]:
    """``(row, kept, offset, length)`` of each record up to the first that is cut off or damaged."""
    size = os.fstat(stream.fileno()).st_size
    while len(header := stream.read(_HEADER.size)) == _HEADER.size:
        row, kept, length, checksum = _HEADER.unpack(header)
        offset = stream.tell()
        if offset + length > size or kept >= len(KEPT) or zlib.crc32(stream.read(length)) != checksum:
            return
        yield row, KEPT[kept], offset, length
