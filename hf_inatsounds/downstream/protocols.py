"""Protocols: how a model is judged on one fold of a task."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hf_inatsounds.downstream.attentive_probe import fit_attentive
from hf_inatsounds.downstream.clips import Fold, Task
from hf_inatsounds.downstream.crosswalk import Crosswalk
from hf_inatsounds.downstream.embedding_cache import embed_task, window_means
from hf_inatsounds.downstream.fine_tuning import fine_tune
from hf_inatsounds.downstream.multilabel_tuning import tune_multilabel
from hf_inatsounds.downstream.names import Protocol
from hf_inatsounds.downstream.policies import measure, measure_one
from hf_inatsounds.downstream.probes import Examples, centroids, choose_strength, fit_linear, shots
from hf_inatsounds.errors import SuiteError
from hf_inatsounds.inference.embedding import Embedder, embedder_of, load_embedder
from hf_inatsounds.training.recipe import Recipe

Array = np.ndarray[Any, np.dtype[Any]]

FEW_SHOT_STRENGTH = 1.0
"""C of few-shot probes: with one clip a class nothing is left to choose it on."""


@dataclass
class FoldResult:
    """What one fold gave.

    Attributes:
        settings: one dictionary an entry; several for few-shot.
        metrics: numbers of each entry.
        scores: (N, C) float32 of the test clips; None for few-shot, whose entries have one each.
        test: (N,) the test clips.
        counts: numbers of clips.
        columns: (C,) classes that the scores are of; None for all of the task's.
        about: what else is worth telling.
    """

    settings: list[dict[str, Any]]
    metrics: list[dict[str, float | None]]
    scores: Array | None
    test: Array
    counts: dict[str, int]
    columns: Array | None = None
    about: dict[str, Any] = field(default_factory=dict)


@dataclass
class Trial:
    """A model, a task and how it is judged.

    Attributes:
        task: the task.
        embedder: the model; None for a preset that is fine-tuned.
        cache: folder of cached embeddings.
        work: folder for what fine-tuning writes.
        seeds: of few-shot draws.
        shots: exemplars per class.
        seed: of everything else that is drawn.
        crosswalk: for zero-shot.
        recipe: for fine-tuning.
        quiet: no progress.
    """

    task: Task
    embedder: Embedder | None
    cache: Path
    work: Path
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    shots: tuple[int, ...] = (1, 2, 4, 8, 16)
    seed: int = 0
    crosswalk: Crosswalk | None = None
    recipe: Recipe | None = None
    quiet: bool = False

    def model(self) -> Embedder:
        """The embedder, which every protocol but fine-tuning needs."""
        if self.embedder is None:
            raise ValueError("this protocol needs an embedder")
        return self.embedder

    def judge(self, scores: Array, targets: Array) -> float | None:
        """The headline metric."""
        return measure_one(self.task.policy.headline, scores, targets)

    def examples(self, parts: tuple[str, ...]) -> Examples:
        """Pooled embeddings of some parts, averaged over each clip's windows."""
        rows = self.task.indices(parts)
        embeddings = embed_task(self.model(), self.task, rows, self.cache, quiet=self.quiet)
        return Examples(window_means(embeddings), self.task.targets(rows), self.task.recordings(rows))


def linear_probe(trial: Trial, fold: Fold) -> FoldResult:
    """Logistic regression, C chosen on held-out training recordings, then fitted on all of them."""
    train, test = trial.examples(fold.train), trial.examples(fold.test)
    validation = trial.examples(fold.validation) if fold.validation else None
    multilabel = trial.task.policy.multilabel
    strength = choose_strength(train, trial.judge, multilabel=multilabel, validation=validation, seed=trial.seed)
    scores = fit_linear(train, multilabel=multilabel, strength=strength)(test.x)
    return _one(trial, fold, {"C": strength}, scores)


def few_shot(trial: Trial, fold: Fold) -> FoldResult:
    """``k`` exemplars per class by seed: logistic regression, or, for retrieval, similarity to their mean."""
    train, test = trial.examples(fold.train), trial.examples(fold.test)
    policy = trial.task.policy
    retrieval = policy.name == "birb"
    settings, metrics = [], []
    for k in trial.shots:
        for seed in trial.seeds:
            chosen = train.take(shots(train.y, k, seed))
            probe = centroids(chosen) if retrieval else fit_linear(
                chosen, multilabel=policy.multilabel, strength=FEW_SHOT_STRENGTH
            )  # fmt: skip
            settings.append({"shots": k, "seed": seed, "exemplars": len(chosen.x)})
            metrics.append(measure(policy, probe(test.x), test.y))
    by = "cosine similarity to the mean exemplar" if retrieval else f"logistic regression, C = {FEW_SHOT_STRENGTH:g}"
    rows = trial.task.indices(fold.test)
    return FoldResult(settings, metrics, None, rows, _counts(trial.task, fold), about={"probe": by})


