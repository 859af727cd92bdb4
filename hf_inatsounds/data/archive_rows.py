"""Rows of an indexed archive by number: each seek block is fetched and decompressed once for all that read it."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from typing import Any

import numpy as np
import pyarrow as pa

from hf_inatsounds.archives.block_runs import BlockRun, Readers
from hf_inatsounds.data.indexed_rows import LOCAL_READERS, READERS, Recordings
from hf_inatsounds.data.ordering import Lanes
from hf_inatsounds.data.rows import NEEDED, Array, KnownRows, Part, Row

LANES = Lanes(slots=256, phases=8, lanes=1024, open_blocks=512)
"""With 64 recordings in a step, 64 processes, or workers of one that are 1, 2, 4 or 8, share no block; with 256,
256 processes, or 1, 2 or 4 workers. The label entropy of batches of 64 against a perfect shuffle's, on 137,000
class-ordered recordings of 5,569 long-tailed species, six per block: 1.00."""

OPEN = 1024
"""Blocks that a reader keeps open, where as many are read in turns."""


class ArchiveRows(KnownRows):
    """Rows of an indexed archive.

    A block stays open, as its decompressor's state and some hundred kB of data, until its last wanted recording is
    read. Whoever reads another recording than the next goes on from there, or begins the block anew.

    Args:
        recordings: the rows with where they are.
        keep: blocks that stay open at most.
    """

    def __init__(self, recordings: Recordings, keep: int = OPEN) -> None:
        self._recordings, self._keep = recordings, keep
        super().__init__(recordings.rows)
        blocks = recordings.blocks
        starts = np.flatnonzero(np.diff(blocks, prepend=-1))
        self._first = np.repeat(starts, np.diff(np.append(starts, len(blocks))))
        self._last = np.repeat(np.append(starts[1:], len(blocks)) - 1, np.diff(np.append(starts, len(blocks))))
        self._forget()

    def _forget(self) -> None:
        self._process = 0
        self._readers: Readers | None = None
        self._open: OrderedDict[int, tuple[BlockRun, int]] = OrderedDict()
        self._begun: dict[int, Future[bytes]] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_process": 0, "_readers": None, "_open": OrderedDict(), "_begun": {}}

    def take(self, numbers: Sequence[int]) -> list[Row]:
        """As :meth:`~hf_inatsounds.data.rows.Rows.take`; several requests are in flight."""
        self._own_readers()
        futures = [
            self._begun.pop(number) if number in self._begun else self._begin(number) for number in map(int, numbers)
        ]
        rows = self.known.select([name for name in NEEDED if name != "audio"])
        known = rows.take(pa.array(numbers, pa.int64())).to_pylist()
        return [
            {**row, "audio": {"bytes": future.result(), "path": row["file_name"]}}
            for row, future in zip(known, futures, strict=True)
        ]

    def _own_readers(self) -> Readers:
        """The threads of this process: they, and what they were reading, do not come along into a forked one."""
        if self._readers is None or self._process != os.getpid():
            self._forget()
            self._process = os.getpid()
            far = "://" in self._recordings.archive.where
            self._readers = Readers(READERS if far else LOCAL_READERS)
        return self._readers

    def _begin(self, number: int) -> Future[bytes]:
        readers = self._own_readers()
        first, last = int(self._first[number]), int(self._last[number])
        run, latest = self._open.pop(first, (None, -1))
        if run is None or number <= latest:
            spans = [self._recordings.span(i) for i in range(first, last + 1)]
            run = BlockRun(self._recordings.archive, int(self._recordings.blocks[number]), spans, readers)
        if number < last:
            self._open[first] = run, number
            if len(self._open) > self._keep:
                self._open.popitem(last=False)
        return run.begin(number - first)

    def begin(self, numbers: Sequence[int]) -> None:
        """As :meth:`~hf_inatsounds.data.rows.Rows.begin`; in the order in which they will be taken."""
        self._own_readers()
        made = {int(number): self._begin(int(number)) for number in numbers if int(number) not in self._begun}
        self._begun |= made

    def order(self, generator: np.random.Generator, step_items: int) -> Array:
        """As :meth:`~hf_inatsounds.data.rows.Rows.order`, in :data:`LANES`; within a block in the archive's order."""
        return LANES.order(self._recordings.blocks, step_items, generator, within=False)

    def parts(self, parts: Sequence[Part]) -> Iterator[Iterator[Row]]:
        """As :meth:`~hf_inatsounds.data.rows.Rows.parts`, in the order of the archive."""
        for start, stop in parts:
            yield self._in_order(np.arange(start, min(stop, len(self))))

    def _in_order(self, numbers: Array) -> Iterator[Row]:
        for number, content in self._recordings.in_order(numbers):
            row = self.known.slice(number, 1).to_pylist()[0]
            yield {**row, "audio": {"bytes": content, "path": row["file_name"]}}
