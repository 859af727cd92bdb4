"""Which row group of which shard each recording of a mirror is in, from the plan and the shards' records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from hf_inatsounds.data.mirror_places import PLACES
from hf_inatsounds.publishing.plan import Shard


def places_table(table: pa.Table, shards: Sequence[Shard], records: Sequence[dict[str, Any]]) -> pa.Table:
    """Recordings with their shard, row group and row in it, in the order of the shards.

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
        columns = [ids[rows], np.full(len(rows), shard.path, object), group.astype(np.int32), row.astype(np.int32)]
        parts.append(pa.table([pa.array(one, kind) for one, kind in zip(columns, PLACES.types, strict=True)], PLACES))
    return pa.concat_tables([PLACES.empty_table(), *parts])
