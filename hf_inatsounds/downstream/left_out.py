"""Parts of a suite that cannot be used: left out and named, while others can."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from hf_inatsounds.errors import ArgumentsError, EndedElsewhere, InatSoundsError, StoppedError

T = TypeVar("T")


def usable(makers: Mapping[str, Callable[[], T]]) -> tuple[dict[str, T], dict[str, str]]:
    """Make each of several things.

    Args:
        makers: name → what makes it.

    Returns:
        Name → what was made, and name → why it could not be.

    Raises:
        InatSoundsError: of the first that failed, where none can be made; and at once for wrong arguments.

    >>> def bad(): raise InatSoundsError("no recording")
    >>> usable({"a": lambda: 1, "b": bad})
    ({'a': 1}, {'b': 'no recording'})
    """
    made: dict[str, T] = {}
    errors: dict[str, InatSoundsError] = {}
    for name, make in makers.items():
        try:
            made[name] = make()
        except (ArgumentsError, EndedElsewhere, StoppedError):
            raise
        except InatSoundsError as error:
            errors[name] = error
    if errors and not made:
        raise next(iter(errors.values()))
    return made, {name: str(error) for name, error in errors.items()}
