"""Probes: small classifiers on frozen embeddings. Pure functions of arrays and a seed."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
Probe = Callable[[Array], Array]
"""Embeddings (N, …) → scores (N, C) in [0, 1]."""

STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Values of C, the inverse strength of regularisation, from which one is chosen on held-out recordings."""

HELD_OUT = 0.2
MAX_ITERATIONS = 500


@dataclass(frozen=True)
class Examples:
    """What a probe is fitted on.

    Attributes:
        x: (N, …) float embeddings.
        y: (N, C) bool targets.
        recordings: (N,) int, clips that share one stay together.
    """

    x: Array
    y: Array
    recordings: Array

    def __post_init__(self) -> None:
        if not len(self.x) == len(self.y) == len(self.recordings):
            raise ValueError(
                f"x, y and recordings must be equally long; got {len(self.x)}, {len(self.y)}, {len(self.recordings)}"
            )

    def take(self, rows: Array) -> Examples:
        """Some of them."""
        return Examples(self.x[rows], self.y[rows], self.recordings[rows])


def held_out(recordings: Array, seed: int, share: float = HELD_OUT) -> Array:
    """(N,) bool: clips of a random ``share`` of the recordings, at least one of them; none where there is only one.

    >>> int(held_out(np.array([0, 0, 1, 2, 3, 4]), 0).sum()) in (1, 2)
    True
    """
    names = np.unique(recordings)
    if len(names) < 2:
        return np.zeros(len(recordings), np.bool_)
    chosen = np.random.default_rng(seed).choice(names, max(round(share * len(names)), 1), replace=False)
    return np.isin(recordings, chosen)


def fit_linear(train: Examples, *, multilabel: bool, strength: float) -> Probe:
    """Logistic regression on standardised embeddings: multinomial, or one class against the rest.

    A class without a positive scores 0, one without a negative 1.

    Args:
        train: x is (N, D).
        multilabel: one class against the rest each.
        strength: C, the inverse strength of regularisation.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(train.x)
    x, n_classes = scaler.transform(train.x), train.y.shape[1]

    def fitted(y: Array) -> Any:
        with warnings.catch_warnings():  # lbfgs that stops at MAX_ITERATIONS is as good a probe
            warnings.filterwarnings("ignore", message=".*lbfgs failed to converge.*")
            return LogisticRegression(C=strength, max_iter=MAX_ITERATIONS).fit(x, y)

    if multilabel:
        single = {c: fitted(train.y[:, c]) for c in range(n_classes) if 0 < train.y[:, c].sum() < len(train.y)}
        constant = train.y.all(axis=0).astype(np.float64)

        def scores(z: Array) -> Array:
            out = np.tile(constant, (len(z), 1))
            scaled = scaler.transform(z)
            for c, one in single.items():
                out[:, c] = one.predict_proba(scaled)[:, 1]
            return out

        return scores
    labels = train.y.argmax(axis=1)
    present = np.unique(labels)
    model = fitted(labels) if len(present) > 1 else None

    def multiclass(z: Array) -> Array:
        out = np.zeros((len(z), n_classes))
        out[:, present] = 1.0 if model is None else model.predict_proba(scaler.transform(z))
        return out

    return multiclass


def choose_strength(
    train: Examples, judge: Callable[[Array, Array], float | None], *, multilabel: bool, validation: Examples | None,
    seed: int,
) -> float:  # fmt: skip
    """The C that does best on ``validation``, or on held-out recordings of ``train``; the smallest of equally good.

    Args:
        train: to fit.
        judge: scores and targets → a number, the higher the better; None where it is undefined.
        multilabel: as :func:`fit_linear`.
        validation: None: some recordings of ``train``.
        seed: of the recordings held out.
    """
    if validation is None:
        out = held_out(train.recordings, seed)
        if not out.any():
            return 1.0
        train, validation = train.take(np.flatnonzero(~out)), train.take(np.flatnonzero(out))
    results = []
    for strength in STRENGTHS:
        value = judge(fit_linear(train, multilabel=multilabel, strength=strength)(validation.x), validation.y)
        results.append(-1.0 if value is None else value)
    return STRENGTHS[int(np.argmax(results))]


def shots(y: Array, k: int, seed: int) -> Array:
    """Rows of ``k`` positives of each class, or of all where there are fewer; each row once, ascending.

    >>> shots(np.array([[True, False], [True, False], [False, True]]), 1, 0).tolist() in ([0, 2], [1, 2])
    True
    """
    generator = np.random.default_rng([seed, k])
    chosen: set[int] = set()
    for c in range(y.shape[1]):
        rows = np.flatnonzero(y[:, c])
        chosen |= set(generator.permutation(rows)[:k].tolist())
    return np.array(sorted(chosen), np.int64)


def centroids(train: Examples) -> Probe:
    """Cosine similarity to the mean of each class's exemplars, mapped to [0, 1]; 0 for a class without one.

    ``score = (1 + cos(x, mean of the class's normalised exemplars)) / 2``
    """
    unit = _normalised(train.x)
    means = _normalised(train.y.T.astype(np.float64) @ unit)
    there: Array = np.flatnonzero(train.y.any(axis=0))

    def scores(z: Array) -> Array:
        out = np.zeros((len(z), len(means)))
        out[:, there] = (1.0 + _normalised(z) @ means[there].T) / 2.0
        return out

    return scores


def _normalised(x: Array) -> Array:
    scaled: Array = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    return scaled
