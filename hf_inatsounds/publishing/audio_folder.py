"""A part of the dataset as an AudioFolder, for other tools: files, metadata.csv and the terms."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from hf_inatsounds.audio.defects import content_of
from hf_inatsounds.data.annotations import Annotations
from hf_inatsounds.data.rows import ForwardRows, Row
from hf_inatsounds.data.split_info import SplitInfo, chosen_annotations
from hf_inatsounds.errors import PublishError
from hf_inatsounds.files import replacing, write_json, write_text
from hf_inatsounds.fingerprints import changed_facts, read_record
from hf_inatsounds.progress import track
from hf_inatsounds.schema import CITATION, STEMS, TERMS

EXPORT_FILE, TERMS_FILE = "export.json", "TERMS.txt"

UNSAFE_IN_CELLS = ("=", "+", "-", "@", "\t", "\r")
"""First characters with which spreadsheets begin a formula."""


def export_folder(infos: Sequence[SplitInfo], out: Path, *, quiet: bool = False) -> dict[str, Any]:
    """Write the recordings of some splits into a folder, each as its original file, or as the mirror has it.

    ``datasets.load_dataset("audiofolder", data_dir=OUT)`` reads it, and whatever takes a folder with metadata.csv. What
    a kill left is gone on with: a file is there whole or not at all, and ``metadata.csv`` comes last.

    Args:
        infos: the splits, of one source and selection.
        out: the folder: new, empty, or one that this export began.
        quiet: no progress.

    Returns:
        ``folder``, ``recordings``, ``bytes`` and ``absent`` (annotated and not in the source).

    Raises:
        PublishError: if the folder holds something else, or another export.
        SourceError: if the source cannot be read.
    """
    facts = {info.split: {"annotations": info.annotations, "state": info.state} for info in infos}
    _check_folder(out, facts)
    write_json(out / EXPORT_FILE, {"facts": facts})
    write_text(out / TERMS_FILE, f"{TERMS}\n\nCite the dataset:\n\n{CITATION}\n")
    done = {"recordings": 0, "bytes": 0, "absent": 0}
    for info in infos:
        annotations = chosen_annotations(info.source, info.selection, info.split)
        names = {
            row["recording_id"]: row for row in annotations.table.select(["recording_id", "file_name"]).to_pylist()
        }
        there = {}
        for row in track(_missing(info, out), f"exporting {info.split}", total=len(names), quiet=quiet):
            path = _path(out, row)
            there[row["recording_id"]] = path
            if not path.exists():
                with replacing(path) as partial:
                    partial.write_bytes(content_of(row["audio"]))
        _write_metadata(annotations, there, out / STEMS[info.split])
        done["recordings"] += len(there)
        done["bytes"] += sum(path.stat().st_size for path in there.values())
        done["absent"] += len(names) - len(there)
        info.check_state()
    return {"folder": str(out), **done}


def _check_folder(out: Path, facts: dict[str, Any]) -> None:
    before = read_record(out / EXPORT_FILE)
    others = sorted(path.name for path in out.glob("*") if not path.name.startswith("."))
    if others and not before:
        raise PublishError(
            "the folder holds something else", where=out, found=others[0], expected="a new or empty folder",
            fix="Choose another folder: nothing in this one was touched.",
        )  # fmt: skip
    if before and (changed := changed_facts(before.get("facts", {}), facts)):
        raise PublishError(
            "the folder holds another export", where=out, found=f"one of another {', '.join(changed)}",
            expected="a new or empty folder, or this very export", fix="Choose another folder, or delete this one.",
        )  # fmt: skip


def _path(out: Path, row: Row) -> Path:
    """A recording's place: as in the archives, with the ending that its bytes have."""
    path = out / row["file_name"]
    return path.with_suffix(".flac") if str(row["audio"]["path"]).endswith(".flac") else path


def _missing(info: SplitInfo, out: Path) -> Iterator[Row]:
    """Rows of the split; of a recording that is written already no byte is asked for, where the source can do so."""
    rows = info.scored_rows()
    if isinstance(rows, ForwardRows):
        for part in rows.parts([(number, number + 1) for number in range(len(rows))]):
            yield from part
        return
    written = {}
    for number, row in enumerate(rows.known.to_pylist()):
        for path in (out / row["file_name"], (out / row["file_name"]).with_suffix(".flac")):
            if path.exists():
                written[number] = {**row, "audio": {"bytes": None, "path": str(path)}}
    yield from written.values()
    for part in rows.parts([(number, number + 1) for number in range(len(rows)) if number not in written]):
        yield from part


def _write_metadata(annotations: Annotations, there: dict[int, Path], folder: Path) -> None:
    """``metadata.csv``, and the same as Parquet: all columns, ``file_name`` below the folder, cells safe to open."""
    rows = [
        {**row, "file_name": there[row["recording_id"]].relative_to(folder).as_posix()}
        for row in annotations.table.to_pylist()
        if row["recording_id"] in there
    ]
    names = ["file_name", *(name for name in annotations.table.column_names if name != "file_name")]
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / "metadata.csv") as path, open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(names)
        writer.writerows([_cell(row[name]) for name in names] for row in rows)
    table = pa.Table.from_pylist(rows, schema=annotations.table.schema).select(names)
    with replacing(folder.parent / f"{folder.name}.parquet") as path:
        pq.write_table(table, path)


def _cell(value: Any) -> Any:
    if isinstance(value, str) and value.startswith(UNSAFE_IN_CELLS):
        return f"'{value}"
    return value
