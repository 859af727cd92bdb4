"""One recording's bytes as they stand in a shard: FLAC of the same samples, or what any decoder reads of it."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import soundfile as sf

from hf_inatsounds.audio.defects import UNUSABLE
from hf_inatsounds.audio.playable import playable
from hf_inatsounds.audio.wav import wav_data

COMPRESSION_LEVEL = 0.5
"""libsndfile's scale, FLAC's level 4. On 277 real recordings, one core: 0 → 133 MB/s of WAV and 0.560 of its size,
0.375 → 129 and 0.479, 0.5 → 124 and 0.459, 0.75 → 102 and 0.454, 1 → 66 and 0.436."""

KEPT = ("", "empty", "unreadable", "truncated", "not lossless as FLAC", "not WAV")
"""Why a recording does not stand in a shard as FLAC of its samples; the first: for no reason."""

LEFT_OUT = UNUSABLE
"""Reasons for which a recording is in no shard: plain ``datasets`` would stop at it."""

_BLOCK_FRAMES = 1 << 18
_FLAC_SUBTYPES = {"PCM_U8": ("PCM_S8", "int16"), "PCM_16": ("PCM_16", "int16"), "PCM_24": ("PCM_24", "int32")}
"""WAV subtype → FLAC subtype, and the type that carries every sample between them."""

_MAX_FLAC_CHANNELS = 8


@dataclass(frozen=True)
class Encoded:
    """A recording ready for a shard.

    Attributes:
        content: its bytes; none where it is left out.
        kept: one of ``KEPT``; not empty where ``content`` is not FLAC, or there is none, for that reason.
    """

    content: bytes
    kept: str = ""


def encode(content: bytes, audio_format: str) -> Encoded:
    """A recording's bytes in the mirror's format; one that cannot be carried over whole stays as it is.

    Args:
        content: the recording's file.
        audio_format: "flac" or "wav"; as "wav" the bytes of a whole recording never change.
    """
    made = playable(content)
    if made.defect in LEFT_OUT:
        return Encoded(b"", str(made.defect))
    if made.defect == "truncated":  # FLAC would say nothing of the lost end
        return Encoded(made.content, "truncated")
    if audio_format == "wav":
        return Encoded(made.content)
    try:
        with sf.SoundFile(io.BytesIO(made.content)) as recording:
            return _flac(made.content, recording)
    except (sf.LibsndfileError, RuntimeError):
        return Encoded(b"", "unreadable")


def _flac(content: bytes, recording: sf.SoundFile) -> Encoded:
    if recording.format not in ("WAV", "WAVEX"):
        return Encoded(content, "not WAV")
    if recording.subtype not in _FLAC_SUBTYPES or recording.channels > _MAX_FLAC_CHANNELS:
        return Encoded(content, "not lossless as FLAC")
    subtype, dtype = _FLAC_SUBTYPES[recording.subtype]
    out = io.BytesIO()
    try:
        flac = sf.SoundFile(
            out,
            "w",
            recording.samplerate,
            recording.channels,
            subtype,
            format="FLAC",
            compression_level=COMPRESSION_LEVEL,
        )
    except sf.LibsndfileError:  # a sampling rate beyond FLAC's
        return Encoded(content, "not lossless as FLAC")
    frames = 0
    plain = _plain_samples(content, recording)
    with flac:
        for block in [plain] if plain is not None else recording.blocks(_BLOCK_FRAMES, dtype=dtype, always_2d=True):
            flac.write(block)
            frames += len(block)
    return Encoded(out.getvalue()) if frames == recording.frames else Encoded(content, "truncated")


def _plain_samples(content: bytes, recording: sf.SoundFile) -> np.ndarray[Any, np.dtype[np.int16]] | None:
    """(frames, channels) samples as they lie in a 16-bit WAV, a fifth faster than to read them; None for another."""
    count, found = recording.frames * recording.channels, wav_data(content)
    if recording.subtype != "PCM_16" or found is None or found[1] != 2 * count:
        return None
    return np.frombuffer(content, "<i2", count, found[0]).reshape(-1, recording.channels)
