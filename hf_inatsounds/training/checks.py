"""What a recipe's values must be, and which of them contradict each other."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from typing import Any

from hf_inatsounds.archives.fetch import is_repo_id
from hf_inatsounds.data.selection_values import read_conditions
from hf_inatsounds.errors import ArgumentsError
from hf_inatsounds.runtime.ranges import Range
from hf_inatsounds.schema import RANKS
from hf_inatsounds.training.recipe import KEYS, BadValue, Recipe

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


def check(recipe: Recipe) -> None:
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
    try:
        read_conditions(recipe.data.select)
    except ArgumentsError as error:
        raise BadValue("bad selection", "select", found=str(error).partition(": ")[2]) from None
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
    known = set(run.gradient_checkpointing_kwargs) <= {"use_reentrant"}
    switches = all(isinstance(value, bool) for value in run.gradient_checkpointing_kwargs.values())
    _require(recipe, "gradient_checkpointing_kwargs", known and switches, "nothing, or {use_reentrant: true or false}")
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
