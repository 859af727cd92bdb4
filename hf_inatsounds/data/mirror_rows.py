"""Rows of a mirror, on the Hub or in a folder, by number: only their row groups are fetched, each once."""

from __future__ import annotations

import functools
import os
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hf_inatsounds.archives.sealing import digest
from hf_inatsounds.audio.encoded import embedded
from hf_inatsounds.data.annotations import Annotations
from hf_inatsounds.data.mirror import Mirror
from hf_inatsounds.data.mirror_places import read_places
from hf_inatsounds.data.ordering import Lanes, mixed_order
from hf_inatsounds.data.rows import NEEDED, Array, KnownRows, Part, Row, encoded_audio
from hf_inatsounds.errors import SourceError
from hf_inatsounds.schema import DEFECT_COLUMN

LANES = Lanes(slots=16, phases=4, lanes=64, open_blocks=64)
"""64 lanes: 16 processes, or workers of one that are 1, 2 or 4, read nothing twice. A row group has some 20 recordings
that are a random draw of its species already."""

OPEN_GROUPS = 64
"""Row groups of some 8 MiB that a reader keeps: as many as there are lanes."""

MIXED_GROUPS = 8
"""Row groups that a shuffled stream draws from."""

DENSE = 0.8
"""Share of a row group, between its first and its last wanted recording, from which on it is fetched in one go."""

OPEN_SHARDS = 16
"""Of which the footer, some MB with the names of 5,569 species, is kept."""


