"""Input length: a pre-trained model is fitted to another window and keeps what it knows."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional

from hf_inatsounds.audio.windows import WindowSpec
from hf_inatsounds.errors import RecipeError
from hf_inatsounds.frontends.filterbank import FRAME_SAMPLES, HOP_SAMPLES
from hf_inatsounds.frontends.settings import refusals_named
from hf_inatsounds.models.families import ast_frames, check_ast_length, whisper_seconds


def extractor_length(config: Any, overrides: dict[str, Any], window: WindowSpec, sampling_rate: int) -> dict[str, Any]:
    """Values of a checkpoint's feature extractor that make its input as long as ``window``.

    A length that a user chose stays, and so does a checkpoint's own where it holds the window and the window gives an
    AST as many patches.

    Args:
        config: the model's config.
        overrides: what the user chose of the feature extractor.
        window: what it is to be fine-tuned on.
        sampling_rate: of the feature extractor, in Hz.
    """
    if config.model_type == "audio-spectrogram-transformer" and "max_length" not in overrides:
        frames = ast_frames(window, sampling_rate)
        alike = _ast_columns(config, frames) == _ast_columns(config, config.max_length)
        return {"max_length": config.max_length if alike and frames <= config.max_length else frames}
    if config.model_type == "whisper" and "chunk_length" not in overrides:
        return {"chunk_length": whisper_seconds(window)}
    return {}


def fit_input_length(model: Any, feature_extractor: Any) -> None:
    """Give a model the input length of its feature extractor, in place; nothing changes where they agree.

    Raises:
        RecipeError: if the model cannot take that length.
    """
    with refusals_named("the model cannot take such an input"):
        if model.config.model_type == "audio-spectrogram-transformer":
            _resize_ast(model, feature_extractor.max_length)
        elif model.config.model_type == "whisper":
            _resize_whisper(model, feature_extractor.nb_max_frames // 2)


def minimum_samples(config: Any) -> int:
    """Samples below which a model has no output frame: the receptive field of its convolutions, or 1."""
    if config.model_type == "wav2vec2-bert":  # a pair of frames
        return FRAME_SAMPLES + HOP_SAMPLES
    field = getattr(config, "squeeze_factor", 1)  # SEW averages so many frames into one
    kernels, strides = getattr(config, "conv_kernel", None), getattr(config, "conv_stride", None)
    if kernels and strides:
        for kernel, stride in zip(reversed(kernels), reversed(strides), strict=True):
            field = (field - 1) * stride + kernel
    return field


def resized_positions(grid: torch.Tensor, columns: int) -> torch.Tensor:
    """Position embeddings of another number of moments.

    Fewer: the middle ones, so that neighbours stay as far apart as they were. More: linear interpolation.

    Args:
        grid: (D, rows, T), rows of frequency by T moments.
        columns: moments wanted.

    Returns:
        (D, rows, columns).

    Source: YuanGongND/ast, ASTModel with ``audioset_pretrain``.

    >>> resized_positions(torch.arange(5.0).reshape(1, 1, 5), 3)
    tensor([[[1., 2., 3.]]])
    >>> resized_positions(torch.tensor([[[0.0, 1.0]]]), 4)
    tensor([[[0.0000, 0.2500, 0.7500, 1.0000]]])
    """
    known = grid.shape[2]
    if columns <= known:
        first = known // 2 - columns // 2
        return grid[:, :, first : first + columns]
    return functional.interpolate(grid[None], (grid.shape[1], columns), mode="bilinear")[0]


def _ast_columns(config: Any, max_length: int) -> int:
    return (max_length - config.patch_size) // config.time_stride + 1


def _resize_ast(model: Any, max_length: int) -> None:
    config, embeddings = model.config, model.audio_spectrogram_transformer.embeddings
    check_ast_length(config, max_length)
    columns = _ast_columns(config, max_length)
    rows, known = embeddings.get_shape(config)
    old = embeddings.position_embeddings.detach()  # (1, 2 + rows · T, D): two tokens, then row by row
    if columns != known:
        grid = old[0, 2:].T.reshape(-1, rows, known)
        tokens = resized_positions(grid, columns).reshape(-1, rows * columns).T
        embeddings.position_embeddings = nn.Parameter(torch.cat([old[:, :2], tokens[None]], dim=1))
    config.max_length = max_length


def _resize_whisper(model: Any, positions: int) -> None:
    known = model.config.max_source_positions
    if positions > known:
        raise RecipeError(
            "the window is longer than this Whisper hears",
            where="window_s",
            found=f"{positions / 50:g} s",
            expected=f"at most {known / 50:g} s",
        )
    if positions != known:  # sines of absolute time: the first ones are what they were
        table = model.encoder.embed_positions
        short = nn.Embedding(positions, table.embedding_dim)
        short.weight = nn.Parameter(table.weight[:positions].detach().clone(), requires_grad=table.weight.requires_grad)
        model.encoder.embed_positions = short
        model.encoder.max_source_positions = model.config.max_source_positions = positions
