"""A split's rows beside an indexed archive: where each recording is, read in the archive's order or a seed's."""

from __future__ import annotations

import functools
import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import islice
from typing import Any

import datasets
import numpy as np
import pyarrow as pa

from hf_inatsounds.archives.block_runs import BlockRun, Readers
from hf_inatsounds.archives.fetch import Source
from hf_inatsounds.archives.index_checks import last_end, leaves_room
from hf_inatsounds.archives.ranges import open_ranges
from hf_inatsounds.archives.sealing import digest
from hf_inatsounds.archives.seek_index import read_index
from hf_inatsounds.archives.seekable import SeekableArchive, Span
from hf_inatsounds.archives.side_by_side import side_by_side
from hf_inatsounds.audio.playable import playable
from hf_inatsounds.data.ordering import mixed_order
from hf_inatsounds.errors import SourceError
from hf_inatsounds.schema import DEFECT_COLUMN

logger = datasets.logging.get_logger(__name__)

LARGE_BYTES = 1 << 30
"""Streaming an archive from this size on without an index is worth a word."""

TABLE_BYTES = 8 << 20
"""Encoded audio in one Arrow table: small enough that streaming starts at once and memory stays bounded."""

READERS = 12
"""Requests in flight for a shuffled remote stream, which knows what it will need; a request waits for the server most
of its time. First batch of 64, opening included: at 80 ms per request 0.94 s with 12, 1.17 s with 8, 0.83 s with 16; at
none 0.38 s with 8 and 12, 0.41 s with 16."""

LOCAL_READERS = 4
"""The same of an archive on disk, where they only decompress."""

AHEAD = 24
"""Recordings read ahead: enough that no reader waits …"""

WHOLE_BYTES = 64 << 20
"""Of recordings that a shuffled stream may hold while they wait for their turn: a selection of so many is permuted as a
whole, a larger one by blocks, within which recordings keep their order."""

AHEAD_BYTES = 32 << 20
"""… or as many as have so many bytes: some recordings are twenty minutes long."""

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Recordings:
    """Rows of one archive, in its order, with where their recordings are.

    Attributes:
        archive: the archive.
        rows: (N,) all columns but ``audio``.
        offset: (N,) int64, in the decompressed stream.
        size: (N,) int64, bytes.
        crc32: (N,) of the recordings.
        blocks: (N,) number of the seek point before each.
    """

    archive: SeekableArchive
    rows: pa.Table
    offset: Array
    size: Array
    crc32: Array
    blocks: Array

    def span(self, i: int) -> Span:
        """Where the i-th recording is."""
        name = self.rows["file_name"][i].as_py()
        return Span(name, int(self.offset[i]), int(self.size[i]), int(self.crc32[i]))

    def table(self, i: int, content: bytes) -> pa.Table:
        """The i-th row with its recording."""
        return with_audio(self.rows, [(i, content)])

    def in_order(self, rows: Array) -> Iterator[tuple[int, bytes]]:
        """(row, recording) of ascending ``rows``."""
        spans = [self.span(int(i)) for i in rows]
        yield from zip((int(i) for i in rows), self.archive.read_in_order(spans), strict=True)

    def mixed(self, rows: Array, seed: int, position: int) -> Iterator[tuple[int, bytes]]:
        """(row, recording) of ``rows`` in the seed's order, from its ``position``-th on.

        An iterator that was carried over a fork has no threads there: it begins anew where it stood.
        """
        process = os.getpid()
        for pair in self._mixed(rows, seed, position):
            position += 1
            yield pair
            if os.getpid() != process:
                yield from self.mixed(rows, seed, position)
                return

    def _mixed(self, rows: Array, seed: int, position: int) -> Iterator[tuple[int, bytes]]:
        if self.size[rows].sum() <= WHOLE_BYTES:
            yield from self._permuted(np.random.default_rng([seed, 3]).permutation(rows)[position:])
            return
        starts = np.flatnonzero(np.diff(self.blocks[rows], prepend=-1))
        parts = np.split(rows, starts[1:]) if len(rows) else []
        order = mixed_order([len(part) for part in parts], seed)
        deque(islice(order, position), maxlen=0)  # replayed, since it costs a microsecond a draw
        readers = Readers(READERS if "://" in self.archive.where else LOCAL_READERS)
        try:
            yield from self._drawn(parts, order, readers)
        finally:
            readers.close()

    def _permuted(self, rows: Array) -> Iterator[tuple[int, bytes]]:
        """Few recordings in any order: a block's are read together, and wait for their turn."""
        waiting: dict[int, bytes] = {}
        for row in rows.tolist():
            if row not in waiting:
                waiting.update(self.in_order(np.sort(rows[self.blocks[rows] == self.blocks[row]])))
            yield row, waiting[row]
            waiting[row] = b""  # taken; known to have been read

    @functools.cached_property
    def identity(self) -> str:
        """Digest of the archive's md5, which rows these are, and where they are in it."""
        parts = [self.archive.index.archive["md5"].encode(), self.offset.tobytes(), self.size.tobytes()]
        parts += [self.rows[key].to_numpy().tobytes() for key in ("recording_id", "label")]
        return digest(b"".join(parts))

    def _drawn(
        self, parts: list[Array], order: Iterator[tuple[int, int]], readers: Readers
    ) -> Iterator[tuple[int, bytes]]:
        runs: dict[int, BlockRun] = {}
        ahead: deque[tuple[int, Future[bytes]]] = deque()
        ahead_bytes = 0
        while True:
            while (not ahead or (len(ahead) < AHEAD and ahead_bytes < AHEAD_BYTES)) and (drawn := next(order, None)):
                block, k = drawn
                row = int(parts[block][k])
                if block not in runs:
                    spans = [self.span(int(i)) for i in parts[block]]
                    runs[block] = BlockRun(self.archive, int(self.blocks[row]), spans, readers)
                ahead.append((row, runs[block].begin(k)))
                ahead_bytes += int(self.size[row])
                if k == len(parts[block]) - 1:
                    del runs[block]
            if not ahead:
                return
            row, content = ahead.popleft()
            ahead_bytes -= int(self.size[row])
            yield row, content.result()