class MirrorRows(KnownRows):
    """Rows of a mirror.

    Args:
        mirror: the mirror.
        annotations: the wanted recordings.

    Attributes:
        rows: (N,) all columns but ``audio``, in the order of shards and row groups. Recordings that the mirror leaves
            out are not there.
        blocks: (N,) number of the row group of each, ascending.
    """

    def __init__(self, mirror: Mirror, annotations: Annotations) -> None:
        self._mirror = mirror
        places = read_places(mirror, annotations.split)
        number = {one: i for i, one in enumerate(annotations.table["recording_id"].to_pylist())}
        found = [(i, number[one]) for i, one in enumerate(places["recording_id"].to_pylist()) if one in number]
        kept = places.take(pa.array([i for i, _ in found], pa.int64()))
        self.rows = annotations.table.take(pa.array([i for _, i in found], pa.int64())).combine_chunks()
        super().__init__(self.rows)
        paths = kept["path"].combine_chunks().dictionary_encode()
        self._paths = paths.dictionary.to_pylist()
        self._shard, self._group = paths.indices.to_numpy(), kept["row_group"].to_numpy()
        self._row, self._names, self._defect = kept["row"].to_numpy(), self.rows["file_name"], kept["defect"]
        self._is_located = not kept["offset"].null_count
        self._offset = kept["offset"].to_numpy() if self._is_located else np.zeros(len(kept), np.int64)
        self._size = kept["size"].to_numpy() if self._is_located else np.ones(len(kept), np.int64)
        changes = np.diff(self._shard, prepend=-1).astype(bool) | np.diff(self._group, prepend=-1).astype(bool)
        self.blocks = np.cumsum(changes) - 1
        self._starts = np.append(np.flatnonzero(changes), len(self._row))
        ends = np.maximum.reduceat(self._offset + self._size, self._starts[:-1]) if len(kept) else np.zeros(0)
        spans = ends - self._offset[self._starts[:-1]]
        self._is_dense = np.add.reduceat(self._size, self._starts[:-1]) >= DENSE * spans if len(kept) else []
        self._forget()

    def _forget(self) -> None:
        self._process = 0
        self._files: OrderedDict[str, Any] = OrderedDict()
        self._groups: OrderedDict[int, Any] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_process": 0, "_files": OrderedDict(), "_groups": OrderedDict()}

    @functools.cached_property
    def identity(self) -> str:
        """Digest of the mirror's state and which rows these are."""
        parts = [self._mirror.state.encode()]
        parts += [self.rows[key].to_numpy().tobytes() for key in ("recording_id", "label")]
        return digest(b"".join(parts))

    def take(self, numbers: Sequence[int]) -> list[Row]:
        """As :meth:`~hf_inatsounds.data.rows.Rows.take`."""
        known = self.known.select([name for name in NEEDED if name != "audio"])
        rows = known.take(pa.array(numbers, pa.int64())).to_pylist()
        found: list[Row] = [{}] * len(rows)
        for place in np.argsort(self.blocks[np.asarray(numbers, np.int64)], kind="stable").tolist():
            found[place] = {**rows[place], "audio": self._audio(int(numbers[place]))}
        return found

    def _audio(self, number: int) -> dict[str, Any]:
        content, path, _ = self._recording(number)
        return embedded({"bytes": content, "path": path})

    def _recording(self, number: int) -> tuple[Any, str, str | None]:
        """A recording's bytes, the path that they have in its row, and what is defective about it."""
        if self._process != os.getpid():
            self._forget()
            self._process = os.getpid()
        block = int(self.blocks[number])
        if not self._is_located:
            group, row = self._row_group(block), int(self._row[number])
            audio = encoded_audio(group["audio"].combine_chunks().slice(row, 1))[0]
            defect = group[DEFECT_COLUMN][row].as_py() if DEFECT_COLUMN in group.column_names else None
            return audio["bytes"], audio["path"], defect
        start, stop = int(self._offset[number]), int(self._offset[number] + self._size[number])
        if self._is_dense[block]:
            first, span = self._span(block)
            content = span[start - first : stop - first]
        else:
            content = self._bytes(block, start, stop)
        name = self._names[number].as_py()
        path = str(PurePosixPath(name).with_suffix(".flac")) if bytes(content[:4]) == b"fLaC" else name
        return content, path, self._defect[number].as_py()

    def _kept(self, block: int, read: Callable[[int], Any]) -> Any:
        """What is read of a block, from those that are kept."""
        if block not in self._groups:
            while len(self._groups) >= OPEN_GROUPS:
                self._groups.popitem(last=False)
            self._groups[block] = read(block)
        self._groups.move_to_end(block)
        return self._groups[block]

    def _span(self, block: int) -> tuple[int, memoryview]:
        """Where a block's wanted recordings begin in their file, and its bytes from there to the end of the last."""
        rows = slice(self._starts[block], self._starts[block + 1])
        first = int(self._offset[rows].min())
        last = int((self._offset[rows] + self._size[rows]).max())
        return first, self._kept(block, lambda one: self._bytes(one, first, last))

    def _bytes(self, block: int, start: int, stop: int) -> memoryview:
        path = self._paths[int(self._shard[self._starts[block]])]
        if self._mirror.folder is not None:
            with open(self._mirror.folder / path, "rb") as here:
                here.seek(start)
                content = here.read(stop - start)
        else:
            file = self._file(path, self._mirror.open)
            file.seek(start)
            content = file.read(stop - start)
        if len(content) != stop - start:
            raise SourceError(
                "a shard of the mirror ends early", where=f"{self._mirror.where}, {path}",
                found=f"{len(content):,} bytes from {start:,} on", expected=f"{stop - start:,}",
            )  # fmt: skip
        return memoryview(content)

    def _row_group(self, block: int) -> pa.Table:
        """The recordings and defects of a row group of a mirror that does not say where they are."""

        def read(block: int) -> pa.Table:
            first = int(self._starts[block])
            shard = self._file(self._paths[int(self._shard[first])], self._parquet)
            names = ["audio", *({DEFECT_COLUMN} & set(shard.schema_arrow.names))]
            return shard.read_row_group(int(self._group[first]), columns=names, use_threads=False).combine_chunks()

        return self._kept(block, read)

    def _parquet(self, path: str) -> Any:
        here = self._mirror.folder
        if here is None:
            return pq.ParquetFile(self._mirror.open(path), pre_buffer=True)
        return pq.ParquetFile(here / path, memory_map=True)

    def _file(self, path: str, opened: Callable[[str], Any]) -> Any:
        if path not in self._files:
            while len(self._files) >= OPEN_SHARDS:
                self._files.popitem(last=False)
            self._files[path] = opened(path)
        self._files.move_to_end(path)
        return self._files[path]

    def begin(self, numbers: Sequence[int]) -> None:
        """Row groups are read when the first of their recordings is asked for."""

    def order(self, generator: np.random.Generator, step_items: int) -> Array:
        """As :meth:`~hf_inatsounds.data.rows.Rows.order`, in :data:`LANES`, and permuted within row groups."""
        return LANES.order(self.blocks, step_items, generator, within=True)

    def parts(self, parts: Sequence[Part]) -> Iterator[Iterator[Row]]:
        """As :meth:`~hf_inatsounds.data.rows.Rows.parts`, in the order of the shards."""
        for start, stop in parts:
            yield self._in_order(range(start, min(stop, len(self))))

    def _in_order(self, numbers: Sequence[int]) -> Iterator[Row]:
        for number in numbers:
            yield {**self.known.slice(number, 1).to_pylist()[0], "audio": self._audio(number)}
            self._drop_read(number)

    def in_order(self, rows: Array) -> Iterator[tuple[int, Any]]:
        """(row, what :meth:`table` takes) of ascending ``rows``; a row group is held at a time."""
        for row in rows.tolist():
            yield row, None
            self._drop_read(row)

    def _drop_read(self, number: int) -> None:
        """Forget a row group whose last wanted recording, in the order of the shards, was read."""
        block = int(self.blocks[number])
        if number + 1 == self._starts[block + 1]:
            self._groups.pop(block, None)

    def mixed(self, rows: Array, seed: int, position: int) -> Iterator[tuple[int, Any]]:
        """(row, what :meth:`table` takes) of ``rows`` in the seed's order, from its ``position``-th on."""
        starts = np.flatnonzero(np.diff(self.blocks[rows], prepend=-1))
        generator = np.random.default_rng([seed, 2])
        groups = [generator.permutation(group) for group in (np.split(rows, starts[1:]) if len(rows) else [])]
        order = mixed_order([len(group) for group in groups], seed, MIXED_GROUPS)
        deque(islice(order, position), maxlen=0)
        for group, k in order:
            row = int(groups[group][k])
            yield row, None
            if k == len(groups[group]) - 1:
                self._groups.pop(int(self.blocks[row]), None)

    def table(self, i: int, content: Any = None) -> pa.Table:
        """The i-th row, with its recording."""
        encoded, path, defect = self._recording(i)
        audio = pa.StructArray.from_arrays(
            [pa.array([bytes(encoded)], pa.binary()), pa.array([path], pa.string())], ["bytes", "path"]
        )
        table = self.rows.slice(i, 1).add_column(1, "audio", audio)
        return table.append_column(DEFECT_COLUMN, pa.array([defect], pa.string()))
