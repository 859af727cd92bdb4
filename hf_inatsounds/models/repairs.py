"""Repairs: what transformers' classes would get wrong in training, put right in the model itself."""

from __future__ import annotations

import types
from typing import Any

import torch
from torch import nn

from hf_inatsounds.models.finetuning import unused_parameters

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


def repair(model: Any) -> None:
    """Make a classifier ready for training, in place. Its logits stay the same.

    - Running statistics of batch norms change slowly.
    - SpecAugment leaves alone what is shorter than a mask, and has the keys that it reads.
    - Parameters that no pass can use, and Whisper's fixed positions, are frozen.
    """
    _slow_statistics(model)
    for module in model.modules():
        if hasattr(module, "_mask_hidden_states"):
            module._mask_hidden_states = types.MethodType(_mask_what_is_long_enough, module)
    if hasattr(model.config, "mask_feature_prob") and not hasattr(model.config, "mask_feature_min_masks"):
        model.config.mask_feature_min_masks = 0  # WavLM reads it and has none, where others have 0
    unused = set(unused_parameters(model))
    for name, weights in model.named_parameters():
        if name in unused or (model.config.model_type == "whisper" and ".embed_positions." in name):
            weights.requires_grad_(False)  # the class says so of its positions, but from_pretrained forgets it


def _slow_statistics(model: nn.Module) -> None:
    """Give batch norms torch's default momentum where transformers gives them TensorFlow's.

    torch's momentum is the share of the new batch, 0.1 by default, TensorFlow's that of the old ones. transformers
    passes on 0.99 (EfficientNet) and 0.997 (MobileNet-V2), with which evaluation would see the last batch's statistics
    alone.
    """
    for module in model.modules():
        if isinstance(module, NORMS) and module.momentum is not None and module.momentum > 0.5:
            module.momentum = 0.1


def _mask_what_is_long_enough(module: Any, hidden_states: torch.Tensor, *arguments: Any, **options: Any) -> Any:
    """SpecAugment as transformers has it, without masks in time where the pass has fewer frames than one mask.

    transformers raises there, and a batch of short recordings is nothing unusual. The mask's embedding still gets a
    gradient, of zero, since DistributedDataParallel waits for it.
    """
    config, mask = module.config, type(module)._mask_hidden_states
    masks = module.training and getattr(config, "apply_spec_augment", True) and config.mask_time_prob > 0
    if not masks or hidden_states.shape[1] >= config.mask_time_length:
        return mask(module, hidden_states, *arguments, **options)
    chosen, config.mask_time_prob = config.mask_time_prob, 0.0
    try:
        masked = mask(module, hidden_states, *arguments, **options)
    finally:
        config.mask_time_prob = chosen
    return masked + 0.0 * module.masked_spec_embed
