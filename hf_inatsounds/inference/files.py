"""Which files are meant: recordings, folders of them, patterns, and lists in a file."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from hf_inatsounds.errors import ArgumentsError
from hf_inatsounds.schema import AUDIO_SUFFIXES


def recordings_below(folder: str | Path) -> list[str]:
    """The recordings below a folder, by name, the same on every machine.

    They are told by their suffix. Left out are files that begin with ``._``, which macOS puts beside each file on a
    card and which hold no sound, and hidden folders, such as a recycle bin's.

    Args:
        folder: it begins each path that is returned.

    Raises:
        ArgumentsError: if there is none.
    """
    found: list[str] = []
    for place, folders, names in os.walk(folder):
        folders[:] = [one for one in folders if not one.startswith((".", "$"))]
        found += [
            os.path.join(place, name) for name in names
            if os.path.splitext(name)[1].lower() in AUDIO_SUFFIXES and not name.startswith("._")
        ]  # fmt: skip
    found = sorted(path for path in found if os.path.isfile(path))
    if not found:
        raise ArgumentsError(
            "no recording in the folder", where=folder, expected=f"files of {', '.join(sorted(AUDIO_SUFFIXES))}"
        )
    return found


def chosen_files(given: Iterable[str], lists: Iterable[str] = ()) -> list[str]:
    """The files that are meant, in the order given, each once.

    Args:
        given: files; folders, for the recordings below them; patterns (``site*/**/*.wav``) where no file has that name.
        lists: files of names as :func:`names_in` reads them; each name may again be a folder or a pattern.

    Raises:
        ArgumentsError: a folder without recordings, a pattern that nothing matches, or no file at all.
    """
    found: dict[str, None] = {}
    for name in (*given, *(name for one in lists for name in names_in(one))):
        found.update(dict.fromkeys(_meant(name)))
    if not found:
        raise ArgumentsError("no recording was given", expected="a file, a folder, a pattern, or --files-from FILE")
    return list(found)


def names_in(listing: str) -> Iterator[str]:
    """Names in a file, or in stdin for ``-``: ended by NUL where it has one (``find -print0``), else one on a line.

    Raises:
        ArgumentsError: if it cannot be read.
    """
    try:
        content = sys.stdin.buffer.read() if listing == "-" else Path(listing).read_bytes()
    except OSError as error:
        raise ArgumentsError(
            "cannot read the list of files", where=listing, found=error.strerror, expected="a name on each line"
        ) from error
    names = content.split(b"\0") if b"\0" in content else [line.removesuffix(b"\r") for line in content.split(b"\n")]
    return (os.fsdecode(name) for name in names if name)


def _meant(name: str) -> Iterable[str]:
    if os.path.isdir(name):
        return recordings_below(name)
    if not os.path.lexists(name) and glob.has_magic(name):
        matches = sorted(glob.glob(name, recursive=True))
        if not matches:
            raise ArgumentsError("no file matches", where=name, fix="Check the pattern.")
        return (path for match in matches for path in (recordings_below(match) if os.path.isdir(match) else [match]))
    return [name]
