"""Recipes: what a training run is told, read from YAML and flags, checked before anything is loaded."""

from __future__ import annotations

import copy
import dataclasses
import difflib
import enum
import functools
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from transformers import HfArgumentParser

from hf_inatsounds.archives.fetch import is_repo_id
from hf_inatsounds.audio.windows import WindowSpec
from hf_inatsounds.errors import FlagError, RecipeError
from hf_inatsounds.runtime.ranges import Range
from hf_inatsounds.schema import RANKS
from hf_inatsounds.training.options import DataArguments, MayBeEmpty, ModelArguments, ObjectiveArguments
from hf_inatsounds.training.run_arguments import HONOURED, REFUSED, RunArguments
from hf_inatsounds.training.typed import BadValue, laid_over, read_mapping, to_yaml, typed

PARTS = {
    "data": DataArguments, "model": ModelArguments, "objective": ObjectiveArguments, "training": RunArguments,
}  # fmt: skip
FORMER = {
    "epochs": "num_train_epochs", "batch_size": "per_device_train_batch_size",
    "eval_batch_size": "per_device_eval_batch_size", "workers": "dataloader_num_workers", "out": "output_dir",
    "scheduler": "lr_scheduler_type", "warmup_share": "warmup_steps", "optimizer": "optim",
    "log_every_steps": "logging_steps", "save_every_steps": "save_steps", "patience": "early_stopping_patience",
    "label_smoothing": "label_smoothing_factor", "hub_public": "hub_private_repo",
}  # fmt: skip
"""Names of keys until version 0.1, and what they are called now."""
TRACKERS = ("tensorboard", "trackio", "wandb")
ON_METRICS = ("reduce_lr_on_plateau", "greedy")
"""Schedules that follow the validation instead of the steps."""
ASYMMETRY = {"gamma_positive": Range(0, 100), "gamma_negative": Range(0, 100), "margin": Range(0, 1, open_high=True)}
OF_ENCODERS = ("temperature", "projection_size")
"""Keys that only the contrastive objective has a use for."""
OF_CLASSIFIERS = (
    "label_smoothing_factor", "loss", "focal_gamma", "asymmetry", "negative_weight", "logit_adjustment", "hierarchy",
    "mixup", "push_to_hub",
)  # fmt: skip
"""Keys that it has none for."""


@dataclass(frozen=True)
class Key:
    """One key of a recipe, as its dataclass declares it.

    Attributes:
        name: of the key.
        part: of the recipe that has it: "data", "model", "objective" or "training".
        kinds: types that its values may have.
        range: numbers that it may be; None for any.
        choices: texts that it may be; none for any.
        may_be_empty: whether an empty text says something.
        help: what it is.
        make: makes its default.
    """

    name: str
    part: str
    kinds: tuple[type, ...]
    range: Range | None
    choices: tuple[str, ...]
    may_be_empty: bool
    help: str
    make: Any

    @property
    def default(self) -> Any:
        """A default of the key's own."""
        return self.make()


def _keys() -> dict[str, Key]:
    found = {}
    for part, kind in PARTS.items():
        hints = typing.get_type_hints(kind, include_extras=True)
        own = kind.__annotations__ if kind is RunArguments else hints
        fields = {one.name: one for one in dataclasses.fields(kind)}
        for name in (*own, *(HONOURED if kind is RunArguments else ())):
            if name in fields:  # of this version of transformers
                found[name] = _key(fields[name], part, hints[name])
    return found


def _key(one: dataclasses.Field[Any], part: str, hint: Any) -> Key:
    marks = hint.__metadata__ if typing.get_origin(hint) is Annotated else ()
    factory = one.default_factory
    return Key(
        one.name,
        part,
        _kinds(hint),
        next((mark for mark in marks if isinstance(mark, Range)), None),
        tuple(one.metadata.get("choices", ())),
        any(isinstance(mark, MayBeEmpty) for mark in marks) or one.name in HONOURED,
        one.metadata.get("help", ""),
        (lambda: one.default) if factory is dataclasses.MISSING else factory,
    )


def _kinds(hint: Any) -> tuple[type, ...]:
    """The plain types that a hint allows.

    >>> _kinds(Annotated[int, Range(0, 1)]), _kinds(dict[str, Any] | None)
    ((<class 'int'>,), (<class 'dict'>, <class 'NoneType'>))
    """
    origin = typing.get_origin(hint)
    if origin is Annotated:
        return _kinds(hint.__origin__)
    if origin in (typing.Union, types.UnionType):
        return tuple(dict.fromkeys(kind for one in typing.get_args(hint) for kind in _kinds(one)))
    if origin is Literal:
        return tuple(dict.fromkeys(type(value) for value in typing.get_args(hint)))
    kind = origin or hint
    return (str,) if isinstance(kind, type) and issubclass(kind, enum.Enum) else (kind,)


