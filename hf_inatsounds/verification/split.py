"""One split's pass: its archive is read once, for its md5, its members and its defects alike."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, cast

from hf_inatsounds.archives.fetch import Source
from hf_inatsounds.archives.forward import iterate_members
from hf_inatsounds.archives.tar_walk import MAX_MEMBER_BYTES, PassNotes
from hf_inatsounds.data.annotations import Annotations, annotation_file, read_annotations
from hf_inatsounds.errors import InatSoundsError, printable
from hf_inatsounds.schema import OFFICIAL_FILES, OFFICIAL_URL, STEMS
from hf_inatsounds.verification.findings import Findings


class WatchedStream:
    """Passes a file's bytes on while it digests and counts them.

    Args:
        stream: the file.
        on_bytes: told how many bytes each read brought; may raise to stop.
    """

    def __init__(self, stream: IO[bytes], on_bytes: Callable[[int], None]) -> None:
        self._stream, self._on_bytes = stream, on_bytes
        self._md5 = hashlib.md5(usedforsecurity=False)
        self.n_bytes = 0

    def read(self, size: int = -1) -> bytes:
        """Up to ``size`` bytes."""
        content = self._stream.read(size)
        self._md5.update(content)
        self.n_bytes += len(content)
        self._on_bytes(len(content))
        return content

    def drain(self) -> str:
        """Read to the end; the md5 of all of it."""
        while self.read(1 << 20):
            pass
        return self._md5.hexdigest()


def check_split(
    source: Source, split: str, *, window_s: float, on_bytes: Callable[[int], None] = lambda _: None
) -> dict[str, Any]:
    """Read one split's files once and say what is there.

    Args:
        source: folder or base URL.
        split: train, validation or test.
        window_s: recordings shorter than this are counted, in seconds.
        on_bytes: told the bytes of each read of the audio archive; may raise to stop.

    Returns:
        JSON-ready: ``archive`` (None for an unpacked tree or where there is none), ``annotations``, and what
        :class:`Findings` found; ``digests`` names every recording that is not empty, to compare splits by.
    """
    annotation_check, annotations = _check_annotations(source, split)
    findings = Findings(None, window_s)
    if annotations is not None:
        columns = [annotations.table[name].to_pylist() for name in ("file_name", "recording_id", "duration_s")]
        findings.annotated = {name: (i, duration_s) for name, i, duration_s in zip(*columns, strict=True)}
    archive = None
    name = f"{STEMS[split]}.tar.gz"
    folder = None if source.is_remote else Path(source.path(STEMS[split]))
    if source.exists(name):
        archive = _check_archive(source, name, findings, on_bytes)
    elif folder is not None and folder.is_dir():
        archive = _check_folder(folder, findings, on_bytes)
    return {"split": split, "archive": archive, "annotations": annotation_check, **findings.as_dict()}


def official_md5(source: Source, name: str, n_bytes: int) -> str | None:
    """The md5 that ``name`` must have: where the source is official, or the file has the official one's size."""
    for official in OFFICIAL_FILES:
        if official.name == name and (source.root == OFFICIAL_URL or rounds_to(n_bytes, official.size)):
            return official.md5
    return None


def rounds_to(n_bytes: int, size: str) -> bool:
    """Whether ``n_bytes`` is what a rounded ``size`` ("3.7 MB") may stand for, in powers of 1000 or 1024.

    >>> rounds_to(81_400_000_000, "81 GB"), rounds_to(80 << 30, "81 GB"), rounds_to(3_700_000_000, "3.7 MB")
    (True, False, False)
    """
    number, unit = size.split()
    decimals = len(number.partition(".")[2])
    power = {"MB": 2, "GB": 3}[unit]
    return any(f"{n_bytes / base**power:.{decimals}f}" == number for base in (1000, 1024))


def _check_archive(source: Source, name: str, findings: Findings, on_bytes: Callable[[int], None]) -> dict[str, Any]:
    notes = PassNotes()
    n_bytes, md5, damage = 0, None, None
    try:
        with source.open(name) as stream:
            watched = WatchedStream(stream, on_bytes)
            damage = _read_members(cast("IO[bytes]", watched), source.path(name), findings, notes)
            md5 = watched.drain()  # of a damaged one too: is it the file that was published?
            n_bytes = watched.n_bytes
    except (OSError, InatSoundsError) as error:
        damage = damage or str(InatSoundsError("cannot be read to its end", where=source.path(name), found=error))
    return {
        "name": name,
        "bytes": n_bytes,
        "md5": md5,
        "official_md5": official_md5(source, name, n_bytes),
        "damage": damage,
        "members": findings.members,
        "odd_members": {
            kind: {"count": count, "names": [printable(one) for one in names]}
            for kind, (count, names) in notes.odd.items()
        },
        "end_mark": notes.end_mark,
        "extra_bytes": notes.extra_bytes,
        "trailing_bytes": notes.trailing_bytes,
    }


def _read_members(stream: IO[bytes], where: str, findings: Findings, notes: PassNotes) -> str | None:
    """Take every member; what is wrong with the archive, if anything."""
    try:
        for member, content in iterate_members(stream, where=where, wanted=findings.wanted, notes=notes, whole=True):
            findings.take(member, content)
    except InatSoundsError as error:
        return str(error)
    return None


def _check_folder(folder: Path, findings: Findings, on_bytes: Callable[[int], None]) -> dict[str, Any]:
    """An unpacked tree, as if it were an archive without checksum."""
    notes = PassNotes()
    n_bytes = 0
    for path in _files(folder, notes):
        name = path.relative_to(folder.parent).as_posix()
        if findings.wanted(name):
            content = path.read_bytes()
            n_bytes += len(content)
            on_bytes(len(content))
            findings.take(name, content)
    odd = {
        kind: {"count": count, "names": [printable(one) for one in names]} for kind, (count, names) in notes.odd.items()
    }
    return {"name": f"{folder.name}/", "bytes": n_bytes, "md5": None, "official_md5": None, "damage": None,
            "members": findings.members, "odd_members": odd, "end_mark": True, "extra_bytes": 0,
            "trailing_bytes": 0}  # fmt: skip


def _files(folder: Path, notes: PassNotes) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = Path(parent, name)
            if path.is_symlink() or not path.is_file():
                notes.add_odd("symbolic link" if path.is_symlink() else "no plain file", str(path))
            elif path.stat().st_size > MAX_MEMBER_BYTES:
                notes.add_odd("too large", str(path))
            else:
                yield path


def _check_annotations(source: Source, split: str) -> tuple[dict[str, Any] | None, Annotations | None]:
    name = annotation_file(source, split)
    if name is None:
        return None, None
    found: dict[str, Any] = {"name": name, "bytes": None, "md5": None, "official_md5": None, "damage": None}
    annotations = None
    try:
        with open(source.local_copy(name), "rb") as stream:
            watched = WatchedStream(stream, lambda _: None)
            found |= {"md5": watched.drain(), "bytes": watched.n_bytes}
        found["official_md5"] = official_md5(source, name, watched.n_bytes)
        annotations = read_annotations(source, split)
    except InatSoundsError as error:
        found["damage"] = str(error)
    return found, annotations
