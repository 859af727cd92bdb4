"""File-level scores of a split: in memory, and as ``scores.parquet``, ``windows.parquet`` and ``scores.json``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hf_inatsounds.errors import ScoresError
from hf_inatsounds.files import replacing, write_json
from hf_inatsounds.metrics.pooling import POOLINGS
from hf_inatsounds.scoring.matrices import ROWS, as_lists, as_matrix, not_finite, read_matrix

Array = np.ndarray[Any, np.dtype[Any]]

SCORES_FILE, WINDOWS_FILE, SCORES_MANIFEST = "scores.parquet", "windows.parquet", "scores.json"
COLUMN_OF = {"mean": "scores", "max": "scores_max", "log_mean_exp": "scores_log_mean_exp"}
"""Aggregation → its column."""


@dataclass
class FileScores:
    """File-level scores of a split, and what its windows predicted.

    Attributes:
        recording_id: (F,) int64.
        label: (F,) int64.
        place: (F, 2) float64, latitude and longitude in degrees, NaN where unknown.
        scores: aggregation → (F, K) float32, the columns of ``classes``.
        classes: (K,) int64, ascending: the classes that took part in the softmax.
        window_file: (W,) int64, index of each window's file.
        window_span_s: (W, 2) float64, beginning and end in seconds.
        window_prediction: (W,) int64, best class.
        window_place: (W,) int64, place of the true class among the best five, 5 where it is not among them.
    """

    recording_id: Array
    label: Array
    place: Array
    scores: dict[str, Array]
    classes: Array
    window_file: Array
    window_span_s: Array
    window_prediction: Array
    window_place: Array

    @property
    def columns(self) -> Array:
        """(F,) the column of each recording's class."""
        found: Array = np.searchsorted(self.classes, self.label)
        return found

    @property
    def mean(self) -> Array:
        """(F, K) mean of each file's window scores: the headline."""
        return self.scores["mean"]

    def tables(self) -> tuple[pa.Table, pa.Table]:
        """What ``scores.parquet`` and ``windows.parquet`` hold."""
        columns = {
            "recording_id": pa.array(self.recording_id, pa.int64()),
            "label": pa.array(self.label, pa.int64()),
            "latitude": pa.array(self.place[:, 0], pa.float64(), from_pandas=True),  # NaN is null
            "longitude": pa.array(self.place[:, 1], pa.float64(), from_pandas=True),
            **{COLUMN_OF[name]: as_lists(matrix) for name, matrix in self.scores.items()},
        }
        windows = {
            "recording_id": pa.array(self.recording_id[self.window_file], pa.int64()),
            "start_s": pa.array(self.window_span_s[:, 0]),
            "end_s": pa.array(self.window_span_s[:, 1]),
            "prediction": pa.array(self.window_prediction, pa.int64()),
            "place": pa.array(self.window_place, pa.int64()),
        }
        about = {b"classes": json.dumps(self.classes.tolist()).encode()}
        return pa.table(columns).replace_schema_metadata(about), pa.table(windows)

    @classmethod
    def from_tables(cls, table: pa.Table, windows: pa.Table, scores: dict[str, Array] | None = None) -> FileScores:
        """The counterpart of :meth:`tables`.

        Args:
            table: recordings.
            windows: of them.
            scores: aggregation → (F, K); None for those that the table holds.

        Raises:
            KeyError, ValueError: if a column or the classes are missing or malformed.
        """
        classes = np.array(json.loads((table.schema.metadata or {})[b"classes"]), np.int64)
        ids = table["recording_id"].to_numpy()
        order = np.argsort(ids, kind="stable")
        owners = windows["recording_id"].to_numpy()
        place = np.minimum(np.searchsorted(ids[order], owners), max(len(ids) - 1, 0))
        if not np.array_equal(ids[order][place], owners):
            raise ValueError("windows of recordings that have no scores")
        names = [name for name, column in COLUMN_OF.items() if column in table.column_names]
        return cls(
            recording_id=ids,
            label=table["label"].to_numpy(),
            place=np.stack([table[name].to_numpy() for name in ("latitude", "longitude")], axis=1),
            scores=scores or {name: as_matrix(table[COLUMN_OF[name]], len(classes)) for name in names},
            classes=classes,
            window_file=order[place],
            window_span_s=np.stack([windows["start_s"].to_numpy(), windows["end_s"].to_numpy()], axis=1),
            window_prediction=windows["prediction"].to_numpy(),
            window_place=windows["place"].to_numpy(),
        )

    @classmethod
    def merge(cls, parts: Sequence[FileScores]) -> FileScores:
        """The scores of several processes as one, ordered by recording."""
        tables, windows = (pa.concat_tables(some) for some in zip(*(part.tables() for part in parts), strict=True))
        return cls.from_tables(tables.sort_by("recording_id"), windows.sort_by("recording_id"))

    @classmethod
    def load(cls, folder: str | Path, aggregations: Iterable[str] = POOLINGS) -> FileScores:
        """Read what :func:`write_scores` wrote.

        Args:
            folder: where from.
            aggregations: which scores; at the official size one takes 240 MB.

        Raises:
            ScoresError: if files are missing, changed, malformed, or hold NaN.
        """
        folder = Path(folder)
        try:
            check_manifest(folder)
            with pq.ParquetFile(folder / SCORES_FILE) as file:
                table = file.read(columns=["recording_id", "label", "latitude", "longitude"])
                n_classes = len(json.loads(file.schema_arrow.metadata[b"classes"]))
                held = [name for name in aggregations if COLUMN_OF[name] in file.schema_arrow.names]
                scores = {name: read_matrix(file, COLUMN_OF[name], n_classes) for name in held}
            loaded = cls.from_tables(table, pq.read_table(folder / WINDOWS_FILE), scores)
            if not np.isin(loaded.label, loaded.classes).all():
                raise ValueError("a recording's label is not among the scored classes")
        except (OSError, pa.ArrowException, KeyError, ValueError, TypeError) as error:
            raise ScoresError("no usable scores", where=folder, found=error, expected="what evaluate wrote") from error
        for matrix in loaded.scores.values():
            bad = not_finite(matrix)
            if len(bad):
                found = f"recording {loaded.recording_id[bad[0]]}"
                raise ScoresError("scores hold NaN or infinity", where=folder / SCORES_FILE, found=found)
        return loaded


