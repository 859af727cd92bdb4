"""Where rows come from in any order: prepared Arrow files, an indexed archive, a folder, a mirror's Parquet shards."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hf_inatsounds.audio.encoded import embedded
from hf_inatsounds.data.indexed_rows import Recordings
from hf_inatsounds.data.mirror import MANIFEST_FILE
from hf_inatsounds.errors import SourceError

NEEDED = ("recording_id", "audio", "label", "file_name")

OPEN_ROW_GROUPS = 2
"""Row groups of a Parquet mirror that a worker keeps, some 8 MiB each: batches cut through them."""

REQUESTS = 8
"""Of a remote archive, at a time and worker."""

Row = dict[str, Any]
Array = np.ndarray[Any, np.dtype[np.int64]]


class Rows(Protocol):
    """Rows by number; what ``RecordingList`` reads."""

    def __len__(self) -> int:
        """How many there are."""

    def take(self, numbers: Sequence[int]) -> list[Row]:
        """These rows, each with ``NEEDED``; the audio encoded as ``{"bytes", "path"}``."""

    def order(self, generator: np.random.Generator) -> Array:
        """A permutation of the numbers in which the rows can be read at a good rate."""

    def labels(self) -> Array:
        """(N,) labels of all rows, by number."""


class ArrowRows:
    """Rows of a prepared ``datasets.Dataset``, taken a batch at a time, the bytes not copied once more.

    Args:
        rows: the dataset, its ``audio`` not decoded.
    """

    def __init__(self, rows: Any) -> None:
        self._rows = rows.select_columns(list(NEEDED)).with_format("arrow")

    def __len__(self) -> int:
        return len(self._rows)

    def take(self, numbers: Sequence[int]) -> list[Row]:
        """As :meth:`Rows.take`."""
        return rows_of(self._rows[list(numbers)])

    def order(self, generator: np.random.Generator) -> Array:
        """All orders cost the same."""
        return generator.permutation(len(self))

    def labels(self) -> Array:
        """As :meth:`Rows.labels`."""
        return _labels(self._rows.with_format("arrow", columns=["label"])[:])


class IndexedRows:
    """Rows of an indexed archive, each read by itself: 12 ms for 800 kB anywhere in the archive.

    Args:
        recordings: the rows with where they are.
    """

    def __init__(self, recordings: Recordings) -> None:
        self._recordings = recordings
        self._columns = recordings.rows.select([name for name in NEEDED if name != "audio"])

    def __len__(self) -> int:
        return int(self._columns.num_rows)

    def take(self, numbers: Sequence[int]) -> list[Row]:
        """As :meth:`Rows.take`; a remote archive gets several requests at a time."""
        archive = self._recordings.archive
        spans = [self._recordings.span(int(i)) for i in numbers]
        if "://" in archive.where:
            with ThreadPoolExecutor(REQUESTS) as pool:
                contents = list(pool.map(archive.read, spans))
        else:
            contents = [archive.read(span) for span in spans]
        rows = self._columns.take(pa.array(numbers, pa.int64())).to_pylist()
        return [
            {**row, "audio": {"bytes": content, "path": row["file_name"]}}
            for row, content in zip(rows, contents, strict=True)
        ]

    def order(self, generator: np.random.Generator) -> Array:
        """All orders cost the same."""
        return generator.permutation(len(self))

    def labels(self) -> Array:
        """As :meth:`Rows.labels`."""
        return _labels(self._columns)


class FolderRows:
    """Rows of an unpacked folder; of a WAV file only the window is read.

    Args:
        rows: a table with ``recording_id``, ``label`` and ``file_name``, below ``folder``.
        folder: where the files are.
    """

    def __init__(self, rows: pa.Table, folder: str | Path) -> None:
        self._columns = rows.select([name for name in NEEDED if name != "audio"])
        self._folder = Path(folder)

    def __len__(self) -> int:
        return int(self._columns.num_rows)

    def take(self, numbers: Sequence[int]) -> list[Row]:
        """As :meth:`Rows.take`, with paths in place of bytes."""
        rows = self._columns.take(pa.array(numbers, pa.int64())).to_pylist()
        return [{**row, "audio": {"bytes": None, "path": str(self._folder / row["file_name"])}} for row in rows]

    def order(self, generator: np.random.Generator) -> Array:
        """All orders cost the same."""
        return generator.permutation(len(self))

    def labels(self) -> Array:
        """As :meth:`Rows.labels`."""
        return _labels(self._columns)


class ParquetRows:
    """Rows of a mirror's Parquet shards, read in whole row groups.

    The order permutes the row groups, and the rows in each: a mirror is shuffled as a whole when it is written, so
    that the rows of a group are any rows; the same ones stay neighbours in every epoch.

    Args:
        paths: the shards, in their order.

    Raises:
        SourceError: if there is none, one is no Parquet file with the columns needed, or a recording comes twice, as
            it does where files of two mirrors are mixed.
    """

    def __init__(self, paths: Sequence[str | Path]) -> None:
        self._paths = [str(path) for path in paths]
        if not self._paths:
            raise SourceError("no Parquet files", where="the mirror", expected="at least one shard")
        self._groups: list[tuple[int, int]] = []
        sizes: list[int] = []
        for number, path in enumerate(self._paths):
            try:
                metadata = pq.read_metadata(path)
            except (pa.ArrowInvalid, OSError) as error:
                raise SourceError("not a Parquet file", where=path, found=error) from error
            if lacking := set(NEEDED) - set(metadata.schema.to_arrow_schema().names):
                raise SourceError("columns are missing", where=path, found=sorted(lacking))
            self._groups += [(number, group) for group in range(metadata.num_row_groups)]
            sizes += [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
        self._starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        ids = pa.concat_tables([pq.read_table(path, columns=["recording_id"]) for path in self._paths])["recording_id"]
        if doubled := len(ids) - len(ids.unique()):
            raise SourceError(
                "recordings come twice", where=f"{self._paths[0]} and {len(self._paths) - 1} more files", found=doubled,
                expected="the shards of one mirror", fix=f"Take the files that its {MANIFEST_FILE} names.",
            )  # fmt: skip
        self._open: OrderedDict[int, list[Row]] = OrderedDict()

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": OrderedDict()}

    def take(self, numbers: Sequence[int]) -> list[Row]:
        """As :meth:`Rows.take`."""
        wanted = np.asarray(numbers, np.int64)
        groups = np.searchsorted(self._starts, wanted, side="right") - 1
        found: list[Row] = [{}] * len(wanted)
        for group in dict.fromkeys(groups.tolist()):
            rows = self._rows(group)
            for place in np.flatnonzero(groups == group).tolist():
                found[place] = rows[int(wanted[place] - self._starts[group])]
        return found

    def order(self, generator: np.random.Generator) -> Array:
        """Row groups permuted, and the rows in each."""
        pieces = [
            self._starts[group] + generator.permutation(int(self._starts[group + 1] - self._starts[group]))
            for group in generator.permutation(len(self._groups))
        ]
        return np.concatenate(pieces) if pieces else np.arange(0)

    def labels(self) -> Array:
        """As :meth:`Rows.labels`; the audio is not read."""
        return _labels(pa.concat_tables([pq.read_table(path, columns=["label"]) for path in self._paths]))

    def _rows(self, group: int) -> list[Row]:
        if group not in self._open:
            while len(self._open) >= OPEN_ROW_GROUPS:
                self._open.popitem(last=False)
            number, part = self._groups[group]
            with pq.ParquetFile(self._paths[number], memory_map=True) as file:
                self._open[group] = rows_of(file.read_row_group(part, columns=list(NEEDED), use_threads=False))
        return self._open[group]


def _labels(table: pa.Table) -> Array:
    return table["label"].to_numpy().astype(np.int64)


def rows_of(table: pa.Table) -> list[Row]:
    """Rows of an Arrow table; the encoded bytes are views of its memory.

    >>> audio = pa.array([{"bytes": b"RIFF", "path": "a.wav"}])
    >>> rows_of(pa.table({"label": [3], "audio": audio}))[0]["audio"]["bytes"].tobytes()
    b'RIFF'
    """
    plain = table.drop_columns(["audio"]).to_pylist()
    rows: list[Row] = []
    for row, audio in zip(plain, (one for chunk in table["audio"].chunks for one in _encoded(chunk)), strict=True):
        rows.append({**row, "audio": audio})
    return rows


def _encoded(chunk: pa.StructArray) -> list[dict[str, Any]]:
    contents, paths = chunk.field("bytes"), chunk.field("path").to_pylist()
    buffers = [contents[i].as_buffer() for i in range(len(contents))]
    return [
        embedded({"bytes": None if buffer is None else memoryview(buffer), "path": path})
        for buffer, path in zip(buffers, paths, strict=True)
    ]
