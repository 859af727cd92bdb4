"""The table of a tar's members, in one forward pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from hf_inatsounds.archives.tar_walk import DAMAGE, Forward, PassNotes, damaged, pad, require_size, walk

Row = tuple[str, int, int, int]
"""Name, offset in the stream, size and CRC-32 of a member."""


class Summed(Forward, Protocol):
    """A decompressed stream that is read forward, or summed up where its bytes are."""

    position: int
    """In bytes of the decompressed stream."""

    def crc32(self, size: int) -> tuple[int, int]:
        """CRC-32 of the next ``size`` bytes, and how many there were."""


def read_members(stream: Summed, where: str, rows: list[Row], enough: Callable[[int], bool]) -> int | None:
    """Add the plain files from the stream's position on to ``rows``, those that reading forward gives.

    Args:
        stream: at a member's header.
        where: the archive's name, for errors.
        rows: gets a row a member.
        enough: told where the next header is, after each member; True stops there.

    Returns:
        Offset of the next member's header, None at the archive's end.

    Raises:
        SourceError: if the archive is damaged, or a member is larger than any recording.
    """
    last = "its beginning"
    try:
        for member in walk(stream, PassNotes()):
            require_size(member, where)
            if member.plain and not member.odd:
                offset = stream.position
                crc32, found = stream.crc32(member.size)
                pad(stream, member.size, found)
                rows.append((member.name, offset, member.size, crc32))
            else:
                pad(stream, member.size, stream.skip(member.size))
            last = member.name
            if enough(stream.position):
                return stream.position
    except DAMAGE as error:
        raise damaged(where, error, last) from error
    return None
