"""What a recipe says of crops in the workers and of batches on the device: their augmentation, and the crops' rate."""

from __future__ import annotations

from typing import cast

import torch

from hf_inatsounds.augmentation import BatchAugmentation, WaveformAugmentation, parse_chain
from hf_inatsounds.augmentation.batch import MixupLevel, MixupTargets
from hf_inatsounds.frontends.resampling import resamples_in_batch
from hf_inatsounds.runtime.devices import frontend_device
from hf_inatsounds.schema import SAMPLING_RATE_HZ
from hf_inatsounds.training.recipe import Recipe


def waveform_augmentation(recipe: Recipe) -> WaveformAugmentation:
    """What is done to a crop; its transforms are made once, so that a mistake in them is told before anything is read.

    Raises:
        RecipeError: if a transform is unknown or refuses its parameters.
    """
    chain = parse_chain(recipe.objective.waveform_augmentation)
    chain.check()
    return WaveformAugmentation(
        recipe.objective.gain_db, recipe.objective.noise, recipe.objective.pitch, recipe.objective.shorten, chain
    )


def batch_augmentation(recipe: Recipe) -> BatchAugmentation:
    """What is done to a batch."""
    return BatchAugmentation(
        recipe.objective.frequency_masks,
        recipe.objective.frequency_mask_bins,
        recipe.objective.time_masks,
        recipe.objective.time_mask_frames,
        recipe.objective.mixup,
        recipe.objective.mixup_alpha,
        cast(MixupLevel, recipe.objective.mixup_level),
        cast(MixupTargets, recipe.objective.mixup_targets),
    )


def crop_rate(recipe: Recipe, rate: int, device: torch.device) -> int:
    """Rate of the crops that workers make, in Hz: the dataset's where the device resamples, else the model's.

    soxr takes .5 ms of a core for 3 s. In batch the same costs a core .8 ms, but is 56 million operations: a GPU does
    not notice them.

    Args:
        recipe: says where to resample.
        rate: the model's, in Hz.
        device: the model's; what has no float64 has its waveforms on the CPU.
    """
    beside = frontend_device(device).type != "cpu"
    on_device = recipe.data.resample_on == "device" or (recipe.data.resample_on == "auto" and beside)
    return SAMPLING_RATE_HZ if on_device and resamples_in_batch(SAMPLING_RATE_HZ, rate) else rate
