"""Rows for the training loop: by number, or as they come. They travel encoded; the collator decodes what it crops."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, IterableDataset

from hf_inatsounds.data.rows import NEEDED, ArrowRows, Row, Rows
from hf_inatsounds.objectives import sampling_weights
from hf_inatsounds.training.crops import CropCollator

__all__ = ["CropCollator", "RecordingList", "RecordingStream"]


class RecordingList(Dataset[Row]):
    """Rows by number, each told the epoch, on which its crops depend.

    Any order of them can be read, so that who makes the order, the sampler in the main process, decides alone on what
    is in a batch: workers read and decode what they are told, and their number changes nothing. Number i + k N is the
    k-th repetition of recording i in an epoch, whose crops are others.

    Args:
        rows: a prepared ``datasets.Dataset``, or :class:`~hf_inatsounds.data.rows.Rows`.
        sampling: how classes are drawn, one of ``SAMPLINGS``; "natural" takes each recording once an epoch.
        beta: of "class-balanced".
    """

    def __init__(self, rows: Any, *, sampling: str = "natural", beta: float = 0.999) -> None:
        self.rows: Rows = ArrowRows(rows) if hasattr(rows, "select_columns") else rows
        self._weights = None if sampling == "natural" else sampling_weights(self.rows.labels(), sampling, beta=beta)
        self.epoch = 0
        # shared by all workers, also those of later epochs: each recording's bytes are digested once a run
        self._digested: torch.Tensor = torch.zeros(len(self.rows), dtype=torch.bool)
        self._digested.share_memory_()  # type: ignore[no-untyped-call]  # torch has not typed it

    def set_epoch(self, epoch: int) -> None:
        """Called before each epoch, by accelerate's data loader or a sampler."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> Row:
        return self.__getitems__([number])[0]

    def __getitems__(self, numbers: Sequence[int]) -> list[Row]:
        """What torch's loader asks for with a whole batch of numbers: one read where a source can."""
        repetitions = [int(number) // len(self) for number in numbers]
        numbers = [int(number) % len(self) for number in numbers]
        digested = self._digested[numbers].tolist()
        self._digested[numbers] = True
        return [
            {**row, "epoch": self.epoch, "repetition": repetition, "digest": not done}
            for row, repetition, done in zip(self.rows.take(numbers), repetitions, digested, strict=True)
        ]

    def order(self, seed: int, epoch: int) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Numbers in the order of a seed and an epoch: all, in one in which the source reads well, or N draws."""
        generator = np.random.default_rng([seed, epoch])
        if self._weights is None:
            return self.rows.order(generator)
        return told_apart(generator.choice(len(self), len(self), p=self._weights / self._weights.sum()), len(self))


def told_apart(draws: np.ndarray[Any, np.dtype[np.int64]], n: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Draws of numbers below ``n``, ``n`` added to each for each time that it was drawn before.

    >>> told_apart(np.array([2, 0, 2, 2]), 3).tolist()
    [2, 0, 5, 8]
    """
    order = np.argsort(draws, kind="stable")
    drawn = draws[order]
    repetitions = np.empty_like(draws)
    repetitions[order] = np.arange(len(draws)) - np.searchsorted(drawn, drawn)
    return draws + n * repetitions


class RecordingStream(IterableDataset[Row]):
    """Rows of a ``datasets.IterableDataset``, mixed by it: by index without a buffer, otherwise through one.

    Its order depends on who iterates: workers of a ``DataLoader`` divide its shards among them. Batches that do not
    depend on the number of workers need it to be iterated in one place, and the rows, still encoded, to be handed to
    the workers from there.

    Args:
        rows: the stream.
        n_recordings: how many it has, as the annotations say.
        shuffle_buffer: recordings in the buffer.
        seed: of the order.
    """

    def __init__(self, rows: Any, n_recordings: int, *, shuffle_buffer: int, seed: int) -> None:
        self.rows = rows.select_columns(list(NEEDED)).shuffle(seed=seed, buffer_size=shuffle_buffer)
        self.n_recordings = n_recordings
        self.epoch = 0
        self._digested: set[int] = set()

    def set_epoch(self, epoch: int) -> None:
        """Called before each epoch, by accelerate's data loader or a sampler."""
        self.epoch = epoch
        self.rows.set_epoch(epoch)

    def __len__(self) -> int:
        return self.n_recordings

    def __iter__(self) -> Iterator[Row]:
        for row in self.rows:
            number = row["recording_id"]
            yield {**row, "epoch": self.epoch, "digest": number not in self._digested}
            self._digested.add(number)
