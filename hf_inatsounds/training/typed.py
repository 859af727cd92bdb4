"""Types of a recipe's values."""

from __future__ import annotations

import typing
from typing import Any

import yaml

from hf_inatsounds.errors import RecipeError


def typed(key: str, value: Any, hint: Any, where: str) -> Any:
    """A value of a recipe as its key's type: whole numbers pass for real ones, texts from flags are read as YAML.

    Args:
        key: for errors.
        value: as YAML or a flag gives it.
        hint: the key's type.
        where: the file, for errors.

    Raises:
        RecipeError: if it has another type.

    >>> typed("learning_rate", "1e-3", float, "r.yaml")
    0.001
    """
    kind = typing.get_origin(hint) or hint
    if isinstance(value, str) and kind is not str:
        try:
            value = yaml.safe_load(value)
        except yaml.YAMLError:
            pass  # left a text, which the check below refuses
        if isinstance(value, str) and kind is float:  # YAML 1.1 reads 1e-3, without a point, as a text
            try:
                value = float(value)
            except ValueError:
                pass
    if key == "freeze" and isinstance(value, int) and not isinstance(value, bool):
        value = str(value)  # a number of layers
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise RecipeError(
            "wrong type in the recipe", where=f"{where}, {key}", found=repr(value), expected=kind.__name__
        )
    return value
