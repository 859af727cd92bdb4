"""Model, optimiser and schedule tried out, so that what is wrong with them is told before anything is read."""

from __future__ import annotations

import math
from typing import Any

import torch

from hf_inatsounds.errors import RecipeError
from hf_inatsounds.models import minimum_samples
from hf_inatsounds.training.failures import REFUSALS
from hf_inatsounds.training.trainer import CropTrainer
from hf_inatsounds.windows import WindowSpec


def rehearse(trainer: CropTrainer, steps: int) -> None:
    """Pass a silent window through the model, make optimiser and schedule, and throw all of it away.

    Args:
        trainer: before its run.
        steps: of the run.

    Raises:
        RecipeError: if the model does not take what its feature extractor gives, or transformers refuses the schedule.
    """
    try:
        _pass_silence(trainer)
    except REFUSALS as error:
        raise RecipeError(
            "the model does not take what its feature extractor gives", where="config, feature_extractor, window_s",
            found=error,
        ) from error  # fmt: skip
    trainer.create_optimizer()
    try:
        _go_through(trainer.create_scheduler(steps), steps)
    except (TypeError, ValueError, ArithmeticError) as error:
        raise RecipeError(
            "transformers refuses the schedule", where=f"scheduler {trainer.recipe.scheduler}, lr_scheduler_kwargs",
            found=error,
        ) from error  # fmt: skip
    trainer.optimizer = trainer.lr_scheduler = None
    trainer._created_lr_scheduler = False


@torch.no_grad()
def _pass_silence(trainer: CropTrainer) -> None:
    model, frontend, device = trainer.classifier.model, trainer.classifier.frontend, trainer.args.device
    window = WindowSpec(trainer.recipe.window_s, trainer.recipe.stride_s)
    size = max(window.size_samples(frontend.sampling_rate), minimum_samples(model.config))
    lengths = torch.tensor([size], device=device)
    model.to(device).eval()
    model(**frontend.model_inputs(torch.zeros(1, size, device=device), lengths))
    model.train()


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
