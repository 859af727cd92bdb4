"""Model input: what a feature extractor gives must be what the model takes."""

from __future__ import annotations

import math
from typing import Any

import torch

from hf_inatsounds.audio.windows import WindowSpec
from hf_inatsounds.errors import RecipeError
from hf_inatsounds.frontends import Frontend, frontend_for
from hf_inatsounds.frontends.settings import refusals_named


def fitting_frontend(model: Any, feature_extractor: Any, window: WindowSpec, shortest_samples: int) -> Frontend:
    """The frontend of a feature extractor, once a model was seen to take its output.

    Args:
        model: a classifier on the CPU. One without values (on the device ``meta``) is not run.
        feature_extractor: its feature extractor.
        window: what it is to be trained on.
        shortest_samples: samples that the model needs.

    Raises:
        InatSoundsError: if the window is longer than the input, or the model cannot take it.
        CheckpointError: if there is no frontend for the extractor.
    """
    _check_sizes(model.config, feature_extractor)
    _check_masks(model.config)
    with refusals_named("the feature extractor does not fit the model"):
        frontend = frontend_for(feature_extractor)
        frontend.check_window(window, name="window_s")
        if not any(weights.is_meta for weights in model.parameters()):
            _try(model, frontend, shortest_samples)
    return frontend


@torch.no_grad()
def _try(model: Any, frontend: Frontend, samples: int) -> None:
    """One forward pass of silence, which leaves no trace: neither statistics nor the state of a generator change."""
    was_training, lengths = model.training, torch.tensor([samples])
    with torch.random.fork_rng(devices=[]):
        logits = model.eval()(**frontend.model_inputs(torch.zeros(1, samples), lengths)).logits
    model.train(was_training)
    if logits.shape != (1, model.config.num_labels):
        raise ValueError(f"logits of shape {tuple(logits.shape)}")


def _check_sizes(config: Any, extractor: Any) -> None:
    """The sizes that config and feature extractor both have."""
    if config.model_type == "audio-spectrogram-transformer":
        _require("num_mel_bins", extractor.num_mel_bins, config.num_mel_bins, "num_mel_bins")
        _require("max_length", extractor.max_length, config.max_length, "max_length")
    elif config.model_type == "whisper":
        _require("feature_size", extractor.feature_size, config.num_mel_bins, "num_mel_bins")
    elif config.model_type == "vit":
        size = config.image_size
        _require(
            "image_size", list(extractor.size), [size, size] if isinstance(size, int) else list(size), "image_size"
        )
    elif config.model_type == "wav2vec2-bert":
        values = extractor.num_mel_bins * extractor.stride
        if values != config.feature_projection_input_dim:
            raise RecipeError(
                "feature_extractor.num_mel_bins times feature_extractor.stride must be "
                f"{config.feature_projection_input_dim}, as config.feature_projection_input_dim, got {values}"
            )


def _require(key: str, found: Any, wanted: Any, config_key: str) -> None:
    if found != wanted:
        raise RecipeError(f"feature_extractor.{key} must be {wanted}, as config.{config_key}, got {found}")


def _check_masks(config: Any) -> None:
    """SpecAugment's masks, which only training draws."""
    for axis in ("time", "feature"):
        share, length = (getattr(config, f"mask_{axis}_{what}", 0) for what in ("prob", "length"))
        longest = config.hidden_size if axis == "feature" and share else math.inf
        if not 0 <= share <= 1:
            raise RecipeError(f"config.mask_{axis}_prob must be a share in [0, 1], got {share}")
        if share and not 1 <= length <= longest:
            at_most = "" if longest == math.inf else f" and at most {longest}, as config.hidden_size"
            raise RecipeError(f"config.mask_{axis}_length must be at least 1{at_most}, got {length}")
