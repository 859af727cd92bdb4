"""A selection's keys and values, as users give them: read into JSON's types, or refused."""

from __future__ import annotations

import difflib
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hf_inatsounds.data.places import Ring, read_polygon
from hf_inatsounds.data.selection_keys import KEYS
from hf_inatsounds.errors import ArgumentsError
from hf_inatsounds.schema import RANKS

_NUMBERS = {"box": ("south", "west", "north", "east"), "radius": ("latitude", "longitude", "km")}

Select = Mapping[str, Any] | Sequence[str] | None
"""A selection as users give it: a mapping, or ``key=value`` texts."""


def read_conditions(select: Select) -> dict[str, Any]:
    """Key → value in JSON's types; what files say is in it.

    Raises:
        ArgumentsError: for an unknown key, one that comes twice, or a value that it cannot have.
    """
    conditions: dict[str, Any] = {}
    for key, value in _pairs(select):
        if key not in KEYS:
            near = difflib.get_close_matches(key, KEYS, 1)
            raise _refused(key, "no such key", f"{near[0]}?" if near else ", ".join(KEYS))
        if key in conditions:
            raise _refused(key, "it twice", "each key once")
        conditions[key] = _READERS[key](key, value)
    return conditions


def without_draw(select: Select) -> dict[str, Any]:
    """Key → value without the number of recordings of each class, as a split that is scored is selected."""
    return {key: value for key, value in _pairs(select) if key not in ("max_per_class", "seed")}


def _pairs(select: Select) -> Iterable[tuple[str, Any]]:
    if select is None:
        return []
    if isinstance(select, Mapping):
        return [(str(key), value) for key, value in select.items()]
    if isinstance(select, str):
        select = [select]
    pairs = []
    for text in select:
        key, mark, value = str(text).partition("=")
        if not mark:
            raise ArgumentsError("select must be KEY=VALUE", where="select", found=repr(text), expected=", ".join(KEYS))
        pairs.append((key.strip(), value.strip()))
    return pairs


def _refused(key: str, found: object, expected: object) -> ArgumentsError:
    return ArgumentsError("bad selection", where=f"select {key}", found=found, expected=expected)


def _words(key: str, value: Any) -> list[str]:
    """Names, each once: of a text with commas, a list, or a file's lines."""
    if isinstance(value, os.PathLike) or (isinstance(value, str) and value.startswith("@")):
        path = Path(os.fspath(value).removeprefix("@"))
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, ValueError) as error:
            raise _refused(key, error, "a text file with one name per line") from error
        words = [line.split("#")[0].strip() for line in lines]
    elif isinstance(value, str):
        words = [word.strip() for word in value.split(",")]
    elif isinstance(value, Iterable) and not isinstance(value, Mapping):
        words = list(value)
    else:
        words = [value]
    if any(not isinstance(word, str) for word in words):
        raise _refused(key, repr(value), "a name, a list of names, or @FILE")
    words = sorted({word for word in words if word})
    if not words:
        raise _refused(key, "no name", "at least one")
    return words


def _flag(key: str, value: Any) -> bool:
    if isinstance(value, str) and value.lower() in ("true", "yes", "1", "false", "no", "0"):
        return value.lower() in ("true", "yes", "1")
    if not isinstance(value, bool):
        raise _refused(key, repr(value), "true or false")
    return value


def _whole(key: str, value: Any) -> int:
    least = 1 if key == "max_per_class" else 0
    try:
        number = int(value) if isinstance(value, str) else value
    except ValueError:
        number = None
    if not isinstance(number, int) or isinstance(number, bool) or not least <= number < 1 << 32:
        raise _refused(key, repr(value), f"a whole number of at least {least}")
    return number


def _several(key: str, value: Any) -> list[float]:
    names = _NUMBERS[key]
    parts = value.split(",") if isinstance(value, str) else value
    try:
        numbers = [float(part) for part in parts]
    except (TypeError, ValueError):
        numbers = []
    if len(numbers) != len(names) or not all(map(math.isfinite, numbers)):
        raise _refused(key, repr(value), ", ".join(names))
    latitudes, longitudes = (numbers[:3:2], numbers[1::2]) if key == "box" else (numbers[:1], numbers[1:2])
    if any(abs(one) > 90 for one in latitudes) or any(abs(one) > 180 for one in longitudes):
        raise _refused(key, repr(value), "latitudes from -90 to 90, longitudes from -180 to 180")
    if (key == "box" and numbers[0] > numbers[2]) or (key == "radius" and numbers[2] <= 0):
        raise _refused(key, repr(value), "south below north" if key == "box" else "more than 0 km")
    return numbers


def _bounds(key: str, value: Any) -> list[Any]:
    """[from, to], either None."""
    if key == "date" and not isinstance(value, str | list | tuple):
        value = str(value)  # as YAML reads a date or a year
    parts = value.split("..") if isinstance(value, str) else value
    if not isinstance(parts, list | tuple) or len(parts) not in (1, 2):
        raise _refused(key, repr(value), "FROM..TO, either left out")
    if len(parts) == 1 and key == "date":
        parts = [*parts, *parts]  # a day, a month, a year
    found = [None if part in (None, "") else part for part in parts]
    if len(found) != 2 or found == [None, None]:
        raise _refused(key, repr(value), "FROM..TO, either left out")
    read = _date if key == "date" else _seconds
    found = [None if part is None else read(key, part) for part in found]
    first: Any = found[0]
    last: Any = found[1]
    if first is not None and last is not None and first[: len(last)] > last if key == "date" else _falls(first, last):
        raise _refused(key, repr(value), "FROM before TO")
    return found


def _falls(first: float | None, last: float | None) -> bool:
    return first is not None and last is not None and first > last


def _date(key: str, value: Any) -> str:
    text = str(value).strip()
    digits = text.replace("-", "")
    shape = [len(part) for part in text.split("-")]
    if not digits.isdecimal() or shape not in ([4], [4, 2], [4, 2, 2]):
        raise _refused(key, repr(value), "a date as 2021, 2021-06 or 2021-06-30")
    return text


def _seconds(key: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not (math.isfinite(number) and number >= 0):
        raise _refused(key, repr(value), "seconds")
    return number


def _polygon(key: str, value: Any) -> list[Ring]:
    if isinstance(value, list):  # rings, as a state has them
        return value
    return read_polygon(Path(os.fspath(value).removeprefix("@")))


_READERS: dict[str, Callable[[str, Any], Any]] = {
    **dict.fromkeys(("species", "supercategory", *RANKS, "license"), _words),
    **dict.fromkeys(("evaluation", "relabel"), _flag),
    **dict.fromkeys(("max_per_class", "seed"), _whole),
    **dict.fromkeys(("box", "radius"), _several),
    **dict.fromkeys(("date", "duration_s"), _bounds),
    "polygon": _polygon,
}
"""Key → reads a value of it into JSON's types."""
