"""Whether a seek index can be one: its digests say only that nobody changed it since it was made, by whomever."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hf_inatsounds.archives.decompress import require_no_bomb
from hf_inatsounds.archives.tar_walk import MAX_MEMBER_BYTES, safe_name

MEMBERS = pa.schema([("file_name", pa.string()), ("offset", pa.int64()), ("size", pa.int64()), ("crc32", pa.uint32())])
POINTS = pa.schema(
    [("out", pa.int64()), ("at", pa.int64()), ("bits", pa.uint8()), ("window", pa.int64()), ("window_end", pa.int64())]
)

MAX_ROWS = 10_000_000
"""Of a table; the official train split has 137,012 recordings."""

MAX_TABLE_BYTES = 1 << 30
"""Of a table, decompressed."""

MAX_NAME_BYTES = 4096
MAX_WINDOW_BYTES = 64 << 10
"""Of a sealed window: 32 KiB, which zlib makes no larger than some bytes more, and what sealing adds."""

_BLOCK = 512
_HEADER_BYTES = 8 << 10
"""More than this between two members is more than headers."""

_END_BYTES = 128 << 10
"""More than this behind the last member is more than padding."""


def read_table(content: bytes, schema: pa.Schema) -> pa.Table:
    """A table of an index out of its Parquet file, of exactly this schema, and of a size that one can have.

    Raises:
        ValueError: if it is another.
    """
    texts = [field.name for field in schema if field.type == pa.string()]
    file = pq.ParquetFile(pa.BufferReader(content), read_dictionary=texts)
    metadata = file.metadata
    groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
    n_bytes = sum(group.total_byte_size for group in groups)
    if metadata.num_rows > MAX_ROWS or n_bytes > MAX_TABLE_BYTES:
        raise ValueError(f"a table of {metadata.num_rows:,} rows and {n_bytes:,} bytes")
    table = file.read()
    if table.schema.names != schema.names:
        raise ValueError(f"columns {', '.join(table.schema.names)[:200]}, not {', '.join(schema.names)}")
    for field in table.schema:
        wanted = schema.field(field.name).type
        found = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
        if found != wanted or table[field.name].null_count:
            raise ValueError(f"a column {field.name} of {found} with {table[field.name].null_count:,} nulls")
        if wanted == pa.string():
            _require_short(table[field.name])
    return table.cast(schema)


def _require_short(names: pa.ChunkedArray) -> None:
    """Refuse names that would fill the memory once they are written out: a dictionary holds each but once."""
    total = 0
    for chunk in names.chunks:
        encoded = chunk if pa.types.is_dictionary(chunk.type) else chunk.dictionary_encode()
        lengths = pc.binary_length(encoded.dictionary).to_numpy(zero_copy_only=False)
        if len(lengths) and lengths.max() > MAX_NAME_BYTES:
            raise ValueError(f"a file name of {lengths.max():,} bytes")
        total += int(lengths[encoded.indices.to_numpy()].sum(dtype=np.int64)) if len(encoded) else 0
    if total > MAX_TABLE_BYTES:
        raise ValueError(f"file names of {total:,} bytes")


def check_identity(archive: Any, stem: str) -> None:
    """Refuse what cannot be said of an archive.

    Args:
        archive: ``archive`` of the manifest.
        stem: train, val or test.

    Raises:
        ValueError: naming what is wrong.
    """
    if not isinstance(archive, dict):
        raise ValueError("no archive in the manifest")
    if archive.get("name") != f"{stem}.tar.gz":
        raise ValueError(f"the index of {str(archive.get('name'))[:100]!r}")
    for key in ("bytes", "decompressed_bytes"):
        value = archive.get(key)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 1 << 50:
            raise ValueError(f"{key}: {str(value)[:100]}")
    for key, digits in (("md5", 32), ("head_sha256", 64), ("tail_sha256", 64)):
        if not re.fullmatch(f"[0-9a-f]{{{digits}}}", str(archive.get(key))):
            raise ValueError(f"{key}: {str(archive.get(key))[:100]}")
    require_no_bomb(archive["name"], archive["decompressed_bytes"], archive["bytes"])


def check_tables(members: pa.Table, points: pa.Table, archive: dict[str, Any]) -> None:
    """Refuse members and points that no archive of this size has.

    Raises:
        ValueError: naming the first row that is wrong.
    """
    offset, size = members["offset"].to_numpy(), members["size"].to_numpy()
    _refuse(members, (size < 0) | (size > MAX_MEMBER_BYTES), "size")
    ends = np.concatenate([[0], _padded_ends(offset, size)])
    _refuse(members, (offset < ends[:-1] + _BLOCK) | (offset + size > archive["decompressed_bytes"]), "offset")
    unsafe = [not safe_name(name) for name in members["file_name"].to_pylist()]
    _refuse(members, np.array(unsafe, bool), "file_name")
    columns = {name: points[name].to_numpy() for name in points.column_names}
    if not points.num_rows or any(column[0] for column in columns.values()):
        raise ValueError("no point at the archive's beginning")
    limits = (("out", archive["decompressed_bytes"]), ("at", archive["bytes"]))
    for name, limit in limits:
        column = columns[name]
        _refuse(points, (column < 0) | (column > limit) | (np.diff(column, prepend=-1) <= 0), name)
    _refuse(points, columns["bits"] > 7, "bits")
    window = columns["window_end"] - columns["window"]
    _refuse(points, (window < 0) | (window > MAX_WINDOW_BYTES), "window_end")
    before = np.concatenate([[0], columns["window_end"][:-1]])
    _refuse(points, columns["window"] != before, "window")


def leaves_room(members: pa.Table, decompressed_bytes: int) -> bool:
    """Whether an index leaves out parts of the archive in which further recordings may be."""
    offset, size = members["offset"].to_numpy(), members["size"].to_numpy()
    ends = np.concatenate([[0], _padded_ends(offset, size)])
    gaps = offset - ends[:-1]
    return bool((gaps > _HEADER_BYTES).any() or decompressed_bytes - ends[-1] > _END_BYTES)


def last_end(members: pa.Table) -> int:
    """Where in the decompressed archive the last member of an index is over, with its padding."""
    return int(_padded_ends(members["offset"].to_numpy()[-1:], members["size"].to_numpy()[-1:]).max(initial=0))


def _padded_ends(offset: Any, size: Any) -> Any:
    return offset + size + (-size % _BLOCK)


def _refuse(table: pa.Table, wrong: Any, column: str) -> None:
    at = np.flatnonzero(wrong)
    if len(at):
        raise ValueError(f"row {at[0]:,}: {column} {table[column][int(at[0])].as_py()!r}")
