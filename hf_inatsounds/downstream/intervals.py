"""Bootstrap intervals of a downstream number, by recording; means and spreads of those that are defined."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from hf_inatsounds.metrics.bootstrap import centred_interval

Array = np.ndarray[Any, np.dtype[Any]]


def bootstrap_interval(
    judge: Callable[[Array, Array], float | None],
    folds: Sequence[tuple[Array, Array, Array]],
    *,
    draws: int,
    seed: int,
) -> list[float] | None:
    """95 % interval of the mean over folds, recordings drawn with replacement within each fold.

    Percentiles, moved so that the draws' mean is the number itself (:func:`centred_interval`).

    Args:
        judge: scores (N, C) and targets (N, C) → a number; None where it is undefined.
        folds: scores, targets and recordings (N,) int of each; clips that share a recording are drawn together.
        draws: samples, 0 for none.
        seed: of the draws.

    Returns:
        Low and high; None without draws, where a fold has a single recording, or where most draws are undefined.

    >>> fold = (np.ones((4, 1)), np.ones((4, 1), bool), np.arange(4))
    >>> bootstrap_interval(lambda scores, targets: float(scores.mean()), [fold], draws=20, seed=0)
    [1.0, 1.0]
    """
    rows = [_rows_of_recordings(recordings) for _, _, recordings in folds]
    if not draws or not folds or min(len(one) for one in rows) < 2:
        return None
    generator = np.random.default_rng(seed)
    means = []
    for _ in range(draws):
        values = []
        for (scores, targets, _), of in zip(folds, rows, strict=True):
            chosen = np.concatenate([of[i] for i in generator.integers(0, len(of), len(of))])
            values.append(judge(scores[chosen], targets[chosen]))
        known = [value for value in values if value is not None]
        if len(known) == len(folds):
            means.append(sum(known) / len(known))
    if len(means) < draws / 2:
        return None
    own = [judge(scores, targets) for scores, targets, _ in folds]
    known = [value for value in own if value is not None]
    if len(known) < len(folds):
        return None
    return list(centred_interval(np.array(means), sum(known) / len(known)))


def _rows_of_recordings(recordings: Array) -> list[Array]:
    """Rows of each recording."""
    order = np.argsort(recordings, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(recordings[order])) + 1)


def mean_of(values: Sequence[float | None]) -> float | None:
    """Mean of those that are defined; None where none is."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def sd_of(values: Sequence[float | None]) -> float | None:
    """Standard deviation of those that are defined; None of fewer than two."""
    known = [value for value in values if value is not None and not math.isnan(value)]
    return float(np.std(known, ddof=1)) if len(known) > 1 else None
