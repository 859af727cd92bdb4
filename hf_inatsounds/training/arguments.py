"""Recipes: what a training run is told, read from YAML and flags, validated before anything is loaded."""

from __future__ import annotations

import dataclasses
import difflib
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from hf_inatsounds.errors import RecipeError


@dataclass(frozen=True)
class Recipe:
    """One training run.

    Attributes:
        model: "ast-tiny", "wav2vec2-tiny", a checkpoint folder or a Hub model id.
        config: overrides of the model's config.
        feature_extractor: overrides of its feature extractor.
        objective: "multiclass" or "multilabel".
        label_smoothing: of the multiclass targets, in [0, 1).
        source: where the dataset is, as ``load_dataset`` takes it.
        index: where the archives' seek indexes are, as ``load_dataset`` takes it; "" reads them forward.
        name: the dataset's name: "all", a supercategory, "evaluation".
        train_split: split to train on.
        validation_split: split to choose the best checkpoint by; "none" for no validation.
        streaming: read the archives as they come instead of preparing Arrow files first.
        shuffle_buffer: recordings in the shuffle buffer while streaming.
        window_s: training crop and evaluation window, in seconds.
        stride_s: between evaluation windows, in seconds.
        epochs: passes over the recordings, one crop each.
        max_steps: stop after so many optimiser steps; 0 for ``epochs`` alone.
        batch_size: crops a process and forward pass.
        gradient_accumulation_steps: forward passes an optimiser step.
        learning_rate: peak of the schedule.
        scheduler: transformers' name of the schedule after the warm-up.
        warmup_share: share of the steps over which the rate rises.
        weight_decay: AdamW's.
        max_grad_norm: gradients are clipped to it.
        gain_db: crops are amplified by up to ± this.
        noise: probability of added noise.
        pitch: probability of a change of speed and pitch.
        shorten: probability of shortening a crop that is a whole recording.
        frequency_masks: SpecAugment masks in frequency.
        frequency_mask_bins: their greatest width.
        time_masks: SpecAugment masks in time.
        time_mask_frames: their greatest length.
        mixup: probability that a batch is mixed.
        mixup_alpha: λ ~ Beta(alpha, alpha).
        evaluate_every_epochs: validation after each so many epochs.
        eval_batch_size: windows a forward pass in validation.
        workers: processes that decode crops.
        bf16: whether to train in bfloat16.
        seed: of everything that is drawn.
        max_unusable_share: fail when more recordings than this share cannot be decoded.
        report_to: trackers, "none" or a list of transformers' names.
        out: run folder.
    """

    model: str = "ast-tiny"
    config: dict[str, Any] = field(default_factory=dict)
    feature_extractor: dict[str, Any] = field(default_factory=dict)
    objective: str = "multiclass"
    label_smoothing: float = 0.0
    source: str = "official"
    index: str = ""
    name: str = "all"
    train_split: str = "train"
    validation_split: str = "validation"
    streaming: bool = False
    shuffle_buffer: int = 1000
    window_s: float = 3.0
    stride_s: float = 1.5
    epochs: int = 50
    max_steps: int = 0
    batch_size: int = 16
    gradient_accumulation_steps: int = 1
    learning_rate: float = 1e-3
    scheduler: str = "cosine"
    warmup_share: float = 0.1
    weight_decay: float = 0.05
    max_grad_norm: float = 1.0
    gain_db: float = 0.0
    noise: float = 0.0
    pitch: float = 0.0
    shorten: float = 0.0
    frequency_masks: int = 0
    frequency_mask_bins: int = 0
    time_masks: int = 0
    time_mask_frames: int = 0
    mixup: float = 0.0
    mixup_alpha: float = 1.0
    evaluate_every_epochs: int = 1
    eval_batch_size: int = 32
    workers: int = 0
    bf16: bool = False
    seed: int = 0
    max_unusable_share: float = 0.05
    report_to: str = "none"
    out: str = "run"

    def __post_init__(self) -> None:
        for key in ("epochs", "batch_size", "gradient_accumulation_steps", "evaluate_every_epochs", "eval_batch_size"):
            self._check(key, getattr(self, key) >= 1, "at least 1")
        for key in ("max_steps", "workers", "seed", "gain_db", "weight_decay", "label_smoothing"):
            self._check(key, getattr(self, key) >= 0, "at least 0")
        for key in ("noise", "pitch", "shorten", "mixup", "warmup_share", "max_unusable_share"):
            self._check(key, 0.0 <= getattr(self, key) <= 1.0, "a share in [0, 1]")
        for key in ("learning_rate", "max_grad_norm", "window_s", "mixup_alpha", "shuffle_buffer"):
            self._check(key, getattr(self, key) > 0, "more than 0")
        self._check("stride_s", 0 < self.stride_s <= self.window_s, f"in (0, window_s = {self.window_s}]")
        self._check("objective", self.objective in ("multiclass", "multilabel"), "multiclass or multilabel")
        self._check(
            "label_smoothing", not (self.label_smoothing and self.objective == "multilabel"), "0 with multilabel"
        )
        self._check("name", self.name != "annotations", "a name with audio")

    def _check(self, key: str, holds: bool, expected: str) -> None:
        if not holds:
            raise RecipeError("bad value in the recipe", where=key, found=repr(getattr(self, key)), expected=expected)


KEYS = {one.name: one for one in dataclasses.fields(Recipe)}
TYPES = typing.get_type_hints(Recipe)


def read_recipe(path: str | Path, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """A recipe from YAML; ``overrides``, from flags, win.

    Raises:
        RecipeError: naming the file and key: missing file, no mapping, unknown key, wrong type or value.
    """
    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError("cannot read the recipe", where=path, found=error.strerror) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError("not YAML", where=path, found=error) from error
    values = {} if values is None else values
    if not isinstance(values, dict):
        raise RecipeError("not a recipe", where=path, found=type(values).__name__, expected="keys and values")
    return make_recipe({**values, **(overrides or {})}, where=str(path))


def make_recipe(values: Mapping[Any, Any], *, where: str) -> Recipe:
    """A validated recipe from keys and values.

    Args:
        values: as YAML gives them.
        where: the file, for errors.

    Raises:
        RecipeError: unknown key (with the nearest right one), wrong type or value.

    >>> make_recipe({"epochs": 3}, where="r.yaml").epochs
    3
    """
    typed = {}
    for key, value in values.items():
        if key not in KEYS:
            near = difflib.get_close_matches(str(key), KEYS, n=1)
            hint = f"{near[0]!r}?" if near else f"one of {', '.join(KEYS)}"
            raise RecipeError("unknown key in the recipe", where=where, found=repr(key), expected=hint)
        typed[key] = _typed(key, value, where)
    try:
        return Recipe(**typed)
    except RecipeError as error:
        raise RecipeError(f"{where}: {error}") from None


def _typed(key: str, value: Any, where: str) -> Any:
    """``value`` as the key's type: whole numbers pass for real ones, texts from flags are read as YAML."""
    kind = typing.get_origin(TYPES[key]) or TYPES[key]
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
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise RecipeError(
            "wrong type in the recipe", where=f"{where}, {key}", found=repr(value), expected=kind.__name__
        )
    return value


def recipe_yaml(recipe: Recipe) -> str:
    """The resolved recipe as YAML, all keys in their order."""
    return str(yaml.safe_dump(dataclasses.asdict(recipe), sort_keys=False, allow_unicode=True))
