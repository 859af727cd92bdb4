"""Several evaluations of one split side by side, with intervals of their paired differences."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hf_inatsounds.data.labels import LabelSpace
from hf_inatsounds.errors import CheckpointError, InatSoundsError, ScoresError
from hf_inatsounds.evaluation.measures import Bootstrap, differences, finite, flat, metrics_of, pair
from hf_inatsounds.files import defined
from hf_inatsounds.fingerprints import checkpoint_digest, read_record
from hf_inatsounds.metrics import centred_interval, present_ranking
from hf_inatsounds.scoring import SCORES_MANIFEST, FileScores

Array = np.ndarray[Any, np.dtype[Any]]

MOST = 20
"""Classes named whose average precision changed most."""


def evaluation_folder(run: str | Path, split: str | None = None) -> Path:
    """The folder with the scores of a run: itself, or its ``evaluation-SPLIT``, test before validation.

    Raises:
        ScoresError: if there is none.
    """
    run = Path(run)
    names = [f"evaluation-{split}"] if split else [".", "evaluation-test", "evaluation-validation", "evaluation-train"]
    for name in names:
        if (run / name / SCORES_MANIFEST).exists():
            return run / name
    raise ScoresError(
        "no scores to compare", where=run, found=f"no {SCORES_MANIFEST}", expected="an evaluated run",
        fix=f"Run: hf-inatsounds evaluate {run} --source SOURCE --split {split or 'test'}",
    )  # fmt: skip


def compare(
    runs: Sequence[str | Path],
    *,
    split: str | None = None,
    how: Bootstrap | None = None,
    passed_over: Callable[[str, InatSoundsError], None] | None = None,
) -> dict[str, Any]:
    """Compare evaluations of the same recordings, each with the first.

    Args:
        runs: run folders or folders of an evaluation, at least two.
        split: which evaluation of each run; None for the one that is there.
        how: of the intervals; all runs get the same resamples.
        passed_over: told of each run that cannot be compared, while at least two others can; None to raise for it.

    Returns:
        JSON-ready: ``recordings``, ``present_classes``, ``dataset``, ``split``, ``level``, ``resamples``, ``runs``
        (``name``, ``folder``, ``metrics``, ``intervals``) and ``differences`` of each further run from the first.

    Raises:
        ScoresError: if there are less than two, one has no scores or another model's, or they are of different
            recordings or classes.
    """
    how = how or Bootstrap()
    if len(runs) < 2:
        raise ScoresError("nothing to compare", where="runs", found=len(runs), expected="at least two")
    folders, loaded = _comparable(runs, split, passed_over)
    names = _names(folders)
    space = _label_space(folders[0])
    replicates = [how.of(scores, space) for scores in loaded]
    metrics = [metrics_of(scores, space, windows=False)["mean"] for scores in loaded]
    about = json.loads((folders[0] / SCORES_MANIFEST).read_text(encoding="utf-8"))
    precision = [present_ranking(s.mean, s.columns, np.arange(len(s.classes))).average_precision for s in loaded]
    return defined({
        "recordings": len(loaded[0].recording_id),
        "present_classes": len(np.unique(loaded[0].label)),
        "dataset": about.get("dataset", "a dataset"),
        "split": about.get("split", "unknown"),
        "level": how.level, "resamples": how.resamples, "seed": how.seed,
        "runs": [
            {"name": name, "folder": str(folder), "metrics": found,
             "intervals": finite(one.intervals(flat(found), how.level))}
            for name, folder, found, one in zip(names, folders, metrics, replicates, strict=True)
        ],
        "differences": [
            {"name": names[i],
             "metrics": differences(flat(metrics[0]), flat(metrics[i]), replicates[0], replicates[i], how.level),
             "classes": _changed(space, loaded[0], precision[0], precision[i],
                                 replicates[i].average_precision - replicates[0].average_precision, how.level)}
            for i in range(1, len(folders))
        ],
    })  # fmt: skip


def _comparable(
    runs: Sequence[str | Path], split: str | None, passed_over: Callable[[str, InatSoundsError], None] | None
) -> tuple[list[Path], list[FileScores]]:
    """Folders and scores of the runs that are of the same recordings as the first of them.

    Raises:
        ScoresError: of a run that is not, where nobody is told of it or less than two are left.
    """
    folders: list[Path] = []
    loaded: list[FileScores] = []
    errors: dict[str, InatSoundsError] = {}
    for run in runs:
        try:
            folder = evaluation_folder(run, split)
            _check_own(folder)
            scores = FileScores.load(folder, ["mean"])
            if folders:
                _check_same(folders[0], loaded[0], _label_space(folders[0]), folder, scores)
        except (ScoresError, CheckpointError) as error:
            if passed_over is None:
                raise
            errors[str(run)] = error
            continue
        folders.append(folder)
        loaded.append(scores)
    last = None if len(folders) > 1 else errors.popitem()[1]
    for name, reason in errors.items():
        passed_over(name, reason)  # type: ignore[misc]  # without it the first one was raised
    if last is not None:
        raise last
    return folders, loaded


def _names(folders: Sequence[Path]) -> list[str]:
    """Short names that tell the runs apart."""
    plain = [f.parent.name if f.name.startswith("evaluation-") else f.name for f in (f.resolve() for f in folders)]
    return [name if plain.count(name) == 1 else str(folder) for name, folder in zip(plain, folders, strict=True)]


def _label_space(folder: Path) -> LabelSpace:
    return LabelSpace.load(folder)


def _check_own(folder: Path) -> None:
    """An evaluation within a model's folder is of that model: a run is compared by nobody else's scores.

    Raises:
        ScoresError: if it is another one's.
    """
    for model in (folder, folder.resolve().parent):
        digest = checkpoint_digest(model)
        if digest is not None and read_record(folder / SCORES_MANIFEST).get("checkpoint_sha256") != digest:
            raise ScoresError(
                "scores of another model than the one they lie with", where=folder, found=f"weights in {model}",
                fix=f"Run: hf-inatsounds evaluate {model} --source SOURCE, or move the scores out of there.",
            )  # fmt: skip


def _check_same(first: Path, a: FileScores, space: LabelSpace, other: Path, b: FileScores) -> None:
    space.check_matches(_label_space(other), where=f"{first} and {other}")
    if not np.array_equal(a.recording_id, b.recording_id) or not np.array_equal(a.label, b.label):
        common = len(np.intersect1d(a.recording_id, b.recording_id))
        raise ScoresError(
            "evaluations of different recordings", where=f"{first} and {other}",
            found=f"{len(a.recording_id)} and {len(b.recording_id)}, {common} in common", expected="the same split",
        )  # fmt: skip
    if not np.array_equal(a.classes, b.classes):
        raise ScoresError(
            "evaluations over different classes", where=f"{first} and {other}",
            found=f"{len(a.classes)} and {len(b.classes)} classes", fix="Evaluate both with the same --classes.",
        )  # fmt: skip


def _changed(
    space: LabelSpace, scores: FileScores, first: Array, second: Array, gaps: Array, level: float
) -> list[dict[str, Any]]:
    """The classes whose average precision differs most, each with the interval of the paired difference."""
    items = np.bincount(scores.columns, minlength=len(scores.classes))
    gap = np.nan_to_num(np.abs(second - first))  # of a class without a value in one of them: none
    order = [i for i in np.argsort(-gap, kind="stable")[:MOST] if gap[i] > 0]
    return [
        {"species": space.taxa[scores.classes[i]].species, "supercategory": space.taxa[scores.classes[i]].supercategory,
         "recordings": int(items[i]), "first": float(first[i]), "second": float(second[i]),
         "interval": pair(centred_interval(gaps[i], float(second[i] - first[i]), level, within=(-1.0, 1.0)))}
        for i in order
    ]  # fmt: skip
