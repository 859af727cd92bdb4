"""Evaluation: a classifier on a split by the paper's protocol, into scores and ``results.json``."""

from __future__ import annotations

import importlib.metadata
import json
import platform
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from hf_inatsounds.annotations import read_annotations
from hf_inatsounds.archives.fetch import Source, is_hub_id
from hf_inatsounds.builder import open_dataset
from hf_inatsounds.defects import DefectLog
from hf_inatsounds.errors import CheckpointError, SourceError
from hf_inatsounds.files import write_json
from hf_inatsounds.labels import LabelSpace
from hf_inatsounds.metrics import file_metrics, taxon_accuracy, top_k_accuracy
from hf_inatsounds.models import Classifier
from hf_inatsounds.progress import track
from hf_inatsounds.publishing.reading import mirror_annotations
from hf_inatsounds.schema import OFFICIAL_CLASSES, SPLITS
from hf_inatsounds.scoring import FileScores, score_recordings
from hf_inatsounds.windows import WindowSpec

RESULTS_FILE = "results.json"
TRAIN_FILE = "train.json"
LIBRARIES = (
    "hf_inatsounds",
    "datasets",
    "transformers",
    "accelerate",
    "torch",
    "soundfile",
    "soxr",
    "numpy",
    "pyarrow",
)

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class SplitInfo:
    """What the annotations say of a split that is trained on or scored.

    Attributes:
        source: where it is, as ``load_dataset`` takes it.
        name: the dataset's name.
        split: train, validation or test.
        label_space: all classes.
        labels: (N,) int64, of the annotated recordings.
        hours: their annotated length.
        title: which dataset it is, in words.
        index: where the archives' seek indexes are; empty for none.
    """

    source: str
    name: str
    split: str
    label_space: LabelSpace
    labels: Array
    hours: float
    title: str
    index: str = ""

    @property
    def present(self) -> Array:
        """Classes that the split holds, ascending."""
        return np.unique(self.labels)

    def rows(self, *, streaming: bool = True) -> Any:
        """The split's rows with encoded audio."""
        import datasets

        loaded = open_dataset(self.name, self.split, source=self.source, streaming=streaming, index=self.index or None)
        return loaded.cast_column("audio", datasets.Audio(decode=False))


def split_info(source: str, name: str, split: str, index: str = "") -> SplitInfo:
    """Read what the annotations say of a split; no recording is read.

    Raises:
        SourceError: unknown source, name or split, or a split without recordings.
        AnnotationError: missing or malformed annotations.
    """
    if split not in SPLITS:
        raise SourceError("unknown split", where="split", found=repr(split), expected=", ".join(SPLITS))
    is_mirror = is_hub_id(source)
    annotations = mirror_annotations(source, split) if is_mirror else read_annotations(Source.parse(source), split)
    table = annotations.select(name)
    if not table.num_rows:
        raise SourceError("no recordings", where=f"{source}, {split}, {name!r}", expected="at least one")
    official = len(annotations.label_space) == OFFICIAL_CLASSES
    title = "iNaturalist Sounds Dataset" if official else annotations.title or "a dataset in the layout of iNatSounds"
    hours = float(np.nansum(np.array(table["duration_s"].to_pylist(), np.float64))) / 3600
    labels = table["label"].to_numpy().astype(np.int64)
    return SplitInfo(source, name, split, annotations.label_space, labels, hours, title, index)


def score_split(
    classifier: Classifier,
    info: SplitInfo,
    window: WindowSpec,
    *,
    batch_size: int = 32,
    quiet: bool = False,
    part: tuple[int, int] = (0, 1),
) -> tuple[FileScores | None, DefectLog]:
    """Score a split, or one process's part of it.

    Args:
        classifier: what scores; its label space must be the split's.
        info: the split.
        window: how recordings are cut.
        batch_size: windows a forward pass.
        quiet: no progress bar.
        part: (i, n): every n-th recording from the i-th on.

    Returns:
        Scores, None where the part holds no recording, and what was wrong with the recordings.

    Raises:
        CheckpointError: if the checkpoint's classes are not the dataset's.
    """
    if classifier.label_space is None:
        raise CheckpointError(
            "the checkpoint has no label space", expected="label_space.json beside it, as train writes it"
        )
    info.label_space.check_matches(classifier.label_space, where="checkpoint against dataset")
    mine: Iterable[dict[str, Any]] = islice(info.rows(), part[0], None, part[1])
    total = len(range(part[0], len(info.labels), part[1]))
    if not total:
        return None, DefectLog()
    rows: Iterator[dict[str, Any]] = track(mine, f"scoring {info.split}", total=total, quiet=quiet)
    return score_recordings(classifier, rows, window, present=info.present, batch_size=batch_size)


