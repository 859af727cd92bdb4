"""Augmentation: on waveforms in the collator, on model input on the device. All of it seeded by the caller."""

from __future__ import annotations

from hf_inatsounds.augmentation.batch import BatchAugmentation
from hf_inatsounds.augmentation.chain import AugmentationChain, Transform, parse_chain
from hf_inatsounds.augmentation.waveform import WaveformAugmentation

__all__ = ["AugmentationChain", "BatchAugmentation", "Transform", "WaveformAugmentation", "parse_chain"]
