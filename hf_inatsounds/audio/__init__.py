"""Recordings, encoded or not: probe the header, read a window, resample. Only the seconds asked for are decoded."""

from __future__ import annotations

from typing import Any

from hf_inatsounds.audio.encoded import rate_asked_for
from hf_inatsounds.audio.file_decoder import Waveform
from hf_inatsounds.audio.recording import RATES_HZ, AudioInfo, Recording

__all__ = ["RATES_HZ", "AudioInfo", "Recording", "Waveform", "probe", "read_window"]


def probe(audio: Any) -> AudioInfo:
    """What the header says, without decoding.

    Args:
        audio: as :func:`read_window` takes it.

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
        audio: whatever an ``audio`` column hands out, decoded or not (``{"bytes", "path"}``, ``{"array",
            "sampling_rate"}``, a decoder of torchcodec), bytes, or a path. WAV, FLAC, OGG, MP3.
        offset_s: where to begin, in seconds ≥ 0.
        duration_s: how long, in seconds; None for all that follows.
        sampling_rate: rate of the result in Hz; None keeps the recording's, or of a decoder the rate at which it gives
            samples. Resampled with soxr's HQ filter.

    Returns:
        (T,) float32 in [-1, 1], channels averaged. Shorter than ``duration_s`` where the recording ends first,
        empty where it ends before ``offset_s``. The silence that ``load_dataset`` puts in place of a recording that
        cannot be decoded is read as it is.

    Raises:
        AudioError: if the recording is empty, cannot be read, or has more than ``MAX_SAMPLES`` to give.
        ValueError: if ``offset_s`` or ``duration_s`` is negative.
    """
    with Recording(audio, silence=True) as recording:
        return recording.read(offset_s, duration_s, sampling_rate or rate_asked_for(audio))
