"""What a recipe says of learning: objective, what is frozen, how fast which layers learn, how classes are drawn."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from transformers import Trainer, TrainingArguments

from hf_inatsounds.archives.fetch import Source
from hf_inatsounds.data.labels import LabelSpace
from hf_inatsounds.errors import RecipeError
from hf_inatsounds.models.classifier import Classifier
from hf_inatsounds.models.finetuning import add_lora, freeze, parameter_groups
from hf_inatsounds.models.heads import has_projection, put_projection
from hf_inatsounds.objectives import Contrastive, Objective, objective_for
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
    """Whether the recordings can be had in any order: not those of a stream, but for an index on this disk."""
    return not recipe.data.streaming or bool(recipe.data.index and "://" not in Source.parse(recipe.data.source).root)


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
