"""Values that a user gives under ``config.`` and ``feature_extractor.``: their keys are the library's own."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterable
from typing import Any

from hf_inatsounds.errors import RecipeError

_OF_THE_DATASET = ("num_labels", "id2label", "label2id", "problem_type")
_OF_THE_RUN = ("dtype", "torch_dtype")


def check_keys(given: Iterable[str], known: Iterable[str], *, where: str, of: str) -> None:
    """Refuse a key that nothing would read.

    Args:
        given: the user's keys.
        known: those that there are.
        where: what stands before the dot.
        of: whose keys they are.

    Raises:
        RecipeError: naming the key and the nearest right one.

    >>> check_keys(["hiden_size"], ["hidden_size", "num_layers"], where="config", of="ViTConfig")
    Traceback (most recent call last):
    ...
    hf_inatsounds.errors.RecipeError: unknown key: config.hiden_size: expected a key of ViTConfig, such as hidden_size
    """
    names = sorted(known)
    for key in given:
        if key not in names:
            near = difflib.get_close_matches(str(key), names, n=1)
            hint = f", such as {near[0]}" if near else ""
            raise RecipeError("unknown key", where=f"{where}.{key}", expected=f"a key of {of}{hint}")


def check_config(given: dict[str, Any], kind: Any) -> None:
    """Refuse keys that a config class does not have, and those that the dataset or the run decides.

    Args:
        given: the user's values under ``config.``.
        kind: transformers' config class.

    Raises:
        RecipeError: naming the key.
    """
    for keys, by in ((_OF_THE_DATASET, "the dataset's classes and objective"), (_OF_THE_RUN, "bf16 and fp16")):
        for key in keys:
            if key in given:
                raise RecipeError("not a value to choose here", where=f"config.{key}", expected=f"nothing; {by} say it")
    check_keys(given, {*vars(kind()), *kind.attribute_map}, where="config", of=kind.__name__)


def check_extractor(given: dict[str, Any], kind: Any) -> None:
    """Refuse keys that a feature extractor of transformers would keep without ever reading them.

    Args:
        given: the user's values under ``feature_extractor.``.
        kind: transformers' feature extractor class.

    Raises:
        RecipeError: naming the key.
    """
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    known = {
        key
        for base in kind.__mro__
        if base.__module__ != "builtins"
        for key, one in inspect.signature(base.__init__).parameters.items()
        if one.kind in named and key != "self"
    }
    check_keys(given, known, where="feature_extractor", of=kind.__name__)
