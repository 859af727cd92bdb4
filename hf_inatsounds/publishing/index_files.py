"""Seek indexes that go with a mirror: copied, after a look that they are indexes and hold no recording."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from hf_inatsounds.errors import PublishError
from hf_inatsounds.files import replacing

_NAMES = re.compile(r"(train|val|test)\.(index\.json|members\.parquet|points\.parquet|windows\.bin)")
"""What ``hf-inatsounds index`` makes of an archive; ``windows.bin`` is sealed."""

_MANIFEST = ".index.json"
_AUDIO_MAGIC = (b"RIFF", b"fLaC", b"OggS", b"ID3", b"\x1f\x8b", b"PK\x03\x04", b"\x28\xb5\x2f\xfd")
"""First bytes of recordings, and of archives in which some may be."""


def copy_index(index: str | Path, folder: Path) -> list[str]:
    """Copy the files of an index folder to ``index/`` below ``folder``; returns their names there, in order.

    Raises:
        PublishError: if there is none, or something else is among them: ``--public`` would give it to everybody.
    """
    root = Path(index)
    paths = sorted(path for path in root.rglob("*") if path.is_file())
    if not any(path.name.endswith(_MANIFEST) for path in paths):
        raise PublishError(
            "no index", where=root, found=f"no *{_MANIFEST}", expected="a folder that index made, to its end",
            fix="Run: hf-inatsounds index SOURCE --out DIR",
        )  # fmt: skip
    names = []
    for path in paths:
        _require_index_file(path, root)
        with replacing(folder / "index" / path.name) as temporary:
            shutil.copyfile(path, temporary)
        names.append(f"index/{path.name}")
    return names


def _require_index_file(path: Path, root: Path) -> None:
    with open(path, "rb") as stream:
        head = stream.read(512)
    problem = None
    if path.parent != root or not _NAMES.fullmatch(path.name):
        problem = "a file that is not an index's"
    elif head.startswith(_AUDIO_MAGIC) or head[257:262] == b"ustar":
        problem = "a recording or an archive"
    elif path.suffix == ".parquet" and any(_holds_bytes(field.type) for field in pq.read_schema(path)):
        problem = "a table with binary columns"
    if problem is not None:
        raise PublishError(
            "not an index", where=path, found=problem, expected="only what hf-inatsounds index makes",
            fix="Give --index a folder that holds nothing else.",
        )  # fmt: skip


def _holds_bytes(kind: pa.DataType) -> bool:
    return not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_string(kind))
