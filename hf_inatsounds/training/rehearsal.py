"""Model and schedule tried out, so that what is wrong with them is told before any recording is read."""

from __future__ import annotations

import math
from typing import Any

import torch
from transformers import TrainingArguments, get_scheduler

from hf_inatsounds.errors import RecipeError
from hf_inatsounds.models.classifier import Classifier
from hf_inatsounds.models.input_length import minimum_samples
from hf_inatsounds.training.interruption import REFUSALS
from hf_inatsounds.training.learning import optimizer_groups, optimizer_of
from hf_inatsounds.training.recipe import Recipe


def rehearse(recipe: Recipe, classifier: Classifier, arguments: TrainingArguments, steps: int) -> None:
    """Pass a silent window through the model, take a step of the optimiser, and go through the schedule.

    Args:
        recipe: the run.
        classifier: what it trains; left as it is.
        arguments: transformers' own.
        steps: of the run.

    Raises:
        RecipeError: if the model does not take what its feature extractor gives, has no such layers as the optimiser
            is to tell apart, or transformers refuses the optimiser or the schedule.
    """
    try:
        _pass_silence(recipe, classifier)
    except REFUSALS as error:
        raise RecipeError(
            "the model does not take what its feature extractor gives", where="config, feature_extractor, window_s",
            found=error,
        ) from error  # fmt: skip
    optimizer_groups(recipe, classifier.model)
    try:
        _take_a_step(recipe, arguments, classifier.model)
    except (*REFUSALS, torch._dynamo.exc.TorchDynamoException) as error:
        raise RecipeError(
            "transformers refuses the recipe", where=f"optim {recipe.training.optim}, torch_compile", found=error
        ) from error
    try:
        _go_through(_schedule(recipe, arguments, steps), steps)
    except (TypeError, ValueError, ArithmeticError) as error:
        raise RecipeError(
            "transformers refuses the schedule",
            where=f"lr_scheduler_type {recipe.training.lr_scheduler_type}, lr_scheduler_kwargs",
            found=error,
        ) from error


def _take_a_step(recipe: Recipe, arguments: TrainingArguments, model: Any) -> None:
    """Make the optimiser and take a step of it with one weight; look up what compiles the model.

    Raises:
        ValueError, ImportError and others: for a package that is missing, or arguments that cannot be.
    """
    kind, options = optimizer_of(recipe, arguments, model)
    if not recipe.training.optim_target_modules:  # those that have some are made for the model's own layers
        weight = torch.nn.Parameter(torch.zeros(1, 1))
        optimizer = kind([weight], **options)
        weight.grad = torch.ones(1, 1)
        optimizer.step()
        if not torch.isfinite(weight).all():
            raise ValueError("a step gives weights that are no numbers")
    if arguments.torch_compile:
        torch._dynamo.lookup_backend(arguments.torch_compile_backend)
        torch.compile(torch.nn.Identity(), backend=arguments.torch_compile_backend, mode=arguments.torch_compile_mode)


@torch.no_grad()
def _pass_silence(recipe: Recipe, classifier: Classifier) -> None:
    model, window = classifier.model, recipe.window
    size = max(window.size_samples(classifier.sampling_rate), minimum_samples(model.config))
    model.eval()
    model(**classifier.inputs(torch.zeros(1, size), torch.tensor([size])))
    model.train()


def _schedule(recipe: Recipe, arguments: TrainingArguments, steps: int) -> Any:
    """The schedule of an optimiser of nothing."""
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=recipe.training.learning_rate)
    return get_scheduler(
        recipe.training.lr_scheduler_type,
        optimizer,
        num_warmup_steps=arguments.get_warmup_steps(steps),
        num_training_steps=steps,
        scheduler_specific_kwargs=arguments.lr_scheduler_kwargs,
    )


def _go_through(scheduler: Any, steps: int) -> None:
    """A schedule at a hundred of its steps; one that follows a metric, two steps of it.

    Raises:
        ValueError: if a rate is no number, or below zero.
        TypeError, ArithmeticError: whatever a schedule does with arguments that it cannot have.
    """
    for share_of in getattr(scheduler, "lr_lambdas", ()):
        for step in sorted({round(steps * share / 100) for share in range(101)} | {0, 1}):
            share = share_of(step)
            if not (math.isfinite(share) and share >= 0.0):
                raise ValueError(f"at step {step} the rate is {share:g} of learning_rate")
    if hasattr(scheduler, "num_bad_epochs"):
        for _ in range(2):
            scheduler.step(0.5)
