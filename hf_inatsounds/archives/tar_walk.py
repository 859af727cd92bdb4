"""A tar's entries in one forward pass with bounded memory, whatever its headers claim.

Headers are read with ``tarfile.TarInfo``, the blocks between them here: ``tarfile`` itself ends without a word at
a damaged header in the middle, and takes the headers of long names into memory at whatever size they claim.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from isal import isal_zlib

from hf_inatsounds.errors import SourceError

MAX_MEMBER_BYTES = 1 << 30
"""Largest member that is read or passed over: 1 GiB, six hours of 22,050 Hz 16-bit audio. The longest real one
has 56 MB."""

MAX_HEADER_BYTES = 1 << 20
"""Largest extended header (long name, PAX records). Real ones have some hundred bytes."""


class DamagedError(SourceError):
    """An archive whose bytes contradict themselves, or end early."""


DAMAGE: Any = (tarfile.TarError, EOFError, OSError, ValueError, isal_zlib.error)
"""What reading a damaged archive raises."""

_BLOCK = 512
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


class Forward(Protocol):
    """A decompressed stream that is read forward."""

    def read(self, size: int) -> bytes:
        """``size`` bytes, fewer only at the end."""

    def skip(self, size: int) -> int:
        """Pass over ``size`` bytes, keeping none; returns how many there were."""


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
class Member:
    """One entry: its name, the bytes of data that follow, and what it is ("" for a plain file)."""

    name: str
    size: int
    odd: str = ""
    plain: bool = True


def walk(reader: Forward, notes: PassNotes) -> Iterator[Member]:
    """Each entry in turn; its data and :func:`pad` must have been passed when the next is asked for.

    Raises:
        EOFError, ValueError, tarfile.TarError: if the archive is damaged; all are among DAMAGE.
    """
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


def pad(reader: Forward, size: int, found: int) -> None:
    """Pass over the zeros that fill the last block of a member of ``size`` bytes, of which ``found`` were there."""
    if found != size or reader.skip(-size % _BLOCK) != -size % _BLOCK:
        raise EOFError("the last member is cut off")


def require_size(member: Member, where: str, max_member_bytes: int = MAX_MEMBER_BYTES) -> None:
    """Refuse a member larger than any recording.

    Raises:
        SourceError: naming it.
    """
    if member.size > max_member_bytes:
        raise SourceError(
            "archive member too large",
            where=f"{where}, {member.name}",
            found=f"{member.size:,} bytes",
            expected=f"at most {max_member_bytes:,}",
        )


def damaged(where: str, error: BaseException, last: str) -> DamagedError:
    """The error for an archive whose reading failed with ``error`` after the member ``last``."""
    return DamagedError(
        "damaged archive",
        where=where,
        found=f"{error or type(error).__name__}, after {last}",
        expected="a whole gzip tar",
        fix="Download it again and compare its md5.",
    )


def no_files(where: str) -> SourceError:
    """The error for an archive without a plain file."""
    return SourceError("empty archive", where=where, found="no files", expected="a gzip tar with files")


def safe_name(name: str) -> bool:
    """Whether a member's name stays below the folder it would be unpacked in.

    >>> safe_name("train/00001_x/a.wav"), safe_name("/etc/passwd"), safe_name("train/../../a"), safe_name("C:\\\\a")
    (True, False, False, False)
    """
    parts = name.replace("\\", "/").split("/")
    return bool(name) and parts[0] != "" and ".." not in parts and ":" not in parts[0] and "\0" not in name


def _member(info: tarfile.TarInfo, records: dict[str, str]) -> Member:
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
    return Member(name, 0 if info.type in _WITHOUT_DATA else size, kind, info.isreg())


def _extended_header(reader: Forward, size: int) -> bytes:
    if size > MAX_HEADER_BYTES:
        raise ValueError(f"an extended header of {size:,} bytes, more than {MAX_HEADER_BYTES:,}")
    content = reader.read(size)
    pad(reader, size, len(content))
    return content


def _skip_sparse_map(reader: Forward, extended: bool) -> None:
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
