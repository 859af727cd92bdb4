"""Validation during a run: the paper's protocol, on the full split or on a cheap setting of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
from typing_extensions import override

from hf_inatsounds.audio.windows import WindowSpec
from hf_inatsounds.data.rows import ArrowRows, ForwardRows, Rows
from hf_inatsounds.errors import ScoresError
from hf_inatsounds.evaluation import SplitInfo, metrics_of
from hf_inatsounds.metrics import ranking_metrics, rows_of_labels
from hf_inatsounds.models.classifier import Classifier
from hf_inatsounds.runtime.launched import Launched
from hf_inatsounds.scoring import FileScores
from hf_inatsounds.scoring.recordings import BLOCK, read_windows, score_block
from hf_inatsounds.training.recipe import Recipe

KEPT = ("map", "f1_max", "roc_auc", "top1", "top5", "top1_class_average")


@dataclass(frozen=True)
class CentralWindow(WindowSpec):
    """The one window in the middle of each recording.

    >>> CentralWindow(3.0, 1.5).spans(70, 10)
    [(20, 50)]
    """

    @override
    def count(self, n_samples: int, sampling_rate: int) -> int:
        return 1

    @override
    def spans(self, n_samples: int, sampling_rate: int) -> list[tuple[int, int]]:
        size = self.size_samples(sampling_rate)
        start = max(n_samples - size, 0) // 2
        return [(start, min(start + size, n_samples))]


class Validator:
    """Scores the validation split, each process its part, and gives every process the same metrics.

    Args:
        recipe: says on which setting.
        classifier: what is validated.
        info: the split.
        state: of the processes.
    """

    def __init__(self, recipe: Recipe, classifier: Classifier, info: SplitInfo, state: Launched) -> None:
        self.recipe, self.classifier, self.info, self.state = recipe, classifier, info, state
        self._opened: Rows | ForwardRows | None = None

    @property
    def is_full(self) -> bool:
        """Whether validation during the run is the same as at its end, which is the paper's whole protocol."""
        return self.setting(full=False) == self.setting(full=True)

    def setting(self, *, full: bool) -> dict[str, Any]:
        """What the numbers are of: split, windows ("full" or "cheap"), and how many recordings of how many."""
        return {
            "split": self.info.split, "windows": self._windows(full=full),
            "recordings": len(self._chosen(full=full)), "of": len(self.info.labels),
        }  # fmt: skip

    def _windows(self, *, full: bool) -> str:
        return "full" if full else self.recipe.data.validation

    def __call__(self, *, full: bool = False) -> dict[str, float]:
        """Metrics on the recipe's setting, or on the full one.

        Raises:
            ScoresError: if the split gives no recording.
        """
        window = self.classifier.window
        if self._windows(full=full) == "cheap":
            window = CentralWindow(window.size_s, window.stride_s)
        rows, batch_size = self._rows(self._mine(full=full)), self.recipe.training.per_device_eval_batch_size
        found = []
        while block := tuple(islice(rows, BLOCK)):
            scores, _ = score_block(self.classifier, block, window, classes=self.info.present, batch_size=batch_size)
            found.append(headline(scores))
        self.classifier.model.train()
        parts = [part for part in self.state.collect(found, "all parts of the validation") for part in part]
        metrics = None
        if self.state.is_main_process:
            if not parts:
                raise ScoresError("nothing was scored", where="validation")
            measured = metrics_of(FileScores.merge(parts), self.info.label_space, windows=False)["mean"]
            metrics = {key: measured[key] for key in KEPT}
        return next(iter(self.state.gather(metrics, "the main process to measure")))

    def _chosen(self, *, full: bool) -> list[int]:
        """Numbers of the recordings that take part, ascending: the same in all processes and validations."""
        n = len(self.info.labels)
        asked = self.recipe.data.validation_recordings
        if full or not asked or asked >= n:
            return list(range(n))
        return sorted(np.random.default_rng([self.recipe.training.seed, n]).choice(n, asked, replace=False).tolist())

    def _mine(self, *, full: bool) -> list[int]:
        """Numbers of the process: neighbours, which a source reads together."""
        chosen = self._chosen(full=full)
        bounds = [round(i * len(chosen) / self.state.num_processes) for i in range(self.state.num_processes + 1)]
        return chosen[bounds[self.state.process_index] : bounds[self.state.process_index + 1]]

    def prepare(self) -> None:
        """Open the split's rows, and prepare them where they are not read from the source itself."""
        if self._opened is None:
            self._opened = open_rows(self.info, streaming=self.recipe.data.streaming)

    def _rows(self, numbers: list[int]) -> Iterator[dict[str, Any]]:
        self.prepare()
        assert self._opened is not None
        for part in self._opened.parts(runs(numbers)):
            yield from part


def headline(scores: FileScores) -> FileScores:
    """The scores of the headline alone: a third of the memory."""
    return replace(scores, scores={"mean": scores.mean})


def runs(numbers: Sequence[int]) -> list[tuple[int, int]]:
    """Ascending numbers as (from, to), neighbours joined.

    >>> runs([1, 2, 3, 7])
    [(1, 4), (7, 8)]
    """
    starts = [i for i, one in enumerate(numbers) if not i or numbers[i - 1] != one - 1]
    return [(numbers[i], numbers[j - 1] + 1) for i, j in zip(starts, [*starts[1:], len(numbers)], strict=True)]


def open_rows(info: SplitInfo, *, streaming: bool, draws: bool = False) -> Rows | ForwardRows:
    """A split's rows as a run reads them: by number from the source, else prepared as Arrow files, else as they come.

    Any number of processes may ask: ``datasets`` locks the folder in its cache, so that one prepares and the others of
    that disk wait for the lock, hours if need be, and find what was made. The system frees the lock of a process that
    dies, and the next one begins. A process group takes no part in it.

    Args:
        info: the split.
        streaming: whether archives and mirrors far away are read as they are.
        draws: whether recordings are drawn one by one, instead of in the order that the source reads well.
    """
    if streaming or info.is_at_hand:
        return info.scored_rows(draws=draws)
    return ArrowRows(info.rows(streaming=False))


Array = np.ndarray[Any, np.dtype[Any]]

COMPARED = 512
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
    for start in range(0, len(labels), COMPARED):
        similarity = unit[start : start + COMPARED] @ unit.T
        itself = np.arange(len(similarity))
        similarity[itself, start + itself] = -2.0  # below every cosine
        scores[start : start + COMPARED] = np.maximum.reduceat(similarity, starts, axis=1)
    several = counts > 1
    precision = ranking_metrics(scores[:, several], rows_of_labels(labels, classes[several])).average_precision
    right = (classes[scores.argmax(1)] == labels)[np.isin(labels, classes[several])]
    return {"map": float(np.nanmean(precision)), "top1": float(right.mean())}


class NeighbourValidator(Validator):
    """Embeds the central window of each validation recording, each process its part: an encoder's validation.

    ``map`` and ``top1`` are :func:`neighbour_metrics`', and say nothing of a classifier's.
    """

    @override
    def _windows(self, *, full: bool) -> str:
        return "cheap"

    @override
    def __call__(self, *, full: bool = False) -> dict[str, float]:
        found = []
        rows = self._rows(self._mine(full=full))
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