def attentive_probe(trial: Trial, fold: Fold) -> FoldResult:
    """Attention over a clip's tokens, trained on all training clips."""
    train, test = trial.task.indices(fold.train), trial.task.indices(fold.test)
    tokens = {
        name: [one.reshape(-1, one.shape[-1]) for one in
               embed_task(trial.model(), trial.task, rows, trial.cache, kind="tokens", quiet=trial.quiet)]
        for name, rows in (("train", train), ("test", test))
    }  # fmt: skip
    multilabel = trial.task.policy.multilabel
    probe = fit_attentive(tokens["train"], trial.task.targets(train), multilabel=multilabel, seed=trial.seed)
    return _one(trial, fold, {"seed": trial.seed}, probe(tokens["test"]))


def zero_shot(trial: Trial, fold: Fold) -> FoldResult:
    """The model's own scores of the classes that the crosswalk matches.

    ``metrics`` are of the matched classes alone (of one-label tasks: of the clips whose class is matched); under
    ``about`` stand those of all classes, the unmatched scored 0.
    """
    if trial.crosswalk is None:
        raise ValueError("zero-shot needs a crosswalk")
    rows = trial.task.indices(fold.test)
    scores, targets = window_scores(trial, trial.model(), rows), trial.task.targets(rows)
    mapped = np.zeros((len(rows), len(trial.task.classes)), np.float32)
    for label, classes in trial.crosswalk.pairs:
        part = scores[:, list(classes)]
        mapped[:, label] = part.max(axis=1) if trial.task.policy.multilabel else part.sum(axis=1)
    matched = np.array([label for label, _ in trial.crosswalk.pairs], np.int64)
    policy = trial.task.policy
    kept = np.ones(len(rows), np.bool_) if policy.multilabel else targets[:, matched].any(axis=1)
    own = mapped[kept][:, matched]
    return FoldResult(
        [{}], [measure(policy, own, targets[kept][:, matched])], own, rows[kept],
        {**_counts(trial.task, fold), "test_of_matched_classes": int(kept.sum())}, matched,
        {"all_classes": measure(policy, mapped, targets)},
    )  # fmt: skip


def fine_tuned(trial: Trial, fold: Fold) -> FoldResult:
    """All weights trained on the fold's training clips, by a recipe: with ``train`` where each has one label."""
    if trial.recipe is None:
        raise ValueError("fine-tuning needs a recipe")
    work = trial.work / f"{trial.task.name}-{fold.name}"
    train, test = trial.task.indices(fold.train), trial.task.indices(fold.test)
    if all(len(trial.task.clips[i].labels) == 1 for i in train):
        run, about = fine_tune(trial.task, fold, trial.recipe, work, quiet=trial.quiet)
        embedder = load_embedder(str(run), device=trial.recipe.model.device)
    else:
        classifier, about = tune_multilabel(trial.task, train, trial.recipe, quiet=trial.quiet)
        embedder = embedder_of(classifier, trial.recipe.model.model)
    cached = Trial(trial.task, None, work / "logits", trial.work, quiet=trial.quiet)
    result = _one(trial, fold, {"seed": trial.recipe.training.seed}, window_scores(cached, embedder, test))
    result.about = about
    shutil.rmtree(work, ignore_errors=True)  # a fold's source and weights are as large as the suite
    return result


def window_scores(trial: Trial, embedder: Embedder, rows: Array) -> Array:
    """Scores of clips: over their windows the mean, or, where a clip may have several labels, the maximum."""
    logits = embed_task(embedder, trial.task, rows, trial.cache, kind="logits", quiet=trial.quiet)
    classifier = embedder.classifier
    if classifier is None:
        raise SuiteError("no classification head", where=embedder.name, expected="a classifier")
    scores = [classifier.objective.scores(torch.from_numpy(one)).numpy() for one in logits]
    over = np.max if trial.task.policy.multilabel else np.mean
    return np.stack([over(one, axis=0) for one in scores])


RUN: dict[Protocol, Callable[[Trial, Fold], FoldResult]] = {
    "zero-shot": zero_shot,
    "linear-probe": linear_probe,
    "few-shot": few_shot,
    "attentive-probe": attentive_probe,
    "fine-tune": fine_tuned,
}
"""Protocol → what runs it on a fold."""


def _one(trial: Trial, fold: Fold, setting: dict[str, Any], scores: Array) -> FoldResult:
    rows = trial.task.indices(fold.test)
    metrics = measure(trial.task.policy, scores, trial.task.targets(rows))
    return FoldResult([setting], [metrics], scores.astype(np.float32), rows, _counts(trial.task, fold))


def _counts(task: Task, fold: Fold) -> dict[str, int]:
    test = task.indices(fold.test)
    return {
        "train": len(task.indices(fold.train)),
        "test": len(test),
        "test_without_a_call": sum(not task.clips[i].labels for i in test),
        "classes": len(task.classes),
        "classes_in_test": int(task.targets(test).any(axis=0).sum()),
    }
