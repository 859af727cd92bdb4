"""Reading a gzip tar once, from front to back, with bounded memory and time, whoever made it.

Headers are read with ``tarfile.TarInfo``, the blocks between them here: ``tarfile`` itself ends without a word at
a damaged header in the middle, and takes the headers of long names into memory at whatever size they claim.
"""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import IO, Any

from isal import isal_zlib

from hf_inatsounds.archives.decompress import MAX_RATIO, SLACK_BYTES, GzipReader
from hf_inatsounds.errors import SourceError

MAX_MEMBER_BYTES = 1 << 30
"""Largest member that is read or passed over: 1 GiB, six hours of 22,050 Hz 16-bit audio. The longest real one
has 56 MB."""

MAX_HEADER_BYTES = 1 << 20
"""Largest extended header (long name, PAX records). Real ones have some hundred bytes."""

_BLOCK = 512
_DAMAGE: Any = (tarfile.TarError, EOFError, OSError, ValueError, isal_zlib.error)
_PADDING_BYTES = 1 << 20
"""Searched for the end of the gzip stream behind the archive's end; tar pads to 10 KiB, some writers to more."""

_ODD_TYPES = {
    tarfile.LNKTYPE: "hard link",
    tarfile.SYMTYPE: "symbolic link",
    tarfile.CHRTYPE: "device",
    tarfile.BLKTYPE: "device",
    tarfile.FIFOTYPE: "fifo",
    tarfile.GNUTYPE_SPARSE: "sparse file",
}
_WITHOUT_DATA = (
    tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE,
)  # fmt: skip


@dataclass
class PassNotes:
    """What one pass met beside recordings; filled while it goes on.

    Attributes:
        odd: kind of member that is no plain file with a safe name → how many, and the first names.
        end_mark: whether the archive ended with its mark, as every whole one does.
        extra_bytes: decompressed bytes other than zero behind the archive's end.
        trailing_bytes: bytes behind the gzip stream. Like gzip and tar, we pass over both.
    """

    odd: dict[str, tuple[int, list[str]]] = field(default_factory=dict)
    end_mark: bool = False
    extra_bytes: int = 0
    trailing_bytes: int = 0

    def add_odd(self, kind: str, name: str, most: int = 20) -> None:
        """Count a member that is passed over; the first ``most`` of a kind are named."""
        count, names = self.odd.get(kind, (0, []))
        self.odd[kind] = (count + 1, [*names, name] if len(names) < most else names)


@dataclass
class _Member:
    """One entry: its name, the bytes of data that follow, and what it is ("" for a plain file)."""

    name: str
    size: int
    odd: str = ""
    plain: bool = True


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
        for member in _members(reader, notes):
            if member.size > max_member_bytes:
                raise SourceError(
                    "archive member too large",
                    where=f"{where}, {member.name}",
                    found=f"{member.size:,} bytes",
                    expected=f"at most {max_member_bytes:,}",
                )
            if member.odd:
                notes.add_odd(member.odd, member.name)
            n_plain += member.plain
            if member.plain and not member.odd and (wanted is None or wanted(member.name)):
                content = reader.read(member.size)
                _pad(reader, member.size, len(content))
                yield member.name, content
            else:
                _pad(reader, member.size, reader.skip(member.size))
            last = member.name
        if not n_plain:
            raise SourceError("empty archive", where=where, found="no files", expected="a gzip tar with files")
        _finish(reader, notes, whole=whole)
    except _DAMAGE as error:
        raise SourceError(
            "damaged archive",
            where=where,
            found=f"{error or type(error).__name__}, after {last}",
            expected="a whole gzip tar",
            fix="Download it again and compare its md5.",
        ) from error


def safe_name(name: str) -> bool:
    """Whether a member's name stays below the folder it would be unpacked in.

    >>> safe_name("train/00001_x/a.wav"), safe_name("/etc/passwd"), safe_name("train/../../a"), safe_name("C:\\\\a")
    (True, False, False, False)
    """
    parts = name.replace("\\", "/").split("/")
    return bool(name) and parts[0] != "" and ".." not in parts and ":" not in parts[0] and "\0" not in name


