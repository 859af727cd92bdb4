"""An open recording: what its header says, and windows of it. Only the seconds asked for are decoded."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any

import numpy as np
import soxr

from hf_inatsounds.audio import file_decoder
from hf_inatsounds.audio.encoded import DecodedSamples, file_size, head_of, located
from hf_inatsounds.audio.file_decoder import NOTHING, FileDecoder, Waveform, too_long
from hf_inatsounds.audio.gaps import merged, only_numbers
from hf_inatsounds.audio.rewritten import told_gaps
from hf_inatsounds.audio.stand_ins import stand_in_kind
from hf_inatsounds.audio.wav import HEAD_BYTES, plain_wav
from hf_inatsounds.errors import AudioError, EmptyAudioError

MARGIN_SAMPLES = 128
"""Decoded beside a window before resampling and cut off after it, so that its edges carry no filter transient. A
filter's length is counted in samples of the lower rate: from so many on a window is that of the whole recording to 4e-7
(0.012 off were the windows of a hydrophone's 250 Hz while it was counted in seconds)."""

RATES_HZ = (100, 1_000_000)
"""Sampling rates that are believed: below any hydrophone's, above any bat detector's. A damaged header may claim
4 GHz, or 1 Hz, of which a second resampled would be an hour."""


@dataclass(frozen=True)
class AudioInfo:
    """What a recording's header says.

    Attributes:
        n_samples: samples per channel that can be read.
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

    Plain 16-bit WAV is read in place, in a third of the time that libsndfile takes for it, with the same values.
    Everything else is decoded by libsndfile, damaged files included.

    Args:
        audio: what an ``audio`` column holds (``{"bytes", "path"}``, ``{"array", "sampling_rate"}``, a decoder of
            torchcodec), bytes or another buffer, or a path.
        silence: whether a stand-in for a recording that cannot be decoded is read as the silence that it holds.
        channel: which one to read, from 0; None for the mean of all.

    Attributes:
        info: what can be read.
        promised_samples: what the header promised, where that is more.
        power: summed power of the channels, averaged, and of their mean: it is far less where they cancel each other.

    Raises:
        AudioError: if it is empty, no readable recording, or a stand-in for one.
    """

    def __init__(self, audio: Any, *, silence: bool = False, channel: int | None = None) -> None:
        self.audio, self.channel = audio, channel
        self.promised_samples = 0
        self.power = [0.0, 0.0]
        self._no_numbers: list[tuple[int, int]] = []
        self._told_gaps: list[tuple[int, int]] = []
        self.content, self.name = located(audio)
        self._file: FileDecoder | None = None
        self._plain: Any = None
        self._head, self._size = b"", 0
        self.info = self._decoded_info() if isinstance(self.content, DecodedSamples) else self._encoded_info(silence)
        if not RATES_HZ[0] <= self.info.sampling_rate <= RATES_HZ[1]:
            self.close()
            raise AudioError(
                "impossible sampling rate",
                where=self.name,
                found=f"{self.info.sampling_rate} Hz",
                expected=f"{RATES_HZ[0]} to {RATES_HZ[1]} Hz",
            )
        self.promised_samples = max(self.promised_samples, self.info.n_samples)
        if channel is not None and not 0 <= channel < self.info.n_channels:
            self.close()
            raise AudioError(
                "no such channel", where=self.name, found=channel, expected=f"0 to {self.info.n_channels - 1}"
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
        self._head, self._size = head, size
        self._plain = plain_wav(head, size)
        self._told_gaps = told_gaps(head)
        if self._plain is not None:
            return replace(_info_of(self._plain), truncated=bool(self._told_gaps))
        decoder = self._decoder()
        self.promised_samples = decoder.promised_samples
        return AudioInfo(
            n_samples=decoder.n_samples,
            sampling_rate=decoder.file.samplerate,
            n_channels=decoder.file.channels,
            subtype=decoder.file.subtype,
            truncated=not decoder.is_whole or bool(self._told_gaps),
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
        waveform = self.read_samples(start, stop, sampling_rate)
        if self._no_numbers and len(waveform) and not self.heard(start, stop):
            raise AudioError(
                "unreadable recording", where=self.name, found="samples that are no numbers, or absurd ones"
            )
        return waveform

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
            AudioError: if it cannot be decoded, or the result would have more than ``file_decoder.MAX_SAMPLES``.
        """
        return self.read_marked(start, stop, sampling_rate)[0]

    def read_marked(self, start: int, stop: int, sampling_rate: int | None = None) -> tuple[Waveform, bool]:
        """As :meth:`read_samples`, and whether the recording has the same value in all of them: digital silence.

        Resampled they need not have, since a filter carries what is beside them over their edges.
        """
        rate = self.info.sampling_rate
        if sampling_rate is None or sampling_rate == rate:
            decoded = self._decode(start, stop)
            return decoded, _is_constant(decoded)
        gcd = math.gcd(rate, sampling_rate)
        step_in, step_out = rate // gcd, sampling_rate // gcd  # these many samples last equally long
        margin = math.ceil(MARGIN_SAMPLES * max(rate / sampling_rate, 1.0))
        before = min(math.ceil(margin / step_in), start // step_in)
        first = start - before * step_in
        decoded = self._decode(first, stop + margin)
        length = round(max(min(stop, first + len(decoded)) - start, 0) * sampling_rate / rate)
        if length > file_decoder.MAX_SAMPLES:
            raise too_long(self.name, length)
        if not length:
            return np.zeros(0, np.float32), False
        resampled = soxr.resample(decoded, rate, sampling_rate)
        skip = before * step_out
        waveform = np.ascontiguousarray(resampled[skip : skip + length], dtype=np.float32)
        return waveform, _is_constant(decoded[start - first : stop - first])

    @property
    def is_plain(self) -> bool:
        """Whether it is mono and its samples lie as its header says: decoding them tells nothing more."""
        return (
            self.info.subtype == "PCM_16"
            and self._plain is not None
            and self.info.n_channels == 1
            and self.info.n_samples > 0
        )

    @property
    def gaps(self) -> list[tuple[int, int]]:
        """Damaged stretches that are known, in samples, ascending; they are read as silence."""
        return merged([*self._told_gaps, *self._no_numbers, *([] if self._file is None else self._file.gaps)])

    def heard(self, start: int, stop: int) -> bool:
        """Whether anything of samples [start, stop), which were read, was there and not damaged."""
        stop = min(stop, self.info.n_samples)
        return start < stop and not any(a <= start and stop <= b for a, b in self.gaps)

    def first_heard(self, size: int) -> tuple[int, int]:
        """Beginning and end, ``size`` samples later at most, of the first stretch that begins undamaged."""
        start = next((stop for begin, stop in self.gaps if begin == 0), 0)
        return start, min(start + size, self.info.n_samples)

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

    def _decoder(self) -> FileDecoder:
        """The view that libsndfile has of the recording, opened when it is needed."""
        if self._file is None:
            self._file = FileDecoder(self.content, self._head, self._size, self.name, self._mono)
        return self._file

    def _decode(self, start: int, stop: int) -> Waveform:
        """Mono samples [start, min(stop, end))."""
        stop = min(stop, self.info.n_samples)
        if stop <= start:
            return np.zeros(0, np.float32)
        if self._plain is not None:
            if stop - start > file_decoder.MAX_SAMPLES:
                raise too_long(self.name, stop - start)
            return self._mono(self._plain.samples(self.content, start, stop))
        blocks = self._decoder().read(start, stop)
        mono = blocks[0] if len(blocks) == 1 else np.concatenate([NOTHING, *blocks])
        if not self.info.subtype.startswith("PCM"):
            mono, found = only_numbers(mono, start)
            is_first, self._no_numbers = not self._no_numbers, merged([*self._no_numbers, *found])
            if found and is_first:  # all of them, so that every window agrees on what is damaged
                for at in range(0, self.info.n_samples, file_decoder.BLOCK_SAMPLES):
                    self._decode(at, at + file_decoder.BLOCK_SAMPLES)
        if len(mono) < stop - start:
            ends = self.info.n_samples if self._file is None else self._file.n_samples
            self.info = replace(self.info, n_samples=min(self.info.n_samples, ends), truncated=True)
        elif self._no_numbers or (self._file is not None and self._file.gaps):
            self.info = replace(self.info, truncated=True)
        return mono

    def _mono(self, samples: Any) -> Waveform:
        """(T, channels) float32 → (T,): the chosen channel, or the channels' mean."""
        if samples.shape[1] == 1:
            return np.ascontiguousarray(samples[:, 0])
        if self.channel is not None:
            return np.ascontiguousarray(samples[:, min(self.channel, samples.shape[1] - 1)])
        mono: Waveform = samples.mean(axis=1, dtype=np.float32)
        self.power[0] += float(np.square(samples).sum(dtype=np.float64)) / samples.shape[1]
        self.power[1] += float(np.square(mono).sum(dtype=np.float64))
        return mono


def _info_of(plain: Any) -> AudioInfo:
    """Of samples that are where their header says."""
    return AudioInfo(plain.n_samples, plain.sampling_rate, plain.n_channels, plain.subtype, truncated=False)


def _is_constant(samples: Waveform) -> bool:
    return bool(len(samples)) and bool((samples == samples[0]).all())
