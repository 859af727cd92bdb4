"""BEANS: ten data sets of animal sounds (and two of others), by classification or detection.

Layout: the benchmark's repository after its download scripts: ``data/NAME/`` with tables of train, valid and test,
whose paths begin at the repository's root. ``DIR`` is that root, or its ``data`` folder.

Source: earthspecies/beans (datasets.yml, beans/datasets.py).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from hf_inatsounds.downstream.annotation_tables import number_of, read_csv, read_text
from hf_inatsounds.downstream.clips import Clip, Fold, Suite, Task, checked_end_s, duration_s, inside
from hf_inatsounds.downstream.left_out import usable
from hf_inatsounds.downstream.overlap import Event, beans_windows, window_labels
from hf_inatsounds.downstream.policies import BEANS_DETECTION, SINGLE_LABEL
from hf_inatsounds.errors import SuiteError

PARTS = ("train", "valid", "test")


@dataclass(frozen=True)
class ClassificationSet:
    """A data set of one label per recording.

    Attributes:
        stem: of its tables below ``data``; ``.train.csv`` or ``train.csv`` follows.
        n_classes: of the published set.
        sampling_rate: that the benchmark resamples to, in Hz.
        seconds: of a recording that count, from its beginning.
    """

    stem: str
    n_classes: int
    sampling_rate: int
    seconds: float


@dataclass(frozen=True)
class DetectionSet:
    """A data set of events in long recordings.

    Attributes:
        stem: folder below ``data``.
        labels: classes.
        sampling_rate: that the benchmark resamples to, in Hz.
        window_s: length of a window.
        hop_s: between windows.
        unknown: class that every label outside ``labels`` counts as; None: there is none.
    """

    stem: str
    labels: tuple[str, ...]
    sampling_rate: int
    window_s: float
    hop_s: float
    unknown: str | None = None


_DCASE = "AMRE BBWA BTBW CALL CCMK CHSP COYE GCTH GIG GRN OVEN Q RBGR SAVS SNMK SQT SWTH WTSP"
_ENABIRDS = (
    "AMCR AMGO AMRE AMRO BAWW BCCH BGGN BHCO BHVI BLJA BTNW BWWA CARW COYE EATO HETH HOWA KEWA LOWA NOCA NOFL OVEN "
    "RBGR RBWO RCKI REVI SCTA SWTH TUTI WBNU WITU WOTH YBCU OTHR"
)
DATASETS: dict[str, ClassificationSet | DetectionSet] = {
    "watkins": ClassificationSet("watkins/annotations.", 31, 44_100, 3),
    "bats": ClassificationSet("egyptian_fruit_bats/annotations.", 10, 250_000, 5),
    "cbi": ClassificationSet("cbi/annotations.", 264, 44_100, 10),
    "dogs": ClassificationSet("dogs/annotations.", 10, 44_100, 10),
    "humbugdb": ClassificationSet("HumBugDB/data/metadata/", 14, 44_100, 3),
    "esc50": ClassificationSet("esc50/meta/esc50.", 50, 44_100, 5),
    "speech-commands": ClassificationSet("speech_commands/", 35, 16_000, 1),
    "dcase": DetectionSet("dcase/", tuple(_DCASE.split()), 16_000, 2, 1),
    "enabirds": DetectionSet("enabirds/", tuple(_ENABIRDS.split()), 32_000, 2, 1, "OTHR"),
    "hiceas": DetectionSet("hiceas/", ("1",), 22_050, 10, 5),
    "rfcx": DetectionSet("rfcx/", tuple(str(i) for i in range(24)), 48_000, 10, 5),
    "gibbons": DetectionSet("hainan_gibbons/", ("1", "2", "3"), 9_600, 4, 2, "1"),
}
FOLD = Fold("test", ("train",), ("test",), ("valid",))


def load_beans(folder: Path, only: Sequence[str] = ()) -> Suite:
    """The data sets whose tables are in ``folder``."""
    unknown = [name for name in only if name not in DATASETS]
    if unknown:
        raise SuiteError("unknown data set", where="beans", found=unknown[0], expected=", ".join(DATASETS))
    root = folder if (folder / "data").is_dir() else folder.parent if folder.name == "data" else folder
    data = root / "data" if (root / "data").is_dir() else folder
    there = [name for name, one in DATASETS.items() if _table(data, one, "test").exists()]
    missing = [name for name in only if name not in there]
    if missing or not there:
        expected = _table(data, DATASETS[missing[0] if missing else "watkins"], "test")
        raise SuiteError("missing data set", where=folder, found=", ".join(there) or "none", expected=expected)
    tasks, left_out = usable({name: partial(_task, name, root, data) for name in only or there})
    return Suite("beans", tuple(tasks.values()), left_out=left_out)


def _table(data: Path, one: ClassificationSet | DetectionSet, part: str) -> Path:
    return data / f"{one.stem}{part}.{'csv' if isinstance(one, ClassificationSet) else 'jsonl'}"


def _task(name: str, root: Path, data: Path) -> Task:
    one = DATASETS[name]
    rate = f"the benchmark resamples to {one.sampling_rate:,} Hz; a model here hears its own rate"
    if isinstance(one, ClassificationSet):
        clips, classes = _classification(one, root, data)
        odd = () if len(classes) == one.n_classes else (f"{len(classes)} classes; the published set: {one.n_classes}",)
        # its splits are the benchmark's own; recordings of one individual or day stand on both sides
        return Task(name, classes, clips, (FOLD,), SINGLE_LABEL, disjoint="clip", notes=(rate, *odd))
    return Task(name, one.labels, _detection(name, one, root, data), (FOLD,), BEANS_DETECTION,
                disjoint="clip", notes=(rate,))  # fmt: skip


def _classification(one: ClassificationSet, root: Path, data: Path) -> tuple[tuple[Clip, ...], tuple[str, ...]]:
    rows = [(row, part) for part in PARTS for row in read_csv(_table(data, one, part), ["path", "label"])]
    classes = tuple(sorted({row["label"] for row, part in rows if part == "train"}))
    clips = []
    for row, part in rows:
        if row["label"] not in classes:
            raise SuiteError("unknown class", where=row.where, found=repr(row["label"]), expected="a class of train")
        path = str(inside(root, row["path"], where=row.where))
        end_s = min(float(one.seconds), duration_s(path))
        clips.append(Clip(path, 0.0, end_s, (classes.index(row["label"]),), part, path))
    return tuple(clips), classes


def _detection(name: str, one: DetectionSet, root: Path, data: Path) -> tuple[Clip, ...]:
    clips = []
    for part in PARTS:
        table = _table(data, one, part)
        for number, line in enumerate(read_text(table).splitlines(), start=1):
            if line.strip():
                clips += _recording(one, _row(line, f"{table}, line {number}"), root, part, f"{table}, line {number}")
    if not clips:
        raise SuiteError("no window", where=f"{data}, {name}", expected="recordings of at least a window")
    return tuple(clips)


def _row(line: str, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise SuiteError("not JSON", where=where, found=error) from error
    missing = [key for key in ("path", "length", "annotations") if not isinstance(row, dict) or key not in row]
    if missing:
        raise SuiteError("malformed row", where=where, expected=f"a key {missing[0]!r}")
    if not isinstance(row["annotations"], list):
        raise SuiteError("malformed row", where=where, found=row["annotations"], expected="a list of annotations")
    return dict(row)


def _recording(one: DetectionSet, row: dict[str, Any], root: Path, part: str, where: str) -> list[Clip]:
    path = str(inside(root, str(row["path"]), where=where))
    length_s = checked_end_s(number_of(row["length"], f"{where}, length"), path, where=where)
    events = [_event(one, annotation, path, where) for annotation in row["annotations"]]
    clips = []
    for start_s, end_s in beans_windows(number_of(row["length"], where), one.window_s, one.hop_s):
        labels = window_labels(start_s, end_s, events, one.labels)
        clips.append(Clip(path, float(start_s), min(float(end_s), length_s), labels, part, path))
    return clips


def _event(one: DetectionSet, annotation: Any, path: str, where: str) -> Event:
    try:
        start, end, label = annotation["st"], annotation["ed"], str(annotation["label"])
    except (KeyError, TypeError) as error:
        raise SuiteError("malformed annotation", where=where, expected="st, ed and label") from error
    if label not in one.labels:
        if one.unknown is None:
            raise SuiteError("unknown class", where=where, found=repr(label), expected=f"one of {len(one.labels)}")
        label = one.unknown
    start_s, end_s = number_of(start, where), number_of(end, where)
    checked_end_s(end_s, path, where=where)
    return Event(start_s, end_s, label)
