"""Recipes: what a training run is told, read from YAML and flags, checked before anything is loaded."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import HfArgumentParser

from hf_inatsounds.archives.fetch import public_place
from hf_inatsounds.errors import FlagError, RecipeError
from hf_inatsounds.runtime.installing import recipe_path
from hf_inatsounds.training.checks import check
from hf_inatsounds.training.recipe import KEYS, PARTS, BadValue, Recipe, laid_over, read_mapping, to_yaml, typed
from hf_inatsounds.training.run_arguments import REFUSED

FORMER = {
    "epochs": "num_train_epochs", "batch_size": "per_device_train_batch_size",
    "eval_batch_size": "per_device_eval_batch_size", "workers": "dataloader_num_workers", "out": "output_dir",
    "scheduler": "lr_scheduler_type", "warmup_share": "warmup_steps", "optimizer": "optim",
    "log_every_steps": "logging_steps", "save_every_steps": "save_steps", "patience": "early_stopping_patience",
    "label_smoothing": "label_smoothing_factor", "hub_public": "hub_private_repo",
}  # fmt: skip
"""Names of keys until version 0.1, and what they are called now."""


PLACES = ("source", "index")
"""Keys whose values may be URLs."""


def read_recipe(path: str | Path, flags: Mapping[str, Any] | None = None) -> Recipe:
    """A recipe from a YAML file, or the shipped one of that name; ``flags`` win, as :func:`make_recipe` says.

    Raises:
        RecipeError: naming the file or flag, and the key: missing file, no mapping, unknown key, wrong type or value.
    """
    return make_recipe(read_mapping(recipe_path(path)), where=str(path), flags=flags)


def make_recipe(values: Mapping[Any, Any], *, where: str, flags: Mapping[str, Any] | None = None) -> Recipe:
    """A checked recipe from keys and values.

    Args:
        values: as YAML gives them.
        where: the file, for errors.
        flags: values that win. A mapping is merged into what is there, key by key; a text is read as YAML and
            replaces what is there.

    Raises:
        RecipeError: unknown key (with the nearest right one), wrong type or value.
        FlagError: the same, where a flag is to blame.

    >>> make_recipe({"config": {"a": 1}}, where="r.yaml", flags={"config": {"b": 2}}).model.config
    {'a': 1, 'b': 2}
    """
    flags = flags or {}
    for key in values:
        if key not in KEYS:
            raise RecipeError(*_unknown(key, "key in the recipe"), where=where, **_told(key, repr(key)))
    for key in flags:
        if key not in KEYS:
            raise FlagError(*_unknown(key, "flag"), **_told(key, repr(f"--{key}")))
    merged = {key for key, value in flags.items() if isinstance(value, Mapping)}
    kept = {key: value for key, value in values.items() if key not in flags or key in merged}
    try:
        kept = {key: typed(key, value, KEYS[key].kinds) for key, value in kept.items()}
    except BadValue as error:
        raise _placed(error, where, kept, {}) from None
    try:
        told = laid_over(kept, {key: typed(key, value, KEYS[key].kinds) for key, value in flags.items()})
        recipe = Recipe(*_parser().parse_dict(told))
        check(recipe)
    except BadValue as error:
        raise _placed(error, where, kept, flags) from None
    return recipe


def changed(recipe: Recipe, **changes: Any) -> Recipe:
    """Another recipe, with other values of some keys.

    Raises:
        RecipeError: as :func:`make_recipe`.
    """
    return make_recipe({**recipe.values(), **changes}, where="the changed recipe")


@functools.cache
def _parser() -> HfArgumentParser:
    return HfArgumentParser(list(PARTS.values()))


def _unknown(key: object, what: str) -> tuple[str]:
    if key in REFUSED:
        return (f"a {what} that a run does not take",)
    return (f"a former {what}" if key in FORMER else f"unknown {what}",)


def _told(key: object, found: str) -> dict[str, Any]:
    if key in REFUSED:
        return {"found": found, "fix": f"Leave it out: {REFUSED[str(key)]}."}
    if key in FORMER:
        hint = ", false for a public model" if key == "hub_public" else ""
        return {"found": found, "expected": f"{FORMER[str(key)]!r}, as transformers calls it{hint}"}
    near = difflib.get_close_matches(str(key), [*KEYS, *REFUSED], n=1)
    return {"found": found, "expected": f"{near[0]!r}?" if near else f"one of {', '.join(KEYS)}"}


def _placed(error: BadValue, where: str, values: Mapping[Any, Any], flags: Mapping[str, Any]) -> RecipeError:
    """The error with the flag or the file that the value is from."""
    key, _, inner = error.key.partition(".")
    said: dict[str, Any] = {"found": error.found, "expected": error.expected}
    if key in flags and (not inner or not isinstance(flags[key], Mapping) or inner in flags[key]):
        return FlagError(error.what, where=f"--{error.key}", **said)
    default = "" if key in values else " (its default)"
    return RecipeError(f"{error.what} in the recipe", where=f"{where}, {error.key}{default}", **said)


def recipe_yaml(recipe: Recipe) -> str:
    """The resolved recipe as YAML, all keys in their order; of URLs no password and no signature."""
    values = recipe.values()
    return to_yaml({**values, **{key: public_place(values[key]) for key in PLACES}})
