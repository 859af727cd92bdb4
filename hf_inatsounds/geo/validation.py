"""Which width and smoothing a fitted prior gets: those under which held-out recordings' species are likeliest."""

from __future__ import annotations

from typing import Any

import numpy as np

from hf_inatsounds.geo.kernels import class_sums, likelihood_ratio, widths

Array = np.ndarray[Any, np.dtype[Any]]

SCALES = (0.25, 0.5, 1.0, 2.0, 4.0)
SMOOTHINGS = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
FOLDS = 5
MOST = 400
"""Held-out recordings per fold: at the official size a fold is 400 × 110,000 kernels for each scale, seconds."""


def choose(points: Array, labels: Array, least: Array, *, seed: int) -> dict[str, Any]:
    """Scale and smoothing by cross-validation.

    Each fold's recordings are predicted from the others': the mean of ``log p(class | place)``, with
    ``p ∝ n_c r_c(place)``. Recordings whose class no other fold holds cannot be predicted and are left out.

    Args:
        points: (N, 3) unit vectors, ordered by class.
        labels: (N,) int, ascending.
        least: (N,) narrowest width, in radians.
        seed: of the folds.

    Returns:
        ``{"scale", "smoothing", "log_likelihood", "log_likelihood_of_frequencies", "held_out"}``: the last but one
        is what class frequencies alone reach.
    """
    generator = np.random.default_rng(seed)
    fold = generator.permutation(len(labels)) % FOLDS
    total = np.zeros((len(SCALES), len(SMOOTHINGS)))
    plain, held_out = 0.0, 0
    for number in range(FOLDS):
        train = np.flatnonzero(fold != number)
        test = generator.permutation(np.flatnonzero(fold == number))[:MOST]
        classes, counts = np.unique(labels[train], return_counts=True)
        test = test[np.isin(labels[test], classes)]
        column = np.searchsorted(classes, labels[test])
        base, rows = widths(points[train], counts), np.arange(len(test))
        plain += np.log(counts[column] / counts.sum()).sum()
        held_out += len(test)
        for s, scale in enumerate(SCALES):
            width = np.clip(base * scale, least[train], np.pi)
            sums = _in_portions(points[test], points[train], 1.0 / width**2, counts)
            for a, smoothing in enumerate(SMOOTHINGS):
                joint = counts * likelihood_ratio(sums, counts, smoothing)
                total[s, a] += np.log(joint[rows, column] / joint.sum(axis=1)).sum()
    best = np.unravel_index(total.argmax(), total.shape)
    return {
        "scale": SCALES[best[0]], "smoothing": SMOOTHINGS[best[1]],
        "log_likelihood": float(total[best] / max(held_out, 1)),
        "log_likelihood_of_frequencies": float(plain / max(held_out, 1)), "held_out": held_out,
    }  # fmt: skip


def _in_portions(points: Array, places: Array, concentration: Array, counts: Array) -> Array:
    return np.concatenate([class_sums(points[i : i + 64], places, concentration, counts)
                           for i in range(0, len(points), 64)] or [np.zeros((0, len(counts)))])  # fmt: skip
