"""Which files of a folder are recordings, and which annotation tables belong to each."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from hf_inatsounds.downstream.annotation_tables import audacity_events, read_text
from hf_inatsounds.errors import SuiteError
from hf_inatsounds.schema import AUDIO_SUFFIXES

_RAVEN = re.compile(r"(?P<stem>.+?)(?:\.table[ ._-]?\d+)?\.selections\.txt", re.IGNORECASE)


def audio_files(folder: Path) -> Iterator[Path]:
    """Recordings below a folder, by suffix, in the order of their names; hidden ones are left out."""
    return (path for path in _files(folder) if path.suffix.lower() in AUDIO_SUFFIXES)


def recordings_with_tables(folder: Path) -> tuple[dict[Path, list[Path]], list[Path]]:
    """The recordings below a folder, each with its tables, and the Raven tables that belong to none.

    A table belongs to the recording beside it whose whole name, with its suffix or without, it carries:
    ``dawn.Table.1.selections.txt``, ``dawn.selections.txt`` and ``dawn.txt`` to ``dawn.wav``, and none of them to
    ``dawn.north.wav``. A file of another suffix, or without one, is a recording where a table is its own and no file of
    a known suffix has it.

    Returns:
        Recording → its Raven tables, else its Audacity track, else nothing; and tables without a recording.
    """
    files = list(_files(folder))
    raven = {path: found["stem"] for path in files if (found := _RAVEN.fullmatch(path.name))}
    others = [path for path in files if path not in raven and path.suffix.lower() != ".csv"]
    tables: dict[Path, list[Path]] = {path: [] for path in others if path.suffix.lower() in AUDIO_SUFFIXES}
    named: dict[tuple[Path, str], list[Path]] = {}
    for path in others:
        for name in {path.stem, path.name}:
            named.setdefault((path.parent, name), []).append(path)
    orphans = []
    for table, stem in raven.items():
        owners = _owners(named.get((table.parent, stem), []))
        for one in owners:
            tables.setdefault(one, []).append(table)
        orphans += [] if owners else [table]
    for track in (path for path in others if path.suffix.lower() == ".txt"):
        for one in _owners(named[track.parent, track.stem]):
            if not tables.get(one) and (one in tables or _is_track(track)):
                tables.setdefault(one, []).append(track)
    return dict(sorted(tables.items())), orphans


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.startswith("."))


def _owners(named: list[Path]) -> list[Path]:
    """Those of files of one name that are recordings: by their suffix, else whatever is no text."""
    known = [path for path in named if path.suffix.lower() in AUDIO_SUFFIXES]
    return known or [path for path in named if path.suffix.lower() != ".txt"]


def _is_track(path: Path) -> bool:
    """Whether a text is an Audacity label track with a label in it, so that what it is named after is a recording."""
    try:
        return bool(audacity_events(read_text(path), str(path)))
    except SuiteError:
        return False
