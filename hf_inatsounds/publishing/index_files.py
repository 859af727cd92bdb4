"""Seek indexes that go with a mirror: copied, after a look that nothing in them is a recording."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from hf_inatsounds.errors import PublishError
from hf_inatsounds.files import replacing

_AUDIO_MAGIC = (b"RIFF", b"fLaC", b"OggS", b"ID3", b"\x1f\x8b", b"PK\x03\x04", b"\x28\xb5\x2f\xfd")
"""First bytes of recordings, and of archives in which some may be."""


def copy_index(index: str | Path, folder: Path) -> list[str]:
    """Copy the files of an index folder to ``index/`` below ``folder``; returns their names there, in order.

    Raises:
        PublishError: if there is none, or one is a recording or an archive.
    """
    root = Path(index)
    paths = sorted(path for path in root.rglob("*") if path.is_file() and not path.name.startswith("."))
    if not paths:
        raise PublishError(
            "no index", where=root, found="no files", expected="a folder made by: hf-inatsounds index SOURCE --out DIR"
        )
    names = []
    for path in paths:
        with open(path, "rb") as stream:
            head = stream.read(512)
        if head.startswith(_AUDIO_MAGIC) or head[257:262] == b"ustar":
            raise PublishError(
                "not an index", where=path, found="a recording or an archive",
                expected="a file made by: hf-inatsounds index SOURCE --out DIR",
            )  # fmt: skip
        name = os.fspath(Path("index", path.relative_to(root)))
        with replacing(folder / name) as temporary:
            shutil.copyfile(path, temporary)
        names.append(name)
    return names
