"""Writing files so that a reader never sees half of one."""

from __future__ import annotations

import contextlib
import json
import math
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hf_inatsounds.errors import encodable


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A temporary path beside ``path`` that takes its place when the block ends without an error.

    Where ``path`` is a symbolic link, it stays one, and what it leads to is replaced.
    """
    path = Path(path)
    if path.is_symlink():
        path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".partial")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)  # mkstemp makes files that only their owner reads
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write UTF-8 ``text`` to ``path``, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(encodable(text), encoding="utf-8")


def write_json(path: str | Path, value: Any) -> None:
    """Write ``value`` as indented JSON, whole or not at all; a number that is undefined becomes null."""
    write_text(path, json.dumps(defined(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def defined(value: Any) -> Any:
    """``value`` as JSON can hold it: numbers that are undefined (NaN) or infinite are None, at any depth.

    Every document of numbers passes through here, in a file or on stdout, so that a reader of one never meets the
    ``NaN`` that Python writes and no JSON parser takes.

    Texts that UTF-8 has not, as file names can be, are escaped.

    >>> defined({"map": 0.5, "roc_auc": float("nan"), "interval": (0.1, float("inf"))})
    {'map': 0.5, 'roc_auc': None, 'interval': [0.1, None]}
    """
    if isinstance(value, str):
        return encodable(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {encodable(key) if isinstance(key, str) else key: defined(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [defined(one) for one in value]
    return value
