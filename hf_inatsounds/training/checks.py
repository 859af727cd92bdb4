"""What a recipe's values must be, and which of them contradict each other."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from hf_inatsounds.errors import RecipeError
from hf_inatsounds.objectives import SAMPLINGS

if TYPE_CHECKING:
    from hf_inatsounds.training.arguments import Recipe

OF_ENCODERS = ("temperature", "projection_size")
"""Keys that only the contrastive objective has a use for."""
OF_CLASSIFIERS = (
    "label_smoothing", "loss", "focal_gamma", "asymmetry", "negative_weight", "logit_adjustment", "hierarchy", "mixup",
    "push_to_hub",
)  # fmt: skip
"""Keys that it has none for."""
CHOICES = {
    "objective": ("multiclass", "multilabel", "contrastive"),
    "resample_on": ("auto", "host", "device"),
    "crop_choice": ("uniform", "energy"),
    "mixup_level": ("input", "waveform"),
    "mixup_targets": ("objective", "weighted", "union"),
    "optimizer": ("adamw", "sgd"),
    "validation": ("full", "cheap"),
    "device": ("auto", "cuda", "xpu", "mps", "cpu"),
    "sampling": SAMPLINGS,
}
TRACKERS = ("tensorboard", "trackio", "wandb")


def check(recipe: Recipe) -> None:
    """Each value by itself, then those that belong together.

    Raises:
        RecipeError: naming the key.
    """
    _ranges(recipe)
    for key, choices in CHOICES.items():
        expected = f"{', '.join(choices[:-1])} or {choices[-1]}"
        _require(recipe, key, getattr(recipe, key) in choices, expected)
    _objective(recipe)
    _learning(recipe)
    _batches(recipe)
    _validation(recipe)


def _ranges(recipe: Recipe) -> None:
    for key in ("epochs", "batch_size", "gradient_accumulation_steps", "evaluate_every_epochs", "eval_batch_size",
                "crops_per_recording", "projection_size", "ddp_timeout"):  # fmt: skip
        _require(recipe, key, getattr(recipe, key) >= 1, "at least 1")
    for key in ("max_steps", "workers", "seed", "gain_db", "weight_decay", "label_smoothing", "patience",
                "validation_recordings", "save_every_steps", "log_every_steps", "lora_rank"):  # fmt: skip
        _require(recipe, key, getattr(recipe, key) >= 0, "at least 0")
    for key in ("noise", "pitch", "shorten", "mixup", "warmup_share", "max_unusable_share", "warmup_start_share",
                "min_learning_rate_share"):  # fmt: skip
        _require(recipe, key, 0.0 <= getattr(recipe, key) <= 1.0, "a share in [0, 1]")
    for key in ("learning_rate", "max_grad_norm", "window_s", "mixup_alpha", "shuffle_buffer", "temperature"):
        _require(recipe, key, getattr(recipe, key) > 0, "more than 0")
    for key in ("momentum", "ema_decay", "sampling_beta"):
        _require(recipe, key, 0.0 <= getattr(recipe, key) < 1.0, "in [0, 1)")
    _require(recipe, "stride_s", 0 < recipe.stride_s <= recipe.window_s, f"in (0, window_s = {recipe.window_s}]")


def _objective(recipe: Recipe) -> None:
    contrastive = recipe.objective == "contrastive"
    defaults = {one.name: one for one in dataclasses.fields(recipe)}
    for key in OF_CLASSIFIERS if contrastive else OF_ENCODERS:
        one = defaults[key]
        default = one.default if one.default_factory is dataclasses.MISSING else one.default_factory()
        _require(recipe, key, getattr(recipe, key) == default, f"{default!r} with objective: {recipe.objective}")
    views = recipe.crops_per_recording >= 2 or not contrastive
    _require(recipe, "crops_per_recording", views, "at least 2 with objective: contrastive")
    hard = not (recipe.label_smoothing and recipe.objective == "multilabel")
    _require(recipe, "label_smoothing", hard, "0 with multilabel")


def _learning(recipe: Recipe) -> None:
    frozen = recipe.freeze in ("none", "encoder") or recipe.freeze.isdecimal()
    _require(recipe, "freeze", frozen, "none, encoder, or a number of layers")
    _require(recipe, "layer_decay", 0.0 < recipe.layer_decay <= 1.0, "in (0, 1]")
    _require(recipe, "layer_decay", recipe.layer_decay == 1.0 or recipe.freeze != "encoder", "1 with a frozen encoder")
    _require(recipe, "lora_rank", not recipe.lora_rank or recipe.freeze == "none", "0, or freeze: none")
    _require(recipe, "fp16", not (recipe.fp16 and recipe.bf16), "one of fp16 and bf16")
    shaped = recipe.scheduler in ("cosine", "linear")
    for key in ("warmup_start_share", "min_learning_rate_share"):
        _require(recipe, key, shaped or not getattr(recipe, key), "0, or the scheduler cosine or linear")


def _batches(recipe: Recipe) -> None:
    _require(recipe, "name", recipe.name != "annotations", "a name with audio")
    fits = recipe.batch_size % recipe.crops_per_recording == 0
    _require(recipe, "crops_per_recording", fits, f"a divisor of batch_size = {recipe.batch_size}")


def _validation(recipe: Recipe) -> None:
    validated = recipe.validation_split != "none"
    for key in ("patience", "validation_recordings"):
        _require(recipe, key, validated or not getattr(recipe, key), "0 without a validation_split")
    _require(recipe, "report_to", set(recipe.trackers) <= set(TRACKERS), f"none, or some of {', '.join(TRACKERS)}")
    _require(recipe, "push_to_hub", not recipe.push_to_hub or recipe.push_to_hub.count("/") == 1, "owner/name")
    _require(recipe, "push_to_hub", validated or not recipe.push_to_hub, "a validation_split, which the card quotes")
    _require(recipe, "hub_public", bool(recipe.push_to_hub) or not recipe.hub_public, "push_to_hub beside it")


def _require(recipe: Recipe, key: str, holds: bool, expected: str) -> None:
    if not holds:
        raise RecipeError("bad value in the recipe", where=key, found=repr(getattr(recipe, key)), expected=expected)
