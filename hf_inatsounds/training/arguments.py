"""Recipes: what a training run is told, read from YAML and flags, validated before anything is loaded."""

from __future__ import annotations

import dataclasses
import difflib
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hf_inatsounds.errors import FlagError, RecipeError
from hf_inatsounds.training.checks import check
from hf_inatsounds.training.typed import BadValue, laid_over, read_mapping, to_yaml, typed


@dataclass(frozen=True)
class Recipe:
    """One training run.

    Attributes:
        model: a preset ("ast-tiny", "resnet-18" …), a checkpoint folder or a Hub model id.
        revision: branch, tag or commit of a Hub model; "" for its main branch.
        subfolder: where in the folder or repository the checkpoint is; "" for its top.
        config: overrides of the model's config.
        feature_extractor: overrides of its feature extractor.
        objective: "multiclass" or "multilabel"; "contrastive" pre-trains an encoder.
        temperature: of the contrastive loss.
        projection_size: dimensions in which it compares crops.
        label_smoothing: of the multiclass targets, in [0, 1).
        loss: "plain", "focal", or, for multilabel, "asymmetric".
        focal_gamma: of the focal loss; 0 for 2.
        asymmetry: of the asymmetric loss: gamma_positive, gamma_negative, margin.
        negative_weight: of the classes that multilabel assumes absent.
        logit_adjustment: τ of multiclass logit adjustment to a long tail; 0 for none.
        hierarchy: rank → weight of its loss, beside the species' 1 ({genus: 0.5, family: 0.25}).
        freeze: "none", "encoder" (all but the head), or the first so many layers.
        layer_decay: learning rate of a layer, as a share of the next one's.
        lora_rank: train low-rank changes of this rank instead of the encoder's weights; 0 for all weights.
        source: where the dataset is, as ``load_dataset`` takes it.
        index: where the archives' seek indexes are, as ``load_dataset`` takes it; "" reads them forward.
        name: the dataset's name: "all", a supercategory, "evaluation".
        train_split: split to train on.
        validation_split: split to choose the best checkpoint by; "none" for no validation.
        sampling: how often recordings are drawn: "natural", each once an epoch; "square-root", "class-balanced",
            "uniform": classes evened out more and more, an epoch as many draws with replacement.
        sampling_beta: β of "class-balanced".
        streaming: read the archives as they come instead of preparing Arrow files first.
        shuffle_buffer: recordings in the shuffle buffer while streaming.
        window_s: training crop and evaluation window, in seconds.
        stride_s: between evaluation windows, in seconds.
        epochs: passes over the recordings, one crop each.
        max_steps: stop after so many optimiser steps; 0 for ``epochs`` alone.
        batch_size: crops a process and forward pass.
        gradient_accumulation_steps: forward passes an optimiser step.
        optimizer: "adamw", or "sgd" with Nesterov momentum.
        momentum: SGD's; 0 for none.
        learning_rate: peak of the schedule.
        scheduler: transformers' name of the schedule after the warm-up.
        lr_scheduler_kwargs: what else that schedule takes, as transformers calls it ({num_decay_steps: 100}).
        warmup_share: share of the steps over which the rate rises.
        warmup_start_share: the rate at the first step, as a share of the peak.
        min_learning_rate_share: the rate that "cosine" and "linear" end at, as a share of the peak.
        weight_decay: AdamW's or SGD's, of all weights but biases and norms.
        max_grad_norm: gradients are clipped to it.
        ema_decay: of the moving average of the weights that is validated and saved; 0 for the weights themselves.
        gain_db: crops are amplified by up to ± this.
        noise: probability of added noise.
        pitch: probability of a change of speed and pitch.
        shorten: probability of shortening a crop that is a whole recording.
        waveform_augmentation: audiomentations' transforms after these, each a name and its parameters.
        crops_per_recording: crops of one recording in a batch, next to each other; an epoch has as many times more.
        resample_on: "host", in the workers; "device", in batch beside the model; "auto": on the device if it is a GPU.
        crop_choice: "uniform", or "energy": of three crops the loudest above the rumble.
        frequency_masks: SpecAugment masks in frequency.
        frequency_mask_bins: their greatest width.
        time_masks: SpecAugment masks in time.
        time_mask_frames: their greatest length.
        mixup: probability that a batch is mixed.
        mixup_alpha: λ ~ Beta(alpha, alpha).
        mixup_level: "input", one λ a batch, as the authors; "waveform", one an example.
        mixup_targets: "objective" (weighted for multiclass, union for multilabel), "weighted" or "union".
        validation: "full", all windows of all recordings, or "cheap", the central window of each.
        validation_recordings: validate during training on so many recordings, drawn once by the seed; 0 for all.
        evaluate_every_epochs: validation after each so many epochs.
        patience: stop after so many validations without a better mAP; 0 to go on.
        save_every_steps: a checkpoint after each so many steps, besides those after a validation; 0 for none.
        log_every_steps: loss and learning rate after each so many steps; 0 for once an epoch, or every 50.
        eval_batch_size: windows a forward pass in validation.
        workers: processes that decode crops.
        bf16: whether to train in bfloat16.
        fp16: whether to train in float16, with scaled gradients.
        gradient_checkpointing: activations are computed twice rather than kept: less memory, a third more time.
        torch_compile: whether the model is compiled.
        device: "auto", or "cuda", "xpu", "mps", "cpu".
        ddp_timeout: seconds that processes wait for each other's gradients before the run ends.
        seed: of everything that is drawn, below 2^32.
        max_unusable_share: fail when more recordings than this share cannot be decoded.
        report_to: trackers, "none" or some of tensorboard, trackio, wandb, with commas between.
        push_to_hub: model id (owner/name) that the finished run goes to, private; "" for nowhere.
        hub_public: whether that model is public.
        out: run folder.
    """

    model: str = "ast-tiny"
    revision: str = ""
    subfolder: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    feature_extractor: dict[str, Any] = field(default_factory=dict)
    objective: str = "multiclass"
    temperature: float = 0.1
    projection_size: int = 128
    label_smoothing: float = 0.0
    loss: str = "plain"
    focal_gamma: float = 0.0
    asymmetry: dict[str, Any] = field(default_factory=dict)
    negative_weight: float = 1.0
    logit_adjustment: float = 0.0
    hierarchy: dict[str, Any] = field(default_factory=dict)
    freeze: str = "none"
    layer_decay: float = 1.0
    lora_rank: int = 0
    source: str = "official"
    index: str = ""
    name: str = "all"
    train_split: str = "train"
    validation_split: str = "validation"
    sampling: str = "natural"
    sampling_beta: float = 0.999
    streaming: bool = False
    shuffle_buffer: int = 1000
    window_s: float = 3.0
    stride_s: float = 1.5
    epochs: int = 50
    max_steps: int = 0
    batch_size: int = 16
    gradient_accumulation_steps: int = 1
    optimizer: str = "adamw"
    momentum: float = 0.9
    learning_rate: float = 1e-3
    scheduler: str = "cosine"
    lr_scheduler_kwargs: dict[str, Any] = field(default_factory=dict)
    warmup_share: float = 0.1
    warmup_start_share: float = 0.0
    min_learning_rate_share: float = 0.0
    weight_decay: float = 0.05
    max_grad_norm: float = 1.0
    ema_decay: float = 0.0
    gain_db: float = 0.0
    noise: float = 0.0
    pitch: float = 0.0
    shorten: float = 0.0
    waveform_augmentation: list[Any] = field(default_factory=list)
    crops_per_recording: int = 1
    resample_on: str = "auto"
    crop_choice: str = "uniform"
    frequency_masks: int = 0
    frequency_mask_bins: int = 0
    time_masks: int = 0
    time_mask_frames: int = 0
    mixup: float = 0.0
    mixup_alpha: float = 1.0
    mixup_level: str = "input"
    mixup_targets: str = "objective"
    validation: str = "full"
    validation_recordings: int = 0
    evaluate_every_epochs: int = 1
    patience: int = 0
    save_every_steps: int = 0
    log_every_steps: int = 0
    eval_batch_size: int = 32
    workers: int = 0
    bf16: bool = False
    fp16: bool = False
    gradient_checkpointing: bool = False
    torch_compile: bool = False
    device: str = "auto"
    ddp_timeout: int = 1800
    seed: int = 0
    max_unusable_share: float = 0.05
    report_to: str = "none"
    push_to_hub: str = ""
    hub_public: bool = False
    out: str = "run"

    def __post_init__(self) -> None:
        check(self)

    @property
    def validated_by(self) -> str:
        """What ``map`` of a validation is, in words."""
        return "nearest-neighbour mAP" if self.objective == "contrastive" else "mAP"

    @property
    def trackers(self) -> tuple[str, ...]:
        """Names of ``report_to``."""
        return () if self.report_to == "none" else tuple(name.strip() for name in self.report_to.split(","))


