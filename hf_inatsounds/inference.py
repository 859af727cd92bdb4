"""Prediction on recordings of any length: windows, species, scores; and the formats they are written in."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hf_inatsounds.audio import Recording, Waveform
from hf_inatsounds.errors import printable, storable
from hf_inatsounds.models import Classifier
from hf_inatsounds.windows import WindowSpec

FORMATS = ("csv", "parquet", "raven", "audacity")


@dataclass(frozen=True)
class Detection:
    """One species in one window.

    Attributes:
        file: the recording.
        start_s: beginning of the window, in seconds.
        end_s: its end, in seconds.
        species: scientific name.
        common_name: English name, empty where there is none.
        score: in [0, 1]: softmax for a multiclass model, sigmoid for a multilabel one.
    """

    file: str
    start_s: float
    end_s: float
    species: str
    common_name: str
    score: float


def predict_file(
    classifier: Classifier,
    file: str | Path,
    *,
    window: WindowSpec | None = None,
    top: int = 1,
    min_score: float = 0.0,
    batch_size: int = 32,
) -> Iterator[Detection]:
    """Species in each window of a recording, in order of time; only ``batch_size`` windows are held at once.

    Args:
        classifier: what predicts.
        file: WAV, FLAC, OGG or MP3, of any length and rate.
        window: how it is cut; None for the classifier's window without overlap, from the beginning.
        top: best species a window, at most.
        min_score: weaker ones are left out.
        batch_size: windows a forward pass.

    Raises:
        AudioError: if the file is missing, empty or unreadable.
        InatSoundsError: if the window is longer than the model's input.
    """
    window = window or WindowSpec(classifier.window.size_s, classifier.window.size_s, "start")
    classifier.frontend.check_window(window)
    names = classifier.species
    space = classifier.label_space
    common = [taxon.common_name for taxon in space.taxa] if space is not None else [""] * len(names)
    for spans, waveforms in _batches(file, window, classifier.sampling_rate, batch_size):
        scores = classifier.objective.scores(torch.from_numpy(classifier.logits(waveforms))).numpy()
        best = np.argsort(-scores, axis=1, kind="stable")[:, :top]
        for (start_s, end_s), row, classes in zip(spans, scores, best, strict=True):
            for c in classes:
                if row[c] >= min_score:
                    yield Detection(
                        storable(file), round(start_s, 3), round(end_s, 3), names[c], common[c], float(row[c])
                    )


def _batches(
    file: str | Path, window: WindowSpec, sampling_rate: int, batch_size: int
) -> Iterator[tuple[list[tuple[float, float]], list[Waveform]]]:
    with Recording(file) as recording:
        rate = recording.info.sampling_rate
        spans = window.spans(recording.info.n_samples, rate)
        for first in range(0, len(spans), batch_size):
            seconds = [(start / rate, stop / rate) for start, stop in spans[first : first + batch_size]]
            yield seconds, [recording.read(start, stop - start, sampling_rate) for start, stop in seconds]


def write_detections(detections: Iterable[Detection], path: Path, form: str) -> int:
    """Write detections to ``path`` as csv, parquet, a Raven selection table or an Audacity label track.

    Returns:
        How many there were.
    """
    if form == "parquet":
        return _write_parquet(list(detections), path)
    count = 0

    def counted() -> Iterator[Detection]:
        nonlocal count
        for one in detections:
            count += 1
            yield one

    with open(path, "w", encoding="utf-8", newline="") as stream:
        stream.writelines(LINES[form](counted()))
    return count


def csv_lines(detections: Iterable[Detection]) -> Iterator[str]:
    """CSV with a heading.

    >>> list(csv_lines([Detection("a.wav", 0.0, 3.0, "Rana indet", "frog", 0.5)]))[1]
    'a.wav,0.000,3.000,Rana indet,frog,0.500000\\n'
    """
    yield _csv_line(["file", "start_s", "end_s", "species", "common_name", "score"])
    for one in detections:
        times = [f"{one.start_s:.3f}", f"{one.end_s:.3f}"]
        yield _csv_line([one.file, *times, one.species, one.common_name, f"{one.score:.6f}"])


def raven_lines(detections: Iterable[Detection]) -> Iterator[str]:
    """A Raven selection table: tab-separated, one selection a detection."""
    names = ["Selection", "View", "Channel", "Begin Time (s)", "End Time (s)", "Begin File", "Species", "Score"]
    yield "\t".join(names) + "\n"
    for number, one in enumerate(detections, start=1):
        times = f"{one.start_s:.3f}\t{one.end_s:.3f}"
        name, species = printable(Path(one.file).name), printable(one.species)
        yield f"{number}\tSpectrogram 1\t1\t{times}\t{name}\t{species}\t{one.score:.6f}\n"


def audacity_lines(detections: Iterable[Detection]) -> Iterator[str]:
    """An Audacity label track: beginning, end, label."""
    for one in detections:
        yield f"{one.start_s:.6f}\t{one.end_s:.6f}\t{printable(one.species)} {one.score:.3f}\n"


LINES: dict[str, Callable[[Iterable[Detection]], Iterator[str]]] = {
    "csv": csv_lines,
    "raven": raven_lines,
    "audacity": audacity_lines,
}
"""Text format → its lines."""


def _csv_line(values: Sequence[str]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(map(printable, values))
    return buffer.getvalue()


def _write_parquet(detections: list[Detection], path: Path) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows: list[dict[str, Any]] = [vars(one) for one in detections]
    names = ["file", "start_s", "end_s", "species", "common_name", "score"]
    kinds = [pa.string(), pa.float64(), pa.float64(), pa.string(), pa.string(), pa.float32()]
    pq.write_table(pa.Table.from_pylist(rows, schema=pa.schema(list(zip(names, kinds, strict=True)))), path)
    return len(rows)
