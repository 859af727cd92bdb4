"""What a recipe says of augmentation: of crops in the workers, of batches on the device."""

from __future__ import annotations

from typing import cast

from hf_inatsounds.augmentation import BatchAugmentation, WaveformAugmentation, parse_chain
from hf_inatsounds.augmentation.batch import MixupLevel, MixupTargets
from hf_inatsounds.training.arguments import Recipe


def waveform_augmentation(recipe: Recipe) -> WaveformAugmentation:
    """What is done to a crop; its transforms are made once, so that a mistake in them is told before anything is read.

    Raises:
        RecipeError: if a transform is unknown or refuses its parameters.
    """
    chain = parse_chain(recipe.waveform_augmentation)
    chain.check()
    return WaveformAugmentation(recipe.gain_db, recipe.noise, recipe.pitch, recipe.shorten, chain)


def batch_augmentation(recipe: Recipe) -> BatchAugmentation:
    """What is done to a batch."""
    return BatchAugmentation(
        recipe.frequency_masks,
        recipe.frequency_mask_bins,
        recipe.time_masks,
        recipe.time_mask_frames,
        recipe.mixup,
        recipe.mixup_alpha,
        cast(MixupLevel, recipe.mixup_level),
        cast(MixupTargets, recipe.mixup_targets),
    )