KEYS = {one.name: one for one in dataclasses.fields(Recipe)}
TYPES = typing.get_type_hints(Recipe)


def read_recipe(path: str | Path, flags: Mapping[str, Any] | None = None) -> Recipe:
    """A recipe from YAML; ``flags`` win, as :func:`make_recipe` says.

    Raises:
        RecipeError: naming the file or flag, and the key: missing file, no mapping, unknown key, wrong type or value.
    """
    return make_recipe(read_mapping(path), where=str(path), flags=flags)


def make_recipe(values: Mapping[Any, Any], *, where: str, flags: Mapping[str, Any] | None = None) -> Recipe:
    """A validated recipe from keys and values.

    Args:
        values: as YAML gives them.
        where: the file, for errors.
        flags: values that win. A mapping is merged into what is there, key by key; a text is read as YAML and
            replaces what is there.

    Raises:
        RecipeError: unknown key (with the nearest right one), wrong type or value.
        FlagError: the same, where a flag is to blame.

    >>> make_recipe({"epochs": 3, "config": {"a": 1}}, where="r.yaml", flags={"config": {"b": 2}}).config
    {'a': 1, 'b': 2}
    """
    flags = flags or {}
    for key in values:
        if key not in KEYS:
            raise RecipeError("unknown key in the recipe", where=where, found=repr(key), expected=_nearest(key))
    for key in flags:
        if key not in KEYS:
            raise FlagError("unknown flag", found=repr(f"--{key}"), expected=_nearest(key))
    merged = {key for key, value in flags.items() if isinstance(value, Mapping)}
    kept = {key: value for key, value in values.items() if key not in flags or key in merged}
    try:
        kept = {key: typed(key, value, TYPES[key]) for key, value in kept.items()}
    except BadValue as error:
        raise _placed(error, where, kept, {}) from None
    try:
        return Recipe(**laid_over(kept, {key: typed(key, value, TYPES[key]) for key, value in flags.items()}))
    except BadValue as error:
        raise _placed(error, where, kept, flags) from None


def _placed(error: BadValue, where: str, values: Mapping[Any, Any], flags: Mapping[str, Any]) -> RecipeError:
    """The error with the flag or the file that the value is from."""
    key, _, inner = error.key.partition(".")
    said: dict[str, Any] = {"found": error.found, "expected": error.expected}
    if key in flags and (not inner or not isinstance(flags[key], Mapping) or inner in flags[key]):
        return FlagError(error.what, where=f"--{error.key}", **said)
    default = "" if key in values else " (its default)"
    return RecipeError(f"{error.what} in the recipe", where=f"{where}, {error.key}{default}", **said)


def _nearest(key: object) -> str:
    near = difflib.get_close_matches(str(key), KEYS, n=1)
    return f"{near[0]!r}?" if near else f"one of {', '.join(KEYS)}"


def recipe_yaml(recipe: Recipe) -> str:
    """The resolved recipe as YAML, all keys in their order."""
    return to_yaml(dataclasses.asdict(recipe))
