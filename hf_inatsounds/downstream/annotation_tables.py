"""Annotation tables of people: Raven selection tables, Audacity label tracks, CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from hf_inatsounds.downstream.overlap import Event
from hf_inatsounds.errors import SuiteError

RAVEN_LABELS = ("Species", "Annotation", "Label", "Common Name", "Species Code", "Tag", "Class")
"""Columns that people put the label in, the first that is there counts."""

MAX_TABLE_BYTES = 1 << 28


def read_text(path: Path) -> str:
    """A table's text.

    Raises:
        SuiteError: if it is missing, empty, too large or not UTF-8.
    """
    try:
        if path.stat().st_size > MAX_TABLE_BYTES:
            raise SuiteError("table too large", where=path, expected=f"at most {MAX_TABLE_BYTES:,} bytes")
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise SuiteError("missing table", where=path, found=error.strerror) from error
    except UnicodeDecodeError as error:
        raise SuiteError("not UTF-8", where=path, found=error.reason) from error
    if not text.strip():
        raise SuiteError("empty table", where=path, found="nothing in it")
    return text


class Row(dict[str, str]):
    """A row of a table by column, and where it stands, as an error names it."""

    def __init__(self, values: Mapping[str, str], where: str) -> None:
        super().__init__(values)
        self.where = where


def read_csv(path: Path, required: Sequence[str]) -> list[Row]:
    """Rows of a CSV with a heading.

    Raises:
        SuiteError: if it cannot be read, lacks a column, or has no row.
    """
    reader = csv.DictReader(io.StringIO(read_text(path), newline=""))
    try:
        columns = list(reader.fieldnames or [])
        rows = [Row(values, f"{path}, line {reader.line_num}") for values in reader]
    except csv.Error as error:
        raise SuiteError("not CSV", where=path, found=error) from error
    missing = [name for name in required if name not in columns]
    if missing:
        raise SuiteError("missing column", where=path, found=", ".join(columns), expected=missing[0])
    if not rows:
        raise SuiteError("empty table", where=path, found="a heading and no row")
    for row in rows:
        if None in row or None in row.values():  # more or fewer values than the heading
            raise SuiteError("malformed row", where=row.where, expected=f"{len(columns)} values")
    return rows


def read_events(path: Path) -> list[Event]:
    """Events of a Raven selection table or an Audacity label track, told apart by the heading.

    Raises:
        SuiteError: naming the file and line, where something is wrong.
    """
    try:
        empty = path.stat().st_size == 0
    except OSError as error:
        raise SuiteError("missing table", where=path, found=error.strerror) from error
    if empty:  # an Audacity track without a label is an empty file: nothing was heard
        return []
    text = read_text(path)
    first = text.split("\n", 1)[0]
    return raven_events(text, str(path)) if first.startswith("Selection\t") else audacity_events(text, str(path))


def raven_events(text: str, where: str) -> list[Event]:
    r"""Events of a Raven selection table; the spectrogram and waveform rows of one selection count once.

    >>> raven_events("Selection\tBegin Time (s)\tEnd Time (s)\tSpecies\n1\t0.5\t1.5\tRana una\n", "a.txt")
    [Event(start_s=0.5, end_s=1.5, label='Rana una')]
    """
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter="\t", quoting=csv.QUOTE_NONE)
    columns = reader.fieldnames or []
    label = next((name for name in RAVEN_LABELS if name in columns), None)
    for name in ("Begin Time (s)", "End Time (s)"):
        if name not in columns:
            raise SuiteError("missing column", where=where, found=", ".join(columns), expected=name)
    if label is None:
        raise SuiteError(
            "no label column", where=where, found=", ".join(columns), expected=f"one of {', '.join(RAVEN_LABELS)}"
        )
    events: dict[tuple[str, float, float, str], Event] = {}
    for number, row in enumerate(reader, start=2):
        at = f"{where}, line {number}"
        event = _event(row.get("Begin Time (s)"), row.get("End Time (s)"), row.get(label), at)
        events[(row["Selection"], event.start_s, event.end_s, event.label)] = event
    return list(events.values())


def audacity_events(text: str, where: str) -> list[Event]:
    r"""Events of an Audacity label track; its lines of frequency ranges, which begin with a backslash, say nothing.

    >>> audacity_events("0.5\t1.5\tRana una\n\\\t100\t200\n", "a.txt")
    [Event(start_s=0.5, end_s=1.5, label='Rana una')]
    """
    events = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith("\\"):
            continue
        parts = line.split("\t")
        if len(parts) < 3:
            raise SuiteError(
                "neither Raven nor Audacity", where=f"{where}, line {number}", found=repr(line),
                expected="beginning, end and label, separated by tabs",
            )  # fmt: skip
        events.append(_event(parts[0], parts[1], parts[2], f"{where}, line {number}"))
    return events


def csv_events(rows: Sequence[Row]) -> dict[str, list[Event]]:
    """Events by file, of rows with ``file``, ``start_s``, ``end_s`` and ``label``; no label: nothing is heard.

    >>> csv_events([Row({"file": "a.wav", "start_s": "0", "end_s": "1", "label": "x"}, "a.csv, line 2")])
    {'a.wav': [Event(start_s=0.0, end_s=1.0, label='x')]}
    """
    found: dict[str, list[Event]] = {}
    for row in rows:
        events = found.setdefault(row["file"], [])
        if row["label"].strip():
            events.append(_event(row["start_s"], row["end_s"], row["label"], row.where))
    return found


def _event(start: str | None, end: str | None, label: str | None, where: str) -> Event:
    start_s, end_s = number_of(start, where), number_of(end, where)
    if not 0 <= start_s <= end_s:
        raise SuiteError("no stretch of time", where=where, found=f"{start_s:g} … {end_s:g} s")
    if not label or not label.strip():
        raise SuiteError("an event without a label", where=where)
    return Event(start_s, end_s, label.strip())


def number_of(text: str | float | int | None, where: str) -> float:
    """A finite number.

    Raises:
        SuiteError: if it is none.
    """
    try:
        value = float(text) if text is not None else math.nan
    except (ValueError, TypeError):
        value = math.nan
    if not math.isfinite(value):
        raise SuiteError("not a number", where=where, found=repr(text))
    return value
