"""A run's own options: its data, its model, its objective and augmentation.

Each is declared once, with its default, its help, and the numbers or words that it may be. The checks and errors,
``train --help`` and docs/recipes.md are made from these declarations. Nothing heavy is imported here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any

from hf_inatsounds.runtime.ranges import BATCH_SIZE, MANY, SECONDS, Range
from hf_inatsounds.schema import SPLITS

Share = Annotated[float, Range(0, 1)]
"""From 0 to 1."""
ShareBelowOne = Annotated[float, Range(0, 1, open_high=True)]
Positive = Annotated[float, Range(0, 1_000, open_low=True)]
UpTo100 = Annotated[float, Range(0, 100)]
Masks = Annotated[int, Range(0, 1_024)]
MaskSize = Annotated[int, Range(0, 10**6)]
Seconds = Annotated[float, SECONDS]


@dataclass(frozen=True)
class MayBeEmpty:
    """Marks a text that says something by being empty."""


MaybeText = Annotated[str, MayBeEmpty()]


def option(default: Any, help: str, *, choices: tuple[str, ...] = ()) -> Any:
    """A dataclass field of a recipe's key.

    Args:
        default: of the key; a function makes a new one for each run.
        help: what the key is, in a sentence or two.
        choices: texts that it may be; none for any.
    """
    said: dict[str, Any] = {"help": help, **({"choices": choices} if choices else {})}
    if callable(default):
        made: Callable[[], Any] = default
        return field(default_factory=made, metadata=said)
    return field(default=default, metadata=said)


@dataclass
class DataArguments:
    """Which recordings, how they are read and drawn, and on which of them a run is validated."""

    source: str = option("official", "Where the dataset is: a folder, URL or Hub id, as load_dataset takes it.")
    index: MaybeText = option("", "Where the archives' seek indexes are; empty reads the archives forward.")
    name: str = option("all", "Part of the dataset: all, a supercategory (aves, insecta …) or evaluation.")
    select: dict[str, Any] = option(
        dict,
        "Which recordings, for example {family: Ranidae, max_per_class: 150}; the last is of the train split alone.",
    )
    train_split: str = option("train", "Split to train on.", choices=SPLITS)
    validation_split: str = option(
        "validation", "Split that chooses the best checkpoint; none for no validation.", choices=(*SPLITS, "none")
    )
    sampling: str = option(
        "natural",
        "How often recordings are drawn. natural: each once per epoch. The others even out the classes more and more, "
        "with replacement.",
        choices=("natural", "square-root", "class-balanced", "uniform"),
    )
    sampling_beta: ShareBelowOne = option(0.999, "β of class-balanced sampling.")
    streaming: bool = option(False, "Read the archives as they come instead of preparing Arrow files first.")
    shuffle_buffer: Annotated[int, Range(1, MANY)] = option(1000, "Recordings in the shuffle buffer while streaming.")
    window_s: Seconds = option(3.0, "Length of training crops and evaluation windows, in seconds.")
    stride_s: Seconds = option(1.5, "Time from one evaluation window to the next, in seconds.")
    crops_per_recording: Annotated[int, BATCH_SIZE] = option(
        1, "Crops of one recording in a batch; an epoch has that many times more crops."
    )
    crop_choice: str = option(
        "uniform", "uniform, or energy: of three crops the loudest above the rumble.", choices=("uniform", "energy")
    )
    resample_on: str = option(
        "auto",
        "Where 22,050 Hz become the model's rate. host: in the workers; device: in batch, beside the model; auto: on "
        "the device if it is a GPU.",
        choices=("auto", "host", "device"),
    )
    max_unusable_share: Share = option(0.05, "The run ends when more recordings than this share cannot be decoded.")
    validation: str = option(
        "full", "full: all windows of each recording; cheap: its central window.", choices=("full", "cheap")
    )
    validation_recordings: Annotated[int, Range(0, MANY)] = option(
        0, "Recordings that validations during training score, drawn once by the seed; 0 for all."
    )


@dataclass
class ModelArguments:
    """What is trained, from which weights, and which of its layers learn."""

    model: str = option("ast-tiny", "A preset (ast-tiny, resnet-18 …), a checkpoint folder or a Hub model id.")
    revision: MaybeText = option("", "Branch, tag or commit of a Hub model; empty for its main branch.")
    subfolder: MaybeText = option("", "Folder of the checkpoint within the model; empty for its top.")
    config: dict[str, Any] = option(dict, "Changes to the model's config.")
    feature_extractor: dict[str, Any] = option(dict, "Changes to the feature extractor's settings.")
    freeze: str = option("none", "none, encoder (everything but the head), or a number of first layers.")
    lora_rank: Masks = option(0, "Rank of LoRA updates of the encoder (extra lora); 0 trains all weights.")
    device: str = option("auto", "Device that the model runs on.", choices=("auto", "cuda", "xpu", "mps", "cpu"))


@dataclass
class ObjectiveArguments:
    """What is learned from labels, and how crops are changed before."""

    objective: str = option(
        "multiclass",
        "multiclass: one species per recording; multilabel: any number; contrastive: pre-trains an encoder.",
        choices=("multiclass", "multilabel", "contrastive"),
    )
    temperature: Positive = option(0.1, "Temperature of the contrastive loss.")
    projection_size: Annotated[int, BATCH_SIZE] = option(
        128, "Dimensions in which the contrastive loss compares crops."
    )
    loss: str = option(
        "plain", "plain, focal, or, for multilabel, asymmetric.", choices=("plain", "focal", "asymmetric")
    )
    focal_gamma: UpTo100 = option(0.0, "Focal-loss gamma; 0 selects the default, 2.")
    asymmetry: dict[str, Any] = option(dict, "gamma_positive, gamma_negative and margin of the asymmetric loss.")
    negative_weight: Positive = option(1.0, "Weight of the classes that multilabel assumes absent.")
    logit_adjustment: UpTo100 = option(0.0, "τ of logit adjustment to a long tail, multiclass; 0 for none.")
    hierarchy: dict[str, Any] = option(
        dict, "Rank → weight of its loss beside the species' weight of 1, for example {genus: 0.5, family: 0.25}."
    )
    gain_db: UpTo100 = option(0.0, "Crops are amplified or attenuated by up to this, in dB.")
    noise: Share = option(0.0, "Probability of added noise.")
    pitch: Share = option(0.0, "Probability of a change of speed and pitch.")
    shorten: Share = option(0.0, "Probability of shortening a crop that is a whole recording.")
    waveform_augmentation: list[Any] = option(
        list, "audiomentations' transforms after these: names, or {name, parameters}."
    )
    frequency_masks: Masks = option(0, "SpecAugment masks in frequency.")
    frequency_mask_bins: MaskSize = option(0, "Their greatest width, in mel bins.")
    time_masks: Masks = option(0, "SpecAugment masks in time.")
    time_mask_frames: MaskSize = option(0, "Their greatest length, in frames.")
    mixup: Share = option(0.0, "Probability that a batch is mixed.")
    mixup_alpha: Annotated[float, Range(0.001, 1_000)] = option(1.0, "λ is drawn from Beta(alpha, alpha).")
    mixup_level: str = option(
        "input", "input: the model's input, one λ per batch; waveform: one λ per example.",
        choices=("input", "waveform"),
    )  # fmt: skip
    mixup_targets: str = option(
        "objective", "weighted by λ, union of both, or the objective's own: weighted for multiclass, else union.",
        choices=("objective", "weighted", "union"),
    )  # fmt: skip
