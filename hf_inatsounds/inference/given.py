"""What users call a recording: a path, a folder, an array, bytes, a row of a dataset, or many of those."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import soundfile as sf
import torch

from hf_inatsounds.errors import ArgumentsError, storable
from hf_inatsounds.inference.files import recordings_below
from hf_inatsounds.runtime.ranges import is_number


def named_recordings(recordings: Any, sampling_rate: int | None) -> Iterator[tuple[str, Any]]:
    """Each recording with a name, as ``Recording`` takes it; no two have the same name unless they are one path."""
    if isinstance(recordings, (str, os.PathLike)) and os.path.isdir(recordings):
        recordings = recordings_below(Path(recordings))
    if _is_one(recordings):
        yield _one(recordings, sampling_rate, "")
        return
    if not isinstance(recordings, Iterable):
        raise ArgumentsError(
            "no recordings", where="recordings", found=type(recordings).__name__,
            expected="a path, an array with sampling_rate, a row of the dataset, or many of those",
        )  # fmt: skip
    recordings = iter(recordings)
    first = list(islice(recordings, 1))
    for number, one in enumerate(_chained(first, recordings)):
        yield _one(one, sampling_rate, f" {number}")


def _chained(first: list[Any], others: Iterator[Any]) -> Iterator[Any]:
    yield from first
    yield from others


def _is_one(recordings: Any) -> bool:
    kinds = (str, os.PathLike, bytes, bytearray, memoryview, np.ndarray, torch.Tensor, Mapping)
    return isinstance(recordings, kinds) or hasattr(recordings, "get_all_samples")


def _one(recording: Any, sampling_rate: int | None, number: str) -> tuple[str, Any]:
    """A recording's name and audio.

    Raises:
        ArgumentsError: an array without a rate, of a wrong shape, or without samples; or nothing of the kind.
    """
    if isinstance(recording, (str, os.PathLike)):
        return storable(recording), os.fspath(recording)
    if isinstance(recording, Mapping):
        row = dict(recording)
        audio = row.get("audio", row)
        known = next((str(row[key]) for key in ("file_name", "recording_id") if row.get(key) not in (None, "")), "")
        if not isinstance(audio, Mapping):  # a decoder of torchcodec
            return storable(known or f"recording{number}"), audio
        name = storable(known or str(audio.get("path") or f"recording{number}"))
        if audio.get("array") is None:
            return name, dict(audio)
        return name, _waveform(audio["array"], audio.get("sampling_rate", sampling_rate), name)
    if isinstance(recording, (np.ndarray, torch.Tensor, list, tuple)):
        name = f"array{number}"
        return name, _waveform(recording, sampling_rate, name)
    if isinstance(recording, (bytes, bytearray, memoryview)):
        return f"bytes{number}", {"bytes": bytes(recording), "path": f"bytes{number}"}
    if hasattr(recording, "get_all_samples"):
        return f"decoder{number}", recording
    raise ArgumentsError(
        "no recording", where="recordings", found=type(recording).__name__,
        expected="a path, an array with sampling_rate, or a row of the dataset",
    )  # fmt: skip


MOST_CHANNELS = 16
"""Of an array whose second axis is the shorter one: then it is that of the channels."""


def _waveform(samples: Any, sampling_rate: Any, name: str) -> dict[str, Any]:
    """An array as ``Recording`` takes it.

    Raises:
        ArgumentsError: without a rate, of a wrong shape or type, or without samples.
    """
    array = np.asarray(samples)
    if array.ndim not in (1, 2) or array.dtype.kind not in "fiu" or not array.size:
        raise ArgumentsError(
            "no waveform", where=name, found=f"shape {array.shape} of {array.dtype}",
            expected="(T,), (channels, T) or (T, channels) numbers",
        )  # fmt: skip
    if array.dtype.kind == "u":
        raise ArgumentsError(
            "unsigned samples", where=name, found=array.dtype, expected="numbers around 0",
            fix="8-bit WAV: (array.astype('float32') - 128) / 128.",
        )  # fmt: skip
    if array.dtype.kind == "i":
        array = array / (np.iinfo(array.dtype).max + 1)  # as WAV files have them
    if array.ndim == 2 and array.shape[1] <= MOST_CHANNELS and array.shape[1] < array.shape[0]:
        array = array.T  # as soundfile gives them
    if not is_number(sampling_rate) or not 0 < sampling_rate < math.inf:
        raise ArgumentsError(
            "an array needs its sampling rate", where=name, found=repr(sampling_rate), expected="sampling_rate=Hz"
        )
    if not np.isfinite(array).all():  # read as the file would be that has these samples
        content = io.BytesIO()
        sf.write(content, array.T, round(sampling_rate), format="WAV", subtype="FLOAT")
        return {"bytes": content.getvalue(), "path": name}
    return {"array": array, "sampling_rate": sampling_rate, "path": name}
