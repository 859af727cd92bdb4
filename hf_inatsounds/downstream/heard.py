"""What is heard of the recordings of a folder: each is read once, by the reader that every command goes through."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any

from hf_inatsounds.audio.hearing import Hearing, hear
from hf_inatsounds.downstream.overlap import Event, full_windows
from hf_inatsounds.errors import AudioError, storable

_heard: dict[tuple[str, int, int], Hearing] = {}
"""Path, size and time of a file → what is heard of it."""


def hearing_of(path: str) -> Hearing:
    """What is heard of a recording, from the first look at it on."""
    key = _key(path)
    if key is None:
        return hear(path)
    if key not in _heard:
        _heard[key] = hear(path)
    return _heard[key]


def _key(path: str) -> tuple[str, int, int] | None:
    try:
        state = os.stat(path)
    except OSError:
        return None  # which is told by who reads it
    return path, state.st_size, state.st_mtime_ns


def heard_until_s(path: str) -> float:
    """End of the last window that is heard, in seconds.

    Raises:
        AudioError: if nothing is.
    """
    found = hearing_of(path)
    if found.status == "failed":
        raise AudioError(found.reason if path in found.reason else f"{path}: {found.reason}")
    return found.end_s


def heard_events(path: str, events: Sequence[Event]) -> list[Event]:
    """Events of a recording that breaks off, as far as it goes."""
    end_s = hearing_of(path).end_s
    return [Event(one.start_s, min(one.end_s, end_s), one.label) for one in events if one.start_s < end_s]


def heard_windows_of(path: str, width_s: float, stride_s: float) -> list[tuple[float, float]]:
    """As :func:`full_windows`, without those of which nothing is heard."""
    found = hearing_of(path)
    return [span for span in full_windows(found.end_s, width_s, stride_s) if found.was_heard(*span)]


def worth_telling(paths: Iterable[str]) -> list[dict[str, Any]]:
    """JSON-ready: what became of the recordings among ``paths`` that were looked at and are not plainly whole."""
    known = {path: _heard[key] for path in paths if (key := _key(path)) in _heard and key is not None}
    return [{"file": storable(path), **found.as_dict()} for path, found in sorted(known.items()) if found.notes()]