def write_scores(folder: str | Path, tables: Iterable[pa.Table], windows: pa.Table, about: dict[str, Any]) -> None:
    """Write scores, portion by portion, then windows, then the manifest with their sizes and checksums.

    Args:
        folder: where to.
        tables: recordings, as :meth:`FileScores.tables` gives them.
        windows: of all of them.
        about: what the manifest says besides.
    """
    folder = Path(folder)
    (folder / SCORES_MANIFEST).unlink(missing_ok=True)  # from here on the folder is not whole
    writer, recordings, schema = None, 0, None
    with replacing(folder / SCORES_FILE) as path:
        try:
            for table in tables:
                schema, recordings = table.schema, recordings + table.num_rows
                writer = writer or pq.ParquetWriter(path, schema, use_dictionary=False)  # floats hardly repeat
                writer.write_table(table, row_group_size=ROWS)
        finally:
            if writer is not None:
                writer.close()
    if schema is None:
        raise ScoresError("nothing to write", where=folder, found="no recording")
    with replacing(folder / WINDOWS_FILE) as path:
        pq.write_table(windows, path)
    manifest = {
        "format": 1,
        "recordings": recordings,
        "windows": windows.num_rows,
        "aggregations": [name for name, column in COLUMN_OF.items() if column in schema.names],
        "classes": json.loads(schema.metadata[b"classes"]),
        **about,
        "files": {name: _fingerprint(folder / name) for name in (SCORES_FILE, WINDOWS_FILE)},
    }
    write_json(folder / SCORES_MANIFEST, manifest)


def check_manifest(folder: Path) -> dict[str, Any]:
    """The manifest, its files' checksums verified.

    Raises:
        OSError, ValueError, KeyError, TypeError: if it is missing or malformed, or a file is not what it says.
    """
    manifest: dict[str, Any] = json.loads((folder / SCORES_MANIFEST).read_text(encoding="utf-8"))
    for name in (SCORES_FILE, WINDOWS_FILE):
        if _fingerprint(folder / name) != manifest["files"][name]:
            raise ValueError(f"{name} is not the file that {SCORES_MANIFEST} names")
    return manifest


def _fingerprint(path: Path) -> dict[str, Any]:
    with open(path, "rb") as stream:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(stream, "sha256").hexdigest()}
