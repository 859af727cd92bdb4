"""Which windows an annotated event makes positive."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

SHARE = 0.2
"""Of the shorter of window and event that must overlap, in BEANS."""


@dataclass(frozen=True)
class Event:
    """A labelled stretch of a recording.

    Attributes:
        start_s: beginning, in seconds.
        end_s: end, in seconds.
        label: as annotated.
    """

    start_s: float
    end_s: float
    label: str


def overlaps_enough(start_s: float, end_s: float, event: Event, share: float = SHARE) -> bool:
    """Whether an event makes the window [start_s, end_s] positive.

    ``min(end, e_end) - max(start, e_start) > share · min(window, event)``, or the event covers the window. An event
    of no length makes none positive.

    Source: earthspecies/beans, RecognitionDataset.

    >>> [overlaps_enough(0.0, 2.0, Event(1.5, end, "a")) for end in (1.6, 4.0, 6.0)]
    [True, True, True]
    >>> overlaps_enough(0.0, 2.0, Event(1.7, 6.0, "a")), overlaps_enough(0.0, 2.0, Event(1.0, 1.0, "a"))
    (False, False)
    """
    if event.start_s <= start_s and end_s <= event.end_s:
        return True
    shorter = min(end_s - start_s, event.end_s - event.start_s)
    if shorter <= 0:
        return False
    return (min(end_s, event.end_s) - max(start_s, event.start_s)) / shorter > share


def touches(start_s: float, end_s: float, event: Event) -> bool:
    """Whether an event and a window share any time.

    >>> touches(0.0, 5.0, Event(4.9, 6.0, "a")), touches(0.0, 5.0, Event(5.0, 6.0, "a"))
    (True, False)
    """
    return event.start_s < end_s and start_s < event.end_s


def beans_windows(length_s: float, width_s: float, shift_s: float) -> list[tuple[float, float]]:
    """Windows of a recording as BEANS cuts them: ``int((length - width) / shift) + 1`` of them.

    Truncation is towards zero, so that a recording less than a shift too short has one window; what is beyond the
    last whole window is left out.

    >>> beans_windows(5.5, 2, 1)
    [(0, 2), (1, 3), (2, 4), (3, 5)]
    >>> beans_windows(1.5, 2, 1), beans_windows(0.5, 2, 1)
    ([(0, 2)], [])
    """
    count = max(int((length_s - width_s) / shift_s) + 1, 0)
    return [(i * shift_s, i * shift_s + width_s) for i in range(count)]


def full_windows(length_s: float, width_s: float, stride_s: float) -> list[tuple[float, float]]:
    """Windows from the beginning on, all full but a recording's only one; what is left at its end is left out.

    >>> full_windows(11.0, 5.0, 2.5)
    [(0.0, 5.0), (2.5, 7.5), (5.0, 10.0)]
    >>> full_windows(3.0, 5.0, 5.0)
    [(0.0, 3.0)]
    """
    if length_s <= width_s:
        return [(0.0, length_s)]
    count = int((length_s - width_s) / stride_s + 1e-9) + 1
    return [(i * stride_s, i * stride_s + width_s) for i in range(count)]


def window_labels(start_s: float, end_s: float, events: Iterable[Event], classes: Sequence[str]) -> tuple[int, ...]:
    """Classes of the events that make a window positive, ascending.

    >>> window_labels(0.0, 2.0, [Event(0.5, 1.0, "b"), Event(3.0, 4.0, "a")], ["a", "b"])
    (1,)
    """
    return tuple(sorted({classes.index(one.label) for one in events if overlaps_enough(start_s, end_s, one)}))
