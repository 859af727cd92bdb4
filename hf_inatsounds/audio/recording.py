"""An open recording: what its header says, and windows of it. Only the seconds asked for are decoded."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any

import numpy as np
import soundfile as sf
import soxr

from hf_inatsounds import flac
from hf_inatsounds.encoded import DecodedSamples, file_size, head_of, located
from hf_inatsounds.errors import AudioError, EmptyAudioError
from hf_inatsounds.stand_ins import stand_in_kind
from hf_inatsounds.wav import HEAD_BYTES, plain_wav, wav_is_truncated

MARGIN_S = 0.02
"""Decoded beside a window before resampling and cut off after it, so that its edges carry no filter transient."""

RATES_HZ = (100, 1_000_000)
"""Sampling rates that are believed: below any hydrophone's, above any bat detector's. A damaged header may claim
4 GHz, or 1 Hz, of which a second resampled would be an hour."""

MAX_SAMPLES = 1 << 28
"""One read gives so many at most, 1 GiB: 3.4 hours at 22,050 Hz. Longer recordings are read window by window."""

BLOCK_SAMPLES = 1 << 20
"""Decoded at a time: what a header claims is never allocated before it was there."""

LOUDEST = 1e6
"""Of a sample; full scale is 1. Damaged floating point and lossy files hold anything, up to what overflows a filter."""

Waveform = np.ndarray[Any, np.dtype[np.float32]]


@dataclass(frozen=True)
class AudioInfo:
    """What a recording's header says.

    Attributes:
        n_samples: samples a channel that can be read.
        sampling_rate: in Hz.
        n_channels: 1 is mono.
        subtype: encoding of a sample ("PCM_16").
        truncated: whether the header promises more than there is. Of compressed audio this is known only after a
            window was read that should have been there.
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

    Plain 16-bit WAV is read in place, in a third of the time that libsndfile takes for it, with the same values; so is
    plain FLAC in memory once its decoder is loaded. Everything else is decoded by libsndfile, damaged files included.

    Args:
        audio: what an ``audio`` column holds (``{"bytes", "path"}``, ``{"array", "sampling_rate"}``, a decoder of
            torchcodec), bytes or another buffer, or a path.
        silence: whether a stand-in for a recording that cannot be decoded is read as the silence that it holds.

    Raises:
        AudioError: if it is empty, no readable recording, or a stand-in for one.
    """

    def __init__(self, audio: Any, *, silence: bool = False) -> None:
        self.audio = audio
        self.content, self.name = located(audio)
        self._file: Any = None
        self._flac: Any = None
        self._plain: Any = None
        self.info = self._decoded_info() if isinstance(self.content, DecodedSamples) else self._encoded_info(silence)
        if not RATES_HZ[0] <= self.info.sampling_rate <= RATES_HZ[1]:
            self.close()
            raise AudioError(
                "impossible sampling rate",
                where=self.name,
                found=f"{self.info.sampling_rate} Hz",
                expected=f"{RATES_HZ[0]} to {RATES_HZ[1]} Hz",
            )

    def _decoded_info(self) -> AudioInfo:
        self._plain = self.content
        return _info_of(self.content)

    def _encoded_info(self, silence: bool) -> AudioInfo:
        in_memory = not isinstance(self.content, str)
        size = len(self.content) if in_memory else file_size(self.content, self.name)
        if size == 0:
            raise EmptyAudioError("empty recording", where=self.name, found="0 bytes", expected="WAV, FLAC, OGG or MP3")
        head = bytes(self.content[:HEAD_BYTES]) if in_memory else head_of(self.content)
        if not silence and (kind := stand_in_kind(head, size)):
            error = EmptyAudioError if kind == "empty" else AudioError
            raise error(f"{kind} recording", where=self.name, found="silence in its place")
        self._plain = plain_wav(head, size)
        self._flac = flac.plain_flac(self.content) if in_memory and flac.ready() else None
        plain = self._plain or self._flac
        if plain is not None:
            return _info_of(plain)
        self._file = self._open()
        return AudioInfo(
            n_samples=self._file.frames,
            sampling_rate=self._file.samplerate,
            n_channels=self._file.channels,
            subtype=self._file.subtype,
            truncated=wav_is_truncated(head, size),
        )

    def read(
        self, offset_s: float = 0.0, duration_s: float | None = None, sampling_rate: int | None = None
    ) -> Waveform:
        """As :func:`hf_inatsounds.audio.read_window`."""
        if offset_s < 0 or (duration_s is not None and duration_s < 0):
            raise ValueError(f"offset_s and duration_s must not be negative; got {offset_s} and {duration_s}")
        rate, n_samples = self.info.sampling_rate, self.info.n_samples
        start = min(round(offset_s * rate), n_samples)
        stop = n_samples if duration_s is None else min(start + round(duration_s * rate), n_samples)
        return self.read_samples(start, stop, sampling_rate)

    def read_samples(self, start: int, stop: int, sampling_rate: int | None = None) -> Waveform:
        """Samples [start, stop) of the recording's own rate, mono, resampled where asked.

        Args:
            start: first sample, 0 ≤ start ≤ ``info.n_samples``.
            stop: behind the last one, at most ``info.n_samples``.
            sampling_rate: rate of the result in Hz; None keeps the recording's.

        Returns:
            (round((stop - start) · sampling_rate / rate),) float32; shorter where a damaged recording ends sooner
            than its header says.

        Raises:
            AudioError: if it cannot be decoded, or the result would have more than ``MAX_SAMPLES``.
        """
        rate = self.info.sampling_rate
        if sampling_rate is None or sampling_rate == rate:
            return self._decode(start, stop)
        gcd = math.gcd(rate, sampling_rate)
        step_in, step_out = rate // gcd, sampling_rate // gcd  # these many samples last equally long
        before = min(math.ceil(MARGIN_S * rate / step_in), start // step_in)
        first = start - before * step_in
        decoded = self._decode(first, stop + round(MARGIN_S * rate))
        length = round(max(min(stop, first + len(decoded)) - start, 0) * sampling_rate / rate)
        if length > MAX_SAMPLES:
            raise self._too_long(length)
        if not length:
            return np.zeros(0, np.float32)
        resampled = soxr.resample(decoded, rate, sampling_rate)
        skip = before * step_out
        return np.ascontiguousarray(resampled[skip : skip + length], dtype=np.float32)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def __enter__(self) -> Recording:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _open(self) -> sf.SoundFile:
        try:
            return _ReadOnce(self.content if isinstance(self.content, str) else io.BytesIO(self.content))
        except (sf.LibsndfileError, OSError, RuntimeError) as error:
            raise AudioError("unreadable recording", where=self.name, found=_reason(error)) from error

    def _decode(self, start: int, stop: int) -> Waveform:
        """Mono samples [start, min(stop, end))."""
        stop = min(stop, self.info.n_samples)
        if stop <= start:
            return np.zeros(0, np.float32)
        if self._plain is not None:
            if stop - start > MAX_SAMPLES:
                raise self._too_long(stop - start)
            return _mono(self._plain.samples(self.content, start, stop))
        blocks = (self._flac and self._flac_blocks(self._flac, start, stop)) or self._blocks(start, stop)
        mono = blocks[0] if len(blocks) == 1 else np.concatenate(blocks)
        if len(mono) < stop - start:
            self.info = replace(self.info, truncated=True)
        if not self.info.subtype.startswith("PCM") and not (np.abs(mono) < LOUDEST).all():  # no numbers are not less
            raise AudioError(
                "unreadable recording", where=self.name, found="samples that are no numbers, or absurd ones"
            )
        return mono

    def _flac_blocks(self, plain: flac.PlainFlac, start: int, stop: int) -> list[Waveform]:
        """The same without libsndfile; empty where it has to say what is wrong."""
        blocks: list[Waveform] = []
        while start < stop:
            block = flac.read_mono(self.content, plain, start, min(start + BLOCK_SAMPLES, stop))
            if block is None:
                return []
            blocks.append(block)
            start += len(block)
            if len(blocks) * BLOCK_SAMPLES > MAX_SAMPLES:
                raise self._too_long(stop)
        return blocks

    def _blocks(self, start: int, stop: int) -> list[Waveform]:
        """Mono samples [start, stop) in pieces of at most BLOCK_SAMPLES values, to where the recording ends."""
        size = max(BLOCK_SAMPLES // self.info.n_channels, 1)
        blocks: list[Waveform] = []
        self._file = self._file or self._open()
        if self._file.format == "FLAC":
            flac.count_read(stop - start)
        try:
            self._file.seek(start)
            while start < stop:
                asked = min(size, stop - start)
                block = _mono(self._file.read(asked, dtype="float32", always_2d=True))
                blocks.append(block)
                start += len(block)
                if len(block) < asked:
                    break
                if len(blocks) * size > MAX_SAMPLES:
                    raise self._too_long(stop)
        except (sf.LibsndfileError, RuntimeError) as error:
            raise AudioError("unreadable recording", where=self.name, found=_reason(error)) from error
        return blocks

    def _too_long(self, n_samples: int) -> AudioError:
        return AudioError(
            "too long for one read",
            where=self.name,
            found=f"{n_samples:,} samples",
            expected=f"{MAX_SAMPLES:,} at most",
            fix="Read it window by window.",
        )


class _ReadOnce(sf.SoundFile):
    """Is not sought after a read, as soundfile does, to where it already is: FLAC then decodes some frames anew."""

    def seekable(self) -> bool:  # what soundfile asks before it does so
        return False


def _info_of(plain: Any) -> AudioInfo:
    """Of samples that are where their header says."""
    return AudioInfo(plain.n_samples, plain.sampling_rate, plain.n_channels, plain.subtype, truncated=False)


def _mono(samples: Any) -> Waveform:
    """(T, channels) float32 → (T,), the channels' mean."""
    mono: Waveform = samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1, dtype=np.float32)
    return np.ascontiguousarray(mono)


def _reason(error: Exception) -> str:
    return getattr(error, "error_string", None) or str(error) or type(error).__name__
