"""Reading a gzip tar once, from front to back, with bounded memory and time, whoever made it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import IO

from isal import isal_zlib

from hf_inatsounds.archives.decompress import MAX_RATIO, SLACK_BYTES, GzipReader
from hf_inatsounds.archives.fetch import Source
from hf_inatsounds.archives.tar_walk import (
    DAMAGE,
    MAX_MEMBER_BYTES,
    DamagedError,
    PassNotes,
    damaged,
    no_files,
    pad,
    require_size,
    walk,
)
from hf_inatsounds.errors import SourceError
from hf_inatsounds.progress import note

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


def iterate_archive(
    source: Source,
    name: str,
    *,
    wanted: Callable[[str], bool],
    notes: PassNotes | None = None,
    max_member_bytes: int = MAX_MEMBER_BYTES,
) -> Iterator[tuple[str, bytes]]:
    """As :func:`iterate_members` of the file ``name`` of a source; what is damaged on the way is fetched once more.

    A gzip stream can only be read from its beginning. So all before the damage is fetched again too, and what was
    handed out is compared with it.

    Raises:
        SourceError: as :func:`iterate_members`; if the second time is no better; or if something damaged was
            handed out.
    """
    notes = PassNotes() if notes is None else notes
    answers: list[bool] = []  # of ``wanted``, which may count
    given: list[int] = []  # CRC-32 of each recording that was handed out
    again = source.is_remote
    while True:
        asked = itertools.count()

        def ask(member: str, asked: Iterator[int] = asked) -> bool:
            i = next(asked)
            if i == len(answers):
                answers.append(wanted(member))
            return answers[i]

        try:
            with source.open(name) as stream:
                found = iterate_members(
                    stream, where=source.path(name), wanted=ask, notes=notes, max_member_bytes=max_member_bytes
                )
                for i, (member, content) in enumerate(found):
                    crc32 = isal_zlib.crc32(content)
                    if i == len(given):
                        given.append(crc32)
                        yield member, content
                    elif crc32 != given[i]:
                        raise SourceError(
                            "a recording was damaged on the way", where=f"{source.path(name)}, {member}",
                            found="other bytes when it was fetched again", fix="Read the split from the beginning.",
                        )  # fmt: skip
            return
        except DamagedError as error:
            if not again:
                raise
            again = False
            vars(notes).update(vars(PassNotes()))
            note(f"{error} Fetching it again from the beginning.")
