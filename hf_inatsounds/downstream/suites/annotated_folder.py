"""Any folder of recordings with annotations of people.

Annotations are either one ``annotations.csv`` (``file``, ``start_s``, ``end_s``, ``label``; without the times a label
is the whole recording's; ``split`` or ``fold`` if there is a split), or a table beside each recording: for ``dawn.wav``
the Raven tables ``dawn.Table.1.selections.txt``, ``dawn.selections.txt`` … or the Audacity track ``dawn.txt``. Folders
``train`` and ``test`` are a split; without any, recordings are dealt to five folds by their names. A recording that
cannot be read, and a table without a recording, are left out and named. Of one that breaks off what is heard counts.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from hf_inatsounds.downstream.annotation_tables import csv_events, read_csv, read_events
from hf_inatsounds.downstream.clips import Clip, Fold, Suite, Task, checked_end_s, inside
from hf_inatsounds.downstream.heard import (
    heard_events,
    heard_until_s,
    heard_windows_of,
    hearing_of,
    worth_telling,
)
from hf_inatsounds.downstream.left_out import usable
from hf_inatsounds.downstream.overlap import Event, window_labels
from hf_inatsounds.downstream.policies import EVENTS, SINGLE_LABEL
from hf_inatsounds.downstream.recording_files import recordings_with_tables
from hf_inatsounds.errors import SuiteError, printable

WINDOW_S = 5.0
N_FOLDS = 5
TABLE = "annotations.csv"


def load_folder(folder: Path, only: Sequence[str] = ()) -> Suite:
    """A folder as one task: windows of 5 s where there are events, whole recordings where there are none."""
    table = folder / TABLE
    if table.exists() and not {"start_s", "end_s"} & set(read_csv(table, ["file", "label"])[0]):
        return _whole_recordings(folder, table)
    events, left_out = annotated_recordings(folder)
    classes = tuple(sorted({one.label for found in events.values() for one in found}))
    if not classes:
        raise SuiteError("no annotation", where=folder, expected="at least one labelled event")
    parts = _parts(folder, table, list(events))
    clips = []
    for path, found in events.items():
        for start_s, end_s in heard_windows_of(path, WINDOW_S, WINDOW_S):
            labels = window_labels(start_s, end_s, found, classes)
            clips.append(Clip(path, start_s, end_s, labels, parts[path], path))
    notes = (f"windows of {WINDOW_S:g} s; positive from 20 % of the shorter of window and event on",
             *left_out_notes(left_out))  # fmt: skip
    task = Task(folder.resolve().name, classes, tuple(clips), _folds(parts), EVENTS, names="scientific", notes=notes)
    return Suite("folder", (task,), left_out=left_out, heard=worth_telling([*events, *left_out]))


def left_out_notes(left_out: Mapping[str, str]) -> list[str]:
    """What a reader of the numbers has to know of what was left out."""
    return [f"left out: {reason}" for reason in left_out.values()]


def annotated_recordings(folder: Path) -> tuple[dict[str, list[Event]], dict[str, str]]:
    """Events by recording, all checked against the recording's length; and what was left out → why.

    Raises:
        SuiteError: no recording, a recording without a table, or an event past the end.
        AudioError: if no recording can be read.
    """
    table = folder / TABLE
    found: dict[str, list[Event]] = {}
    orphans: list[Path] = []
    if table.exists():
        rows = read_csv(table, ["file", "start_s", "end_s", "label"])
        for name, events in csv_events(rows).items():
            found[str(inside(folder, name, where=str(table)))] = events
    else:
        recordings, orphans = recordings_with_tables(folder)
        for path, tables in recordings.items():
            if not tables:
                raise SuiteError(
                    "a recording without annotations", where=path, found="none of its own beside it",
                    expected=f"{path.stem}.Table.1.selections.txt, {path.stem}.selections.txt, {path.stem}.txt, or one "
                    f"{TABLE}; an empty {path.stem}.txt where nothing is heard",
                )  # fmt: skip
            found[str(path)] = [event for one in tables for event in read_events(one)]
    if not found:
        raise SuiteError("no recordings", where=folder, found="nothing", expected=f"recordings, or {TABLE}")
    lengths, left_out = usable({name: partial(heard_until_s, name) for name in found})
    for name in lengths:
        if hearing_of(name).status == "partial":
            found[name] = heard_events(name, found[name])
        for event in found[name]:
            checked_end_s(event.end_s, name, where=f"{name}, {event.label!r}")
    left_out |= {str(one): f"a table without a recording: {printable(str(one))}" for one in orphans}
    return {name: found[name] for name in lengths}, left_out


def _whole_recordings(folder: Path, table: Path) -> Suite:
    rows = read_csv(table, ["file", "label"])
    classes = tuple(sorted({row["label"].strip() for row in rows if row["label"].strip()}))
    labels: dict[str, set[int]] = {}
    for row in rows:
        path = str(inside(folder, row["file"], where=row.where))
        known = labels.setdefault(path, set())
        if row["label"].strip():
            known.add(classes.index(row["label"].strip()))
    lengths, left_out = usable({path: partial(heard_until_s, path) for path in labels})
    parts = _parts(folder, table, list(lengths))
    clips = tuple(
        Clip(path, 0.0, length_s, tuple(sorted(labels[path])), parts[path], path) for path, length_s in lengths.items()
    )
    policy = SINGLE_LABEL if all(len(known) == 1 for known in labels.values()) else EVENTS
    task = Task(folder.resolve().name, classes, clips, _folds(parts), policy, names="scientific",
                notes=tuple(left_out_notes(left_out)))  # fmt: skip
    return Suite("folder", (task,), left_out=left_out, heard=worth_telling(labels))


def _parts(folder: Path, table: Path, paths: list[str]) -> dict[str, str]:
    """Part of each recording: by the table's column, by the folders train and test, or dealt by name."""
    if table.exists():
        rows = read_csv(table, ["file"])
        column = next((name for name in ("split", "fold") if name in rows[0]), None)
        if column is not None:
            parts: dict[str, str] = {}
            for row in rows:
                path, part = str(folder / row["file"]), row[column].strip()
                if not part or parts.setdefault(path, part) != part:
                    raise SuiteError("overlapping folds" if part else f"no {column}",
                                     where=row.where, found=f"{row['file']} in {part!r}")  # fmt: skip
            return {path: parts[path] for path in paths}
    top = {path: Path(path).relative_to(folder).parts[0] for path in paths}
    if set(top.values()) == {"train", "test"}:
        return top
    names = sorted(paths, key=lambda path: hashlib.sha256(os.fsencode(Path(path).name)).digest())
    if len(names) < 2:
        raise SuiteError("too few recordings", where=folder, found=len(names), expected="two, to train and to test")
    return {path: str(i % N_FOLDS + 1) for i, path in enumerate(names)}


def _folds(parts: dict[str, str]) -> tuple[Fold, ...]:
    names = sorted(set(parts.values()))
    if "test" in names and "train" in names:
        held = tuple(name for name in names if name in ("validation", "valid", "val"))
        return (Fold("test", ("train",), ("test",), held),)
    if len(names) < 2:
        raise SuiteError("too few folds", where="folder", found=names, expected="at least two")
    return tuple(Fold(name, tuple(other for other in names if other != name), (name,)) for name in names)
