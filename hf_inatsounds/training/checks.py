"""What a recipe's values must be, and which of them contradict each other."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hf_inatsounds.schema import RANKS, SPLITS
from hf_inatsounds.training.typed import BadValue

if TYPE_CHECKING:
    from hf_inatsounds.training.arguments import Recipe


@dataclass(frozen=True)
class Range:
    """Numbers that a key may have; never NaN, which is in no order with others, nor infinity.

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


def _each(numbers: Range, *keys: str) -> dict[str, Range]:
    return dict.fromkeys(keys, numbers)


MANY = 10**9
RANGES = {
    **_each(Range(1, 10**6), "epochs", "evaluate_every_epochs", "gradient_accumulation_steps", "ddp_timeout"),
    **_each(Range(1, 65_536), "batch_size", "eval_batch_size", "crops_per_recording", "projection_size"),
    **_each(Range(0, MANY), "max_steps", "patience", "validation_recordings", "save_every_steps", "log_every_steps"),
    **_each(Range(0, 1_024), "workers", "lora_rank", "frequency_masks", "time_masks"),
    **_each(Range(0, 10**6), "frequency_mask_bins", "time_mask_frames"),
    "shuffle_buffer": Range(1, MANY),
    "seed": Range(0, 2**32 - 1),  # numpy's
    **_each(Range(0, 1), "noise", "pitch", "shorten", "mixup", "warmup_share", "max_unusable_share",
            "warmup_start_share", "min_learning_rate_share"),
    **_each(Range(0, 1, open_high=True), "momentum", "ema_decay", "sampling_beta", "label_smoothing"),
    "layer_decay": Range(0, 1, open_low=True),
    "window_s": Range(0.01, 600),
    "stride_s": Range(0.01, 600),
    **_each(Range(0, 1_000, open_low=True), "learning_rate", "temperature", "negative_weight"),
    "mixup_alpha": Range(0.001, 1_000),
    "max_grad_norm": Range(0, MANY, open_low=True),
    **_each(Range(0, 100), "gain_db", "weight_decay", "focal_gamma", "logit_adjustment"),
}  # fmt: skip
"""Every number's. The upper ends are far above what helps, and below what breaks a library or a machine."""

CHOICES = {
    "objective": ("multiclass", "multilabel", "contrastive"),
    "loss": ("plain", "focal", "asymmetric"),
    "train_split": SPLITS,
    "validation_split": (*SPLITS, "none"),
    "resample_on": ("auto", "host", "device"),
    "crop_choice": ("uniform", "energy"),
    "mixup_level": ("input", "waveform"),
    "mixup_targets": ("objective", "weighted", "union"),
    "optimizer": ("adamw", "sgd"),
    "scheduler": (
        "cosine", "linear", "constant", "constant_with_warmup", "inverse_sqrt", "polynomial", "cosine_with_restarts",
        "cosine_with_min_lr", "cosine_warmup_with_min_lr", "warmup_stable_decay", "reduce_lr_on_plateau", "greedy",
    ),
    "validation": ("full", "cheap"),
    "device": ("auto", "cuda", "xpu", "mps", "cpu"),
    "sampling": ("natural", "square-root", "class-balanced", "uniform"),
}  # fmt: skip
TRACKERS = ("tensorboard", "trackio", "wandb")
MAY_BE_EMPTY = ("index", "push_to_hub", "revision", "subfolder")
"""Texts that say something by being empty."""

OF_ENCODERS = ("temperature", "projection_size")
"""Keys that only the contrastive objective has a use for."""
OF_CLASSIFIERS = (
    "label_smoothing", "loss", "focal_gamma", "asymmetry", "negative_weight", "logit_adjustment", "hierarchy", "mixup",
    "push_to_hub",
)  # fmt: skip
"""Keys that it has none for."""
ASYMMETRY = {"gamma_positive": Range(0, 100), "gamma_negative": Range(0, 100), "margin": Range(0, 1, open_high=True)}
ON_METRICS = ("reduce_lr_on_plateau", "greedy")
"""Schedules that follow the validation instead of the steps."""


def check(recipe: Recipe) -> None:
    """Each value by itself, then those that belong together.

    Raises:
        BadValue: naming the key.
    """
    for key, numbers in RANGES.items():
        _require(recipe, key, getattr(recipe, key) in numbers, numbers)
    for key, choices in CHOICES.items():
        _require(recipe, key, getattr(recipe, key) in choices, f"{', '.join(choices[:-1])} or {choices[-1]}")
    _texts(recipe)
    _inner(recipe)
    _objective(recipe)
    _learning(recipe)
    _schedule(recipe)
    _batches(recipe)
    _validation(recipe)


def _texts(recipe: Recipe) -> None:
    for key, value in vars(recipe).items():
        if isinstance(value, str):
            _require(recipe, key, bool(value.strip()) or (not value and key in MAY_BE_EMPTY), "not an empty text")
            _require(recipe, key, value.isprintable(), "visible characters")


