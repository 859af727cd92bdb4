"""What a suite measures: metrics by name, each with a stated policy for absent classes and clips without a call."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from hf_inatsounds.metrics import PROTOCOLS, ranking_of_targets, t1_accuracy
from hf_inatsounds.metrics.multilabel import macro_f1
from hf_inatsounds.metrics.protocols import mean
from hf_inatsounds.metrics.ranking import Absent

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Policy:
    """How a task's numbers are made.

    Attributes:
        name: of the convention.
        metrics: names of what is measured; the first is the headline.
        multilabel: whether a clip may have any number of labels, or exactly one.
        states: the conventions in words, for a reader of the numbers.
    """

    name: str
    metrics: tuple[str, ...]
    multilabel: bool
    states: str

    def __post_init__(self) -> None:
        unknown = [name for name in self.metrics if name not in MEASURES]
        if unknown or not self.metrics:
            raise ValueError(f"metrics must be some of {', '.join(MEASURES)}; got {self.metrics}")

    @property
    def headline(self) -> str:
        """Name of the main metric."""
        return self.metrics[0]


def accuracy(scores: Array, targets: Array) -> float:
    """Share of clips whose best class is the true one.

    Args:
        scores: (N, C).
        targets: (N, C) bool, one True a row.

    >>> accuracy(np.array([[0.9, 0.1], [0.8, 0.2]]), np.array([[True, False], [False, True]]))
    0.5
    """
    return float((np.argmax(scores, axis=1) == np.argmax(targets, axis=1)).mean())


def _class_mean(which: Literal["average_precision", "roc_auc"], absent: Absent) -> Callable[[Array, Array], float]:
    def measured(scores: Array, targets: Array) -> float:
        return mean(getattr(ranking_of_targets(scores, targets, absent=absent), which))

    return measured


MEASURES: dict[str, Callable[[Array, Array], float]] = {
    "accuracy": accuracy,
    "map": _class_mean("average_precision", "ignore"),
    "map_absent_zero": _class_mean("average_precision", "zero"),
    "cmap": _class_mean("average_precision", PROTOCOLS["birdset"].absent),
    "cmap_absent_zero": _class_mean("average_precision", PROTOCOLS["birdset-zero"].absent),
    "auroc": _class_mean("roc_auc", PROTOCOLS["birdset"].absent_auc),
    "auroc_absent_zero": _class_mean("roc_auc", PROTOCOLS["birdset-zero"].absent_auc),
    "t1": t1_accuracy,
    "macro_f1": macro_f1,
}
"""Metric → its function of scores (N, C) and targets (N, C) bool; NaN where it is undefined."""

SINGLE_LABEL = Policy("accuracy", ("accuracy",), False, "Top-1 accuracy over all test clips.")
BIRDSET = Policy(
    "birdset",
    ("cmap", "auroc", "t1", "cmap_absent_zero", "auroc_absent_zero"),
    True,
    "Segments without a call are negatives for cmAP and AUROC and are left out of T1. cmap and auroc average over the "
    "classes that the test segments hold; *_absent_zero count every other class as 0, as later torchmetrics do.",
)
BEANS_DETECTION = Policy(
    "beans",
    ("map_absent_zero", "map"),
    True,
    "mAP over windows; a class absent from the test windows scores 0 and is averaged in (map leaves it out).",
)
BIRB = Policy("birb", ("map", "auroc"), True, "AP and ROC-AUC a species; absent species are left out.")
ANURASET = Policy(
    "anuraset", ("macro_f1", "map"), True, "F1 at a score of 0.5, unweighted mean over all classes, absent ones 0."
)
EVENTS = Policy("events", ("map", "auroc", "t1"), True, "mAP and ROC-AUC over windows; absent classes are left out.")


def measure(policy: Policy, scores: Array, targets: Array) -> dict[str, float | None]:
    """All of a policy's metrics; None where one is undefined.

    >>> measure(SINGLE_LABEL, np.eye(2), np.eye(2, dtype=bool))
    {'accuracy': 1.0}
    """
    return {name: measure_one(name, scores, targets) for name in policy.metrics}


def measure_one(name: str, scores: Array, targets: Array) -> float | None:
    """One metric by name; None where it is undefined.

    >>> measure_one("t1", np.eye(2), np.zeros((2, 2), dtype=bool)) is None
    True
    """
    value = MEASURES[name](scores, targets) if len(scores) else float("nan")
    return None if np.isnan(value) else value


def mean_of(values: Sequence[float | None]) -> float | None:
    """Mean of those that are defined; None where none is."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def sd_of(values: Sequence[float | None]) -> float | None:
    """Standard deviation of those that are defined; None of fewer than two."""
    known = [value for value in values if value is not None and not math.isnan(value)]
    return float(np.std(known, ddof=1)) if len(known) > 1 else None
