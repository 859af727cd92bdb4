"""Which recordings make which batch: a function of seed, epoch and position, shared among processes without overlap."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from hf_inatsounds.training.crops import CropCollator, RecordingList, RecordingStream
from hf_inatsounds.training.interruption import leave_to_the_main_process

Item = tuple[Any, bool]
"""A recording's number, or its encoded row while streaming, and whether it counts: a filler does not."""


def share_of(batch: list[Any], process: int, n_processes: int, batch_size: int) -> list[Any]:
    """One process's part of a global batch.

    A full batch gives each process ``batch_size`` in a row; what is left at the end of an epoch is divided as
    evenly as can be, so that each item is in one part and some parts may be empty.

    >>> share_of([0, 1, 2, 3, 4, 5], process=1, n_processes=2, batch_size=3)
    [3, 4, 5]
    >>> [share_of([0, 1, 2], process, 2, 3) for process in (0, 1)]
    [[0, 1], [2]]
    """
    if len(batch) == batch_size * n_processes:
        return batch[process * batch_size : (process + 1) * batch_size]
    bounds = [round(i * len(batch) / n_processes + 1e-9) for i in range(n_processes + 1)]
    return batch[bounds[process] : bounds[process + 1]]


@dataclass(frozen=True)
class Part:
    """One process's part of the work.

    Args:
        batch_size: items a process and forward pass at most.
        process: this one.
        n_processes: of how many.
        step_size: items of all processes in an optimiser step; 0 for those of one forward pass. A step's items are
            divided among as few passes as can be, as evenly as can be.

    >>> Part(4, n_processes=3, step_size=20).passes, Part(4, n_processes=3, step_size=20).global_size
    (2, 10)
    """

    batch_size: int
    process: int = 0
    n_processes: int = 1
    step_size: int = 0

    @property
    def passes(self) -> int:
        """Forward passes of an optimiser step."""
        return -(-self.step_items // (self.batch_size * self.n_processes))

    @property
    def step_items(self) -> int:
        """Items of an optimiser step."""
        return self.step_size or self.batch_size * self.n_processes

    @property
    def global_size(self) -> int:
        """Items of all processes in a forward pass."""
        return -(-self.step_items // self.passes)


class GlobalBatches(Sampler[list[Item]]):
    """One process's part of each global batch of an epoch.

    The recordings of an optimiser step do not depend on how many processes or workers there are: two processes with
    batches of 4 train on what one with batches of 8 does, and so does any number that goes on with their run. A process
    that a batch leaves nothing gets a filler that does not count, so that all take the same number of steps.

    Args:
        rows: what is trained on. The rows of a stream are read here, still encoded, and decoded by the workers:
            its order cannot depend on their number, and what a resumed run has seen is passed over undecoded.
        n_recordings: how many there are.
        part: this process's.
        seed: of the order.
    """

    def __init__(self, rows: RecordingList | RecordingStream, n_recordings: int, part: Part, *, seed: int) -> None:
        self.rows, self.n_recordings, self.part, self.seed = rows, n_recordings, part, seed
        self.epoch = 0
        self.passed = 0
        self.reads_ahead = False  # whether the rows are read in this process, where nobody else reads ahead

    def set_epoch(self, epoch: int, passed: int = 0) -> None:
        """Tell which epoch comes, and how many of its batches a resumed run has behind it."""
        self.epoch, self.passed = epoch, passed
        self.rows.set_epoch(epoch)

    def __len__(self) -> int:
        steps, rest = divmod(self.n_recordings, self.part.step_items)
        return steps * self.part.passes + -(-rest // self.part.global_size)

    @property
    def steps(self) -> int:
        """Optimiser steps of an epoch."""
        return -(-self.n_recordings // self.part.step_items)

    def __iter__(self) -> Iterator[list[Item]]:
        batches = self._batches()
        if not (self.reads_ahead and isinstance(self.rows, RecordingList)):
            yield from batches
            return
        held = None
        for batch in batches:
            self.rows.begin([item for item, _ in batch])  # while a step is taken on the one before
            if held is not None:
                yield held
            held = batch
        if held is not None:
            yield held

    def _batches(self) -> Iterator[list[Item]]:
        rows = self.rows
        order: Any = rows
        if isinstance(rows, RecordingList):
            order = rows.order(self.seed, self.epoch, self.part.step_items).tolist()
        filler: list[Any] = []
        batch: list[Any] = []
        number = 0
        for place, item in enumerate(order, 1):
            filler = filler or [item]
            batch.append(item)
            if len(batch) == self.part.global_size or place % self.part.step_items == 0:
                yield self._mine(batch, filler, number)
                batch = []
                number += 1
        if batch:
            yield self._mine(batch, filler, number)

    def _mine(self, batch: list[Any], filler: list[Any], number: int) -> list[Item]:
        if number < self.passed:
            return []  # Trainer skips it; nothing is to be read for it
        mine = share_of(batch, self.part.process, self.part.n_processes, self.part.batch_size)
        return [(item, True) for item in mine] or [(filler[0], False)]


class _Rows(Dataset[Any]):
    """What a worker makes of a batch of items: the rows, and whether they count."""

    def __init__(self, rows: RecordingList | RecordingStream, n_recordings: int) -> None:
        self.rows = rows if isinstance(rows, RecordingList) else None
        self.n_recordings = n_recordings

    def __len__(self) -> int:
        return self.n_recordings

    def __getitem__(self, item: Item) -> Item:
        return self.__getitems__([item])[0]

    def __getitems__(self, items: list[Item]) -> list[Item]:
        rows = [what for what, _ in items]
        found = rows if self.rows is None else self.rows.__getitems__(rows)
        return [(row, counts) for row, (_, counts) in zip(found, items, strict=True)]


@dataclass(frozen=True)
class _Counted:
    """The collator, with weight 0 for fillers."""

    collate: CropCollator

    def __call__(self, items: list[Item]) -> dict[str, Any]:
        batch = self.collate([row for row, _ in items])
        counts = torch.tensor([float(counts) for _, counts in items])
        crops_a_row = len(batch["weights"]) // len(items)
        return {**batch, "weights": batch["weights"] * counts.repeat_interleave(crops_a_row)}


def crop_loader(
    batches: GlobalBatches,
    collate: CropCollator,
    *,
    workers: int,
    pin_memory: bool,
    prefetch_factor: int | None = None,
    multiprocessing_context: str | None = None,
) -> DataLoader[Any]:
    """The loader of one process's batches; workers decode, and none of them decides what comes next."""
    batches.reads_ahead = not workers
    sampler: Any = batches  # any iterable of lists of items is a batch sampler
    return DataLoader(
        _Rows(batches.rows, batches.n_recordings),
        batch_sampler=sampler,
        collate_fn=_Counted(collate),
        num_workers=workers,
        pin_memory=pin_memory,
        prefetch_factor=prefetch_factor,
        multiprocessing_context=multiprocessing_context,
        worker_init_fn=leave_to_the_main_process,
        generator=torch.Generator(),  # of its own: iterating does not draw from what dropout draws from
    )
