"""BirdSet: focal recordings of Xeno-canto to train on, 5 s segments of soundscapes to test on.

Layout, a folder per subset, as on the Hub with the shards unpacked: ``HSN/HSN_metadata_train.parquet``,
``HSN/HSN_metadata_test_5s.parquet`` and OGG files anywhere below ``HSN/``; or Parquet files with an ``audio`` column,
``HSN/train*.parquet`` and ``HSN/test_5s*.parquet``.

Source: DBD-research-group/BirdSet (dataset script; XCEventMapping for the training events).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from hf_inatsounds.downstream.annotation_tables import number_of
from hf_inatsounds.downstream.clips import (
    AudioReference,
    Clip,
    Fold,
    ParquetCell,
    Suite,
    Task,
    checked_end_s,
    duration_s,
)
from hf_inatsounds.downstream.left_out import usable
from hf_inatsounds.downstream.policies import BIRDSET
from hf_inatsounds.downstream.recording_files import audio_files
from hf_inatsounds.errors import SuiteError

SUBSETS = ("PER", "NES", "UHH", "HSN", "NBP", "SSW", "SNE", "POW")
MEAN_OVER = SUBSETS[:-1]
"""POW is BirdSet's validation and no part of the score."""

N_SEGMENTS = {
    "PER": 15_120, "NES": 24_480, "UHH": 36_637, "HSN": 12_000, "NBP": 563, "SSW": 205_200, "SNE": 23_756, "POW": 4_560
}  # fmt: skip
SEGMENT_S = 5.0
EVENTS = 5
"""Training events of a recording at most, as BirdSet's event limit."""

Row = dict[str, Any]


def load_birdset(folder: Path, only: Sequence[str] = ()) -> Suite:
    """The subsets that are in ``folder``, or ``folder`` itself where it is one."""
    unknown = [name for name in only if name not in SUBSETS]
    if unknown:
        raise SuiteError("unknown subset", where="birdset", found=unknown[0], expected=", ".join(SUBSETS))
    found = {name: folder / name for name in SUBSETS if (folder / name).is_dir()}
    if folder.name in SUBSETS and not found:
        found = {folder.name: folder}
    missing = [name for name in only if name not in found]
    if missing or not found:
        raise SuiteError(
            "missing subset", where=folder, found=", ".join(found) or "none", expected=missing[0] if missing else "HSN/"
        )
    makers = {name: partial(_task, name, path) for name, path in found.items() if not only or name in only}
    tasks, left_out = usable(makers)
    return Suite("birdset", tuple(tasks.values()), MEAN_OVER, left_out)


def _task(name: str, folder: Path) -> Task:
    audio = {path.name: str(path) for path in audio_files(folder)}
    train, train_names = _rows(name, folder, "train")
    test, test_names = _rows(name, folder, "test_5s")
    names = train_names or test_names
    codes = tuple(names or sorted({code for row, _, _ in [*train, *test] for code in _codes(row, None)}))
    place = {code: i for i, code in enumerate(codes)}

    def labels(row: Row, where: str) -> tuple[int, ...]:
        unknown = [code for code in _codes(row, names) if code not in place]
        if unknown:
            raise SuiteError("unknown class", where=where, found=repr(unknown[0]), expected="an eBird code of the set")
        return tuple(sorted({place[code] for code in _codes(row, names)}))

    clips: list[Clip] = []
    for row, cell, where in test:
        reference = _reference(row, cell, audio, where)
        start_s, end_s = _segment(row, reference, where)
        clips.append(Clip(reference, start_s, end_s, labels(row, where), "test", _file(row)))
    for row, cell, where in train:
        reference = _reference(row, cell, audio, where)
        for start_s, end_s in _training_spans(row, reference, where):
            clips.append(Clip(reference, start_s, end_s, labels(row, where), "train", _file(row)))
    published = N_SEGMENTS[name]
    notes = () if len(test) == published else (f"{len(test)} segments; the published set has {published}",)
    fold = Fold("test", ("train",), ("test",))
    return Task(name, codes, tuple(clips), (fold,), BIRDSET, names="ebird", notes=notes)


def _rows(name: str, folder: Path, split: str) -> tuple[list[tuple[Row, ParquetCell | None, str]], list[str]]:
    """Rows of a split, each with its recording where the file holds it, and the class names where it says them."""
    files = sorted(folder.rglob(f"{name}_metadata_{split}.parquet")) or sorted(folder.rglob(f"{split}*.parquet"))
    if not files:
        raise SuiteError(
            "missing metadata", where=folder, found="no such file", expected=f"{name}_metadata_{split}.parquet"
        )
    rows: list[tuple[Row, ParquetCell | None, str]] = []
    names: list[str] = []
    for path in files:
        for row, cell, where in _file_rows(path):
            rows.append((row, cell, where))
        names = names or _class_names(pq.read_schema(path))
    if not rows:
        raise SuiteError("empty table", where=files[0], found="no row")
    return rows, names


