"""The windows of a recording that were heard, and why the rest was not: one reader for all who read whole ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from hf_inatsounds.audio import Recording, Waveform
from hf_inatsounds.audio.windows import WindowSpec
from hf_inatsounds.errors import AudioError

CANCELLED_DB = 20.0
"""From this loss on, a mean of channels is worth a word: they cancel each other."""

TOLERANCE_S = 0.1
"""Less than this is missing at the end of many a compressed file: headers count whole frames, and padding."""

PIECE_S = 60.0
"""Decoded at a time where nothing but the outcome is wanted."""


class HeardWindow(NamedTuple):
    """One window.

    Attributes:
        waveform: (T,) float32, at the rate asked for.
        start_s: its beginning in the recording, in seconds.
        end_s: its end; of what was heard, where the recording breaks off within it.
        is_silent: whether every sample has the same value: a recorder that was off, not a quiet place.
    """

    waveform: Waveform
    start_s: float
    end_s: float
    is_silent: bool


@dataclass
class Hearing:
    """What became of one recording.

    Attributes:
        status: "ok", "partial" where something of it was not heard, "failed" where nothing was.
        reason: why, empty where it is ok.
        sampling_rate: of the recording, in Hz; 0 where it could not be opened.
        channels: of the recording; 0 where it could not be opened.
        promised_s: seconds by its header.
        heard_s: seconds that could be decoded.
        windows: those that were read.
        silent_windows: of them, those of digital silence.
        cancelled_db: how much weaker the mean of the channels is than they are; 0 of mono.
        gaps_s: damaged stretches, in seconds, ascending.
        end_s: end of the last window that was read.
    """

    status: Literal["ok", "partial", "failed"] = "ok"
    reason: str = ""
    sampling_rate: int = 0
    channels: int = 0
    promised_s: float = 0.0
    heard_s: float = 0.0
    windows: int = 0
    silent_windows: int = 0
    cancelled_db: float = 0.0
    gaps_s: tuple[tuple[float, float], ...] = ()
    end_s: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready, times to the millisecond; what is said of a recording is the same everywhere."""
        return {
            "status": self.status,
            "reason": self.reason,
            "promised_s": round(self.promised_s, 3),
            "heard_s": round(self.heard_s, 3),
            "gaps_s": [[round(start, 3), round(stop, 3)] for start, stop in self.gaps_s],
            "windows": self.windows,
            "silent_windows": self.silent_windows,
            "cancelled_db": None if math.isinf(self.cancelled_db) else round(self.cancelled_db, 1),
            "notes": self.notes(),
        }

    def was_heard(self, start_s: float, end_s: float) -> bool:
        """Whether anything between two times was heard, of a recording of which all windows were read."""
        end_s = min(end_s, self.end_s)
        return start_s < end_s and not any(start <= start_s and end_s <= stop for start, stop in self.gaps_s)

    def notes(self) -> list[str]:
        """What a user should know of it, a line each; nothing of a recording that is as it should be."""
        lines = [self.reason] if self.reason else []
        if self.silent_windows:
            lines.append(f"{self.silent_windows} of {self.windows} windows are digital silence")
        if self.cancelled_db >= CANCELLED_DB:
            loss = "all" if math.isinf(self.cancelled_db) else f"{self.cancelled_db:.0f} dB"
            lines.append(f"the mean of the channels loses {loss}, since they cancel each other")
        return lines


def heard_windows(
    audio: Any, window: WindowSpec, sampling_rate: int | None, hearing: Hearing, *, channel: int | None = None
) -> Iterator[HeardWindow]:
    """Each window of a recording of which something was heard, in order of time.

    A window that lies behind the recording's real end, or wholly in a damaged stretch, is left out; one that reaches
    into either is cut, or silent there. Nothing is raised: what went wrong is in ``hearing``.

    Args:
        audio: as :class:`hf_inatsounds.audio.Recording` takes it.
        window: how it is cut.
        sampling_rate: of the windows, in Hz; None keeps the recording's.
        hearing: filled in as windows are read, and complete behind the last.
        channel: which one, from 0; None for the mean of all.
    """
    return _listened(audio, channel, hearing, lambda one: _windows(one, window, sampling_rate, hearing))