KEYS = _keys()
"""Every key of a recipe, in the order of ``train --help``."""


@dataclass(frozen=True)
class Recipe:
    """One training run: a part for each of :data:`PARTS`, made by :func:`make_recipe` and not changed after."""

    data: DataArguments
    model: ModelArguments
    objective: ObjectiveArguments
    training: RunArguments

    def values(self) -> dict[str, Any]:
        """All keys and values; of the arguments that go to transformers as they are, those that were set."""
        found = {name: copy.deepcopy(getattr(getattr(self, key.part), name)) for name, key in KEYS.items()}
        return {name: value for name, value in found.items() if name not in HONOURED or value != KEYS[name].default}

    def changed(self, **changes: Any) -> Recipe:
        """Another recipe, with other values of some keys.

        Raises:
            RecipeError: as :func:`make_recipe`.
        """
        return make_recipe({**self.values(), **changes}, where="the changed recipe")

    @property
    def out(self) -> Path:
        """The run folder."""
        return Path(self.training.output_dir)

    @property
    def is_validated(self) -> bool:
        """Whether there is a split that chooses the best checkpoint."""
        return self.data.validation_split != "none"

    @property
    def window(self) -> WindowSpec:
        """Training crop and evaluation window."""
        return WindowSpec(self.data.window_s, self.data.stride_s)

    @property
    def validated_by(self) -> str:
        """What ``map`` of a validation is, in words."""
        return "nearest-neighbour mAP" if self.objective.objective == "contrastive" else "mAP"

    @property
    def trackers(self) -> tuple[str, ...]:
        """Names of ``report_to``."""
        asked = self.training.report_to
        return () if asked == "none" else tuple(name.strip() for name in asked.split(","))


def read_recipe(path: str | Path, flags: Mapping[str, Any] | None = None) -> Recipe:
    """A recipe from YAML; ``flags`` win, as :func:`make_recipe` says.

    Raises:
        RecipeError: naming the file or flag, and the key: missing file, no mapping, unknown key, wrong type or value.
    """
    return make_recipe(read_mapping(path), where=str(path), flags=flags)


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
        _check(recipe)
    except BadValue as error:
        raise _placed(error, where, kept, flags) from None
    return recipe


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
    """The resolved recipe as YAML, all keys in their order."""
    return to_yaml(recipe.values())


def _check(recipe: Recipe) -> None:
    """Each value by itself, then those that belong together.

    Raises:
        BadValue: naming the key.
    """
    for name, key in KEYS.items():
        value = getattr(getattr(recipe, key.part), name)
        if key.range is not None:
            _require(recipe, name, value in key.range, key.range)
        if key.choices and value is not None:
            _require(recipe, name, value in key.choices, _one_of(key.choices, value))
        if isinstance(value, str):
            _require(recipe, name, bool(value.strip()) or (not value and key.may_be_empty), "not an empty text")
            _require(recipe, name, value.isprintable(), "visible characters")
        elif isinstance(value, dict | list | float):
            _require(recipe, name, _is_plain(value), "names as keys, and numbers that are finite")
    _inner(recipe)
    _objective(recipe)
    _learning(recipe)
    _batches(recipe)
    _validation(recipe)


def _one_of(choices: tuple[str, ...], value: object) -> str:
    if len(choices) > 12:
        near = difflib.get_close_matches(str(value), choices, n=3, cutoff=0.3)
        return f"one of transformers' {len(choices)} names" + (f", such as {', '.join(near)}" if near else "")
    return f"{', '.join(choices[:-1])} or {choices[-1]}"


def _inner(recipe: Recipe) -> None:
    objective = recipe.objective
    for key, values, known in (
        ("asymmetry", objective.asymmetry, ASYMMETRY),
        ("hierarchy", objective.hierarchy, dict.fromkeys(RANKS[:-1], Range(0, 1_000, True))),
    ):
        for inner, value in values.items():
            if inner not in known:
                raise BadValue("unknown key", f"{key}.{inner}", expected=", ".join(known))
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if not is_number or value not in known[inner]:
                raise BadValue("bad value", f"{key}.{inner}", found=repr(value), expected=f"a number {known[inner]}")


def _is_plain(value: Any) -> bool:
    """Whether a value from YAML could be written as JSON, as transformers does with configs."""
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and _is_plain(one) for key, one in value.items())
    if isinstance(value, list):
        return all(_is_plain(one) for one in value)
    return value is None or isinstance(value, str | bool | int) or (isinstance(value, float) and math.isfinite(value))


