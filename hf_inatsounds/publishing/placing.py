"""Where in a mirror's shards each recording is, from the plan, the shards' records and the shards themselves."""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hf_inatsounds.data.mirror_places import PLACES
from hf_inatsounds.publishing.plan import Shard

NEEDLE_BYTES = 256
"""Of a recording that are searched for; all of it is compared then."""


def places_table(table: pa.Table, shards: Sequence[Shard], records: Sequence[dict[str, Any]]) -> pa.Table:
    """Recordings with their shard, row group, row in it and bytes, in the order of the shards.

    Args:
        table: the split's annotations.
        shards: the split's.
        records: of all shards, as :func:`hf_inatsounds.publishing.shards.write_shard` made them.
    """
    ids, names = table["recording_id"].to_numpy(), np.array(table["file_name"].to_pylist(), object)
    by_path = {record["path"]: record for record in records}
    parts = []
    for shard in shards:
        record = by_path[shard.path]
        away = set(record["not_in_the_archive"]).union(*record["left_out"].values())
        rows = np.array([row for row in shard.rows if names[row] not in away], np.int64)
        sizes = record["row_groups"]
        group = np.repeat(np.arange(len(sizes)), sizes)
        row = np.concatenate([np.arange(size) for size in sizes] or [np.arange(0)])
        cut = set(record["kept_as_original_bytes"].get("truncated", ()))
        offsets, lengths = ([one[k] for one in record["bytes"]] for k in (0, 1))
        columns = [
            ids[rows], [shard.path] * len(rows), group, row, offsets, lengths,
            ["truncated" if name in cut else None for name in names[rows]],
        ]  # fmt: skip
        parts.append(pa.table([pa.array(one, kind) for one, kind in zip(columns, PLACES.types, strict=True)], PLACES))
    return pa.concat_tables([PLACES.empty_table(), *parts])


def located(path: Path) -> list[tuple[int | None, int | None]]:
    """Offset and size of each recording's bytes in a shard, in the order of its rows.

    They are not compressed, and a value lies within a page: each is searched for in its column's part of the file, and
    compared. Where it is not found as it is, nothing is known of it.
    """
    found: list[tuple[int | None, int | None]] = []
    with pq.ParquetFile(path) as shard, open(path, "rb") as file:
        if not shard.metadata.num_row_groups:
            return []
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            for group in range(shard.num_row_groups):
                at = _begin(shard.metadata.row_group(group))
                audio = shard.read_row_group(group, columns=["audio"])["audio"].combine_chunks()
                for value in audio.field("bytes"):
                    recording = value.as_buffer()
                    size = recording.size.to_bytes(4, "little")
                    at = max(content.find(size + bytes(recording[:NEEDLE_BYTES]), at), at)
                    is_there = content[at + 4 : at + 4 + recording.size] == recording.to_pybytes()
                    found.append((at + 4, recording.size) if is_there else (None, None))
    return found


def _begin(group: Any) -> int:
    columns = (group.column(i) for i in range(group.num_columns))
    return next(int(one.data_page_offset) for one in columns if one.path_in_schema == "audio.bytes")
