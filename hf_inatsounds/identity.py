"""Which model a number is of, and which run wrote a file. Whether it is still of today's input: ``fingerprints``."""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from pathlib import Path
from typing import Any

_WEIGHTS = ("*.safetensors", "*.safetensors.index.json", "pytorch_model*.bin", "pytorch_model*.bin.index.json")
_BESIDE = ("config.json", "preprocessor_config.json", "label_space.json")


def new_run() -> str:
    """A name that no other run has."""
    return uuid.uuid4().hex


def weight_files(folder: str | Path) -> list[Path]:
    """The files of a checkpoint's weights, by name; what training keeps beside them to resume is none of them."""
    found = {path for pattern in _WEIGHTS for path in Path(folder).glob(pattern)}
    return sorted(path for path in found if not path.name.startswith("training"))


def checkpoint_digest(folder: str | Path) -> str | None:
    """SHA-256 of what a checkpoint's scores depend on: weights, configuration, feature extractor, classes.

    The same for a copy in another place, and another as soon as a byte of one of these files differs.

    Args:
        folder: a checkpoint.

    Returns:
        64 hexadecimal digits; None where the folder holds no weights.
    """
    weights = weight_files(folder)
    if not weights:
        return None
    digest = hashlib.sha256()
    for path in (*weights, *(Path(folder) / name for name in _BESIDE)):
        if path.is_file():
            digest.update(f"{path.name} {file_digest(path)}\n".encode())
    return digest.hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file, 64 hexadecimal digits."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def file_stamp(path: str | Path) -> tuple[int, int]:
    """A file's size and time, by which a replaced one is told where a digest would cost too much; zeros for none."""
    try:
        about = os.stat(path)
    except FileNotFoundError:
        return 0, 0
    return about.st_size, about.st_mtime_ns


def read_record(path: Path) -> dict[str, Any]:
    """A JSON document of a run; empty where there is none, or none that can be read."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
