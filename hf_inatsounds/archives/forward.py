"""Reading a gzip tar once, from front to back, with bounded memory and time, whoever made it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import IO

from hf_inatsounds.archives.decompress import MAX_RATIO, SLACK_BYTES, GzipReader
from hf_inatsounds.archives.tar_walk import (
    DAMAGE,
    MAX_MEMBER_BYTES,
    PassNotes,
    damaged,
    no_files,
    pad,
    require_size,
    walk,
)

_PADDING_BYTES = 1 << 20
"""Searched for the end of the gzip stream behind the archive's end; tar pads to 10 KiB, some writers to more."""


def iterate_members(
    stream: IO[bytes],
    *,
    where: str,
    wanted: Callable[[str], bool] | None = None,
    max_member_bytes: int = MAX_MEMBER_BYTES,
    notes: PassNotes | None = None,
    whole: bool = False,
    max_ratio: int = MAX_RATIO,
    slack_bytes: int = SLACK_BYTES,
) -> Iterator[tuple[str, bytes]]:
    """Yield ``(name, content)`` of each plain file, in archive order; nothing is ever written.

    Links, devices, sparse files and names that would leave their folder are passed over and noted. Bytes of a
    name that are not UTF-8 come as backslash escapes.

    Args:
        stream: the compressed archive, opened for reading; it need not be seekable.
        where: its name, for errors.
        wanted: whether a name's content is wanted; others are passed over without being kept.
        max_member_bytes: a larger member is an error: a bomb, or no archive of recordings.
        notes: filled with what was met beside plain files.
        whole: whether to read on behind the archive's end, to the last byte of ``stream``.
        max_ratio: decompressed bytes a compressed one, above ``slack_bytes``; more is an error.
        slack_bytes: decompressed bytes that are always allowed.

    Raises:
        SourceError: if the archive is damaged, ends early, holds no files, holds too large a member, or swells
            beyond the limit.
    """
    notes = PassNotes() if notes is None else notes
    reader = GzipReader(stream, where=where, max_ratio=max_ratio, slack_bytes=slack_bytes)
    last, n_plain = "its beginning", 0
    try:
        for member in walk(reader, notes):
            require_size(member, where, max_member_bytes)
            if member.odd:
                notes.add_odd(member.odd, member.name)
            n_plain += member.plain
            if member.plain and not member.odd and (wanted is None or wanted(member.name)):
                content = reader.read(member.size)
                pad(reader, member.size, len(content))
                yield member.name, content
            else:
                pad(reader, member.size, reader.skip(member.size))
            last = member.name
        if not n_plain:
            raise no_files(where)
        _finish(reader, notes, whole=whole)
    except DAMAGE as error:
        raise damaged(where, error, last) from error


def _finish(reader: GzipReader, notes: PassNotes, *, whole: bool) -> None:
    """To the end of the gzip member, whose checksum is there; if ``whole``, to the end of the file."""
    if not whole:
        reader.finish_member(_PADDING_BYTES)
        return
    while piece := reader.read(_PADDING_BYTES):
        notes.extra_bytes += len(piece) - piece.count(0)
    notes.trailing_bytes = reader.trailing_bytes
