"""Where a mirror's recordings are: a table of shard, row group, row and bytes, so that few are read for few."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hf_inatsounds.data.mirror import MANIFEST_FILE, Mirror
from hf_inatsounds.errors import SourceError

PLACES = pa.schema([
    ("recording_id", pa.int64()), ("path", pa.string()), ("row_group", pa.int32()), ("row", pa.int32()),
    ("offset", pa.int64()), ("size", pa.int64()), ("defect", pa.string()),
])  # fmt: skip
"""``offset`` and ``size`` are of the recording's bytes in the file, which stand there as they are; null where unknown:
then its row group is read."""


def places_file(split: str) -> str:
    """Its name in the mirror."""
    return f"row_groups/{split}.parquet"


def read_places(mirror: Mirror, split: str) -> pa.Table:
    """The table of a split, in the order of shards, row groups and rows. Of a mirror that has none it is made.

    Raises:
        SourceError: if the mirror is not whole, or a recording comes twice.
    """
    names = {record["path"] for record in mirror.manifest["files"]}
    if places_file(split) in names:
        table = pq.read_table(mirror.file(places_file(split)))
        unlike = not table.schema.remove_metadata().equals(PLACES)
        if unlike or set(table["path"].unique().to_pylist()) - names:
            raise SourceError(
                "not a table of this mirror's recordings", where=f"{mirror.where}, {places_file(split)}",
                found="other columns" if unlike else "shards that the manifest does not name",
            )  # fmt: skip
        _check_spans(mirror, table, split)
    else:
        shards = sorted(name for name in names if Path(name).name.startswith(f"{split}-") and name.startswith("data/"))
        table = pa.concat_tables([PLACES.empty_table(), *(_places_in(mirror, name) for name in shards)])
    if doubled := len(table) - len(table["recording_id"].unique()):
        raise SourceError(
            "recordings come twice", where=f"{mirror.where}, {split}", found=doubled,
            expected="the shards of one mirror", fix=f"Take the files that its {MANIFEST_FILE} names.",
        )  # fmt: skip
    return table


def _check_spans(mirror: Mirror, table: pa.Table, split: str) -> None:
    """Refuse bytes that are not in their file: what a mirror says decides on how much is read.

    Raises:
        SourceError: naming the first recording.
    """
    sizes = {record["path"]: record["size"] for record in mirror.manifest["files"]}
    paths = table["path"].combine_chunks().dictionary_encode()
    most = np.array([sizes[path] for path in paths.dictionary.to_pylist()], np.float64)
    offset, size = (table[name].to_numpy().astype(np.float64) for name in ("offset", "size"))  # NaN where unknown
    wrong = np.flatnonzero((offset < 0) | (size < 0) | (offset + size > most[paths.indices.to_numpy()]))
    if len(wrong):
        raise SourceError(
            "not a table of this mirror's recordings", where=f"{mirror.where}, {places_file(split)}",
            found=f"recording {table['recording_id'][int(wrong[0])]} outside of its file",
        )  # fmt: skip


def _places_in(mirror: Mirror, name: str) -> pa.Table:
    """Read out of a shard, of which the column of ids is a small part."""
    parts: list[Any] = []
    with mirror.open(name) as file, pq.ParquetFile(file) as shard:
        for group in range(shard.num_row_groups):
            ids = shard.read_row_group(group, columns=["recording_id"])["recording_id"].to_numpy()
            n = len(ids)
            known = [ids, [name] * n, np.full(n, group, np.int32), np.arange(n, dtype=np.int32)]
            unknown = [pa.nulls(n, kind) for kind in PLACES.types[len(known) :]]
            parts.append(pa.table([*map(pa.array, known), *unknown], PLACES))
    return pa.concat_tables([PLACES.empty_table(), *parts])
