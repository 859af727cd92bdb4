"""Settings of feature extractors that a user chose: known keys, of the right type and range."""

from __future__ import annotations

import contextlib
import inspect
import math
from collections.abc import Iterator, Mapping
from typing import Any

from huggingface_hub.errors import StrictDataclassError

from hf_inatsounds.errors import RecipeError
from hf_inatsounds.frontends.overrides import check_extractor

REFUSALS = (
    ValueError, TypeError, RuntimeError, ArithmeticError, LookupError, AttributeError, AssertionError, MemoryError,
    StrictDataclassError,
)  # fmt: skip
"""What transformers and torch raise where values contradict each other."""


@contextlib.contextmanager
def refusals_named(what: str) -> Iterator[None]:
    """What transformers or torch refuses of a config and a feature extractor is a RecipeError of one line."""
    try:
        yield
    except REFUSALS as error:
        found = f"{type(error).__name__}: {error}"
        raise RecipeError(what, where="config, feature_extractor", found=found) from error


def check_settings(kind: type, chosen: Mapping[str, Any]) -> None:
    """Refuse a setting that a feature extractor does not have, or a value that none can have.

    Args:
        kind: class of the feature extractor.
        chosen: what a user chose of it.

    Raises:
        RecipeError: naming the key.

    >>> from transformers import ASTFeatureExtractor
    >>> check_settings(ASTFeatureExtractor, {"max_length": 0})
    Traceback (most recent call last):
    ...
    hf_inatsounds.errors.RecipeError: feature_extractor.max_length must be an integer of at least 1, got 0
    """
    check_extractor(dict(chosen), kind)
    defaults = _defaults(kind)
    for key, value in chosen.items():
        fits, expected = _expected(key, defaults.get(key, value), value)
        if not fits:
            raise RecipeError(f"feature_extractor.{key} must be {expected}, got {value!r}")


def _defaults(kind: type) -> dict[str, Any]:
    """Setting → its default, of all classes that it inherits from; those without a default are always given."""
    found: dict[str, Any] = {}
    for base in reversed(kind.__mro__[:-1]):
        parameters = inspect.signature(base).parameters.values()
        found |= {one.name: one.default for one in parameters if one.default is not one.empty}
    return found


def _expected(key: str, default: Any, value: Any) -> tuple[bool, str]:
    """Whether a value is of its default's kind, and what it should be."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    if isinstance(default, bool):
        return isinstance(value, bool), "true or false"
    if key == "image_size":
        sides = [value] if whole else value
        fits = isinstance(sides, list | tuple) and len(sides) in (1, 2) and all(_positive(side) for side in sides)
        return fits, "one or two integers of at least 1"
    if isinstance(default, int):
        return _positive(value), "an integer of at least 1"
    if isinstance(default, float):
        number = whole or isinstance(value, float)
        above = key != "std"
        return number and math.isfinite(value) and (above or value > 0), "a number" if above else "a number above 0"
    return isinstance(value, str), "text"


def _positive(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
