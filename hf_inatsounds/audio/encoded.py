"""Where a recording is: its encoded bytes in memory, a file, or samples that somebody decoded already."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hf_inatsounds.audio.wav import HEAD_BYTES
from hf_inatsounds.errors import AudioError


@dataclass(frozen=True)
class DecodedSamples:
    """Samples that come decoded.

    Attributes:
        values: (T, channels) float32.
        sampling_rate: in Hz.
    """

    values: np.ndarray[Any, np.dtype[np.float32]]
    sampling_rate: int

    @property
    def n_samples(self) -> int:
        """Samples per channel."""
        return len(self.values)

    @property
    def n_channels(self) -> int:
        """1 is mono."""
        return int(self.values.shape[1])

    @property
    def subtype(self) -> str:
        """Encoding of a sample, as libsndfile names it."""
        return "FLOAT"

    def samples(self, content: Any, start: int, stop: int) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Samples [start, stop), (stop - start, channels); ``content`` is not needed."""
        return self.values[start:stop]


def located(audio: Any) -> tuple[Any, str]:
    """The buffer, the path or the decoded samples to read, and a name for errors.

    Args:
        audio: whatever an ``audio`` column hands out: ``{"bytes", "path"}``, ``{"array", "sampling_rate"}`` or a
            decoder of torchcodec; or bytes, or a path.

    Raises:
        TypeError: if it is nothing of these.
    """
    encoded = getattr(audio, "_hf_encoded", None)  # of what datasets' decoders were made
    if isinstance(encoded, dict):
        audio = encoded
    if isinstance(audio, dict):
        name = str(audio.get("path") or "a recording without a path")
        if audio.get("array") is not None and audio.get("sampling_rate"):
            return _decoded(audio["array"], audio["sampling_rate"]), name
        content = audio.get("bytes")
        if content is not None:
            return content, name
        audio = audio.get("path")
    if isinstance(audio, (bytes, bytearray, memoryview)):
        return audio, "bytes"
    if isinstance(audio, (str, os.PathLike)):
        return os.fspath(audio), os.fspath(audio)
    if hasattr(audio, "get_all_samples"):
        return _all_samples(audio), "a decoder"
    raise TypeError(f"audio must be what an audio column holds, bytes or a path; got {type(audio).__name__}")


def rate_asked_for(audio: Any) -> int | None:
    """The sampling rate in Hz at which a decoder of torchcodec gives its samples; None of anything else.

    Raises:
        AudioError: if it cannot say.
    """
    if not hasattr(audio, "get_samples_played_in_range"):
        return None
    try:
        return int(audio.get_samples_played_in_range(0, 0).sample_rate)
    except (RuntimeError, ValueError) as error:
        raise AudioError("unreadable recording", where="a decoder", found=str(error).splitlines()[0]) from error


def _all_samples(decoder: Any) -> DecodedSamples:
    try:
        samples = decoder.get_all_samples()
    except (RuntimeError, ValueError) as error:
        raise AudioError("unreadable recording", where="a decoder", found=str(error).splitlines()[0]) from error
    return _decoded(samples.data, samples.sample_rate)


def _decoded(values: Any, sampling_rate: float) -> DecodedSamples:
    """(T,) or (channels, T), as datasets and torchcodec hand them out."""
    array = np.atleast_2d(np.asarray(values, np.float32))
    return DecodedSamples(np.ascontiguousarray(array.T), round(sampling_rate))


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
