"""Threshold-free metrics of scores, class by class: average precision, best F1, ROC-AUC."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from hf_inatsounds.metrics.thresholds import Counts, counts, each_class, rows_of_targets

Absent = Literal["ignore", "zero", "error"]
Array = np.ndarray[Any, np.dtype[Any]]


class RankingMetrics(NamedTuple):
    """Of each class, (C,) float64; NaN where a class has no positive (for ROC-AUC: or no negative)."""

    average_precision: Array
    f1_max: Array
    roc_auc: Array


def average_precision(scores: Array, targets: Array, *, absent: Absent = "ignore") -> Array:
    r"""Average precision of each class.

    ``AP = Σ_n (R_n - R_{n-1}) P_n`` over the distinct scores of a class in descending order; tied scores are
    one threshold.

    Args:
        scores: (N, C) real, higher is more likely. No NaN.
        targets: (N, C) bool.
        absent: what a class without a positive gets: "ignore" NaN, "zero" 0, "error" an error.

    Returns:
        (C,) float64 in [0, 1], or NaN.

    Raises:
        ValueError: if the shapes differ, a score is NaN, or ``absent`` is "error" and a class is absent.

    Source: sklearn.metrics.average_precision_score, ties included.

    >>> average_precision(np.array([[0.9], [0.8], [0.7]]), np.array([[True], [False], [True]])).round(4)
    array([0.8333])
    """
    return with_policy(_of_targets(scores, targets).average_precision, absent)


def f1_max(scores: Array, targets: Array, *, absent: Absent = "ignore") -> Array:
    """Best F1 of each class over all thresholds, chosen on these very scores.

    Args:
        scores: (N, C) real, no NaN.
        targets: (N, C) bool.
        absent: as for :func:`average_precision`.

    Returns:
        (C,) float64 in [0, 1], or NaN.

    Raises:
        ValueError: as for :func:`average_precision`.

    Source: cvl-umass/iNatSounds ("F1-max"), over sklearn's precision_recall_curve.

    >>> f1_max(np.array([[0.9], [0.8], [0.7]]), np.array([[True], [False], [True]])).round(4)
    array([0.8])
    """
    return with_policy(_of_targets(scores, targets).f1_max, absent)


def roc_auc(scores: Array, targets: Array, *, absent: Absent = "ignore") -> Array:
    """Area under the ROC curve of each class: the chance that a positive outranks a negative, ties half.

    Args:
        scores: (N, C) real, no NaN.
        targets: (N, C) bool.
        absent: as for :func:`average_precision`; a class without a negative counts as absent too.

    Returns:
        (C,) float64 in [0, 1], or NaN.

    Raises:
        ValueError: as for :func:`average_precision`.

    Source: sklearn.metrics.roc_auc_score.

    >>> roc_auc(np.array([[0.9], [0.8], [0.7]]), np.array([[True], [False], [True]]))
    array([0.5])
    """
    return with_policy(_of_targets(scores, targets).roc_auc, absent)


def ranking_metrics(scores: Array, rows: Sequence[Array], *, threads: int | None = None) -> RankingMetrics:
    """All three of each class from one sort.

    Args:
        scores: (N, C) real, no NaN.
        rows: rows of the positives of each class, as ``rows_of_targets`` and ``rows_of_labels`` make them.
        threads: None for one a core.

    Raises:
        ValueError: if a score is NaN.
    """
    if scores.ndim != 2 or len(rows) != scores.shape[1]:
        raise ValueError(f"scores must be (N, C) with C positives' rows; got {scores.shape} and {len(rows)}")
    return RankingMetrics(*np.array(each_class(_one, scores, rows, threads=threads)).reshape(-1, 3).T)


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


def _of_targets(scores: Array, targets: Array) -> RankingMetrics:
    scores, targets = np.asarray(scores), np.asarray(targets)
    if scores.ndim != 2 or scores.shape != targets.shape:
        raise ValueError(f"scores and targets must both be (N, C); got {scores.shape} and {targets.shape}")
    if targets.dtype != np.bool_:
        raise ValueError(f"targets must be bool; got {targets.dtype}")
    return ranking_metrics(scores, rows_of_targets(targets))


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
