"""Runs of seconds: a model of a few thousand weights on a dozen recordings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from hf_inatsounds.training.arguments import make_recipe
from hf_inatsounds.training.recipe import Recipe

SMALL = {
    "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16,
    "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
}  # fmt: skip
SETTINGS: dict[str, Any] = {
    "config": SMALL, "window_s": 1.0, "stride_s": 0.5, "per_device_train_batch_size": 8, "learning_rate": 3e-3,
    "gain_db": 3.0,
    "noise": 0.5, "shorten": 0.5, "validation_split": "none", "logging_steps": 1,
}  # fmt: skip


def small_recipe(source: Path, out: Path, **changes: Any) -> Recipe:
    """Augmented as far as crops go, without dropout."""
    return make_recipe({**SETTINGS, "source": str(source), "output_dir": str(out), **changes}, where="test")


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def equal(first: Path, second: Path) -> bool:
    one, two = weights(first), weights(second)
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)