def _inner(recipe: Recipe) -> None:
    for key in ("config", "feature_extractor", "lr_scheduler_kwargs", "waveform_augmentation"):
        _require(recipe, key, _is_plain(getattr(recipe, key)), "names as keys, and numbers that are finite")
    for key, known in (("asymmetry", ASYMMETRY), ("hierarchy", dict.fromkeys(RANKS[:-1], Range(0, 1_000, True)))):
        values: Mapping[Any, Any] = getattr(recipe, key)
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
    contrastive = recipe.objective == "contrastive"
    multiclass = recipe.objective == "multiclass"
    defaults = {one.name: one for one in dataclasses.fields(recipe)}
    for key in OF_CLASSIFIERS if contrastive else OF_ENCODERS:
        one = defaults[key]
        default = one.default if one.default_factory is dataclasses.MISSING else one.default_factory()
        _require(recipe, key, getattr(recipe, key) == default, f"{default!r} with objective: {recipe.objective}")
    views = recipe.crops_per_recording >= 2 or not contrastive
    _require(recipe, "crops_per_recording", views, "at least 2 with objective: contrastive")
    _require(recipe, "label_smoothing", not recipe.label_smoothing or multiclass, "0 with multilabel")
    _require(recipe, "logit_adjustment", not recipe.logit_adjustment or multiclass, "0 with multilabel")
    _require(recipe, "negative_weight", recipe.negative_weight == 1.0 or not multiclass, "1 with multiclass")
    _require(recipe, "loss", recipe.loss != "asymmetric" or not multiclass, "plain or focal with multiclass")
    _require(recipe, "focal_gamma", not recipe.focal_gamma or recipe.loss == "focal", "0, or loss: focal")
    _require(recipe, "asymmetry", not recipe.asymmetry or recipe.loss == "asymmetric", "nothing, or loss: asymmetric")


def _learning(recipe: Recipe) -> None:
    frozen = recipe.freeze in ("none", "encoder") or (recipe.freeze.isdecimal() and len(recipe.freeze) < 5)
    _require(recipe, "freeze", frozen, "none, encoder, or a number of layers")
    _require(recipe, "layer_decay", recipe.layer_decay == 1.0 or recipe.freeze != "encoder", "1 with a frozen encoder")
    _require(recipe, "lora_rank", not recipe.lora_rank or recipe.freeze == "none", "0, or freeze: none")
    _require(recipe, "fp16", not (recipe.fp16 and recipe.bf16), "one of fp16 and bf16")


def _schedule(recipe: Recipe) -> None:
    shaped = recipe.scheduler in ("cosine", "linear")
    for key in ("warmup_start_share", "min_learning_rate_share"):
        _require(recipe, key, shaped or not getattr(recipe, key), "0, or the scheduler cosine or linear")
    plain = not recipe.lr_scheduler_kwargs or recipe.scheduler not in ("constant", "constant_with_warmup")
    ours = bool(recipe.warmup_start_share or recipe.min_learning_rate_share)
    expected = f"nothing with {'warmup_start_share or min_learning_rate_share' if ours else recipe.scheduler}"
    _require(recipe, "lr_scheduler_kwargs", plain and not (ours and recipe.lr_scheduler_kwargs), expected)
    followed = recipe.scheduler not in ON_METRICS or recipe.validation_split != "none"
    _require(recipe, "scheduler", followed, "one that needs no validation_split")


def _batches(recipe: Recipe) -> None:
    _require(recipe, "name", recipe.name != "annotations", "a name with audio")
    fits = recipe.batch_size % recipe.crops_per_recording == 0
    _require(recipe, "crops_per_recording", fits, f"a divisor of batch_size = {recipe.batch_size}")
    fits = recipe.stride_s <= recipe.window_s
    _require(recipe, "stride_s", fits, f"at most window_s = {recipe.window_s:g}")


def _validation(recipe: Recipe) -> None:
    validated = recipe.validation_split != "none"
    for key in ("patience", "validation_recordings"):
        _require(recipe, key, validated or not getattr(recipe, key), "0 without a validation_split")
    _require(recipe, "report_to", set(recipe.trackers) <= set(TRACKERS), f"none, or some of {', '.join(TRACKERS)}")
    _require(recipe, "push_to_hub", not recipe.push_to_hub or is_repo_id(recipe.push_to_hub), "owner/name")
    _require(recipe, "push_to_hub", validated or not recipe.push_to_hub, "a validation_split, which the card quotes")
    _require(recipe, "hub_public", bool(recipe.push_to_hub) or not recipe.hub_public, "push_to_hub beside it")


def is_repo_id(text: str) -> bool:
    """Whether the Hub could have a repository of this name.

    >>> is_repo_id("me/model"), is_repo_id("model"), is_repo_id("me/my model")
    (True, False, False)
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(text)
    except HFValidationError:
        return False
    return text.count("/") == 1


def _require(recipe: Recipe, key: str, holds: bool, expected: object) -> None:
    if not holds:
        raise BadValue("bad value", key, found=repr(getattr(recipe, key)), expected=expected)
