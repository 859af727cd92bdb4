"""The evaluation itself: score, measure, write."""

from __future__ import annotations

import contextlib
import importlib.metadata
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from hf_inatsounds.audio.digests import count_identical, read_digests
from hf_inatsounds.audio.windows import WindowSpec
from hf_inatsounds.data.split_info import SplitInfo, training_counts
from hf_inatsounds.evaluation.classes import fit_classes
from hf_inatsounds.evaluation.measures import Bootstrap, geo_measures, measures_of, metrics_of
from hf_inatsounds.evaluation.processes import Scoring, plan_of, score_in_processes, score_launched
from hf_inatsounds.files import defined, write_json
from hf_inatsounds.fingerprints import checkpoint_digest, read_record
from hf_inatsounds.geo import Reweighting, load_prior
from hf_inatsounds.geo.apply import THRESHOLD
from hf_inatsounds.metrics.pooling import POOLINGS
from hf_inatsounds.models.classifier import Classifier
from hf_inatsounds.progress import note
from hf_inatsounds.runtime.alone import Hold, alone_in
from hf_inatsounds.runtime.devices import device_name, dtype_name
from hf_inatsounds.runtime.launched import Launched
from hf_inatsounds.scoring import FileScores
from hf_inatsounds.scoring.folder import WORK, Blocks, block_size, finished
from hf_inatsounds.scoring.scores import SCORES_MANIFEST

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
Scored = Literal["present", "evaluated", "all"]

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class GeoChoice:
    """A range prior to report with and without.

    Attributes:
        path: as ``load_prior`` takes it.
        mode: "mask" or "soft"; None for what the kind of prior is made for.
        threshold: of the mask.
        weight: of the soft combination.

    Raises:
        ValueError: if a value is out of range.
    """

    path: str
    mode: Literal["mask", "soft"] | None = None
    threshold: float = THRESHOLD
    weight: float = 1.0

    def __post_init__(self) -> None:
        Reweighting(self.mode or "mask", self.threshold, self.weight)  # validates


def scored_classes(info: SplitInfo, scored: Scored) -> Array:
    """The classes that take part in the softmax and are kept, ascending.

    Args:
        info: the split.
        scored: "present", the authors' protocol; "evaluated", those marked for evaluation; or "all".
    """
    if scored == "all":
        return np.arange(len(info.label_space))
    if scored == "evaluated":
        return np.union1d(info.present, np.array(info.label_space.evaluated, np.int64))
    return info.present


def evaluate(
    classifier: Classifier,
    info: SplitInfo,
    out: Path,
    *,
    window: WindowSpec,
    checkpoint: str,
    batch_size: int = 32,
    scored: Scored = "present",
    processes: int = 1,
    launched: Launched | None = None,
    geo: GeoChoice | None = None,
    bootstrap: Bootstrap | None = None,
    rescore: bool = False,
    quiet: bool = False,
) -> dict[str, Any]:
    """Score a split, write scores and ``results.json``, return the results. What a kill left is gone on with.

    Scores that ``out`` holds are taken as they are where all that they depend on is the same (:func:`plan_of`), so that
    another prior or other intervals need no second scoring. Otherwise a line says what has changed.

    Args:
        classifier: what is evaluated.
        info: the split.
        out: folder of ``scores.parquet``, ``windows.parquet``, ``scores.json`` and ``results.json``.
        window: how recordings are cut.
        checkpoint: what the classifier is called: a folder or a Hub id. Its ``train.json`` is quoted, and other
            processes load it.
        batch_size: windows per forward pass.
        scored: the classes that take part, as :func:`scored_classes` takes it.
        processes: that score side by side, each on a GPU of its own where there are some.
        launched: the processes, of this machine or of several that share ``out``, that ``accelerate launch`` or
            torchrun started and that all call this; they score side by side, and the main one measures.
        geo: a range prior to report with and without.
        bootstrap: of the intervals; None for 200 resamples.
        rescore: score even where ``out`` holds the same scores.
        quiet: no progress bar.

    Returns:
        What ``results.json`` holds; nothing in a launched process that is not the main one.

    Raises:
        InatSoundsError: checkpoint, dataset or prior do not fit, a logit is not finite, or another evaluation is under
            way in ``out``.
    """
    classifier.frontend.check_window(window)
    classes = scored_classes(info, scored)
    fit_classes(classifier, info.label_space, classes.tolist())
    prior = load_prior(geo.path, info.label_space) if geo else None  # before an hour of scoring
    how = bootstrap or Bootstrap()
    computed = {"device": device_name(classifier.model.device), "dtype": dtype_name(classifier.dtype)}
    digest = checkpoint_digest(_folder(classifier, checkpoint))
    facts = {
        "split": info.split, "dataset": info.title, "name": info.name, "scored": scored,
        "window": {"size_s": window.size_s, "stride_s": window.stride_s, "alignment": window.alignment},
        "checkpoint_sha256": digest, **computed,
    }  # fmt: skip
    plan = {**plan_of(classifier, info, window, classes), "checkpoint_sha256": digest}
    made, changed = (None, []) if rescore else finished(out, plan)
    if made is not None:
        note(f"{out} holds these scores: nothing is scored again", quiet=quiet)
    else:
        blocks = Blocks(out / WORK, plan, block_size(len(info.labels)))
        scoring = Scoring(info, window, classes, blocks, batch_size, quiet)
        _score(scoring, classifier, out, facts, changed, str(_folder(classifier, checkpoint)), processes, launched)
    if launched is not None and not launched.is_main_process:
        return {}
    manifest = read_record(out / SCORES_MANIFEST)
    metrics = _metrics(out, info)
    scores = FileScores.load(out, ["mean"])
    results = {
        "model": _model(classifier, checkpoint, digest),
        "computed": {key: manifest.get(key, value) for key, value in computed.items()},
        "dataset": _dataset(info, manifest["recordings"]),
        "window": facts["window"],
        "windows": manifest["windows"],
        "headline": "mean",
        "scored_classes": {"which": scored, "count": len(classes)},
        "metrics": metrics,
        **measures_of(scores, info.label_space, training_counts(info), how),
        "defects": manifest["defects"],
        "byte_identical": _byte_identical(out, Path(checkpoint)),
        "environment": environment(),
    }
    if geo and prior is not None:
        mode = Reweighting(geo.mode or prior.default_mode, geo.threshold, geo.weight)  # type: ignore[arg-type]  # ClassVar[str]
        results["geo_prior"] = {
            "name": Path(geo.path).name, **geo_measures(scores, info.label_space, prior, mode, how)
        }  # fmt: skip
    results = defined(results)
    write_json(out / RESULTS_FILE, results)
    return results


