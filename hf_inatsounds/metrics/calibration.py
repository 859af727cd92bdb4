"""Calibration: whether a score of 0.8 is right eight times in ten.

By hand, since sklearn's calibration_curve does not say how many items a bin holds, and sklearn has no ECE.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


class Reliability(NamedTuple):
    """A reliability curve over equal-width bins of confidence.

    Attributes:
        edges: (bins + 1,) from 0 to 1.
        confidence: (bins,) mean confidence in each, NaN where it is empty.
        accuracy: (bins,) share of hits in each, NaN where it is empty.
        items: (bins,) int.
    """

    edges: Array
    confidence: Array
    accuracy: Array
    items: Array


def reliability_curve(confidence: Array, hits: Array, *, bins: int = 15) -> Reliability:
    """Confidence against accuracy. A bin holds its lower edge; the last one holds 1 too.

    Args:
        confidence: (N,) in [0, 1]: of the predicted class, or of one class.
        hits: (N,) bool.
        bins: ≥ 1, of equal width.

    Raises:
        ValueError: if shapes differ, nothing is given, or a confidence is outside of [0, 1] or NaN.

    Source: Guo et al. 2017, "On calibration of modern neural networks", section 2.

    >>> reliability_curve(np.array([0.2, 0.9, 0.8]), np.array([False, True, False]), bins=2).accuracy
    array([0. , 0.5])
    """
    confidence, hits = np.asarray(confidence, np.float64), np.asarray(hits)
    if confidence.ndim != 1 or confidence.shape != hits.shape or not len(hits) or bins < 1:
        raise ValueError(f"confidence and hits must both be (N,), N ≥ 1; got {confidence.shape}, {hits.shape}")
    if not ((confidence >= -1e-6) & (confidence <= 1 + 1e-6)).all():  # a float32 sum can pass 1 by some 1e-7
        raise ValueError("confidence must be in [0, 1], without NaN")
    place = np.clip((confidence * bins).astype(np.int64), 0, bins - 1)
    items = np.bincount(place, minlength=bins)
    with np.errstate(invalid="ignore"):
        mean = np.bincount(place, weights=confidence, minlength=bins) / items
        accuracy = np.bincount(place, weights=hits, minlength=bins) / items
    return Reliability(np.linspace(0.0, 1.0, bins + 1), mean, accuracy, items)


def wilson_interval(hits: Array, items: Array, *, level: float = 0.95) -> tuple[Array, Array]:
    """Interval of a share ``hits / items``: ``(p + z²/2n ± z √(p (1 - p) / n + z²/4n²)) / (1 + z²/n)``.

    It is no wider than it has to be with few items, and has a width where none or all are hits.

    Args:
        hits: (B,) int in [0, items].
        items: (B,) int; NaN comes out where it is 0.
        level: in (0, 1).

    Returns:
        Both ends, (B,) each.

    Source: Wilson 1927; scipy.stats.binomtest.

    >>> [end.round(4).tolist() for end in wilson_interval(np.array([5]), np.array([10]))]
    [[0.2366], [0.7634]]
    """
    from scipy.stats import binomtest

    ends = [
        binomtest(int(hit), int(n)).proportion_ci(level, method="wilson") if n else (np.nan, np.nan)
        for hit, n in zip(hits, items, strict=True)
    ]
    low, high = np.array(ends, np.float64).T
    return low, high


def expected_calibration_error(confidence: Array, hits: Array, *, bins: int = 15) -> float:
    """ECE: ``Σ_b n_b / N · |accuracy_b - confidence_b|``.

    Source: Guo et al. 2017; torchmetrics' CalibrationError with norm "l1".

    >>> expected_calibration_error(np.array([0.9, 0.9]), np.array([True, False]))
    0.4
    """
    curve = reliability_curve(confidence, hits, bins=bins)
    gaps = np.abs(curve.accuracy - curve.confidence)
    return float(np.nansum(gaps * curve.items) / curve.items.sum())


def brier_score(scores: Array, labels: Array) -> float:
    """Brier's score of items with one label each: mean over them of ``Σ_c (s_c - t_c)²``, in [0, 2].

    Args:
        scores: (N, C) in [0, 1].
        labels: (N,) int in [0, C).

    Source: Brier 1950; sklearn.metrics.brier_score_loss with ``scale_by_half=False``.

    >>> round(brier_score(np.array([[0.8, 0.2]]), np.array([0])), 3)
    0.08
    """
    scores, labels = np.asarray(scores), np.asarray(labels)
    true = scores[np.arange(len(labels)), labels].astype(np.float64)
    squares = np.einsum("nc,nc->n", scores, scores, dtype=np.float64)
    return float((squares - 2.0 * true + 1.0).mean())
