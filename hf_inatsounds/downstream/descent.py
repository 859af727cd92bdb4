"""The training loop of what is fitted within a benchmark: gradient steps from losses, nothing else.

``train``'s Trainer is not used here: it reads a source with one label per recording, validates and saves, where a probe
has tokens in memory and takes seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn


def descend(
    module: nn.Module,
    losses: Iterable[torch.Tensor],
    optimizer: torch.optim.Optimizer,
    schedule: Any,
    *,
    max_grad_norm: float = 1.0,
    told: Callable[[int, torch.Tensor], None] = lambda step, loss: None,
) -> None:
    """Take a step for each loss; the module is in training meanwhile and in evaluation after it.

    Args:
        module: what is trained.
        losses: scalars of ``module``, each computed when it is asked for: after the step before it.
        optimizer: of the module's parameters.
        schedule: of its learning rates, moved on after each step.
        max_grad_norm: the gradient is clipped to this norm.
        told: called with the number of steps taken, from 1, and the last one's loss.
    """
    module.train()
    for step, loss in enumerate(losses, start=1):
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(module.parameters(), max_grad_norm)
        optimizer.step()
        schedule.step()
        told(step, loss)
    module.eval()
