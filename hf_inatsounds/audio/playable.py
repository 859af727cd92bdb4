"""Recordings as any decoder takes them, so that a pass over a split never ends at a damaged one.

torchcodec, libsndfile and what wraps them stop at different damage. Here a recording is handed on as it is where all of
them read it; cut or written anew where only its end is missing; and replaced by a second of silence, which says so,
where nothing can be decoded.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hf_inatsounds.audio import RATES_HZ, Recording, Waveform
from hf_inatsounds.audio.defects import UNUSABLE, kinds_of
from hf_inatsounds.audio.rewritten import write_anew
from hf_inatsounds.audio.stand_ins import stand_in
from hf_inatsounds.audio.wav import HEAD_BYTES, OPEN_LENGTH, plain_wav, wav_data, wav_data_bytes, wav_with_size
from hf_inatsounds.errors import AudioError, EmptyAudioError

DEFECTS = (*UNUSABLE, "truncated")
"""What the ``defect`` column says, the worst first; None where a recording is whole."""

WIDELY_READ = ("FLOAT", "DOUBLE", "ULAW", "ALAW", "IMA_ADPCM", "MS_ADPCM", "VORBIS", "OPUS", "MPEG_LAYER_III")
"""Encodings besides PCM that every decoder knows."""

_PIECE_S = 1.0


@dataclass(frozen=True)
class Playable:
    """A recording that any decoder reads.

    Attributes:
        content: the encoded recording; where ``defect`` is "empty" or "unreadable", a second of silence.
        defect: one of ``DEFECTS``, or None.
    """

    content: bytes
    defect: str | None


def playable(content: bytes) -> Playable:
    """A recording in a form that any decoder reads.

    PCM and whole compressed recordings keep their bytes; a size of 0 in a WAV header is put right. A WAV file that ends
    within a sample is cut before it. A compressed recording that does not decode to its end, or not without a gap, is
    written anew as 16-bit mono WAV, as far as it goes, and so is a cut AIFF, W64, RF64 or AU, at which FFmpeg stops.
    The new header promises what the original's promised and tells where it is silent for damage, so that the recording
    still counts as truncated.

    Args:
        content: the recording's file.

    >>> playable(b"").defect, len(playable(b"").content) > 44_100  # a second of silence, and a comment that says so
    ('empty', True)
    """
    plain = plain_wav(content[:HEAD_BYTES], len(content))
    is_sane = plain is not None and RATES_HZ[0] <= plain.sampling_rate <= RATES_HZ[1]
    try:
        with Recording(content) as recording:
            changed, is_whole = (_with_size(content), True) if is_sane else _readable(content, recording)
            kinds = [*kinds_of(recording.info), *([] if is_whole else ["truncated"])]
    except EmptyAudioError:
        return Playable(stand_in("empty"), "empty")
    except AudioError:
        return Playable(stand_in("unreadable"), "unreadable")
    defect = next((kind for kind in DEFECTS if kind in kinds), None)
    return Playable(stand_in("empty") if defect == "empty" else changed, defect)


def _readable(content: bytes, recording: Recording) -> tuple[bytes, bool]:
    """``content``, or what can be heard of it, and whether it decodes to its end.

    Raises:
        AudioError: if nothing can be heard.
    """
    info, is_flac = recording.info, content.startswith(b"fLaC")
    if info.subtype.startswith("PCM") and not is_flac:
        if not info.truncated:
            return _with_size(content), True
        if content.startswith(b"RIFF") and wav_data(content[:HEAD_BYTES]):
            return _whole_frames(content), False
    heard, is_whole = _heard(recording)
    if is_whole and (is_flac or info.subtype in WIDELY_READ):
        return content, True
    promised = None if is_whole else max(recording.promised_samples, len(heard) + 1)  # truncated to all who look
    return write_anew(heard, info.sampling_rate, promised or len(heard), recording.gaps), is_whole


def _with_size(content: bytes) -> bytes:
    """A WAV file whose header claims the samples that are there, where it claimed none of them, or a part."""
    found, n_bytes = wav_data(content[:HEAD_BYTES]), wav_data_bytes(content[:HEAD_BYTES], len(content))
    if found is None or not found[1] < n_bytes < OPEN_LENGTH:
        return content
    return wav_with_size(content, n_bytes)


def _whole_frames(content: bytes) -> bytes:
    """A WAV file without the part of a frame that it ends in."""
    found = wav_data(content[:HEAD_BYTES])
    if found is None:
        return content
    start, _, align = found
    return content[: len(content) - (len(content) - start) % align]


def _heard(recording: Recording) -> tuple[Waveform, bool]:
    """Samples up to where decoding ends, and whether that is the end that the header tells.

    Raises:
        AudioError: if it ends at once.
    """
    size = max(round(_PIECE_S * recording.info.sampling_rate), 1)
    pieces: list[Waveform] = []
    try:
        for start in range(0, recording.info.n_samples, size):
            pieces.append(recording.read_samples(start, min(start + size, recording.info.n_samples)))
            if not len(pieces[-1]):
                break
    except AudioError:
        if not pieces:
            raise
        return np.concatenate(pieces), False
    is_whole = not (recording.info.truncated or recording.gaps)
    if pieces and not recording.heard(0, recording.info.n_samples):
        raise AudioError("unreadable recording", where=recording.name, found="nothing undamaged in it")
    return np.concatenate([np.zeros(0, np.float32), *pieces]), is_whole