def tables_of(rows: pa.Table, recordings: Iterator[tuple[int, bytes]]) -> Iterator[pa.Table]:
    """Tables of about TABLE_BYTES, of numbers of ``rows`` and their recordings."""
    batch: list[tuple[int, bytes]] = []
    for pair in recordings:
        batch.append(pair)
        if sum(len(content) for _, content in batch) >= TABLE_BYTES:
            yield with_audio(rows, batch)
            batch = []
    if batch:
        yield with_audio(rows, batch)


def with_audio(rows: pa.Table, batch: list[tuple[int, bytes]]) -> pa.Table:
    """The rows that ``batch`` names, with ``audio``, as any decoder takes it, in its place, and ``defect`` last."""
    table = rows.take(pa.array([i for i, _ in batch], pa.int64()))
    names = table["file_name"].to_pylist()
    made = [playable(content) for _, content in batch]
    audio = pa.StructArray.from_arrays(
        [pa.array([one.content for one in made], pa.binary()), pa.array(names, pa.string())], ["bytes", "path"]
    )
    defects = pa.array([one.defect for one in made], pa.string())
    return table.add_column(1, "audio", audio).append_column(DEFECT_COLUMN, defects)


def open_indexed(source: Source, stem: str, location: Source) -> SeekableArchive:
    """An archive with its index, which are compared.

    Raises:
        SourceError: if either is missing, or they do not belong together.
    """
    name = f"{stem}.tar.gz"

    def require_archive() -> None:
        if not source.exists(name):
            raise SourceError(
                "missing audio archive", where=source.path(name), found="no such file", expected="the indexed archive"
            )

    _, index = side_by_side(require_archive, lambda: read_index(location, stem), far=location.is_remote)
    archive = SeekableArchive(source.path(name), index)
    index.check_archive(archive.ranges)
    return archive


def require_complete(archive: SeekableArchive, missing: int, wanted: int) -> None:
    """Refuse an index that lacks annotated recordings which the archive may well hold.

    Where the archive lacks them too, that is no fault of the index: reading forward passes over them as well.

    Args:
        archive: the archive with its index.
        missing: recordings that are annotated and not in the index.
        wanted: recordings that are annotated.

    Raises:
        SourceError: if the index leaves out a part of the archive.
    """
    index = archive.index
    if missing and (
        leaves_room(index.members, index.archive["decompressed_bytes"]) or not archive.is_over(last_end(index.members))
    ):
        raise SourceError(
            "the seek index leaves out a part of the archive", where=index.where,
            found=f"{missing:,} of {wanted:,} annotated recordings are not in it", expected="all that the archive has",
            fix="Build it anew in an empty folder: hf-inatsounds index SOURCE --out DIR",
        )  # fmt: skip


def recordings_of(archive: SeekableArchive, rows: pa.Table) -> Recordings:
    """A split's wanted rows, given in any order, in archive order; those that the archive lacks are left out.

    Of a name that comes twice the first counts, as in reading forward.
    """
    members = archive.index.members
    names = members["file_name"].to_pylist()
    place = {name: i for i, name in enumerate(rows["file_name"].to_pylist())}
    first: dict[str, int] = {}
    for i, name in enumerate(names):
        if name in place:
            first.setdefault(name, i)
    require_complete(archive, len(place) - len(first), len(place))
    chosen = np.array(list(first.values()), np.int64)
    taken = rows.take(pa.array([place[names[i]] for i in chosen], pa.int64())).combine_chunks()
    offset, size, crc32 = (members[key].to_numpy()[chosen] for key in ("offset", "size", "crc32"))
    return Recordings(archive, taken, offset, size, crc32, archive.blocks(offset))


_said: list[str] = []


def say_forward_once(source: Source, stems: list[str]) -> None:
    """Tell who streams a large archive without an index what they miss; once per process."""
    names = [f"{stem}.tar.gz" for stem in stems]
    if _said or not any(source.exists(name) and open_ranges(source.path(name)).size() >= LARGE_BYTES for name in names):
        return
    _said.append(source.root)
    logger.warning(
        "Streaming without a seek index reads each archive from front to back, in one shard, in the order of its "
        "categories. For shards, mixing and selections that fetch only what they need, build one with "
        "`hf-inatsounds index SOURCE --out DIR` and pass index=DIR."
    )
