"""What a recipe says of learning: objective, augmentation, precision, what is frozen, how fast which layers learn."""

from __future__ import annotations

import math
import os
from dataclasses import asdict, dataclass
from typing import Any, cast

import numpy as np
import torch
from transformers import Trainer, TrainingArguments

from hf_inatsounds.archives.fetch import Source, is_hub_id
from hf_inatsounds.augmentation import BatchAugmentation, WaveformAugmentation, parse_chain
from hf_inatsounds.augmentation.batch import MixupLevel, MixupTargets
from hf_inatsounds.data.labels import LabelSpace
from hf_inatsounds.data.mirror import is_mirror
from hf_inatsounds.errors import RecipeError
from hf_inatsounds.frontends.resampling import resamples_in_batch
from hf_inatsounds.models.classifier import Classifier
from hf_inatsounds.models.finetuning import add_lora, freeze, parameter_groups
from hf_inatsounds.models.heads import has_projection, put_projection
from hf_inatsounds.objectives import Contrastive, Objective, objective_for
from hf_inatsounds.runtime.devices import frontend_device
from hf_inatsounds.schema import SAMPLING_RATE_HZ, STEMS
from hf_inatsounds.training.recipe import Recipe


def recipe_objective(recipe: Recipe, label_space: LabelSpace, labels: np.ndarray[Any, np.dtype[Any]]) -> Objective:
    """The recipe's objective.

    Args:
        recipe: the run.
        label_space: all classes.
        labels: (N,) int, of the training recordings.

    Raises:
        RecipeError: if its keys contradict each other.
    """
    if recipe.objective.objective == Contrastive.name:
        return Contrastive(recipe.objective.temperature)
    return objective_for(
        recipe.objective.objective,
        label_smoothing=recipe.training.label_smoothing_factor,
        loss=recipe.objective.loss,
        focal_gamma=recipe.objective.focal_gamma,
        asymmetry=recipe.objective.asymmetry,
        negative_weight=recipe.objective.negative_weight,
        logit_adjustment=recipe.objective.logit_adjustment,
        hierarchy=recipe.objective.hierarchy,
        label_space=label_space,
        class_counts=np.bincount(labels, minlength=len(label_space)),
    )


def restrict(recipe: Recipe, model: Any) -> None:
    """Put the projection of a contrastive run, freeze, and add LoRA, as the recipe says: before an optimiser is made.

    Raises:
        RecipeError: if the model has no such layers.
    """
    if recipe.objective.objective == Contrastive.name:
        put_projection(model, recipe.objective.projection_size)
    freeze(model, recipe.model.freeze)
    if recipe.model.lora_rank:
        add_lora(model, recipe.model.lora_rank)


def start_of(classifier: Classifier) -> dict[str, Any] | None:
    """What the run has of the checkpoint that it starts from; None for random weights, or an encoder's pre-training."""
    start = classifier.start
    if start is None or has_projection(classifier.model):
        return None
    return {**asdict(start), "drawn_anew": list(start.drawn_anew), "told": f"{start}"}


def optimizer_groups(recipe: Recipe, model: Any) -> list[dict[str, Any]] | None:
    """Parameter groups by depth; None where all layers learn at one rate, and the Trainer makes its own."""
    if recipe.training.layer_decay == 1.0:
        return None
    return parameter_groups(
        model,
        learning_rate=recipe.training.learning_rate,
        weight_decay=recipe.training.weight_decay,
        layer_decay=recipe.training.layer_decay,
    )


def optimizer_of(recipe: Recipe, arguments: TrainingArguments, model: Any) -> tuple[Any, dict[str, Any]]:
    """The optimiser's class and arguments: transformers', but for SGD, which has Nesterov momentum.

    Raises:
        ValueError, ImportError: as transformers does.
    """
    run = recipe.training
    if run.optim == "sgd":
        nesterov = run.momentum > 0  # which torch asks for
        return torch.optim.SGD, {"lr": run.learning_rate, "momentum": run.momentum, "nesterov": nesterov}
    kind, options = Trainer.get_optimizer_cls_and_kwargs(arguments, model)
    return kind, options


def reads_by_number(recipe: Recipe) -> bool:
    """Whether the recordings can be drawn one by one: not from afar, where a block serves for all its recordings."""
    data = recipe.data
    if not data.streaming or is_hub_id(data.source):
        return not data.streaming
    source = Source.parse(data.source)
    if source.is_remote:
        return False
    return is_mirror(source.root) or bool(data.index) or not source.exists(f"{STEMS[data.train_split]}.tar.gz")


