"""Encoded recordings: probe the header, read a window, resample. Only the seconds asked for are decoded."""

from __future__ import annotations

import io
import math
import os
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import soundfile as sf
import soxr

from hf_inatsounds.errors import AudioError

MARGIN_S = 0.02
"""Decoded beside a window before resampling and cut off after it, so that its edges carry no filter transient."""

Waveform = np.ndarray[Any, np.dtype[np.float32]]


@dataclass(frozen=True)
class AudioInfo:
    """What a recording's header says.

    Attributes:
        n_samples: samples a channel that can be read.
        sampling_rate: in Hz.
        n_channels: 1 is mono.
        subtype: encoding of a sample ("PCM_16").
        truncated: whether the header promises more than there is.
    """

    n_samples: int
    sampling_rate: int
    n_channels: int
    subtype: str
    truncated: bool

    @property
    def duration_s(self) -> float:
        """Readable seconds."""
        return self.n_samples / self.sampling_rate


class Recording:
    """An open recording, for reading several windows of it.

    Args:
        audio: a row's audio dictionary (``{"bytes", "path"}``), bytes, or a path.

    Raises:
        AudioError: if it is empty or no readable recording.
    """

    def __init__(self, audio: Any) -> None:
        content, self.name = _content(audio)
        size = len(content) if isinstance(content, bytes) else _file_size(content, self.name)
        if size == 0:
            raise AudioError("empty recording", where=self.name, found="0 bytes", expected="WAV, FLAC, OGG or MP3")
        try:
            self._file = sf.SoundFile(io.BytesIO(content) if isinstance(content, bytes) else content)
        except (sf.LibsndfileError, OSError, RuntimeError) as error:
            raise AudioError("unreadable recording", where=self.name, found=_reason(error)) from error
        head = content[:4096] if isinstance(content, bytes) else _head(content)
        self.info = AudioInfo(
            n_samples=self._file.frames,
            sampling_rate=self._file.samplerate,
            n_channels=self._file.channels,
            subtype=self._file.subtype,
            truncated=wav_is_truncated(head, size),
        )

    def read(
        self, offset_s: float = 0.0, duration_s: float | None = None, sampling_rate: int | None = None
    ) -> Waveform:
        """As :func:`read_window`."""
        if offset_s < 0 or (duration_s is not None and duration_s < 0):
            raise ValueError(f"offset_s and duration_s must not be negative; got {offset_s} and {duration_s}")
        rate = self.info.sampling_rate
        start = min(round(offset_s * rate), self.info.n_samples)
        stop = self.info.n_samples if duration_s is None else min(start + round(duration_s * rate), self.info.n_samples)
        if sampling_rate is None or sampling_rate == rate:
            return self._decode(start, stop)
        gcd = math.gcd(rate, sampling_rate)
        step_in, step_out = rate // gcd, sampling_rate // gcd  # these many samples last equally long
        before = min(math.ceil(MARGIN_S * rate / step_in), start // step_in)
        after = round(MARGIN_S * rate)
        resampled = soxr.resample(self._decode(start - before * step_in, stop + after), rate, sampling_rate)
        first = before * step_out
        length = round((stop - start) * sampling_rate / rate)
        return np.ascontiguousarray(resampled[first : first + length], dtype=np.float32)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Recording:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _decode(self, start: int, stop: int) -> Waveform:
        """Mono samples [start, min(stop, end))."""
        stop = min(stop, self.info.n_samples)
        if stop <= start:
            return np.zeros(0, np.float32)
        try:
            self._file.seek(start)
            samples = self._file.read(stop - start, dtype="float32", always_2d=True)
        except (sf.LibsndfileError, RuntimeError) as error:
            raise AudioError("unreadable recording", where=self.name, found=_reason(error)) from error
        mono: Waveform = samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1, dtype=np.float32)
        return np.ascontiguousarray(mono)


def probe(audio: Any) -> AudioInfo:
    """What the header says, without decoding.

    Args:
        audio: a row's audio dictionary, bytes, or a path.

    Raises:
        AudioError: if it is empty or no readable recording.
    """
    with Recording(audio) as recording:
        return recording.info


def read_window(
    audio: Any, offset_s: float = 0.0, duration_s: float | None = None, sampling_rate: int | None = None
) -> Waveform:
    """Some seconds of a recording, mono; only they are decoded.

    Args:
        audio: a row's audio dictionary (``{"bytes", "path"}``), bytes, or a path. WAV, FLAC, OGG, MP3.
        offset_s: where to begin, in seconds ≥ 0.
        duration_s: how long, in seconds; None for all that follows.
        sampling_rate: rate of the result in Hz; None keeps the recording's. Resampled with soxr's HQ filter.

    Returns:
        (T,) float32 in [-1, 1], channels averaged. Shorter than ``duration_s`` where the recording ends first,
        empty where it ends before ``offset_s``.

    Raises:
        AudioError: if the recording is empty or cannot be read.
        ValueError: if ``offset_s`` or ``duration_s`` is negative.
    """
    with Recording(audio) as recording:
        return recording.read(offset_s, duration_s, sampling_rate)


def wav_is_truncated(head: bytes, size: int) -> bool:
    """Whether a WAV file's ``data`` chunk claims more bytes than the file has.

    Args:
        head: the file's first bytes, 4 KiB are enough for any header we met.
        size: bytes of the whole file.

    >>> wav_is_truncated(b"RIFF" + b"....WAVE" + b"data" + (100).to_bytes(4, "little"), size=60)
    True
    """
    if head[:4] != b"RIFF" or head[8:12] != b"WAVE":
        return False
    position = 12
    while position + 8 <= len(head):
        claimed = int.from_bytes(head[position + 4 : position + 8], "little")
        if head[position : position + 4] == b"data":
            streamed = claimed >= 0xFFFF_FF00  # writers that could not seek back leave the size open
            return not streamed and position + 8 + claimed > size
        position += 8 + claimed + claimed % 2
    return False


def _content(audio: Any) -> tuple[bytes | str, str]:
    """The bytes or the path to read, and a name for errors."""
    if isinstance(audio, dict):
        name = str(audio.get("path") or "a recording without a path")
        content = audio.get("bytes")
        if content is not None:
            return content, name
        audio = audio.get("path")
    if isinstance(audio, (bytes, bytearray, memoryview)):
        return bytes(audio), "bytes"
    if isinstance(audio, (str, os.PathLike)):
        return os.fspath(audio), os.fspath(audio)
    raise TypeError(f"audio must be a row's audio dictionary, bytes or a path; got {type(audio).__name__}")


def _file_size(path: str, name: str) -> int:
    try:
        if Path(path).is_dir():
            raise AudioError("not a recording", where=name, found="a folder", expected="an audio file")
        return Path(path).stat().st_size
    except OSError as error:
        raise AudioError("no such recording", where=name, found=error.strerror) from error


def _head(path: str) -> bytes:
    with open(path, "rb") as stream:
        return stream.read(4096)


def _reason(error: Exception) -> str:
    return getattr(error, "error_string", None) or str(error)
