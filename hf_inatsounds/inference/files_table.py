"""What became of each recording, as a table: also of those in which nothing was found, which no other table names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa

from hf_inatsounds.audio.hearing import Hearing
from hf_inatsounds.errors import encodable
from hf_inatsounds.files import replacing
from hf_inatsounds.inference.predict import csv_line, write_tables

COLUMNS: dict[str, pa.DataType] = {
    "file": pa.string(), "status": pa.string(), "promised_s": pa.float64(), "heard_s": pa.float64(),
    "sampling_rate": pa.int32(), "channels": pa.int32(), "windows": pa.int64(), "silent_windows": pa.int64(),
    "gaps_s": pa.string(), "notes": pa.string(),
}  # fmt: skip
"""Seconds by the header and seconds that were decoded; damaged stretches as "begin-end" in seconds; the reason of a
status that is not ok comes first in the notes."""


def write_files_table(heard: Mapping[str, Hearing], out: str | Path) -> None:
    """Write a row for each recording.

    Args:
        heard: file → what became of it.
        out: ending with .parquet, or else a CSV file; written whole or not at all.
    """
    rows = (_row(file, one) for file, one in heard.items())
    with replacing(out) as path:
        if Path(out).suffix.lower() == ".parquet":
            schema = pa.schema(list(COLUMNS.items()))
            write_tables((pa.Table.from_pylist([row], schema) for row in rows), path, schema)
        else:
            with open(path, "w", encoding="utf-8", newline="") as stream:
                stream.write(csv_line(list(COLUMNS)))
                stream.writelines(csv_line([str(value) for value in row.values()]) for row in rows)


def _row(file: str, hearing: Hearing) -> dict[str, object]:
    gaps = "; ".join(f"{start:.3f}-{stop:.3f}" for start, stop in hearing.gaps_s)
    values = (
        file, hearing.status, round(hearing.promised_s, 3), round(hearing.heard_s, 3), hearing.sampling_rate,
        hearing.channels, hearing.windows, hearing.silent_windows, gaps, encodable("; ".join(hearing.notes())),
    )  # fmt: skip
    return dict(zip(COLUMNS, values, strict=True))
