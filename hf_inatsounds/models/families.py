"""Families of models: transformers' classes, and how config and feature extractor are fitted to each other."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import transformers

from hf_inatsounds.audio.windows import WindowSpec
from hf_inatsounds.errors import RecipeError
from hf_inatsounds.frontends.filterbank import FRAME_SAMPLES, HOP_SAMPLES
from hf_inatsounds.frontends.image_settings import HOP_SAMPLES as IMAGE_HOP_SAMPLES
from hf_inatsounds.frontends.image_settings import WINDOW_SAMPLES, SpectrogramImageExtractor, whole_columns

Values = dict[str, Any]


@dataclass(frozen=True)
class Family:
    """What the presets of a family are made of.

    Attributes:
        config: transformers' config class.
        model: transformers' class with a classification head.
        extractor: class of the feature extractor.
        fit: (config values, feature extractor values, window) → config values and the feature extractor.
        start: what a model from random weights needs beyond transformers' own initialisation.
    """

    config: str
    model: str
    extractor: type
    fit: Callable[[Values, Values, WindowSpec], tuple[Values, Any]]
    start: Callable[[Any], None] | None = None


def ast_frames(window: WindowSpec, sampling_rate: int = 16_000) -> int:
    """Frames that a window fills, at least one.

    >>> ast_frames(WindowSpec(3.0, 1.5))
    298
    """
    return max(1 + (window.size_samples(sampling_rate) - FRAME_SAMPLES) // HOP_SAMPLES, 1)


def image_frames(window: WindowSpec, sampling_rate: int = 22_050) -> int:
    """Columns of a window's spectrogram, a multiple of 8 where there are so many: 3 s give the paper's 512.

    >>> image_frames(WindowSpec(3.0, 1.5))
    512
    """
    return whole_columns(max(1 + (window.size_samples(sampling_rate) - WINDOW_SAMPLES) // IMAGE_HOP_SAMPLES, 1))


def image_extractor(values: Values, window: WindowSpec) -> SpectrogramImageExtractor:
    """Spectrogram images of a window."""
    rate = values.get("sampling_rate", 22_050)
    return SpectrogramImageExtractor.of({"n_frames": image_frames(window, rate), **values}, where="feature_extractor")


def check_ast_length(config: Any, max_length: int) -> None:
    """Raise RecipeError for an AST's input of ``max_length`` frames that is shorter than a patch."""
    if max_length < config.patch_size:
        raise RecipeError(
            f"window_s and feature_extractor.max_length must give at least {config.patch_size} frames, one patch, "
            f"got {max_length}"
        )


def _fit_ast(values: Values, overrides: Values, window: WindowSpec) -> tuple[Values, Any]:
    frames = overrides.get("max_length", ast_frames(window, overrides.get("sampling_rate", 16_000)))
    config = transformers.ASTConfig(**{"max_length": frames, **values})
    bins, length = config.num_mel_bins, config.max_length
    check_ast_length(config, length)
    extractor = transformers.ASTFeatureExtractor(**{"num_mel_bins": bins, "max_length": length, **overrides})
    return {**values, "max_length": length}, extractor


def _fit_waveform(values: Values, overrides: Values, window: WindowSpec) -> tuple[Values, Any]:
    # the mask makes short windows exact in a batch; feat_extract_norm "layer" is the family that uses it
    return values, transformers.Wav2Vec2FeatureExtractor(**{"return_attention_mask": True, **overrides})


def _fit_frames(values: Values, overrides: Values, window: WindowSpec) -> tuple[Values, Any]:
    extractor = transformers.SeamlessM4TFeatureExtractor(**overrides)
    return {"feature_projection_input_dim": extractor.num_mel_bins * extractor.stride, **values}, extractor


def whisper_seconds(window: WindowSpec) -> int:
    """Whole seconds of a Whisper's input that hold a window.

    >>> whisper_seconds(WindowSpec(2.5, 1.0))
    3
    """
    return math.ceil(window.size_s)


