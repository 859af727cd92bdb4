"""Scoring: recordings → windows → logits → file-level scores, kept as Parquet."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hf_inatsounds.audio import Recording, Waveform
from hf_inatsounds.defects import DefectLog, inspect_recording
from hf_inatsounds.errors import AudioError, ScoresError
from hf_inatsounds.files import replacing
from hf_inatsounds.metrics import aggregate, softmax, true_places
from hf_inatsounds.models import Classifier
from hf_inatsounds.windows import WindowSpec

Array = np.ndarray[Any, np.dtype[Any]]

SCORES_FILE, WINDOWS_FILE = "scores.parquet", "windows.parquet"
TOP = 5
"""Places kept of each window's true class; top-5 is the deepest that the protocol asks for."""


@dataclass
class FileScores:
    """File-level scores of a split, and what its windows predicted.

    Attributes:
        recording_id: (F,) int64.
        label: (F,) int64.
        mean: (F, C) float32, mean of each file's window scores.
        maximum: (F, C) float32, their maximum.
        window_file: (W,) int64, index of each window's file.
        window_span_s: (W, 2) float64, beginning and end in seconds.
        window_prediction: (W,) int64, best class.
        window_place: (W,) int64, place of the true class among the best five, 5 where it is not among them.
        present: classes that took part in the softmax.
    """

    recording_id: Array
    label: Array
    mean: Array
    maximum: Array
    window_file: Array
    window_span_s: Array
    window_prediction: Array
    window_place: Array
    present: Array

    def save(self, folder: str | Path) -> None:
        """Write ``scores.parquet`` and ``windows.parquet``, each whole or not at all."""
        folder = Path(folder)
        n_classes = self.mean.shape[1]
        columns = {
            "recording_id": pa.array(self.recording_id, pa.int64()),
            "label": pa.array(self.label, pa.int64()),
            "scores": _as_lists(self.mean),
            "scores_max": _as_lists(self.maximum),
        }
        about = {b"present": json.dumps(self.present.tolist()).encode(), b"classes": str(n_classes).encode()}
        windows = {
            "recording_id": pa.array(self.recording_id[self.window_file], pa.int64()),
            "start_s": pa.array(self.window_span_s[:, 0]),
            "end_s": pa.array(self.window_span_s[:, 1]),
            "prediction": pa.array(self.window_prediction, pa.int64()),
            "place": pa.array(self.window_place, pa.int64()),
        }
        for name, table in (
            (WINDOWS_FILE, pa.table(windows)),
            (SCORES_FILE, pa.table(columns).replace_schema_metadata(about)),
        ):
            with replacing(folder / name) as path:
                pq.write_table(table, path, row_group_size=1024)

    @classmethod
    def merge(cls, parts: Sequence[FileScores]) -> FileScores:
        """The scores of several processes as one, ordered by recording."""
        offsets = np.cumsum([0, *(len(part.recording_id) for part in parts[:-1])])
        files = np.concatenate([part.window_file + offset for part, offset in zip(parts, offsets, strict=True)])

        def joined(name: str) -> Array:
            return np.concatenate([getattr(part, name) for part in parts])

        order = np.argsort(joined("recording_id"), kind="stable")
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        by_file = np.argsort(place[files], kind="stable")
        return cls(
            recording_id=joined("recording_id")[order],
            label=joined("label")[order],
            mean=joined("mean")[order],
            maximum=joined("maximum")[order],
            window_file=place[files][by_file],
            window_span_s=joined("window_span_s")[by_file],
            window_prediction=joined("window_prediction")[by_file],
            window_place=joined("window_place")[by_file],
            present=parts[0].present,
        )

    @classmethod
    def load(cls, folder: str | Path) -> FileScores:
        """Read what :meth:`save` wrote.

        Raises:
            ScoresError: if files are missing, malformed, or hold NaN.
        """
        folder = Path(folder)
        try:
            table, windows = pq.read_table(folder / SCORES_FILE), pq.read_table(folder / WINDOWS_FILE)
            ids = table["recording_id"].to_numpy()
            file_of = {recording_id: i for i, recording_id in enumerate(ids.tolist())}
            present = np.array(json.loads(table.schema.metadata[b"present"]), np.int64)
            n_classes = int(table.schema.metadata[b"classes"])
            loaded = cls(
                recording_id=ids,
                label=table["label"].to_numpy(),
                mean=_as_matrix(table["scores"], n_classes),
                maximum=_as_matrix(table["scores_max"], n_classes),
                window_file=np.array([file_of[i] for i in windows["recording_id"].to_pylist()], np.int64),
                window_span_s=np.stack([windows["start_s"].to_numpy(), windows["end_s"].to_numpy()], axis=1),
                window_prediction=windows["prediction"].to_numpy(),
                window_place=windows["place"].to_numpy(),
                present=present,
            )
        except (OSError, pa.ArrowException, KeyError, ValueError, TypeError) as error:
            raise ScoresError("no usable scores", where=folder, found=error, expected="what evaluate wrote") from error
        for scores in (loaded.mean, loaded.maximum):
            bad = np.flatnonzero(np.isnan(scores).any(axis=1))
            if len(bad):
                raise ScoresError("scores hold NaN", where=folder / SCORES_FILE, found=f"recording {ids[bad[0]]}")
        return loaded


