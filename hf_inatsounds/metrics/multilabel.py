"""Metrics of items with any number of labels: T1-accuracy, label ranking average precision, macro F1."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

NoCall = Literal["drop", "miss"]
Array = np.ndarray[Any, np.dtype[Any]]


def t1_accuracy(scores: Array, targets: Array, *, no_call: NoCall = "drop") -> float:
    """Share of items whose best class is any of their labels.

    Args:
        scores: (N, C) real, no NaN.
        targets: (N, C) bool.
        no_call: what becomes of an item without a label: "drop" leaves it out (BirdSet), "miss" counts it as one.

    Returns:
        In [0, 1]; NaN where no item is left.

    Source: BirdSet ("T1-Acc").

    >>> t1_accuracy(np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([[True, False], [False, False]]))
    1.0
    """
    scores, targets = checked(scores, targets)
    if no_call not in ("drop", "miss"):
        raise ValueError(f'no_call must be "drop" or "miss"; got {no_call!r}')
    if len(scores) == 0:
        return float("nan")
    hits = targets[np.arange(len(scores)), scores.argmax(axis=1)]
    counted = targets.any(axis=1) if no_call == "drop" else np.ones(len(hits), bool)
    return float(hits[counted].mean()) if counted.any() else float("nan")


def label_ranking_average_precision(scores: Array, targets: Array, *, no_call: Literal["one", "drop"] = "one") -> float:
    """LRAP: mean over items of the mean over their labels of (labels ranked as high) / (classes ranked as high).

    Tied classes all have the worst rank among them.

    Args:
        scores: (N, C) real, no NaN.
        targets: (N, C) bool.
        no_call: an item without a label scores 1 ("one", sklearn's) or is left out ("drop").

    Source: sklearn.metrics.label_ranking_average_precision_score.

    >>> label_ranking_average_precision(np.array([[0.9, 0.1, 0.5]]), np.array([[True, False, True]]))
    1.0
    """
    from scipy.sparse import csr_array
    from sklearn.metrics import label_ranking_average_precision_score

    scores, targets = checked(scores, targets)
    if no_call == "drop" and not (called := targets.any(axis=1)).all():
        scores, targets = scores[called], targets[called]
    if not len(scores):
        return float("nan")
    if np.isinf(scores).any():  # which sklearn refuses
        scores = np.nan_to_num(scores)
    return float(label_ranking_average_precision_score(csr_array(targets), scores))


def macro_f1(scores: Array, targets: Array, threshold: float = 0.5) -> float:
    """Mean over all classes of ``F1 = 2 TP / (2 TP + FP + FN)`` at a threshold; 0 where that is 0 / 0.

    Args:
        scores: (N, C) in [0, 1].
        targets: (N, C) bool.
        threshold: a score of at least this much is a detection.

    Source: sklearn.metrics.f1_score(average="macro", zero_division=0).

    >>> macro_f1(np.array([[0.9, 0.1], [0.2, 0.7]]), np.array([[True, False], [True, False]])).__round__(4)
    0.3333
    """
    from sklearn.metrics import f1_score

    scores, targets = checked(scores, targets)
    if targets.shape[1] == 1:  # sklearn takes one column for a problem of two classes
        return float(f1_score(targets[:, 0], scores[:, 0] >= threshold, zero_division=0))
    return float(f1_score(targets, scores >= threshold, average="macro", zero_division=0))


def checked(scores: Array, targets: Array) -> tuple[Array, Array]:
    """Both as arrays of one (N, C), targets bool, no NaN among the scores.

    Raises:
        ValueError: if they are not.
    """
    scores, targets = np.asarray(scores), np.asarray(targets)
    if scores.ndim != 2 or scores.shape != targets.shape:
        raise ValueError(f"scores and targets must both be (N, C); got {scores.shape} and {targets.shape}")
    if targets.dtype != np.bool_:
        raise ValueError(f"targets must be bool; got {targets.dtype}")
    bad = np.flatnonzero(np.isnan(scores).any(axis=1))
    if len(bad):
        raise ValueError(f"scores hold NaN in row {int(bad[0])}")
    return scores, targets