def _score(
    scoring: Scoring,
    classifier: Classifier,
    out: Path,
    facts: dict[str, Any],
    changed: list[str],
    checkpoint: str,
    processes: int,
    launched: Launched | None,
) -> None:
    """Score what is missing; the main process then joins the blocks, under a manifest with ``facts``."""
    is_main = launched is None or launched.is_main_process
    with alone_in(out) if is_main else contextlib.nullcontext(Hold(None)) as hold:
        if is_main and (changed := scoring.blocks.prepare() or changed):
            note(f"{out} is of another {', '.join(changed)}: scored again", quiet=scoring.quiet)
        if launched is not None:
            score_launched(scoring, classifier, launched)
        elif processes > 1:
            score_in_processes(scoring, classifier, checkpoint, processes, hold)
        else:
            scoring.score(classifier)
        if is_main:
            scoring.info.check_state()
            scoring.info.label_space.save(out)  # so that metrics need neither model nor source
            scoring.blocks.join(out, facts)


def _metrics(out: Path, info: SplitInfo) -> dict[str, dict[str, Any]]:
    """Metrics of all aggregations, one at a time: each is 1.1 GB where all classes are kept."""
    found: dict[str, dict[str, Any]] = {}
    for aggregation in POOLINGS:
        scores = FileScores.load(out, [aggregation])
        found |= metrics_of(scores, info.label_space, windows=aggregation == POOLINGS[-1])
    return found


def environment() -> dict[str, str]:
    """Versions of what a number depends on."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def _folder(classifier: Classifier, checkpoint: str) -> Path:
    """Where a classifier is from."""
    return classifier.folder or Path(checkpoint)


def _model(classifier: Classifier, checkpoint: str, digest: str | None) -> dict[str, Any]:
    return {
        "name": Path(checkpoint).resolve().name,
        "checkpoint_sha256": digest,
        "architecture": type(classifier.model).__name__,
        "parameters": sum(weights.numel() for weights in classifier.model.parameters()),
        "objective": classifier.objective.name,
        "sampling_rate": classifier.sampling_rate,
        "training": _training(_folder(classifier, checkpoint), digest),
    }


def _dataset(info: SplitInfo, n_recordings: int) -> dict[str, Any]:
    return {
        "title": info.title,
        "official": info.official,
        "name": info.name,
        "select": dict(info.selection.conditions) or None,
        "split": info.split,
        "recordings": n_recordings,
        "annotated_recordings": len(info.labels),
        "hours": info.hours,
        "classes": len(info.label_space),
        "evaluated_classes": len(info.label_space.evaluated),
        "present_classes": len(info.present),
    }


def _byte_identical(out: Path, checkpoint: Path) -> dict[str, int] | None:
    """Evaluated recordings whose bytes were trained on too; None where either's digests are not known."""
    scored, run = read_record(out / SCORES_MANIFEST), read_record(checkpoint / TRAIN_FILE)
    evaluated = read_digests(out, scored.get("digests_sha256"))
    trained = read_digests(checkpoint, run.get("digests_sha256"))
    if evaluated is None or trained is None:
        return None
    return {
        "recordings": count_identical(evaluated, trained),
        "of": scored["recordings"],
        "training_recordings_known": len(trained),
        "training_recordings": run["recordings"],
    }


def _training(checkpoint: Path, digest: str | None) -> dict[str, Any] | None:
    """What is quoted of a checkpoint's training; None for one from elsewhere, and beside another run's record."""
    run = read_record(checkpoint / TRAIN_FILE)
    quoted = ("seed", "dataset", "epochs", "steps", "recordings", "best", "validation")
    if run.get("checkpoint_sha256") != digest or not set(quoted) <= run.keys():
        return None
    return {key: run[key] for key in quoted}
