"""Numbers that a key of a recipe or a flag may have."""

from __future__ import annotations

import numbers
from dataclasses import dataclass
from typing import Any

from hf_inatsounds.errors import ArgumentsError


@dataclass(frozen=True)
class Range:
    """Numbers from ``low`` to ``high``; never NaN, which is in no order with others, nor infinity.

    >>> -1 in Range(0, 5), float("nan") in Range(0, 5), str(Range(0, 1, open_high=True))
    (False, False, 'in [0, 1)')
    """

    low: float
    high: float
    open_low: bool = False
    open_high: bool = False

    def __contains__(self, value: float) -> bool:
        above = value > self.low if self.open_low else value >= self.low
        return above and (value < self.high if self.open_high else value <= self.high)

    def __str__(self) -> str:
        if self.high <= 1:
            return f"in {'(' if self.open_low else '['}{self.low:g}, {self.high:g}{')' if self.open_high else ']'}"
        return f"{'more than' if self.open_low else 'at least'} {self.low:g}, at most {self.high:,}"


MANY = 10**9
SEED = Range(0, 2**32 - 1)
"""Seeds that numpy takes."""
BATCH_SIZE = Range(1, 65_536)
SECONDS = Range(0.01, 600)
"""Lengths of windows and strides, in seconds."""


def is_number(value: Any) -> bool:
    """Whether a value is a real number, of Python's or numpy's.

    >>> is_number(2.5), is_number("2"), is_number(True)
    (True, False, False)
    """
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def whole_number(name: str, value: Any, least: int) -> None:
    """Refuse an argument that is no whole number of at least ``least``.

    Raises:
        ArgumentsError: naming it.
    """
    if not isinstance(value, numbers.Integral) or isinstance(value, bool):
        raise ArgumentsError(f"{name} must be a whole number, got {value!r}")
    if value < least:
        raise ArgumentsError(f"{name} must be at least {least}, got {value!r}")
