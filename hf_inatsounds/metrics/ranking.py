"""Threshold-free metrics of scores, class by class: average precision, best F1, ROC-AUC.

By hand, since sklearn's three functions sort each class's scores anew: docs/benchmarks.md has the difference.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from hf_inatsounds.metrics.multilabel import checked
from hf_inatsounds.metrics.thresholds import Counts, counts, each_class, rows_of_targets

Absent = Literal["ignore", "zero", "error"]
Array = np.ndarray[Any, np.dtype[Any]]


class RankingMetrics(NamedTuple):
    """Of each class, (C,) float64; NaN where a class has no positive (for ROC-AUC: or no negative)."""

    average_precision: Array
    f1_max: Array
    roc_auc: Array


def ranking_of_targets(scores: Array, targets: Array, *, absent: Absent = "ignore") -> RankingMetrics:
    r"""Average precision, F1-max and ROC-AUC of each class of items with any number of labels.

    - ``AP = Σ_n (R_n - R_{n-1}) P_n`` over the distinct scores of a class in descending order; tied scores are one
      threshold
    - F1-max: the best F1 over all thresholds, chosen on these very scores
    - ROC-AUC: the chance that a positive outranks a negative, ties half

    Args:
        scores: (N, C) real, higher is more likely. No NaN.
        targets: (N, C) bool.
        absent: what a class without a positive, or for ROC-AUC without a negative, gets: "ignore" NaN, "zero" 0,
            "error" an error.

    Raises:
        ValueError: if the shapes differ, a score is NaN, or ``absent`` is "error" and a class is absent.

    Source: sklearn's average_precision_score and roc_auc_score, ties included; cvl-umass/iNatSounds ("F1-max"), over
    sklearn's precision_recall_curve.

    >>> found = ranking_of_targets(np.array([[0.9], [0.8], [0.7]]), np.array([[True], [False], [True]]))
    >>> [values.round(4).tolist() for values in found]
    [[0.8333], [0.8], [0.5]]
    """
    scores, targets = checked(scores, targets)
    return RankingMetrics(
        *(with_policy(values, absent) for values in ranking_metrics(scores, rows_of_targets(targets)))
    )


def ranking_metrics(scores: Array, rows: Sequence[Array]) -> RankingMetrics:
    """All three of each class from one sort.

    Args:
        scores: (N, C) real, no NaN.
        rows: rows of the positives of each class, as ``rows_of_targets`` and ``rows_of_labels`` make them.

    Raises:
        ValueError: if a score is NaN.
    """
    if scores.ndim != 2 or len(rows) != scores.shape[1]:
        raise ValueError(f"scores must be (N, C) with C positives' rows; got {scores.shape} and {len(rows)}")
    return RankingMetrics(*np.array(each_class(_one, scores, rows)).reshape(-1, 3).T)


def with_policy(values: Array, absent: Absent) -> Array:
    """Values of classes, those of absent ones by the policy.

    >>> with_policy(np.array([0.5, np.nan]), "zero")
    array([0.5, 0. ])
    """
    if absent not in ("ignore", "zero", "error"):
        raise ValueError(f'absent must be "ignore", "zero" or "error"; got {absent!r}')
    missing = np.isnan(values)
    if absent == "error" and missing.any():
        raise ValueError(f"class {int(np.flatnonzero(missing)[0])} has no positive, or no negative, among the targets")
    return np.where(missing, 0.0, values) if absent == "zero" else values


def _one(column: Array, rows: Array) -> tuple[float, float, float]:
    if len(rows) == 0:
        if np.isnan(column).any():
            raise ValueError(f"NaN in row {int(np.flatnonzero(np.isnan(column))[0])}")
        return np.nan, np.nan, np.nan
    return of_counts(counts(column, rows))


def of_counts(found: Counts) -> tuple[float, float, float]:
    """Average precision, F1-max and ROC-AUC of one class from its counts."""
    total = found.positives[-1]
    precision = float((found.hits * (found.positives / found.items)).sum() / total)
    # 2 P R / (P + R) with P = positives / items and R = positives / all
    best = float((2.0 * found.positives / (found.items + total)).max())
    negatives = found.n - total
    if negatives == 0:
        return precision, best, np.nan
    tied = found.tied - found.hits
    below = negatives - (found.items - found.positives)
    return precision, best, float((found.hits * (below + tied / 2.0)).sum() / (total * negatives))
