"""Presets: native transformers models from random weights, of a size for two CPU cores."""

from __future__ import annotations

from typing import Any

import torch
from transformers import (
    ASTConfig,
    ASTFeatureExtractor,
    ASTForAudioClassification,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForSequenceClassification,
)

from hf_inatsounds.errors import RecipeError
from hf_inatsounds.frontends.ast import FRAME_SAMPLES, HOP_SAMPLES
from hf_inatsounds.windows import WindowSpec

AST_TINY: dict[str, Any] = {
    "hidden_size": 128,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 256,
    "hidden_dropout_prob": 0.1,
    "layer_norm_eps": 1e-6,
    # one patch spans all mel bands: from scratch, tokens that are moments in time learn far quicker than
    # square ones (docs/recipes.md), as the AST paper found for models without ImageNet pre-training
    "num_mel_bins": 32,
    "patch_size": 32,
    "frequency_stride": 32,
    "time_stride": 8,
}
WAV2VEC2_TINY: dict[str, Any] = {
    "hidden_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 192,
    "conv_dim": [48, 64, 96, 96],
    "conv_kernel": [20, 8, 8, 4],
    "conv_stride": [10, 4, 4, 2],
    "num_feat_extract_layers": 4,
    "feat_extract_norm": "layer",
    "do_stable_layer_norm": True,
    "num_conv_pos_embeddings": 32,
    "num_conv_pos_embedding_groups": 4,
    "classifier_proj_size": 96,
    "hidden_dropout": 0.1,
    "layerdrop": 0.0,
    "mask_time_prob": 0.0,
}
PRESETS = {
    "ast-tiny": "an AST of .5 M parameters from random weights, for two CPU cores",
    "wav2vec2-tiny": "a Wav2Vec2 of .6 M parameters from random weights, for two CPU cores",
}
"""Preset → what it is. Anything else is a checkpoint: a folder, or a Hub model id."""


def from_preset(
    preset: str, shared: dict[str, Any], given: dict[str, Any], overrides: dict[str, Any], window: WindowSpec
) -> tuple[Any, Any]:
    """A new model and its feature extractor.

    Args:
        preset: a name in ``PRESETS``.
        shared: all values that override the preset's model config.
        given: those of them that a user chose, which are checked.
        overrides: values that override the feature extractor's.
        window: an AST's input has its length.

    Raises:
        RecipeError: if a chosen key is none of the config's.
    """
    kind = ASTConfig if preset == "ast-tiny" else Wav2Vec2Config
    unknown = set(given) - set(vars(kind()))
    if unknown:
        raise RecipeError("unknown key", where=f"config.{min(unknown)}", expected=f"a key of {kind.__name__}")
    if preset == "ast-tiny":
        return _ast(shared, overrides, window)
    # the mask makes short windows exact in a batch; feat_extract_norm "layer" is the family that uses it
    extractor = Wav2Vec2FeatureExtractor(**{"return_attention_mask": True, **overrides})
    return Wav2Vec2ForSequenceClassification(Wav2Vec2Config(**{**WAV2VEC2_TINY, **shared})), extractor


def _ast(shared: dict[str, Any], overrides: dict[str, Any], window: WindowSpec) -> tuple[Any, Any]:
    frames = 1 + (window.size_samples(16_000) - FRAME_SAMPLES) // HOP_SAMPLES
    config = ASTConfig(**{"max_length": frames, **AST_TINY, **shared})
    bins, length = config.num_mel_bins, config.max_length
    extractor = ASTFeatureExtractor(**{"num_mel_bins": bins, "max_length": length, **overrides})
    model = ASTForAudioClassification(config)
    _place_tokens(model.audio_spectrogram_transformer.embeddings, config)
    return model, extractor


@torch.no_grad()
def _place_tokens(embeddings: Any, config: Any) -> None:
    """Start position embeddings as sines and cosines of frequency and time, rather than as zeros.

    transformers starts them at zero, where a model from scratch cannot tell moments apart.
    """
    rows, columns = embeddings.get_shape(config)
    half = config.hidden_size // 2

    def waves(n: int) -> torch.Tensor:
        rates = 10_000.0 ** (-torch.arange(0, half, 2) / half)
        angles = torch.arange(n)[:, None] * rates[None, :]
        return torch.cat([angles.sin(), angles.cos()], dim=1)[:, :half]

    grid = torch.cat([waves(rows).repeat_interleave(columns, 0), waves(columns).repeat(rows, 1)], dim=1)
    embeddings.position_embeddings[0, 2:, : grid.shape[1]] = 0.3 * grid
    for token in (embeddings.cls_token, embeddings.distillation_token):
        token.normal_(0.0, config.initializer_range)
