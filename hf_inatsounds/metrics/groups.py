"""Metrics of groups of classes: supercategories, and bins of how often a class was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hf_inatsounds.metrics.bootstrap import LEVEL, centred_interval

Array = np.ndarray[Any, np.dtype[Any]]

FREQUENCY_BINS: tuple[tuple[int, int | None], ...] = ((0, 0), (1, 1), (2, 5), (6, 20), (21, 100), (101, None))
"""Training recordings of a class, both ends included: a third of the official classes have one, few over 100."""


def frequency_bins(counts: Array) -> list[str]:
    """The bin of each class by its number of training recordings.

    >>> frequency_bins(np.array([0, 1, 7, 500]))
    ['0', '1', '6–20', '101+']
    """
    return [next(_bin_name(*ends) for ends in FREQUENCY_BINS if ends[1] is None or n <= ends[1]) for n in counts]


def bin_names() -> list[str]:
    """All bins, rarest first."""
    return [_bin_name(*ends) for ends in FREQUENCY_BINS]


def _bin_name(low: int, high: int | None) -> str:
    return f"{low}+" if high is None else str(low) if low == high else f"{low}–{high}"


def group_means(
    groups: Sequence[str], values: Array, items: Array, replicates: Array | None = None, *, level: float = LEVEL
) -> dict[str, dict[str, Any]]:
    """Mean of the classes' average precision in each group, with its interval.

    Args:
        groups: (K,) names.
        values: (K,) average precision, NaN where a class is absent: left out.
        items: (K,) items of each class.
        replicates: (K, R) average precision on resamples; None gives no interval.
        level: of the interval.

    Returns:
        group → ``{"classes", "items", "map", "interval"}``, in order of first appearance.

    >>> group_means(["a", "b", "a"], np.array([0.2, 0.5, 0.4]), np.array([1, 2, 3]))["a"]["items"]
    4
    """
    names = np.array(groups)
    found = {}
    for name in dict.fromkeys(groups):
        mine = (names == name) & ~np.isnan(values)
        if not mine.any():
            continue
        interval = None
        if replicates is not None:
            held = replicates[mine]
            known = ~np.isnan(held)
            sums = np.where(known, held, 0.0).sum(axis=0, dtype=np.float64)
            with np.errstate(invalid="ignore"):
                means = sums / known.sum(axis=0)
            ends = centred_interval(means, float(values[mine].mean()), level)
            interval = None if np.isnan(ends).any() else list(ends)  # no resample held any of them
        found[name] = {
            "classes": int(mine.sum()),
            "items": int(items[mine].sum()),
            "map": float(values[mine].mean()),
            "interval": interval,
        }
    return found


def confused_pairs(labels: Array, predictions: Array, most: int = 20) -> list[tuple[int, int, int, int]]:
    """The commonest mistakes: (true class, predicted class, how often, items of the true class).

    >>> confused_pairs(np.array([0, 0, 0, 1]), np.array([1, 1, 0, 1]))
    [(0, 1, 2, 3)]
    """
    wrong = labels != predictions
    pairs, counts = np.unique(np.stack([labels[wrong], predictions[wrong]], axis=1), axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:most]
    return [(int(a), int(b), int(counts[i]), int((labels == a).sum())) for i in order for a, b in [pairs[i]]]
