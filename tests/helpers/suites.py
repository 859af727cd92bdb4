"""Tiny downstream suites, each in exactly its benchmark's layout, and an embedder that hears nothing but levels."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile as sf

from hf_inatsounds.audio.windows import WindowSpec
from hf_inatsounds.inference.embedding import Embedder
from hf_inatsounds.objectives import Multiclass, Multilabel

RATE = 8_000


def level(path: Path, value: float, seconds: float = 1.0) -> Path:
    """A recording of one constant value, which the stub embedder below reads off."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sf.write(path, np.full(round(seconds * RATE), value), RATE)
    return path


def levels(path: Path, stretches: list[tuple[float, float]]) -> Path:
    """A recording of (seconds, value) stretches."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sf.write(path, np.concatenate([np.full(round(seconds * RATE), value) for seconds, value in stretches]), RATE)
    return path


def write_csv(path: Path, columns: list[str], rows: list[list[Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="") as stream:
        csv.writer(stream).writerows([columns, *rows])
    return path


def esc10(folder: Path, *, per_fold: int = 2) -> Path:
    """ESC-50's own layout, two of its categories in ESC-10 and one not."""
    rows = []
    for fold in "12345":
        for target, (name, in_esc10) in enumerate((("dog", "True"), ("rain", "True"), ("wind", "False"))):
            for take in range(per_fold):
                file = f"{fold}-{fold}{target}{take}00-A-{target}.wav"
                level(folder / "audio" / file, 0.1 + 0.2 * target + 0.01 * int(fold) + 0.001 * take)
                rows.append([file, fold, target, name, in_esc10, f"{fold}{target}{take}00", "A"])
    write_csv(
        folder / "meta" / "esc50.csv", ["filename", "fold", "target", "category", "esc10", "src_file", "take"], rows
    )
    return folder


def birdset(folder: Path, subset: str = "HSN") -> Path:
    """One subset: focal recordings to train on, 5 s segments to test on; class ccc is in no segment."""
    home = folder / subset
    for name, seconds in (("XC1.ogg", 12), ("XC2.ogg", 3), ("XC3.ogg", 6)):
        level(home / "train" / name, 0.1, seconds)
    train = {
        "filepath": ["XC1.ogg", "XC2.ogg", "XC3.ogg"],
        "ebird_code": ["aaa", "bbb", "ccc"],
        "ebird_code_multilabel": [["aaa"], ["bbb"], ["ccc"]],
        "start_time": [None] * 3,
        "end_time": [None] * 3,
        "detected_events": [[[1.0, 2.0], [3.0, 4.0], [10.0, 11.5], [5.0, 6.0]], [], [[0.5, 1.0]]],
        "event_cluster": [[0, -1, 0, 1], [], [-1]],
    }
    labels = [["aaa"], ["aaa", "bbb"], [], ["bbb"]]
    names = [f"{subset}_001_{5 * i:03d}_{5 * i + 5:03d}.ogg" for i in range(4)]
    for name in names:
        level(home / "test_5s" / name, 0.1, 5)
    test = {
        "filepath": names,
        "ebird_code": [None] * 4,
        "ebird_code_multilabel": labels,
        "start_time": [0.0, 5.0, 10.0, 15.0],
        "end_time": [5.0, 10.0, 15.0, 20.0],
        "detected_events": [None] * 4,
        "event_cluster": [None] * 4,
    }
    write_table(home / f"{subset}_metadata_train.parquet", train)
    write_table(home / f"{subset}_metadata_test_5s.parquet", test)
    return folder


KINDS = {
    "ebird_code": pa.string(), "ebird_code_multilabel": pa.list_(pa.string()), "start_time": pa.float64(),
    "end_time": pa.float64(), "detected_events": pa.list_(pa.list_(pa.float64())),
    "event_cluster": pa.list_(pa.int64()), "filepath": pa.string(),
}  # fmt: skip


def write_table(path: Path, columns: dict[str, list[Any]]) -> None:
    pq.write_table(pa.table({key: pa.array(values, KINDS[key]) for key, values in columns.items()}), path)