def _fit_whisper(values: Values, overrides: Values, window: WindowSpec) -> tuple[Values, Any]:
    bins = values.get("num_mel_bins", 80)
    extractor = transformers.WhisperFeatureExtractor(
        **{"feature_size": bins, "chunk_length": whisper_seconds(window), **overrides}
    )
    # two frames are one position
    return {"max_source_positions": extractor.nb_max_frames // 2, **values}, extractor


def _fit_image(values: Values, overrides: Values, window: WindowSpec) -> tuple[Values, Any]:
    return values, image_extractor(overrides, window)


def _fit_sized_image(values: Values, overrides: Values, window: WindowSpec) -> tuple[Values, Any]:
    extractor = image_extractor(overrides, window)
    size = extractor.image_size
    return {"image_size": list(size) if isinstance(size, tuple) else size, **values}, extractor


@torch.no_grad()
def _place_ast_tokens(model: Any) -> None:
    """Start position embeddings as sines and cosines of frequency and time, rather than as zeros.

    transformers starts them at zero, where a model from scratch cannot tell moments apart.
    """
    embeddings, config = model.audio_spectrogram_transformer.embeddings, model.config
    rows, columns = embeddings.get_shape(config)
    grid = _waves(rows, columns, config.hidden_size)
    embeddings.position_embeddings[0, 2:, : grid.shape[1]] = grid
    for token in (embeddings.cls_token, embeddings.distillation_token):
        token.normal_(0.0, config.initializer_range)


@torch.no_grad()
def _place_vit_tokens(model: Any) -> None:
    """The same for an image's patches, where transformers starts at noise of 0.02."""
    embeddings, config = model.vit.embeddings, model.config
    (height, width), (tall, wide) = (
        (size, size) if isinstance(size, int) else size for size in (config.image_size, config.patch_size)
    )
    grid = _waves(height // tall, width // wide, config.hidden_size)
    embeddings.position_embeddings[0, 1:, : grid.shape[1]] = grid


@torch.no_grad()
def _start_norms(model: Any) -> None:
    """Start batch norms at a scale of one.

    transformers 5.23 draws EfficientNet's from N(0, 0.02), as if they were convolutions: the signal is gone after three
    blocks (a standard deviation of 1e-10), and a model from random weights learns nothing.
    """
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.weight.fill_(1.0)


def _waves(rows: int, columns: int, hidden_size: int) -> torch.Tensor:
    """Sines and cosines of row and column, (rows · columns, ≤ hidden_size), with an amplitude of 0.3."""
    half = hidden_size // 2

    def waves(n: int) -> torch.Tensor:
        rates = 10_000.0 ** (-torch.arange(0, half, 2) / half)
        angles = torch.arange(n)[:, None] * rates[None, :]
        return torch.cat([angles.sin(), angles.cos()], dim=1)[:, :half]

    return 0.3 * torch.cat([waves(rows).repeat_interleave(columns, 0), waves(columns).repeat(rows, 1)], dim=1)


def _waveforms(name: str) -> Family:
    extractor = transformers.Wav2Vec2FeatureExtractor
    return Family(f"{name}Config", f"{name}ForSequenceClassification", extractor, _fit_waveform)


def _images(name: str, start: Callable[[Any], None] | None = None) -> Family:
    # a ResNet's config has no image size
    fit = _fit_image if name == "ResNet" else _fit_sized_image
    return Family(f"{name}Config", f"{name}ForImageClassification", SpectrogramImageExtractor, fit, start)


FAMILIES: dict[str, Family] = {
    "ast": Family(
        "ASTConfig", "ASTForAudioClassification", transformers.ASTFeatureExtractor, _fit_ast, _place_ast_tokens
    ),
    "wav2vec2": _waveforms("Wav2Vec2"),
    "hubert": _waveforms("Hubert"),
    "wavlm": _waveforms("WavLM"),
    "data2vec": _waveforms("Data2VecAudio"),
    "unispeech": _waveforms("UniSpeech"),
    "unispeech-sat": _waveforms("UniSpeechSat"),
    "sew": _waveforms("SEW"),
    "sew-d": _waveforms("SEWD"),
    "wav2vec2-conformer": _waveforms("Wav2Vec2Conformer"),
    "wav2vec2-bert": Family(
        "Wav2Vec2BertConfig", "Wav2Vec2BertForSequenceClassification", transformers.SeamlessM4TFeatureExtractor,
        _fit_frames,
    ),
    "whisper": Family(
        "WhisperConfig", "WhisperForAudioClassification", transformers.WhisperFeatureExtractor, _fit_whisper
    ),
    "resnet": _images("ResNet"),
    "vit": _images("ViT", _place_vit_tokens),
    "efficientnet": _images("EfficientNet", _start_norms),
    "convnext": _images("ConvNext"),
    "mobilenet": _images("MobileNetV2"),
}  # fmt: skip
"""Family → its classes."""
