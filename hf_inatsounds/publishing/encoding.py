"""One recording's bytes as they stand in a shard: FLAC of the same samples, or the original bytes."""

from __future__ import annotations

import io
from dataclasses import dataclass

import soundfile as sf

from hf_inatsounds.audio import Recording
from hf_inatsounds.errors import AudioError

COMPRESSION_LEVEL = 0.5
"""libsndfile's scale, FLAC's level 4. On 277 real recordings, one core: 0 → 133 MB/s of WAV and 0.560 of its size,
0.375 → 129 and 0.479, 0.5 → 124 and 0.459, 0.75 → 102 and 0.454, 1 → 66 and 0.436."""

KEPT = ("", "empty", "unreadable", "truncated", "not lossless as FLAC", "not WAV")
"""Why a recording stands in a shard as its original bytes; the first: for no reason."""

_BLOCK_FRAMES = 1 << 18
_FLAC_SUBTYPES = {"PCM_U8": ("PCM_S8", "int16"), "PCM_16": ("PCM_16", "int16"), "PCM_24": ("PCM_24", "int32")}
"""WAV subtype → FLAC subtype, and the type that carries every sample between them."""

_MAX_FLAC_CHANNELS = 8


@dataclass(frozen=True)
class Encoded:
    """A recording ready for a shard.

    Attributes:
        content: its bytes.
        kept: one of ``KEPT``; not empty where ``content`` are the original bytes for that reason.
    """

    content: bytes
    kept: str = ""


def encode(content: bytes, audio_format: str) -> Encoded:
    """A recording's bytes in the mirror's format; one that cannot be carried over whole stays as it is.

    Args:
        content: the recording's file.
        audio_format: "flac" or "wav"; as "wav" the bytes never change, and defects are named all the same.
    """
    if not content:
        return Encoded(content, "empty")
    try:
        with Recording(content) as recording:
            info = recording.info
        if info.n_samples == 0:
            return Encoded(content, "empty")
        if info.truncated:  # FLAC would say nothing of the lost end
            return Encoded(content, "truncated")
        return Encoded(content) if audio_format == "wav" else _flac(content)
    except (AudioError, sf.LibsndfileError, RuntimeError):
        return Encoded(content, "unreadable")


def _flac(content: bytes) -> Encoded:
    with sf.SoundFile(io.BytesIO(content)) as wav:
        if wav.format not in ("WAV", "WAVEX"):
            return Encoded(content, "not WAV")
        if wav.subtype not in _FLAC_SUBTYPES or wav.channels > _MAX_FLAC_CHANNELS:
            return Encoded(content, "not lossless as FLAC")
        subtype, dtype = _FLAC_SUBTYPES[wav.subtype]
        out = io.BytesIO()
        try:
            flac = sf.SoundFile(
                out, "w", wav.samplerate, wav.channels, subtype, format="FLAC", compression_level=COMPRESSION_LEVEL
            )
        except sf.LibsndfileError:  # a sampling rate beyond FLAC's
            return Encoded(content, "not lossless as FLAC")
        frames = 0
        with flac:
            for block in wav.blocks(_BLOCK_FRAMES, dtype=dtype, always_2d=True):
                flac.write(block)
                frames += len(block)
        return Encoded(out.getvalue()) if frames == wav.frames else Encoded(content, "truncated")