def beans_dogs(folder: Path) -> Path:
    """BEANS, classification: paths from the repository's root on."""
    for part, rows in {
        "train": [("Zoe", 0.1), ("Mac", 0.5)],
        "valid": [("Zoe", 0.12)],
        "test": [("Zoe", 0.11), ("Mac", 0.48), ("Mac", 0.13), ("Zoe", 0.09)],
    }.items():
        made = []
        for i, (name, value) in enumerate(rows):
            file = f"data/dogs/wav/{part}-{i}.wav"
            level(folder / file, value, 12)
            made.append([file, name])
        write_csv(folder / "data" / "dogs" / f"annotations.{part}.csv", ["path", "label"], made)
    return folder


def beans_gibbons(folder: Path, *, test_end_s: float = 8.9) -> Path:
    """BEANS, detection: windows of 4 s every 2 s; the label 7 counts as 1."""
    for part in ("train", "valid", "test"):
        file = f"data/hainan_gibbons/{part}.wav"
        level(folder / file, 0.1, 9)
        row = {
            "path": file,
            "length": 9.0,
            "annotations": [{"st": 3.5, "ed": 4.5, "label": 2}, {"st": 5.9, "ed": test_end_s, "label": 7}],
        }
        (folder / "data" / "hainan_gibbons" / f"{part}.jsonl").write_text(json.dumps(row) + "\n")
    return folder


def anuraset(folder: Path) -> Path:
    """Samples of 3 s; a row of 0 and 1 each."""
    columns = ["sample_name", "fname", "min_t", "max_t", "site", "date", "species_number", "subset", "SPHSUR", "BOABIS"]
    rows: list[list[Any]] = []
    for i, (subset, one, two) in enumerate(
        [("train", 1, 0), ("train", 0, 1), ("test", 1, 1), ("test", 0, 0), ("test", 1, 0)]
    ):
        name = f"INCT4_20191125_{i}_0_3"
        level(folder / "audio" / "INCT4" / f"{name}.wav", 0.1, 3)
        rows.append([name, "INCT4_20191125_1", 0, 3, "INCT4", "2019-11-25", one + two, subset, one, two])
    write_csv(folder / "metadata.csv", columns, rows)
    return folder


def birb(folder: Path) -> Path:
    """Two species, two exemplars each; a corpus recording of 11 s, whose last window holds an unknown call."""
    for species, value in (("Rana una", 0.2), ("Turdus duo", 0.4)):
        for i in range(2):
            level(folder / "exemplars" / species / f"{i}.wav", value, 2)
    levels(folder / "corpus" / "dawn.wav", [(5.0, 0.2), (6.0, 0.4)])
    (folder / "corpus" / "dawn.Table.1.selections.txt").write_text(
        "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tSpecies\n"
        "1\tSpectrogram 1\t1\t1.0\t2.0\tRana una\n"
        "2\tSpectrogram 1\t1\t6.0\t7.0\tTurdus duo\n"
        "3\tSpectrogram 1\t1\t9.5\t10.5\tunknown\n"
    )
    return folder


def level_embedder(points: list[float], names: list[str] | None = None, *, multilabel: bool = False) -> Embedder:
    """Windows → how near their mean is to each of ``points``, as embedding, tokens and logits."""

    def forward(windows: Any, kind: str) -> np.ndarray:
        means = np.array([window.mean() if len(window) else 0.0 for window in windows])
        near = np.exp(-np.abs(means[:, None] - np.array(points)[None, :]) * 20).astype(np.float32)
        return near if kind != "tokens" else np.repeat(near[:, None, :], 2, axis=1)

    objective = Multilabel() if multilabel else Multiclass()
    classifier: Any = SimpleNamespace(species=names, label_space=None, objective=objective)
    digest = "stub" + "".join(f"{point:g}" for point in points).ljust(16, "0")
    return Embedder("stub", WindowSpec(5.0, 5.0), RATE, classifier, digest, 0, False, forward)