def check_sampling(recipe: Recipe) -> None:
    """Classes are drawn only from recordings that can be had in any order.

    Raises:
        RecipeError: if the recipe asks for it of a stream.
    """
    if recipe.data.sampling != "natural" and not reads_by_number(recipe):
        raise RecipeError(
            "a stream gives each recording once, as it comes", where="sampling", found=recipe.data.sampling,
            expected="natural", fix="Set streaming: false, or give the index of archives on this disk.",
        )  # fmt: skip


def waveform_augmentation(recipe: Recipe) -> WaveformAugmentation:
    """What is done to a crop; its transforms are made once, so that a mistake in them is told before anything is read.

    Raises:
        RecipeError: if a transform is unknown or refuses its parameters.
    """
    chain = parse_chain(recipe.objective.waveform_augmentation)
    chain.check()
    return WaveformAugmentation(
        recipe.objective.gain_db, recipe.objective.noise, recipe.objective.pitch, recipe.objective.shorten, chain
    )


def batch_augmentation(recipe: Recipe) -> BatchAugmentation:
    """What is done to a batch."""
    return BatchAugmentation(
        recipe.objective.frequency_masks,
        recipe.objective.frequency_mask_bins,
        recipe.objective.time_masks,
        recipe.objective.time_mask_frames,
        recipe.objective.mixup,
        recipe.objective.mixup_alpha,
        cast(MixupLevel, recipe.objective.mixup_level),
        cast(MixupTargets, recipe.objective.mixup_targets),
    )


def crop_rate(recipe: Recipe, rate: int, device: torch.device) -> int:
    """Rate of the crops that workers make, in Hz: the dataset's where the device resamples, else the model's.

    soxr takes 0.5 ms of a core for 3 s. In batch the same costs a core 0.8 ms, but is 56 million operations: a GPU does
    not notice them.

    Args:
        recipe: says where to resample.
        rate: the model's, in Hz.
        device: the model's; what has no float64 has its waveforms on the CPU.
    """
    beside = frontend_device(device).type != "cpu"
    on_device = recipe.data.resample_on == "device" or (recipe.data.resample_on == "auto" and beside)
    return SAMPLING_RATE_HZ if on_device and resamples_in_batch(SAMPLING_RATE_HZ, rate) else rate


def precision_name(recipe: Recipe) -> str:
    """What a recipe computes forward passes in."""
    return "bfloat16" if recipe.training.bf16 else "float16" if recipe.training.fp16 else "float32"


def check_precision(recipe: Recipe) -> None:
    """The recipe decides on precision; accelerate's own setting may agree or be silent.

    Raises:
        RecipeError: if accelerate's config or command line asks for another one.
    """
    launcher = os.environ.get("ACCELERATE_MIXED_PRECISION", "no").lower()
    own = {"bfloat16": "bf16", "float16": "fp16", "float32": "no"}[precision_name(recipe)]
    if launcher not in ("no", own):
        key = launcher if launcher in ("bf16", "fp16") else "bf16"
        raise RecipeError(
            "accelerate and the recipe ask for different precisions", where="mixed_precision", found=launcher,
            expected=f"{own}, as the recipe's bf16 and fp16 say",
            fix=f"Give --{key} true, or set mixed_precision: 'no' in accelerate's config: the recipe decides.",
        )  # fmt: skip


@dataclass(frozen=True)
class Schedule:
    """The learning rate as a share of its peak.

    ``share(t) = s + (1 - s) · t / w`` for the ``w`` warm-up steps; then, with ``p`` from 0 to 1 over the others,
    ``m + (1 - m) · (1 + cos πp) / 2`` or ``m + (1 - m) · (1 - p)``.

    Args:
        kind: "cosine" or "linear".
        warmup_steps: w.
        total_steps: of the run.
        start_share: s.
        end_share: m.

    >>> schedule = Schedule("cosine", 5, 50, start_share=0.1, end_share=0.1)
    >>> [round(schedule(step), 3) for step in (0, 5, 50)]
    [0.1, 1.0, 0.1]

    Source: cvl-umass/iNatSounds: five of 50 epochs of linear warm-up from 0.1 ×, then cosine to 0.1 ×.
    """

    kind: str
    warmup_steps: int
    total_steps: int
    start_share: float = 0.0
    end_share: float = 0.0

    def __call__(self, step: int) -> float:
        """Share of the peak at a step, counted from 0."""
        if step < self.warmup_steps:
            return self.start_share + (1.0 - self.start_share) * step / self.warmup_steps
        passed = min((step - self.warmup_steps) / max(self.total_steps - self.warmup_steps, 1), 1.0)
        falling = (1.0 + math.cos(math.pi * passed)) / 2 if self.kind == "cosine" else 1.0 - passed
        return self.end_share + (1.0 - self.end_share) * falling
