"""Shards: one forward pass over an archive fills spools, each spool becomes one Parquet file."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from hf_inatsounds.publishing.encoding import LEFT_OUT, Encoded, encode
from hf_inatsounds.publishing.plan import Shard
from hf_inatsounds.publishing.spool import Spool
from hf_inatsounds.schema import DEFECT_COLUMN

IN_FLIGHT_BYTES = 128 << 20
"""Recordings read and not yet spooled; one larger than this travels alone."""

ROW_GROUP_BYTES = 8 << 20
ROW_GROUP_ROWS = 100
"""A row group ends at 8 MiB of audio or 100 rows, some 20 real recordings: a reader gets whole row groups, so this is
what a stream waits for, and what each of its workers holds; smaller ones would only mean more requests."""

_PAGE_BYTES = 1 << 20


def fill_spools(
    recordings: Callable[[Mapping[str, int]], Iterator[tuple[str, bytes]]],
    spools: Mapping[int, Spool],
    file_names: list[str],
    audio_format: str,
    workers: int,
) -> Iterator[int]:
    """Encode all recordings that the spools still lack, in one pass; yields how many are spooled, as it goes.

    Threads, since decompression, decoding and encoding all leave Python's lock; recordings that are in flight are
    bounded in bytes, so memory does not grow with the archive.

    Args:
        recordings: gives ``(file name, bytes)`` of those that it is told, in any order, each once.
        spools: row → the spool of its shard, for the rows that are wanted.
        file_names: row → member of the archive.
        audio_format: "flac" or "wav".
        workers: encoders.

    Raises:
        SourceError: if the archive is missing, damaged, or holds too large a member.
    """
    row_of = {file_names[row]: row for row, spool in spools.items() if row not in spool}
    done = len(spools) - len(row_of)
    yield done
    pending: deque[tuple[int, int, Future[Encoded]]] = deque()
    in_flight = 0
    with ThreadPoolExecutor(workers) as pool:
        try:
            for name, content in recordings(row_of):
                row = row_of.pop(name)  # a member given twice counts once
                while pending and (len(pending) >= 4 * workers or in_flight + len(content) > IN_FLIGHT_BYTES):
                    in_flight -= _spool_next(pending, spools)
                    done += 1
                    yield done
                in_flight += len(content)
                pending.append((row, len(content), pool.submit(encode, content, audio_format)))
        finally:  # also when the archive turns out to be damaged: what is encoded need not be encoded again
            while pending:
                _spool_next(pending, spools)
                done += 1
    yield done


def _spool_next(pending: deque[tuple[int, int, Future[Encoded]]], spools: Mapping[int, Spool]) -> int:
    row, size, future = pending.popleft()
    spools[row].add(row, future.result())
    return size


def write_shard(shard: Shard, table: pa.Table, spool: Spool, schema: pa.Schema, path: Path) -> dict[str, Any]:
    """Write one shard from its spool, with one row group in memory at a time.

    Args:
        shard: which rows, in which order.
        table: the split's annotations.
        spool: the shard's recordings.
        schema: the rows' Arrow schema, with the ``datasets`` features in its metadata.
        path: the file.

    Returns:
        The shard's record: path, size, sha256, rows, those of each row group, what was kept as original
        bytes, what was left out since nothing
        of it can be decoded, what the archive lacks.
    """
    odd: dict[str, list[str]] = {}
    there: set[int] = set()
    row_groups: list[int] = []
    file_names = table["file_name"]

    def recordings() -> Iterator[tuple[int, Encoded]]:
        for row, one in spool.read(iter(shard.rows)):
            there.add(row)
            if one.kept:
                odd.setdefault(one.kept, []).append(file_names[row].as_py())
            if one.kept not in LEFT_OUT:
                yield row, one

    with parquet_writer(path, schema) as writer:
        for rows, encoded in _row_groups(recordings()):
            row_groups.append(len(rows))
            writer.write_table(_with_audio(table, rows, encoded, schema), row_group_size=len(rows))
    absent = [file_names[row].as_py() for row in shard.rows if row not in there]
    return {
        **file_record(path, shard.path),
        "rows": sum(row_groups),
        "row_groups": row_groups,
        "kept_as_original_bytes": {why: sorted(names) for why, names in sorted(odd.items()) if why not in LEFT_OUT},
        "left_out": {why: sorted(names) for why, names in sorted(odd.items()) if why in LEFT_OUT},
        "not_in_the_archive": sorted(absent),
    }


def parquet_writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    """A writer whose every setting is stated, so that its bytes depend on rows and library version alone."""
    leaves = [name for name in schema.names if name != "audio"]
    compression = dict.fromkeys(leaves, "zstd")
    if "audio" in schema.names:  # FLAC does not get smaller, and statistics of audio bytes are of use to nobody
        compression |= {"audio.bytes": "none", "audio.path": "zstd"}
        leaves.append("audio.path")
    return pq.ParquetWriter(
        path,
        schema,
        version="2.6",
        data_page_version="1.0",
        compression=compression,
        use_dictionary=[name for name in leaves if name not in ("recording_id", "audio.path", "file_name")],
        write_statistics=leaves,
        write_page_index=True,
        write_page_checksum=True,
        write_batch_size=1 if "audio" in schema.names else None,  # checks the page's size after each recording
        data_page_size=_PAGE_BYTES,
        store_schema=True,
    )


def file_record(path: Path, name: str) -> dict[str, Any]:
    """``{"path", "size", "sha256"}`` of a file, called ``name`` in the mirror."""
    with open(path, "rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return {"path": name, "size": os.path.getsize(path), "sha256": digest}


def text_record(content: bytes, name: str) -> dict[str, Any]:
    """As :func:`file_record`, of a file that is not written yet."""
    return {"path": name, "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def _row_groups(recordings: Iterator[tuple[int, Encoded]]) -> Iterator[tuple[list[int], list[Encoded]]]:
    rows: list[int] = []
    encoded: list[Encoded] = []
    size = 0
    for row, one in recordings:
        rows.append(row)
        encoded.append(one)
        size += len(one.content)
        if size >= ROW_GROUP_BYTES or len(rows) >= ROW_GROUP_ROWS:
            yield rows, encoded
            rows, encoded, size = [], [], 0
    if rows:
        yield rows, encoded


def _with_audio(table: pa.Table, rows: list[int], encoded: list[Encoded], schema: pa.Schema) -> pa.Table:
    part = table.take(pa.array(rows, pa.int64()))
    paths = [_path(name, one) for name, one in zip(part["file_name"].to_pylist(), encoded, strict=True)]
    audio = pa.StructArray.from_arrays(
        [pa.array([one.content for one in encoded], pa.binary()), pa.array(paths, pa.string())], ["bytes", "path"]
    )
    defects = pa.array([one.kept if one.kept == "truncated" else None for one in encoded], pa.string())
    part = part.add_column(schema.names.index("audio"), "audio", audio).append_column(DEFECT_COLUMN, defects)
    return part.cast(schema)


def _path(file_name: str, encoded: Encoded) -> str:
    """What ``audio["path"]`` holds: the file's name, with the ending that its bytes have."""
    return str(Path(file_name).with_suffix(".flac")) if encoded.content[:4] == b"fLaC" else file_name
