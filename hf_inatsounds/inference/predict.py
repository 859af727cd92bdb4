"""Prediction on recordings of any length: windows, species, scores; and the formats they are written in."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from hf_inatsounds.audio.hearing import Hearing, heard_windows
from hf_inatsounds.audio.windows import WindowSpec
from hf_inatsounds.errors import AudioError, CheckpointError, printable, storable
from hf_inatsounds.models.classifier import Classifier

Array = np.ndarray[Any, np.dtype[Any]]


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
    classifier: Classifier, file: str | Path, *, hearing: Hearing | None = None, **options: Any
) -> Iterator[Detection]:
    """Species in each window of a file, as :func:`predict_audio` says, which takes the same options.

    Raises:
        AudioError: if nothing of it can be heard, and there is no ``hearing`` to say so.
    """
    found = Hearing() if hearing is None else hearing
    yield from predict_audio(classifier, file, storable(file), hearing=found, **options)
    if hearing is None and found.status == "failed":
        raise AudioError(found.reason if str(file) in found.reason else f"{file}: {found.reason}")


def predict_audio(
    classifier: Classifier,
    audio: Any,
    name: str,
    *,
    hearing: Hearing,
    window: WindowSpec | None = None,
    top: int = 1,
    min_score: float = 0.0,
    batch_size: int = 32,
    channel: int | None = None,
) -> Iterator[Detection]:
    """Species in each window of a recording, in order of time; only ``batch_size`` windows are held at once.

    Windows of digital silence have no species.

    Args:
        classifier: what predicts.
        audio: as :class:`hf_inatsounds.audio.Recording` takes it, of any length and rate.
        name: of the recording.
        hearing: filled in with what became of the recording; behind the last detection it is complete.
        window: how it is cut; None for the classifier's window without overlap, from the beginning.
        top: best species per window, at most.
        min_score: weaker ones are left out.
        batch_size: windows per forward pass.
        channel: which one, from 0; None for the mean of all.

    Raises:
        CheckpointError: if the model gives scores that are no numbers.
        InatSoundsError: if the window is longer than the model's input.
    """
    window = window or classifier.window.side_by_side()
    classifier.frontend.check_window(window)
    names = classifier.species
    space = classifier.label_space
    common = [taxon.common_name for taxon in space.taxa] if space is not None else [""] * len(names)
    heard = heard_windows(audio, window, classifier.sampling_rate, hearing, channel=channel)
    sounding = (one for one in heard if not one.is_silent)
    while batch := list(islice(sounding, batch_size)):
        scores = classifier.objective.scores(torch.from_numpy(classifier.logits([one.waveform for one in batch])))
        matrix = require_numbers(scores.numpy(), name)
        best = np.argsort(-matrix, axis=1, kind="stable")[:, :top]
        for one, row, classes in zip(batch, matrix, best, strict=True):
            for c in classes:
                if row[c] >= min_score:
                    span = round(one.start_s, 3), round(one.end_s, 3)
                    yield Detection(name, *span, names[c], common[c], float(row[c]))


def require_numbers(values: Array, where: str) -> Array:
    """``values``, each of which is a finite number.

    Raises:
        CheckpointError: if one is not.
    """
    if not np.isfinite(values).all():
        raise CheckpointError(
            "the model's output is no number", where=where, found="NaN or infinity",
            expected="a checkpoint without them among its weights",
        )  # fmt: skip
    return values


def write_detections(
    detections: Iterable[Detection], path: Path, form: str, heard: Mapping[str, Hearing] | None = None
) -> int:
    """Write detections to ``path`` as csv, parquet, a Raven selection table or an Audacity label track.

    Args:
        detections: in the order of their recordings.
        path: the file.
        form: "parquet", or one of ``LINES``.
        heard: as :func:`raven_lines` takes it; None for no other formats than Raven's.

    Returns:
        How many there were.
    """
    count = 0

    def counted() -> Iterator[Detection]:
        nonlocal count
        for one in detections:
            count += 1
            yield one

    if form == "parquet":
        write_tables(map(detections_table, _pieces(counted(), 4096)), path, SCHEMA)
        return count
    with open(path, "w", encoding="utf-8", newline="") as stream:
        stream.writelines(LINES[form](counted(), {} if heard is None else heard))
    return count


def csv_lines(detections: Iterable[Detection], heard: Mapping[str, Hearing] = MappingProxyType({})) -> Iterator[str]:
    """CSV with a heading.

    >>> list(csv_lines([Detection("a.wav", 0.0, 3.0, "Rana indet", "frog", 0.5)]))[1]
    'a.wav,0.000,3.000,Rana indet,frog,0.500000\\n'
    """
    yield csv_line(["file", "start_s", "end_s", "species", "common_name", "score"])
    for one in detections:
        times = [f"{one.start_s:.3f}", f"{one.end_s:.3f}"]
        yield csv_line([one.file, *times, one.species, one.common_name, f"{one.score:.6f}"])


RAVEN_COLUMNS = (
    "Selection", "View", "Channel", "Begin Time (s)", "End Time (s)", "Low Freq (Hz)", "High Freq (Hz)", "Begin Path",
    "Begin File", "File Offset (s)", "Species", "Score",
)  # fmt: skip
"""Those that Raven places a selection by, which opensoundscape and crowsetta ask for, and two of ours."""


def raven_lines(detections: Iterable[Detection], heard: Mapping[str, Hearing]) -> Iterator[str]:
    """A Raven selection table: tab-separated, one selection per detection, over the recording's whole band.

    Several recordings are one sequence, as Raven opens them: "Begin Time (s)" counts from the first one's beginning,
    "File Offset (s)" from that of the recording, which "Begin Path" names.

    Args:
        detections: in the order of their recordings.
        heard: file → what became of it, of the recordings up to the detection's own at least, in their order.
    """
    yield "\t".join(RAVEN_COLUMNS) + "\n"
    begins: dict[str, float] = {}
    begin_s, before = 0.0, ""
    for number, one in enumerate(detections, start=1):
        if one.file not in begins:
            for name in islice(heard, len(begins), None):  # those without a detection too
                begin_s += heard[before].promised_s if begins else 0.0  # which is known at its end
                begins[name], before = begin_s, name
                if name == one.file:
                    break
        high_hz = heard[one.file].sampling_rate / 2
        times = f"{begin_s + one.start_s:.3f}\t{begin_s + one.end_s:.3f}\t0.0\t{high_hz:.1f}"
        place = f"{printable(os.path.abspath(one.file))}\t{printable(Path(one.file).name)}\t{one.start_s:.3f}"
        yield f"{number}\tSpectrogram 1\t1\t{times}\t{place}\t{printable(one.species)}\t{one.score:.6f}\n"


def audacity_lines(
    detections: Iterable[Detection], heard: Mapping[str, Hearing] = MappingProxyType({})
) -> Iterator[str]:
    """An Audacity label track: beginning, end, label."""
    for one in detections:
        yield f"{one.start_s:.6f}\t{one.end_s:.6f}\t{printable(one.species)} {one.score:.3f}\n"


LINES: dict[str, Callable[[Iterable[Detection], Mapping[str, Hearing]], Iterator[str]]] = {
    "csv": csv_lines,
    "raven": raven_lines,
    "audacity": audacity_lines,
}
"""Text format → its lines, of detections and what became of their recordings."""


def csv_line(values: Sequence[str]) -> str:
    r"""A line of CSV, whatever is in the values; none is a formula to a spreadsheet, and none holds a line end.

    >>> csv_line(["=1+1", 'a "b", c', "two\nlines"])
    '\'=1+1,"a ""b"", c",two\\nlines\n'
    """
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(_no_formula(printable(value)) for value in values)
    return buffer.getvalue()


def _no_formula(cell: str) -> str:
    """A cell that a spreadsheet shows and does not compute; names of files can be anything.

    Source: OWASP, CSV Injection.
    """
    return f"'{cell}" if cell.startswith(("=", "+", "-", "@")) else cell


SCHEMA = pa.schema([
    ("file", pa.string()), ("start_s", pa.float64()), ("end_s", pa.float64()), ("species", pa.string()),
    ("common_name", pa.string()), ("score", pa.float32()),
])  # fmt: skip


def detections_table(detections: Iterable[Detection]) -> pa.Table:
    """Detections as a table of their attributes."""
    return pa.Table.from_pylist([vars(one) for one in detections], schema=SCHEMA)


def tables_of(detections: Iterator[Detection]) -> Iterator[pa.Table]:
    """Detections of one recording as tables without its name, some thousand at a time."""
    return (detections_table(piece).drop_columns("file") for piece in _pieces(detections, 4096))


def detections_of(tables: Iterable[pa.Table]) -> Iterator[Detection]:
    """The detections in tables that have all of their attributes."""
    return (Detection(**row) for table in tables for row in table.to_pylist())


def _pieces(detections: Iterator[Detection], size: int) -> Iterator[list[Detection]]:
    while piece := list(islice(detections, size)):
        yield piece


ROW_GROUP_BYTES = 16_000_000
"""Of a table in memory: a reader of one row group holds no more, and a hundred thousand short files share them."""


def write_tables(tables: Iterable[pa.Table], path: Path, schema: pa.Schema) -> int:
    """Write tables to a Parquet file, of which some megabytes are held at once.

    Returns:
        How many rows there were.
    """
    count, size, held = 0, 0, [schema.empty_table()]
    with open(path, "wb") as stream, pq.ParquetWriter(stream, schema) as writer:  # Arrow opens UTF-8 names alone
        for table in tables:
            held.append(table.cast(schema))
            count, size = count + len(table), size + table.nbytes
            if size >= ROW_GROUP_BYTES:
                writer.write_table(pa.concat_tables(held).combine_chunks())
                held, size = [], 0
        if held:
            writer.write_table(pa.concat_tables(held).combine_chunks())
    return count
