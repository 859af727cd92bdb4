"""The table of a tar's members, in one forward pass with bounded memory, whatever its headers claim."""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from typing import Any, Protocol

from isal import isal_zlib

from hf_inatsounds.archives.forward import MAX_MEMBER_BYTES
from hf_inatsounds.errors import SourceError

EXTENSION_BYTES = 1 << 20
"""Largest header extension: a long name, a pax header."""

Row = tuple[str, int, int, int]
"""Name, offset in the stream, size and CRC-32 of a member."""

_BLOCK = 512
_BUFFER_BYTES = 1 << 20
_EXTENSIONS = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE, b"X")


class Forward(Protocol):
    """A decompressed stream that is read forward."""

    position: int

    def read(self, n: int) -> bytes:
        """Up to ``n`` bytes; empty at the end."""


class _Member(tarfile.TarInfo):
    """A header whose extension cannot claim more memory than EXTENSION_BYTES."""

    @classmethod
    def frombuf(cls, buf: Any, encoding: str, errors: str) -> Any:
        made = super().frombuf(buf, encoding, errors)
        if made.type in _EXTENSIONS and made.size > EXTENSION_BYTES:
            raise tarfile.ReadError(f"a header extension of {made.size:,} bytes")
        return made


def read_members(stream: Forward, where: str, rows: list[Row], enough: Callable[[int], bool]) -> int | None:
    """Add the regular files from the stream's position on to ``rows``.

    Args:
        stream: at a member's header.
        where: the archive's name, for errors.
        rows: gets a row a member.
        enough: told where the next header is, after each member; True stops there.

    Returns:
        Offset of the next member's header, None at the archive's end.

    Raises:
        SourceError: if the archive is damaged, or a member is sparse or larger than any recording.
    """
    base = stream.position
    try:
        options: dict[str, Any] = {"encoding": "utf-8", "errors": "backslashreplace"}  # names as forward.py has them
        archive: Any = tarfile.open(fileobj=stream, mode="r|", bufsize=_BUFFER_BYTES, tarinfo=_Member, **options)  # type: ignore[call-overload]  # noqa: SIM115
        for member in archive:
            archive.members.clear()  # tarfile would keep every header that it met
            end = base + member.offset_data
            if member.isfile():
                if member.issparse() or member.size > MAX_MEMBER_BYTES:
                    kind = "sparse member" if member.issparse() else f"member of {member.size:,} bytes"
                    raise tarfile.ReadError(f"a {kind}, {member.name}")
                rows.append((member.name.removeprefix("./"), end, member.size, _crc32(archive, member)))
                end += -(-member.size // _BLOCK) * _BLOCK
            if enough(end):
                return int(end)
    except (tarfile.TarError, EOFError, OSError, UnicodeError) as error:
        raise SourceError(
            "damaged archive",
            where=where,
            found=f"{error or type(error).__name__}, after {rows[-1][0] if rows else 'its beginning'}",
            expected="a whole gzip tar",
            fix="Download it again and compare its md5.",
        ) from error
    return None


def _crc32(archive: tarfile.TarFile, member: tarfile.TarInfo) -> int:
    reader, crc, left = archive.extractfile(member), 0, member.size
    while reader is not None and left and (piece := reader.read(min(left, _BUFFER_BYTES))):
        crc = isal_zlib.crc32(piece, crc)
        left -= len(piece)
    if left:
        raise EOFError("the last member is cut off")
    return int(crc)
