"""Threshold-free metrics of scores, class by class: average precision, best F1, ROC-AUC."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np

Absent = Literal["ignore", "zero", "error"]
Array = np.ndarray[Any, np.dtype[Any]]


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
    return _each_class(_average_precision, scores, targets, absent)


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
    return _each_class(_f1_max, scores, targets, absent)


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
    return _each_class(_roc_auc, scores, targets, absent)


def _each_class(one: Callable[[Array, Array], float | None], scores: Array, targets: Array, absent: Absent) -> Array:
    """Apply ``one`` to the cumulative counts of each class; None from it means that the class is absent."""
    scores, targets = np.asarray(scores), np.asarray(targets)
    if scores.ndim != 2 or scores.shape != targets.shape:
        raise ValueError(f"scores and targets must both be (N, C); got {scores.shape} and {targets.shape}")
    if targets.dtype != np.bool_:
        raise ValueError(f"targets must be bool; got {targets.dtype}")
    if absent not in ("ignore", "zero", "error"):
        raise ValueError(f'absent must be "ignore", "zero" or "error"; got {absent!r}')
    values = np.empty(scores.shape[1])
    for c in range(scores.shape[1]):
        column = scores[:, c]
        if np.isnan(column).any():
            raise ValueError(f"scores of class {c} hold NaN in row {int(np.flatnonzero(np.isnan(column))[0])}")
        value = one(*_cumulative(column, targets[:, c])) if targets[:, c].any() else None
        if value is None and absent == "error":
            raise ValueError(f"class {c} has no positive, or no negative, among {scores.shape[0]} targets")
        values[c] = value if value is not None else (0.0 if absent == "zero" else np.nan)
    return values


def _cumulative(scores: Array, targets: Array) -> tuple[Array, Array]:
    """Positives and items at or above each distinct score, descending: (n_thresholds,) each."""
    order = np.argsort(scores)[::-1]
    ordered = scores[order]
    last_of_tie = np.append(np.flatnonzero(ordered[1:] != ordered[:-1]), len(ordered) - 1)
    return np.cumsum(targets[order])[last_of_tie], last_of_tie + 1


def _average_precision(positives: Array, items: Array) -> float:
    steps = np.diff(positives, prepend=0)
    return float((steps * (positives / items)).sum() / positives[-1])


def _f1_max(positives: Array, items: Array) -> float:
    # 2 P R / (P + R) with P = positives / items and R = positives / all
    return float((2.0 * positives / (items + positives[-1])).max())


def _roc_auc(positives: Array, items: Array) -> float | None:
    negatives = items - positives
    if negatives[-1] == 0:
        return None
    heights = (positives + np.concatenate([[0], positives[:-1]])) / 2.0
    area = (np.diff(negatives, prepend=0) * heights).sum()
    return float(area / (positives[-1] * negatives[-1]))
