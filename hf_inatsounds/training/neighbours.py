"""Validation of an encoder that has no scores yet: do recordings of a species lie next to each other?"""

from __future__ import annotations

from itertools import islice
from typing import Any

import numpy as np
from typing_extensions import override

from hf_inatsounds.errors import ScoresError
from hf_inatsounds.metrics import ranking_metrics, rows_of_labels
from hf_inatsounds.scoring.recordings import read_windows
from hf_inatsounds.training.validation import CentralWindow, Validator

Array = np.ndarray[Any, np.dtype[Any]]

BLOCK = 512
"""Recordings compared with all others at once."""


def neighbour_metrics(embeddings: Array, labels: Array) -> dict[str, float]:
    """Leave-one-out retrieval among recordings.

    The score of class c for recording i is the cosine of i and its nearest neighbour of c, i itself left out. A class
    with a single recording has none and does not count.

    Args:
        embeddings: (N, D).
        labels: (N,) int.

    Returns:
        ``map``, the mean over classes of their average precision, and ``top1``, the share of recordings whose nearest
        neighbour is of their class.

    Raises:
        ScoresError: if no class has two recordings.

    >>> metrics = neighbour_metrics(np.array([[1, 0], [0.9, 0.1], [0, 1], [0.1, 0.9]]), np.array([0, 0, 1, 1]))
    >>> metrics["map"], metrics["top1"]
    (1.0, 1.0)
    """
    order = np.argsort(labels, kind="stable")
    labels, unit = labels[order], np.asarray(embeddings[order], np.float32)
    unit = unit / np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), 1e-12)
    classes, starts, counts = np.unique(labels, return_index=True, return_counts=True)
    if not (counts > 1).any():
        raise ScoresError(
            "nothing to compare", where="validation", found="no class with two recordings",
            fix="Raise validation_recordings, or set validation_split: none.",
        )  # fmt: skip
    scores = np.empty((len(labels), len(classes)), np.float32)
    for start in range(0, len(labels), BLOCK):
        similarity = unit[start : start + BLOCK] @ unit.T
        itself = np.arange(len(similarity))
        similarity[itself, start + itself] = -2.0  # below every cosine
        scores[start : start + BLOCK] = np.maximum.reduceat(similarity, starts, axis=1)
    several = counts > 1
    precision = ranking_metrics(scores[:, several], rows_of_labels(labels, classes[several])).average_precision
    right = (classes[scores.argmax(1)] == labels)[np.isin(labels, classes[several])]
    return {"map": float(np.nanmean(precision)), "top1": float(right.mean())}


class NeighbourValidator(Validator):
    """Embeds the central window of each validation recording, each process its part: an encoder's validation.

    ``map`` and ``top1`` are :func:`neighbour_metrics`', and say nothing of a classifier's.
    """

    @property
    @override
    def is_full(self) -> bool:
        return len(self._chosen(full=False)) == len(self.info.labels)

    @override
    def __call__(self, *, full: bool = False) -> dict[str, float]:
        mine = list(islice(self._chosen(full=full), self.state.process_index, None, self.state.num_processes))
        found = []
        rows = iter(self._rows(mine))
        while batch := list(islice(rows, self.recipe.training.per_device_eval_batch_size)):
            embedded = self.classifier.features([self._middle(row) for row in batch])
            found += [(row["recording_id"], row["label"], one) for row, one in zip(batch, embedded, strict=True)]
        self.classifier.model.train()
        parts = self.state.gather(found, "all parts of the validation")
        everybody = sorted((one for part in parts for one in part), key=lambda one: int(one[0]))
        if not everybody:
            raise ScoresError("nothing was embedded", where="validation")
        return neighbour_metrics(np.stack([one[2] for one in everybody]), np.array([one[1] for one in everybody]))

    def _middle(self, row: dict[str, Any]) -> Array:
        window = self.classifier.window
        spans = read_windows(row["audio"], CentralWindow(window.size_s, window.stride_s), self.classifier.sampling_rate)
        return next(waveform for waveform, _, _ in spans)
