"""Weights that are divided among processes, as FSDP does it, gathered and handed out again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict, set_model_state_dict
from torch.distributed.tensor import DTensor


def is_sharded(model: torch.nn.Module) -> bool:
    """Whether each process holds a part of the weights only."""
    return any(isinstance(weights, DTensor) for weights in model.parameters())


def full_state(model: torch.nn.Module) -> dict[str, Any]:
    """All weights by name, in every process; of a sharded model all processes have to ask together."""
    if not is_sharded(model):
        return model.state_dict()
    return dict(get_model_state_dict(model, options=StateDictOptions(full_state_dict=True)))


def load_full_state(model: torch.nn.Module, state: Mapping[str, Any]) -> None:
    """Give a model, sharded or not, weights that :func:`full_state` gathered."""
    if is_sharded(model):
        set_model_state_dict(model, dict(state), options=StateDictOptions(full_state_dict=True))
    else:
        model.load_state_dict(state)
