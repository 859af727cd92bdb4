"""The windows of a recording that were heard, and why the rest was not: one reader for all who read whole ones."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from hf_inatsounds.audio import Recording, Waveform
from hf_inatsounds.errors import AudioError
from hf_inatsounds.windows import WindowSpec

CANCELLED_DB = 20.0
"""From this loss on, a mean of channels is worth a word: they cancel each other."""

TOLERANCE_S = 0.1
"""Less than this is missing at the end of many a compressed file: headers count whole frames, and padding."""


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
        promised_s: seconds by its header.
        heard_s: seconds that could be decoded.
        windows: those that were read.
        silent_windows: of them, those of digital silence.
        cancelled_db: how much weaker the mean of the channels is than they are; 0 of mono.
    """

    status: Literal["ok", "partial", "failed"] = "ok"
    reason: str = ""
    sampling_rate: int = 0
    promised_s: float = 0.0
    heard_s: float = 0.0
    windows: int = 0
    silent_windows: int = 0
    cancelled_db: float = 0.0

    def notes(self) -> list[str]:
        """What a user should know of it, a line each; nothing of a recording that is as it should be."""
        lines = [self.reason] if self.reason else []
        if self.silent_windows:
            lines.append(f"{self.silent_windows} of {self.windows} windows are digital silence")
        if self.cancelled_db >= CANCELLED_DB:
            loss = "all" if math.isinf(self.cancelled_db) else f"{self.cancelled_db:.0f} dB"
            lines.append(f"the mean of the channels loses {loss}, since they cancel each other; choose one (--channel)")
        return lines


def heard_windows(
    audio: Any, window: WindowSpec, sampling_rate: int, hearing: Hearing, *, channel: int | None = None
) -> Iterator[HeardWindow]:
    """Each window of a recording of which something was heard, in order of time.

    A window that lies behind the recording's real end, or wholly in a damaged stretch, is left out; one that reaches
    into either is cut, or silent there. Nothing is raised: what went wrong is in ``hearing``.

    Args:
        audio: as :class:`hf_inatsounds.audio.Recording` takes it.
        window: how it is cut.
        sampling_rate: of the windows, in Hz.
        hearing: filled in as windows are read, and complete behind the last.
        channel: which one, from 0; None for the mean of all.
    """
    try:
        with Recording(audio, channel=channel) as recording:
            hearing.sampling_rate = recording.info.sampling_rate
            try:
                yield from _windows(recording, window, sampling_rate, hearing)
            finally:
                _conclude(recording, hearing)
    except AudioError as error:
        hearing.reason = str(error)
        hearing.status = "partial" if hearing.windows else "failed"


def _windows(recording: Recording, window: WindowSpec, sampling_rate: int, hearing: Hearing) -> Iterator[HeardWindow]:
    rate = recording.info.sampling_rate
    for start, stop in window.spans(recording.info.n_samples, rate):
        waveform = recording.read_samples(start, stop, sampling_rate)
        if not len(waveform) or not recording.heard(start, stop):
            continue
        if len(waveform) < round((stop - start) * sampling_rate / rate):
            stop = start + round(len(waveform) * rate / sampling_rate)
        silent = bool((waveform == waveform[0]).all())
        hearing.windows += 1
        hearing.silent_windows += silent
        hearing.heard_s = max(hearing.heard_s, stop / rate)
        yield HeardWindow(waveform, start / rate, stop / rate, silent)


def _conclude(recording: Recording, hearing: Hearing) -> None:
    """What is known of a recording when its windows were read."""
    rate = recording.info.sampling_rate
    hearing.promised_s = recording.promised_samples / rate
    gaps_s = sum(b - a for a, b in _merged(recording.gaps)) / rate
    hearing.heard_s = max(hearing.heard_s - gaps_s, 0.0)
    whole, mean = recording.power
    hearing.cancelled_db = 0.0 if not whole else math.inf if not mean else 10 * math.log10(whole / mean)
    if hearing.status != "ok":
        return
    missing_s = hearing.promised_s - hearing.heard_s
    if not hearing.windows:
        hearing.status, hearing.reason = "failed", "nothing in it: no sample could be read"
    elif gaps_s or recording.info.truncated or missing_s > TOLERANCE_S:
        hearing.status = "partial"
        hearing.reason = f"{hearing.heard_s:.2f} s heard of {hearing.promised_s:.2f} s: " + (
            "damaged on the way" if gaps_s else "it breaks off"
        )


def _merged(gaps: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Stretches without their overlaps: several windows may have met the same one."""
    made: list[tuple[int, int]] = []
    for start, stop in sorted(gaps):
        if made and start <= made[-1][1]:
            made[-1] = (made[-1][0], max(stop, made[-1][1]))
        else:
            made.append((start, stop))
    return made
