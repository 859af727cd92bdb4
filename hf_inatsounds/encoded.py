"""Where an encoded recording is: in memory, or in a file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from hf_inatsounds.errors import AudioError
from hf_inatsounds.wav import HEAD_BYTES


def located(audio: Any) -> tuple[Any, str]:
    """The buffer or the path to read, and a name for errors."""
    if isinstance(audio, dict):
        name = str(audio.get("path") or "a recording without a path")
        content = audio.get("bytes")
        if content is not None:
            return content, name
        audio = audio.get("path")
    if isinstance(audio, (bytes, bytearray, memoryview)):
        return audio, "bytes"
    if isinstance(audio, (str, os.PathLike)):
        return os.fspath(audio), os.fspath(audio)
    raise TypeError(f"audio must be a row's audio dictionary, bytes or a path; got {type(audio).__name__}")


def file_size(path: str, name: str) -> int:
    """Bytes of a file.

    Raises:
        AudioError: if it is a folder, or not there.
    """
    try:
        if Path(path).is_dir():
            raise AudioError("not a recording", where=name, found="a folder", expected="an audio file")
        return Path(path).stat().st_size
    except OSError as error:
        raise AudioError("no such recording", where=name, found=error.strerror) from error


def head_of(path: str) -> bytes:
    """A file's first ``HEAD_BYTES`` bytes."""
    with open(path, "rb") as stream:
        return stream.read(HEAD_BYTES)


def embedded(audio: dict[str, Any]) -> dict[str, Any]:
    """A row's audio, of a set that holds its recordings itself: without bytes it is empty.

    Its path is a name. Anybody may have written it, so no file of this machine is read by it.

    >>> embedded({"bytes": None, "path": "/etc/passwd"})["bytes"]
    b''
    """
    return audio if audio.get("bytes") is not None else {**audio, "bytes": b""}
