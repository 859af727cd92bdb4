"""Recordings → windows, batched across recordings → logits → file-level scores."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hf_inatsounds.audio import Waveform
from hf_inatsounds.audio.defects import DefectLog, inspect_recording
from hf_inatsounds.audio.encoded import embedded
from hf_inatsounds.audio.hearing import Hearing, heard_windows
from hf_inatsounds.audio.windows import WindowSpec
from hf_inatsounds.errors import ScoresError
from hf_inatsounds.metrics import FilePool, true_places
from hf_inatsounds.models.classifier import Classifier
from hf_inatsounds.scoring.scores import FileScores

Array = np.ndarray[Any, np.dtype[Any]]

TOP = 5
"""Places kept of each window's true class; top-5 is the deepest that the protocol asks for."""

BLOCK = 256
"""Recordings whose running scores are held at once, 34 MB of all 5,569 classes; what a kill costs."""


@dataclass
class _Windows:
    """What is kept of a block's windows, and those that wait for their batch."""

    waveforms: list[Waveform] = field(default_factory=list)
    owners: list[tuple[int, float, float]] = field(default_factory=list)  # file, start_s, end_s
    files: list[int] = field(default_factory=list)
    spans: list[tuple[float, float]] = field(default_factory=list)
    predictions: list[Array] = field(default_factory=list)
    places: list[Array] = field(default_factory=list)


def score_block(
    classifier: Classifier,
    rows: Iterable[dict[str, Any]],
    window: WindowSpec,
    *,
    classes: Array,
    batch_size: int,
) -> tuple[FileScores, DefectLog]:
    """Score whole recordings, so few that their running scores fit into memory.

    Classes other than ``classes`` are left out of the softmax: the limit of what the authors do, who set
    their logits to the smallest of the batch, without a score's depending on its batch. A recording that
    cannot be read is scored as a window of silence, so that it counts, and is named in the log. Windows are pooled
    batch by batch, so that a recording can be of any length.

    Args:
        classifier: what scores.
        rows: dataset rows with ``recording_id``, ``file_name``, ``label`` and encoded ``audio``.
        window: how recordings are cut.
        classes: that take part, ascending; every label must be among them.
        batch_size: windows per forward pass; no score depends on it.

    Returns:
        The scores, and what was wrong with the recordings.

    Raises:
        ScoresError: if a label is not among the classes, or a logit is not finite.
    """
    rows = tuple(rows)
    labels = np.array([row["label"] for row in rows], np.int64)
    columns = np.searchsorted(classes, labels)
    for row, column in zip(rows, columns.tolist(), strict=True):
        if column == len(classes) or classes[column] != row["label"]:
            raise ScoresError(
                "a recording of a class that is not scored", where=f"recording {row['recording_id']}",
                found=f"label {row['label']}", expected=f"one of {len(classes)} classes of the split",
            )  # fmt: skip
    log, pool, kept = DefectLog(), FilePool(len(rows), len(classes)), _Windows()
    for i, row in enumerate(rows):
        audio = embedded(row["audio"])
        hearing = Hearing()
        for waveform, start_s, end_s in read_windows(audio, window, classifier.sampling_rate, hearing):
            kept.waveforms.append(waveform)
            kept.owners.append((i, start_s, end_s))
            if len(kept.waveforms) == batch_size:
                _flush(classifier, pool, kept, rows, columns, classes)
        log.add([inspect_recording(row["recording_id"], row["file_name"], audio, hearing=hearing)])
    if kept.waveforms:
        _flush(classifier, pool, kept, rows, columns, classes)
    scores = FileScores(
        recording_id=np.array([row["recording_id"] for row in rows], np.int64),
        label=labels,
        place=np.array([[_degrees(row, name) for name in ("latitude", "longitude")] for row in rows]),
        scores={str(name): matrix.astype(np.float32) for name, matrix in pool.scores().items()},
        classes=classes,
        window_file=np.array(kept.files, np.int64),
        window_span_s=np.array(kept.spans, np.float64),
        window_prediction=np.concatenate(kept.predictions),
        window_place=np.concatenate(kept.places),
    )
    return scores, log


def read_windows(
    audio: Any, window: WindowSpec, sampling_rate: int, hearing: Hearing | None = None
) -> Iterator[tuple[Waveform, float, float]]:
    """Each window of a recording with its beginning and end in seconds; an unreadable one gives one of silence."""
    hearing = Hearing() if hearing is None else hearing
    for waveform, start_s, end_s, _ in heard_windows(audio, window, sampling_rate, hearing):
        yield waveform, start_s, end_s
    if not hearing.windows:
        yield np.zeros(0, np.float32), 0.0, 0.0


def _flush(classifier: Classifier, pool: FilePool, kept: _Windows, rows: Any, columns: Array, classes: Array) -> None:
    """Score the waiting windows and forget their samples."""
    files = np.array([owner[0] for owner in kept.owners])
    try:
        scores = pool.add(classifier.logits(kept.waveforms)[:, classes], files)
    except ValueError as error:
        first, last = rows[files[0]]["recording_id"], rows[files[-1]]["recording_id"]
        raise ScoresError(
            "the model's logits are not finite", where=f"recordings {first} … {last}", found=error,
            expected="numbers: a checkpoint with NaN among its weights cannot be evaluated",
        ) from error  # fmt: skip
    kept.files += files.tolist()
    kept.spans += [(start_s, end_s) for _, start_s, end_s in kept.owners]
    kept.predictions.append(classes[scores.argmax(axis=1)])
    kept.places.append(true_places(scores, columns[files], TOP))
    kept.waveforms, kept.owners = [], []


def _degrees(row: dict[str, Any], name: str) -> float:
    value = row.get(name)
    return float("nan") if value is None else float(value)
