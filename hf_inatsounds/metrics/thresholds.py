"""The counts that ranking metrics are made of: positives and items at or above each positive's score."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
T = TypeVar("T")

BLOCK = 32
"""Classes that are copied out of the score matrix at once: 6 MB of float32 at 49,527 files."""


class Counts(NamedTuple):
    """Counts of one class at its thresholds: the distinct scores of its positives, descending.

    Between two of them precision, recall and F1 only fall, so that no other threshold is needed; with few
    positives this is far less than all scores.

    Attributes:
        hits: (J,) positives at the threshold.
        positives: (J,) positives at or above it.
        items: (J,) items at or above it.
        tied: (J,) items at it.
        n: all items.
    """

    hits: Array
    positives: Array
    items: Array
    tied: Array
    n: int


def counts(column: Array, rows: Array) -> Counts:
    """Counts of one class.

    Args:
        column: (N,) scores.
        rows: (P,) int, the positives, P ≥ 1.

    Raises:
        ValueError: if a score is NaN.

    >>> counts(np.array([0.9, 0.8, 0.7]), np.array([0, 2])).items
    array([1, 3])
    """
    # sorting values takes half the time of sorting their places, and only positives' places are needed
    ordered = np.sort(column)
    if np.isnan(ordered[-1]):  # sort puts NaN last
        raise ValueError(f"NaN in row {int(np.flatnonzero(np.isnan(column))[0])}")
    values, hits = np.unique(column[rows], return_counts=True)
    values, hits = values[::-1], hits[::-1]
    n = len(column)
    items = n - np.searchsorted(ordered, values, "left")
    tied = items - (n - np.searchsorted(ordered, values, "right"))
    return Counts(hits, np.cumsum(hits), items, tied, n)


def rows_of_targets(targets: Array) -> list[Array]:
    """Rows of the positives of each class, from (N, C) bool.

    >>> rows_of_targets(np.array([[True, False], [True, False]]))
    [array([0, 1]), array([], dtype=int64)]
    """
    classes, rows = np.nonzero(targets.T)
    return np.split(rows, np.searchsorted(classes, np.arange(1, targets.shape[1])))


def rows_of_labels(labels: Array, classes: Array) -> list[Array]:
    """Rows of the positives of each of ``classes``, from one label an item, (N,) int.

    >>> rows_of_labels(np.array([7, 3, 7]), np.array([7, 4]))
    [array([0, 2]), array([], dtype=int64)]
    """
    order = np.argsort(labels, kind="stable")
    ordered = labels[order]
    left, right = np.searchsorted(ordered, classes, "left"), np.searchsorted(ordered, classes, "right")
    return [order[first:last] for first, last in zip(left, right, strict=True)]


def each_class(one: Callable[[Array, Array], T], scores: Array, rows: Sequence[Array]) -> list[T]:
    """``one(column, rows)`` of each class, in threads (numpy sorts without the interpreter's lock).

    Args:
        one: takes a class's scores (N,) and its positives' rows (P,).
        scores: (N, C).
        rows: C arrays.

    Raises:
        ValueError: what ``one`` raises, with the class before it.
    """

    def block(first: int) -> list[T]:
        columns = np.ascontiguousarray(scores[:, first : first + BLOCK].T)
        found = []
        for c, column in enumerate(columns, start=first):
            try:
                found.append(one(column, rows[c]))
            except ValueError as error:
                raise ValueError(f"scores of class {c} hold {error}") from error
        return found

    firsts = range(0, scores.shape[1], BLOCK)
    with ThreadPoolExecutor(cores()) as pool:
        return [value for values in pool.map(block, firsts) for value in values]


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