def _objective(recipe: Recipe) -> None:
    one, smoothing = recipe.objective, recipe.training.label_smoothing_factor
    contrastive, multiclass = one.objective == "contrastive", one.objective == "multiclass"
    for key in OF_CLASSIFIERS if contrastive else OF_ENCODERS:
        default = KEYS[key].default
        found = getattr(getattr(recipe, KEYS[key].part), key)
        _require(recipe, key, found == default, f"{default!r} with objective: {one.objective}")
    views = recipe.data.crops_per_recording >= 2 or not contrastive
    _require(recipe, "crops_per_recording", views, "at least 2 with objective: contrastive")
    _require(recipe, "label_smoothing_factor", not smoothing or multiclass, "0 with multilabel")
    _require(recipe, "logit_adjustment", not one.logit_adjustment or multiclass, "0 with multilabel")
    _require(recipe, "negative_weight", one.negative_weight == 1.0 or not multiclass, "1 with multiclass")
    _require(recipe, "loss", one.loss != "asymmetric" or not multiclass, "plain or focal with multiclass")
    _require(recipe, "focal_gamma", not one.focal_gamma or one.loss == "focal", "0, or loss: focal")
    _require(recipe, "asymmetry", not one.asymmetry or one.loss == "asymmetric", "nothing, or loss: asymmetric")


def _learning(recipe: Recipe) -> None:
    model, run = recipe.model, recipe.training
    frozen = model.freeze in ("none", "encoder") or (model.freeze.isdecimal() and len(model.freeze) < 5)
    _require(recipe, "freeze", frozen, "none, encoder, or a number of layers")
    _require(recipe, "layer_decay", run.layer_decay == 1.0 or model.freeze != "encoder", "1 with a frozen encoder")
    _require(recipe, "lora_rank", not model.lora_rank or model.freeze == "none", "0, or freeze: none")
    _require(recipe, "fp16", not (run.fp16 and run.bf16), "one of fp16 and bf16")
    shaped = run.lr_scheduler_type in ("cosine", "linear")
    for key in ("warmup_start_share", "min_learning_rate_share"):
        _require(recipe, key, shaped or not getattr(run, key), "0, or the lr_scheduler_type cosine or linear")
    plain = not run.lr_scheduler_kwargs or run.lr_scheduler_type not in ("constant", "constant_with_warmup")
    ours = bool(run.warmup_start_share or run.min_learning_rate_share)
    with_what = "warmup_start_share or min_learning_rate_share" if ours else run.lr_scheduler_type
    _require(
        recipe, "lr_scheduler_kwargs", plain and not (ours and run.lr_scheduler_kwargs), f"nothing with {with_what}"
    )
    followed = run.lr_scheduler_type not in ON_METRICS or recipe.is_validated
    _require(recipe, "lr_scheduler_type", followed, "one that needs no validation_split")
    plain_optimizer = run.optim.startswith(("adamw_torch", "sgd"))
    _require(recipe, "optim_args", not run.optim_args or not plain_optimizer, f"nothing with optim: {run.optim}")
    by_module = run.optim.startswith(("galore", "apollo", "lomo", "adalomo"))
    _require(recipe, "optim_target_modules", by_module or not run.optim_target_modules, "nothing with this optim")
    needs_workers = ("dataloader_prefetch_factor", "dataloader_multiprocessing_context")
    for key in needs_workers if not run.dataloader_num_workers else ():
        value = getattr(run, key, None)
        _require(recipe, key, value is None, "nothing without dataloader_num_workers")
    for key in ("warmup_steps", "save_steps", "logging_steps"):
        value = getattr(run, key)
        _require(recipe, key, value < 1 or value == int(value), "a whole number of steps, or a share below 1")


def _batches(recipe: Recipe) -> None:
    data, size = recipe.data, recipe.training.per_device_train_batch_size
    _require(recipe, "name", data.name != "annotations", "a name with audio")
    fits = size % data.crops_per_recording == 0
    _require(recipe, "crops_per_recording", fits, f"a divisor of per_device_train_batch_size = {size}")
    _require(recipe, "stride_s", data.stride_s <= data.window_s, f"at most window_s = {data.window_s:g}")


def _validation(recipe: Recipe) -> None:
    run, validated = recipe.training, recipe.is_validated
    for key, value in (
        ("early_stopping_patience", run.early_stopping_patience),
        ("validation_recordings", recipe.data.validation_recordings),
    ):
        _require(recipe, key, validated or not value, "0 without a validation_split")
    _require(recipe, "report_to", set(recipe.trackers) <= set(TRACKERS), f"none, or some of {', '.join(TRACKERS)}")
    _require(recipe, "hub_model_id", not run.hub_model_id or is_repo_id(run.hub_model_id), "owner/name")
    _require(recipe, "hub_model_id", bool(run.hub_model_id) or not run.push_to_hub, "owner/name with push_to_hub")
    _require(recipe, "push_to_hub", validated or not run.push_to_hub, "a validation_split, which the card quotes")


def _require(recipe: Recipe, key: str, holds: bool, expected: object) -> None:
    if not holds:
        found = getattr(getattr(recipe, KEYS[key].part), key)
        raise BadValue("bad value", key, found=repr(found), expected=expected)
