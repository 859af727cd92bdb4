"""ESC-10 and ESC-50: environmental sounds, five fixed folds.

Layouts: ``meta/esc50.csv`` and ``audio/`` as ESC-50 is distributed, or ``clips.csv`` and ``audio/``.

Source: K. J. Piczak, ESC: Dataset for Environmental Sound Classification, ACM MM 2015.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hf_inatsounds.downstream.annotation_tables import read_csv
from hf_inatsounds.downstream.clips import Clip, Fold, Suite, Task, duration_s, inside
from hf_inatsounds.downstream.policies import SINGLE_LABEL
from hf_inatsounds.errors import SuiteError


def load_esc10(folder: Path, only: Sequence[str] = ()) -> Suite:
    """ESC-10, from its own folder or out of ESC-50's."""
    return Suite("esc10", (_task(folder, "esc10", esc10_only=True),))


def load_esc50(folder: Path, only: Sequence[str] = ()) -> Suite:
    """ESC-50."""
    return Suite("esc50", (_task(folder, "esc50", esc10_only=False),))


def _task(folder: Path, name: str, *, esc10_only: bool) -> Task:
    own, original = folder / "clips.csv", folder / "meta" / "esc50.csv"
    if not own.exists() and not original.exists():
        raise SuiteError("missing table", where=folder, found="neither", expected="clips.csv or meta/esc50.csv")
    table, key = (own, "file") if own.exists() else (original, "filename")
    rows = read_csv(table, [key, "fold", "category"])
    if esc10_only and "esc10" in rows[0]:
        rows = [row for row in rows if row["esc10"].strip().lower() == "true"]
    classes = tuple(sorted({row["category"] for row in rows}))
    clips = []
    for row in rows:
        path = inside(folder / "audio", row[key], where=row.where)
        if not row["fold"].strip():
            raise SuiteError("no fold", where=row.where, found=repr(row["fold"]))
        label = classes.index(row["category"])
        clips.append(Clip(str(path), 0.0, duration_s(str(path)), (label,), row["fold"].strip(), _source(row[key])))
    parts = sorted({clip.part for clip in clips})
    if len(parts) < 2:
        raise SuiteError("too few folds", where=table, found=len(parts), expected="five")
    folds = tuple(Fold(part, tuple(other for other in parts if other != part), (part,)) for part in parts)
    return Task(name, classes, tuple(clips), folds, SINGLE_LABEL)


def _source(name: str) -> str:
    """The Freesound clip that a file was cut from: its name is ``FOLD-CLIP-TAKE-…``; takes of one share a fold.

    >>> _source("1-100032-A-001.ogg"), _source("odd.wav")
    ('100032', 'odd.wav')
    """
    parts = name.split("-")
    return parts[1] if len(parts) >= 4 else name
