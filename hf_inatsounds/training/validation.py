"""Validation during a run: the paper's protocol, on the full split or on a cheap setting of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from typing_extensions import override

from hf_inatsounds.audio.windows import WindowSpec
from hf_inatsounds.errors import ScoresError
from hf_inatsounds.evaluation import SplitInfo, metrics_of
from hf_inatsounds.models.classifier import Classifier
from hf_inatsounds.runtime.launched import Launched
from hf_inatsounds.scoring import FileScores, score_recordings
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
        self._prepared: Any = None

    @property
    def is_full(self) -> bool:
        """Whether validation during the run is the paper's whole protocol."""
        return self.recipe.data.validation == "full" and len(self._chosen(full=False)) == len(self.info.labels)

    def __call__(self, *, full: bool = False) -> dict[str, float]:
        """Metrics on the recipe's setting, or on the full one.

        Raises:
            ScoresError: if the split gives no recording.
        """
        window = self.classifier.window
        if self.recipe.data.validation == "cheap" and not full:
            window = CentralWindow(window.size_s, window.stride_s)
        mine = list(islice(self._chosen(full=full), self.state.process_index, None, self.state.num_processes))
        scores = None
        if mine:
            rows, batch_size = self._rows(mine), self.recipe.training.per_device_eval_batch_size
            scores, _ = score_recordings(
                self.classifier, rows, window, present=self.info.present, batch_size=batch_size
            )
        self.classifier.model.train()
        parts = [part for part in self.state.gather(scores, "all parts of the validation") if part is not None]
        if not parts:
            raise ScoresError("nothing was scored", where="validation")
        metrics = metrics_of(FileScores.merge(parts), self.info.label_space)["mean"]
        return {key: metrics[key] for key in KEPT}

    def _chosen(self, *, full: bool) -> list[int]:
        """Numbers of the recordings that take part, ascending: the same in all processes and validations."""
        n = len(self.info.labels)
        asked = self.recipe.data.validation_recordings
        if full or not asked or asked >= n:
            return list(range(n))
        return sorted(np.random.default_rng([self.recipe.training.seed, n]).choice(n, asked, replace=False).tolist())

    def prepare(self) -> None:
        """Prepare the split's rows, where they are not read as a stream."""
        if not self.recipe.data.streaming and self._prepared is None:
            self._prepared = prepared_rows(self.info)

    def _rows(self, numbers: list[int]) -> Iterator[dict[str, Any]]:
        self.prepare()
        if not self.recipe.data.streaming:
            yield from (self._prepared[i] for i in numbers if i < len(self._prepared))
            return
        wanted = set(numbers)
        yield from (row for i, row in enumerate(self.info.rows()) if i in wanted)


def prepared_rows(info: SplitInfo) -> Any:
    """A split's rows as Arrow files.

    Any number of processes may ask: ``datasets`` locks the folder in its cache, so that one prepares and the others of
    that disk wait for the lock, hours if need be, and find what was made. The system frees the lock of a process that
    dies, and the next one begins. A process group takes no part in it.
    """
    return info.rows(streaming=False)
