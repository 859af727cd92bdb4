"""A moving average of the weights: smoother than the last step's, at no cost but its memory."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch.optim.swa_utils import AveragedModel


class WeightAverage:
    """Exponential moving average of a model's floating-point state, by torch's ``AveragedModel``.

    ``a ← d · a + (1 - d) · w`` after each step, with ``d = min(decay, (1 + t) / (10 + t))``, so that the first
    steps, whose weights are far from any good ones, are soon forgotten.

    Args:
        model: whose weights; their values now are the average's first.
        decay: in (0, 1).

    Source: tf.train.ExponentialMovingAverage, whose ``num_updates`` gives the same warm-up.
    """

    def __init__(self, model: torch.nn.Module, decay: float) -> None:
        self.model, self.decay = model, decay
        self.steps = 0
        self._averaged = AveragedModel(model, multi_avg_fn=self._move, use_buffers=True)
        self._averaged.update_parameters(model)  # torch's first update copies; those after it average

    @property
    def average(self) -> dict[str, torch.Tensor]:
        """The average of each floating-point tensor of the model's state dictionary."""
        return _floating(self._averaged.module)

    def update(self) -> None:
        """Take the model's weights after a step."""
        self.steps += 1
        self._averaged.update_parameters(self.model)

    @torch.no_grad()
    def _move(self, averages: Any, weights: Any, n_averaged: Any) -> None:
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        for average, now in zip(averages, weights, strict=True):
            if average.is_floating_point():
                average.lerp_(now, 1.0 - decay)

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """The model has the average's weights within the block, and its own again after it."""
        own = {name: tensor.detach().clone() for name, tensor in _floating(self.model).items()}
        _copy(self.average, self.model)
        try:
            yield
        finally:
            _copy(own, self.model)

    def load(self, average: Mapping[str, torch.Tensor], steps: int) -> None:
        """Go on from a checkpoint's average."""
        self.steps = steps
        _copy(average, self._averaged.module)


def _floating(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in model.state_dict().items() if tensor.is_floating_point()}


@torch.no_grad()
def _copy(values: Mapping[str, torch.Tensor], model: torch.nn.Module) -> None:
    for name, tensor in _floating(model).items():
        tensor.copy_(values[name])