def hear(audio: Any, *, channel: int | None = None) -> Hearing:
    """What is to be heard of a whole recording, a minute at a time; plain mono WAV needs no decoding to tell.

    Args:
        audio: as :class:`hf_inatsounds.audio.Recording` takes it.
        channel: which one, from 0; None for the mean of all.
    """
    hearing = Hearing()

    def pieces(recording: Recording) -> Iterator[HeardWindow]:
        if recording.is_plain:
            hearing.windows, hearing.end_s = 1, recording.info.duration_s
            return iter(())
        return _windows(recording, WindowSpec(PIECE_S, PIECE_S, "start"), None, hearing)

    for _ in _listened(audio, channel, hearing, pieces):
        pass
    return hearing


def known_of(recording: Recording, *, silent_windows: int = 0, windows: int = 1) -> Hearing:
    """What is known of an open recording of which some windows were read: damage that none of them met is not.

    Args:
        recording: open.
        silent_windows: of digital silence, among those that were read.
        windows: that were read.
    """
    is_heard = recording.heard(0, recording.info.n_samples)
    hearing = Hearing(windows=windows * is_heard, silent_windows=silent_windows, end_s=recording.info.duration_s)
    _conclude(recording, hearing)
    return hearing


def _listened(
    audio: Any, channel: int | None, hearing: Hearing, windows: Callable[[Recording], Iterator[HeardWindow]]
) -> Iterator[HeardWindow]:
    """``windows`` of a recording; ``hearing`` is complete behind the last, also where an error ends them."""
    try:
        with Recording(audio, channel=channel) as recording:
            hearing.sampling_rate, hearing.channels = recording.info.sampling_rate, recording.info.n_channels
            try:
                yield from windows(recording)
            finally:
                _conclude(recording, hearing)
    except AudioError as error:
        hearing.reason = str(error)
        hearing.status = "partial" if hearing.windows else "failed"


def _windows(
    recording: Recording, window: WindowSpec, sampling_rate: int | None, hearing: Hearing
) -> Iterator[HeardWindow]:
    rate = recording.info.sampling_rate
    for start, stop in window.spans(recording.info.n_samples, rate):
        waveform, is_silent = recording.read_marked(start, stop, sampling_rate)
        if not len(waveform) or not recording.heard(start, stop):
            continue
        stop = min(stop, recording.info.n_samples)  # which is known now
        hearing.windows += 1
        hearing.silent_windows += is_silent
        hearing.end_s = max(hearing.end_s, stop / rate)
        yield HeardWindow(waveform, start / rate, stop / rate, is_silent)


def _conclude(recording: Recording, hearing: Hearing) -> None:
    """What is known of a recording when its windows were read."""
    rate = recording.info.sampling_rate
    hearing.promised_s = recording.promised_samples / rate
    gaps = recording.gaps
    end = round(hearing.end_s * rate)
    hearing.gaps_s = tuple((start / rate, stop / rate) for start, stop in gaps)
    hearing.heard_s = (end - sum(max(min(stop, end) - start, 0) for start, stop in gaps)) / rate
    whole, mean = recording.power
    hearing.cancelled_db = 0.0 if not whole else math.inf if not mean else 10 * math.log10(whole / mean)
    if hearing.status != "ok":
        return
    missing_s = hearing.promised_s - hearing.heard_s
    if not hearing.windows:
        hearing.status, hearing.reason = "failed", "nothing in it: no sample could be read"
    elif gaps or recording.info.truncated or missing_s > TOLERANCE_S:
        hearing.status = "partial"
        hearing.reason = f"{hearing.heard_s:.2f} s heard of {hearing.promised_s:.2f} s: " + (
            "damaged on the way" if gaps else "it breaks off"
        )