@dataclass
class _Pending:
    """Windows waiting for their batch."""

    waveforms: list[Waveform] = field(default_factory=list)
    owners: list[tuple[int, int, float, float]] = field(default_factory=list)  # file, label, start_s, end_s


def score_recordings(
    classifier: Classifier,
    rows: Iterable[dict[str, Any]],
    window: WindowSpec,
    *,
    present: Array,
    batch_size: int = 32,
) -> tuple[FileScores, DefectLog]:
    """Score whole recordings.

    The classes absent from the split are left out of the softmax: the limit of what the authors do, who set
    their logits to the smallest of the batch, without a score's depending on its batch. A recording that
    cannot be read is scored as a window of silence, so that it counts, and is named in the log.

    Args:
        classifier: what scores.
        rows: dataset rows with ``recording_id``, ``file_name``, ``label`` and encoded ``audio``.
        window: how recordings are cut.
        present: classes that the split holds.
        batch_size: windows a forward pass; it bounds memory, and no score depends on it.

    Returns:
        The scores, and what was wrong with the recordings.

    Raises:
        ScoresError: if there is no recording.
    """
    log = DefectLog()
    parts: list[_Part] = []
    ids: list[int] = []
    labels: list[int] = []
    pending = _Pending()
    for row in rows:
        log.add([inspect_recording(row["recording_id"], row["file_name"], row["audio"])])
        ids.append(row["recording_id"])
        labels.append(row["label"])
        for waveform, start_s, end_s in read_windows(row["audio"], window, classifier.sampling_rate):
            pending.waveforms.append(waveform)
            pending.owners.append((len(ids) - 1, row["label"], start_s, end_s))
            if len(pending.waveforms) == batch_size:
                parts.append(_score(classifier, pending, present))
                pending = _Pending()
    if pending.waveforms:
        parts.append(_score(classifier, pending, present))
    if not ids:
        raise ScoresError("nothing to score", where="the dataset", found="no recording")
    return _join(parts, np.array(ids, np.int64), np.array(labels, np.int64), present), log


def read_windows(audio: Any, window: WindowSpec, sampling_rate: int) -> Iterator[tuple[Waveform, float, float]]:
    """Each window of a recording with its beginning and end in seconds; an unreadable one gives one of silence."""
    try:
        with Recording(audio) as recording:
            rate = recording.info.sampling_rate
            spans = window.spans(recording.info.n_samples, rate)
            for start, stop in spans:
                yield recording.read(start / rate, (stop - start) / rate, sampling_rate), start / rate, stop / rate
    except AudioError:
        yield np.zeros(0, np.float32), 0.0, 0.0


_Part = tuple[Array, Array, Array, Array, Array]
"""Scores (W, C) float32, files (W,), spans (W, 2), predictions (W,), places (W,) of a batch of windows."""


def _score(classifier: Classifier, pending: _Pending, present: Array) -> _Part:
    scores = softmax(classifier.logits(pending.waveforms), only=present)
    files, labels, starts, ends = (np.array(column) for column in zip(*pending.owners, strict=True))
    places = true_places(scores, labels, TOP)
    return scores.astype(np.float32), files, np.stack([starts, ends], axis=1), scores.argmax(axis=1), places


def _join(parts: list[_Part], ids: Array, labels: Array, present: Array) -> FileScores:
    scores, files, spans, predictions, places = (np.concatenate(column) for column in zip(*parts, strict=True))
    unordered = FileScores(
        recording_id=ids,
        label=labels,
        mean=aggregate(scores, files, len(ids), "mean").astype(np.float32),
        maximum=aggregate(scores, files, len(ids), "max").astype(np.float32),
        window_file=files,
        window_span_s=spans,
        window_prediction=predictions,
        window_place=places,
        present=present,
    )
    return FileScores.merge([unordered])


def _as_lists(matrix: Array) -> pa.Array:
    flat = pa.array(np.ascontiguousarray(matrix, np.float32).ravel(), pa.float32())
    return pa.FixedSizeListArray.from_arrays(flat, matrix.shape[1])


def _as_matrix(column: pa.ChunkedArray, n_classes: int) -> Array:
    flat = column.combine_chunks().flatten().to_numpy(zero_copy_only=False)
    matrix: Array = flat.reshape(len(column), n_classes)
    return matrix