def _members(reader: GzipReader, notes: PassNotes) -> Iterator[_Member]:
    """Each entry in turn; its data must have been read or skipped when the next is asked for."""
    records: dict[str, str] = {}
    while True:
        header = reader.read(_BLOCK)
        if not header or not header.strip(b"\0"):
            if len(header) not in (0, _BLOCK) or records:
                raise EOFError("the archive ends within a header")
            notes.end_mark = bool(header)
            return
        info = tarfile.TarInfo.frombuf(header, "utf-8", "backslashreplace")
        if info.size < 0:
            raise ValueError(f"a member of {info.size} bytes")
        if info.type in (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE):
            content = _extended_header(reader, info.size)
            if info.type != tarfile.XGLTYPE:  # global records hold comments: nothing that we use
                records |= _pax_records(content)
        elif info.type == tarfile.GNUTYPE_LONGNAME:
            records["path"] = _text(_extended_header(reader, info.size))
        elif info.type == tarfile.GNUTYPE_LONGLINK:
            _extended_header(reader, info.size)
        else:
            if info.type == tarfile.GNUTYPE_SPARSE:
                _skip_sparse_map(reader, bool(header[482]))
            yield _member(info, records)
            records = {}


def _member(info: tarfile.TarInfo, records: dict[str, str]) -> _Member:
    name = records.get("path", info.name).removeprefix("./")
    size = int(records.get("size", info.size))
    if size < 0:
        raise ValueError(f"a member of {size} bytes")
    kind = _ODD_TYPES.get(info.type, "")
    if any(key.startswith("GNU.sparse.") for key in records):
        kind = "sparse file"
    elif info.type not in (*tarfile.REGULAR_TYPES, *_ODD_TYPES, tarfile.DIRTYPE):
        kind = "unknown type"
    elif info.isreg() and not safe_name(name):
        kind = "unsafe name"
    return _Member(name, 0 if info.type in _WITHOUT_DATA else size, kind, info.isreg())


def _pad(reader: GzipReader, size: int, found: int) -> None:
    """Pass over the zeros that fill a member's last block."""
    if found != size or reader.skip(-size % _BLOCK) != -size % _BLOCK:
        raise EOFError("the last member is cut off")


def _extended_header(reader: GzipReader, size: int) -> bytes:
    if size > MAX_HEADER_BYTES:
        raise ValueError(f"an extended header of {size:,} bytes, more than {MAX_HEADER_BYTES:,}")
    content = reader.read(size)
    _pad(reader, size, len(content))
    return content


def _skip_sparse_map(reader: GzipReader, extended: bool) -> None:
    """The blocks with an old GNU sparse file's further holes: byte 504 says whether another follows."""
    while extended:
        block = reader.read(_BLOCK)
        if len(block) != _BLOCK:
            raise EOFError("the archive ends within a header")
        extended = bool(block[504])


def _pax_records(content: bytes) -> dict[str, str]:
    """``"<length> <key>=<value>\\n"``, one after the other, where the length counts all of it.

    >>> _pax_records(b"11 path=ab" + bytes([10]))
    {'path': 'ab'}
    >>> _pax_records(b"12 path=ab" + bytes([10]))
    Traceback (most recent call last):
    ValueError: a malformed extended header
    """
    records: dict[str, str] = {}
    position = 0
    while position < len(content) and content[position]:
        space = content.find(b" ", position, position + 20)
        digits = content[position:space] if space > 0 else b""
        length = int(digits) if digits.isdigit() else 0
        record = content[space + 1 : position + length]
        key, equals, value = record[:-1].partition(b"=")
        if length <= len(digits) or not equals or position + length > len(content) or record[-1:] != b"\n":
            raise ValueError("a malformed extended header")
        records[key.decode("utf-8", "backslashreplace")] = value.decode("utf-8", "backslashreplace")
        position += length
    return records


def _text(content: bytes) -> str:
    return content.split(b"\0", 1)[0].decode("utf-8", "backslashreplace")


def _finish(reader: GzipReader, notes: PassNotes, *, whole: bool) -> None:
    """To the end of the gzip member, whose checksum is there; if ``whole``, to the end of the file."""
    if not whole:
        reader.finish_member(_PADDING_BYTES)
        return
    while piece := reader.read(_PADDING_BYTES):
        notes.extra_bytes += len(piece) - piece.count(0)
    notes.trailing_bytes = reader.trailing_bytes