def _file_rows(path: Path) -> Iterator[tuple[Row, ParquetCell | None, str]]:
    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise SuiteError("unreadable metadata", where=path, found=error) from error
    columns = file.schema_arrow.names
    for needed in ("ebird_code_multilabel", "start_time", "end_time"):
        if needed not in columns:
            raise SuiteError("missing column", where=path, found=", ".join(columns), expected=needed)
    # pandas keeps an index without a name under __index_level_0__
    key = next((one for one in ("filepath", "__index_level_0__") if one in columns), None)
    has_audio = "audio" in columns
    if key is None and not has_audio:
        raise SuiteError("missing column", where=path, found=", ".join(columns), expected="filepath")
    wanted = [one for one in (key, *KEPT) if one in columns]
    number = 0
    for group in range(file.num_row_groups):
        for place, row in enumerate(file.read_row_group(group, columns=wanted).to_pylist()):
            cell = ParquetCell(str(path), group, place) if has_audio else None
            name = str(row.get(key) or "") if key else ""
            yield {**row, "filepath": name or str(cell)}, cell, f"{path}, row {number}"
            number += 1


KEPT = ("ebird_code", "ebird_code_multilabel", "start_time", "end_time", "detected_events", "event_cluster")


def _class_names(schema: pa.Schema) -> list[str]:
    """Names behind numbers, which datasets writes into a Parquet file's metadata."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        one = features["ebird_code_multilabel"]
        names = (one[0] if isinstance(one, list) else one["feature"])["names"]
        return [str(name) for name in names]
    except (KeyError, ValueError, TypeError, IndexError):
        return []


def _codes(row: Row, names: list[str] | None) -> list[str]:
    """The row's eBird codes: the list, or the single code where there is no list."""
    values = row.get("ebird_code_multilabel")
    if values is None:
        values = [] if row.get("ebird_code") is None else [row["ebird_code"]]
    return [
        names[value] if names and isinstance(value, int) and 0 <= value < len(names) else str(value) for value in values
    ]


def _file(row: Row) -> str:
    return Path(row["filepath"]).name


def _reference(row: Row, cell: ParquetCell | None, audio: dict[str, str], where: str) -> AudioReference:
    if cell is not None:
        return cell
    path = audio.get(_file(row))
    if path is None:
        raise SuiteError("missing recording", where=where, found=f"no {_file(row)!r} below the subset's folder")
    return path


def _segment(row: Row, reference: AudioReference, where: str) -> tuple[float, float]:
    """A test segment: [start_time, end_time] of a soundscape, or the whole of a file that is the segment itself."""
    length_s = duration_s(reference)
    if length_s <= SEGMENT_S + 0.1:
        return 0.0, length_s
    start_s, end_s = number_of(row["start_time"], where), number_of(row["end_time"], where)
    return start_s, checked_end_s(end_s, reference, where=where)


def _training_spans(row: Row, reference: AudioReference, where: str) -> list[tuple[float, float]]:
    """Up to ``EVENTS`` times 5 s from where an event of the recording's largest cluster begins; or its first 5 s.

    An event near the end is moved back, so that its 5 s are whole.
    """
    events, clusters = row.get("detected_events") or [], row.get("event_cluster") or []
    if len(events) != len(clusters):
        raise SuiteError("events and clusters differ", where=where, found=f"{len(events)} and {len(clusters)}")
    if not (len(clusters) == 1 and clusters[0] == -1):  # -1 is noise, unless there is nothing else
        kept = [(event, cluster) for event, cluster in zip(events, clusters, strict=True) if cluster != -1]
        counts = Counter(cluster for _, cluster in sorted(kept, key=lambda pair: pair[1]))
        largest = counts.most_common(1)[0][0] if counts else None  # of equally large ones the first
        events = [event for event, cluster in kept if cluster == largest]
    length_s = duration_s(reference)
    starts = []
    for event in events[:EVENTS]:
        if len(event) != 2:
            raise SuiteError("malformed event", where=where, found=event, expected="beginning and end")
        checked_end_s(number_of(event[1], where), reference, where=where)
        starts.append(min(number_of(event[0], where), max(length_s - SEGMENT_S, 0.0)))
    return [(start_s, min(start_s + SEGMENT_S, length_s)) for start_s in starts or [0.0]]