def metrics_of(scores: FileScores, label_space: LabelSpace) -> dict[str, dict[str, Any]]:
    """All metrics of the protocol, recomputed from scores without a model.

    Returns:
        ``{"mean": …, "max": …, "window": …}``: the headline, the maximum over windows, and single windows,
        for which the protocol has top-k and taxon accuracies only.
    """
    labels = scores.label[scores.window_file]
    files = {"mean": scores.mean, "max": scores.maximum}
    found: dict[str, dict[str, Any]] = {
        key: file_metrics(matrix, scores.label, present=scores.present, ranks=label_space.ranks)
        for key, matrix in files.items()
    }
    found["window"] = {
        f"top{k}{suffix}": top_k_accuracy(scores.window_place, labels, k, class_average=average)
        for k in (1, 5)
        for suffix, average in (("", False), ("_class_average", True))
    }
    found["window"]["taxon_accuracy"] = taxon_accuracy(scores.window_prediction, labels, label_space.ranks)
    return found


def evaluate(
    classifier: Classifier,
    info: SplitInfo,
    out: Path,
    *,
    window: WindowSpec,
    checkpoint: str,
    batch_size: int = 32,
    quiet: bool = False,
) -> dict[str, Any]:
    """Score a split, write ``scores.parquet``, ``windows.parquet`` and ``results.json``, return the results.

    Args:
        classifier: what is evaluated.
        info: the split.
        out: folder of the three files.
        window: how recordings are cut.
        checkpoint: where the classifier is from; its ``train.json`` is quoted.
        batch_size: windows a forward pass.
        quiet: no progress bar.
    """
    scores, defects = score_split(classifier, info, window, batch_size=batch_size, quiet=quiet)
    if scores is None:
        raise SourceError("no recordings", where=f"{info.source}, {info.split}")
    scores.save(out)
    results = {
        "model": _model(classifier, Path(checkpoint)),
        "dataset": _dataset(info, len(scores.recording_id)),
        "window": {"size_s": window.size_s, "stride_s": window.stride_s, "alignment": window.alignment},
        "windows": len(scores.window_file),
        "headline": "mean",
        "metrics": metrics_of(scores, info.label_space),
        "defects": defects.report(),
        "environment": environment(),
    }
    write_json(out / RESULTS_FILE, results)
    return results


def environment() -> dict[str, str]:
    """Versions of what a number depends on."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def _model(classifier: Classifier, checkpoint: Path) -> dict[str, Any]:
    return {
        "name": checkpoint.resolve().name,
        "architecture": type(classifier.model).__name__,
        "parameters": sum(weights.numel() for weights in classifier.model.parameters()),
        "objective": classifier.objective.name,
        "sampling_rate": classifier.sampling_rate,
        "training": _training(checkpoint),
    }


def _dataset(info: SplitInfo, n_recordings: int) -> dict[str, Any]:
    return {
        "title": info.title,
        "name": info.name,
        "split": info.split,
        "recordings": n_recordings,
        "annotated_recordings": len(info.labels),
        "hours": info.hours,
        "classes": len(info.label_space),
        "evaluated_classes": len(info.label_space.evaluated),
        "present_classes": len(info.present),
    }


def _training(checkpoint: Path) -> dict[str, Any] | None:
    """What is quoted of a checkpoint's training; None for one from elsewhere."""
    try:
        run = json.loads((checkpoint / TRAIN_FILE).read_text(encoding="utf-8"))
        return {key: run[key] for key in ("seed", "dataset", "epochs", "steps", "recordings", "best")}
    except (OSError, ValueError, KeyError, TypeError):
        return None
