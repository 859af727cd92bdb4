"""What a classifier ends in: the layer that makes logits or, while its encoder is pre-trained, a projection instead."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from hf_inatsounds.errors import CheckpointError
from hf_inatsounds.files import write_json

_OF_CLASSES = ("architectures", "id2label", "label2id", "problem_type")
"""Keys of a config that say what a classifier's classes are."""


class Projection(nn.Module):
    """``z = W₂ relu(W₁ h) / ‖W₂ relu(W₁ h)‖``: what a contrastive loss compares, thrown away after pre-training.

    Args:
        in_features: D, of the pooled features h.
        size: of z.

    Source: Khosla 2020, section 3.1.
    """

    def __init__(self, in_features: int, size: int) -> None:
        super().__init__()
        self.in_features = in_features
        self.layers = nn.Sequential(nn.Linear(in_features, in_features), nn.ReLU(), nn.Linear(in_features, size))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(B, D) → (B, size), of length 1 each."""
        return functional.normalize(self.layers(features).float(), dim=-1)


def classification_head(model: Any) -> nn.Linear | Projection:
    """The last linear layer that gives one logit a class, whatever the family calls it, or what stands in its place.

    Raises:
        CheckpointError: if there is none.
    """
    return _head(model)[1]


def _head(model: Any) -> tuple[str, nn.Linear | Projection]:
    n_classes = model.config.num_labels
    found: list[tuple[str, nn.Linear | Projection]] = []
    for name, module in model.named_modules():
        if isinstance(module, Projection):
            return name, module
        if isinstance(module, nn.Linear) and module.out_features == n_classes:
            found.append((name, module))
    if not found:
        raise CheckpointError(
            "no classification head", where=type(model).__name__, expected="a linear layer over classes"
        )
    return found[-1]


def head_weights(model: Any) -> set[str]:
    """Names of the classification head's weights.

    Raises:
        CheckpointError: if there is none.
    """
    name, head = _head(model)
    return {f"{name}.{key}" for key in head.state_dict()}


def body(model: Any) -> nn.Module:
    """The pre-trained part of a classifier: all of it but what was put on top for classes.

    Whisper's classifier alone is no model of another; its encoder is the body.
    """
    base = getattr(model, "base_model", model)
    return base if base is not model else getattr(model, "encoder", model)


@torch.no_grad()
def redraw_head(model: Any) -> None:
    """Draw a classification head's weights as its family does for a new one."""
    head = classification_head(model)
    for weights in head.parameters():
        weights._is_hf_initialized = False  # type: ignore[attr-defined]  # transformers leaves what it loaded
    model._init_weights(head)


def start_head(model: nn.Module, logit: float | None) -> None:
    """Begin a new head's biases at ``logit``; None leaves them as they are."""
    if logit is None:
        return
    head = classification_head(model)
    if isinstance(head, nn.Linear) and head.bias is not None:
        nn.init.constant_(head.bias, logit)


@torch.no_grad()
def reorder_head(model: Any, columns: Sequence[int | None], names: Sequence[str]) -> None:
    """Give a classification head other classes: the ones it has in another order, or some of them.

    Args:
        model: a classifier; changed in place, its config too.
        columns: for each new class the old one that it is; None for a class without weights, whose logit is 0.
        names: of the new classes.

    Raises:
        CheckpointError: if the model ends in no linear layer.
    """
    name, old = _head(model)
    if not isinstance(old, nn.Linear):
        raise CheckpointError("no classification head", where=type(model).__name__, found=type(old).__name__)
    new = nn.Linear(old.in_features, len(columns), bias=old.bias is not None, dtype=old.weight.dtype)
    new.to(old.weight.device)
    known = [label for label, column in enumerate(columns) if column is not None]
    picked = [column for column in columns if column is not None]
    for mine, its in ((new.weight, old.weight), (new.bias, old.bias)):
        if its is not None:
            mine.zero_()
            mine[known] = its[picked]
    parent, _, last = name.rpartition(".")
    setattr(model.get_submodule(parent), last, new)
    model.config.id2label = dict(enumerate(names))
    model.config.label2id = {one: label for label, one in enumerate(names)}
    model.num_labels = len(names)


def put_projection(model: Any, size: int) -> None:
    """Replace the classification head: from here on what the model calls logits are projected features."""
    name, head = _head(model)
    parent, _, last = name.rpartition(".")
    setattr(model.get_submodule(parent), last, Projection(head.in_features, size))


def has_projection(model: nn.Module) -> bool:
    """Whether ``put_projection`` was here."""
    return any(isinstance(module, Projection) for module in model.modules())


def save_native(model: Any, folder: str | Path) -> None:
    """Write a native checkpoint; of a model with a projection the encoder alone, as pre-trained encoders are published.

    Transformers gives it a new head when it is loaded as a classifier, and says so.
    """
    if not has_projection(model):
        model.save_pretrained(folder)
        return
    head = f"{_head(model)[0]}."
    state = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith(head)}
    model.save_pretrained(folder, state_dict=state)
    path = Path(folder) / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    write_json(path, {key: value for key, value in config.items() if key not in _OF_CLASSES})
