"""SpecAugment and mixup on a batch, on the device; every draw is an example's own, made from its key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch

from hf_inatsounds.frontends.base import InputLayout
from hf_inatsounds.objectives import Objective

MixupLevel = Literal["input", "waveform"]
MixupTargets = Literal["objective", "weighted", "union"]

Array = np.ndarray[Any, np.dtype[Any]]

_MASKS, _MIXUP, _SHARE = 1, 2, 3
"""Purposes of draws, so that one augmentation leaves another's draws."""


@dataclass(frozen=True)
class BatchAugmentation:
    """SpecAugment on spectrograms of any layout, and mixup of waveforms or of model input.

    What is masked of an example depends on its key alone, whatever shares its batch. In mixup the partner is the
    example before it in the batch, the first one's the last.

    Args:
        frequency_masks: masks a spectrogram, each up to ``frequency_mask_bins`` wide.
        frequency_mask_bins: greatest width, in bins.
        time_masks: masks a spectrogram, each up to ``time_mask_frames`` long.
        time_mask_frames: greatest length, in frames.
        mixup: probability of mixing: of a batch where ``mixup_level`` is "input", of an example where it is
            "waveform".
        mixup_alpha: λ ~ Beta(alpha, alpha).
        mixup_level: "input": the model's input is mixed, with one λ per batch, as the authors do; "waveform": waveforms
            are, with a λ for each example, as sounds mix in air.
        mixup_targets: "objective": as the objective says, which is λ-weighted for multiclass and the union for
            multilabel; "weighted" or "union" for either.

    Source: cvl-umass/iNatSounds (``sound_aug``: one mask each below 15 bins; mixup with Beta(1, 1), one λ per batch,
    partner = the batch rolled by one; union of labels for multilabel).
    """

    frequency_masks: int = 0
    frequency_mask_bins: int = 0
    time_masks: int = 0
    time_mask_frames: int = 0
    mixup: float = 0.0
    mixup_alpha: float = 1.0
    mixup_level: MixupLevel = "input"
    mixup_targets: MixupTargets = "objective"

    def __post_init__(self) -> None:
        if not 0.0 <= self.mixup <= 1.0 or self.mixup_alpha <= 0:
            raise ValueError(f"mixup must be in [0, 1] and mixup_alpha > 0; got {self.mixup} and {self.mixup_alpha}")
        for name, kind in (("mixup_level", MixupLevel), ("mixup_targets", MixupTargets)):
            if getattr(self, name) not in get_args(kind):
                raise ValueError(f"{name} must be one of {get_args(kind)}; got {getattr(self, name)!r}")
        for name in ("frequency_masks", "frequency_mask_bins", "time_masks", "time_mask_frames"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative; got {getattr(self, name)}")

    def mix_waveforms(
        self,
        waveforms: torch.Tensor,
        lengths: torch.Tensor,
        targets: torch.Tensor,
        objective: Objective,
        generator: np.random.Generator,
        *,
        weights: torch.Tensor | None = None,
        keys: Array | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Mixed waveforms, before the frontend; unchanged unless ``mixup_level`` is "waveform".

        Args:
            waveforms: (B, T), zero behind each one's length.
            lengths: (B,); a mixture is as long as its longer part.
            targets: (B, C).
            objective: how targets mix.
            generator: decides where ``keys`` are not given.
            weights: (B,); with a partner of weight 0, which is silence, nothing is mixed.
            keys: (B,) int64, a number of each example's own. On the host, where the few draws of an example are made.

        Returns:
            Waveforms (B, T), lengths (B,), targets (B, C).
        """
        if self.mixup_level != "waveform" or not self.mixup:
            return waveforms, lengths, targets
        numbers = _numbers(keys, len(waveforms), generator)
        mixed = uniforms(numbers, 1, _MIXUP)[:, 0] < self.mixup
        shares = np.where(mixed, beta_of(numbers, self.mixup_alpha), 1.0)
        share = _alone(torch.from_numpy(shares).to(waveforms), weights)
        taken = share < 1.0
        waveforms = share[:, None] * waveforms + (1.0 - share)[:, None] * waveforms.roll(1, 0)
        lengths = torch.where(taken, torch.maximum(lengths, lengths.roll(1, 0)), lengths)
        return waveforms, lengths, self._mixed_targets(targets, share, objective)

    def __call__(
        self,
        inputs: dict[str, torch.Tensor],
        targets: torch.Tensor,
        objective: Objective,
        generator: np.random.Generator,
        *,
        layout: InputLayout | None = None,
        weights: torch.Tensor | None = None,
        keys: Array | None = None,
    ) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """Augmented inputs and targets.

        Args:
            inputs: the model's keyword arguments.
            targets: (B, C).
            objective: how targets mix.
            generator: decides on the batch, and on examples where ``keys`` are not given.
            layout: which input is a spectrogram, and its axes; None: ``input_values``, (B, frames, bins) or (B, T).
            weights: (B,); with a partner of weight 0, which is silence, nothing is mixed.
            keys: (B,) int64, a number of each example's own. On the host, where the few draws of an example are made.
        """
        layout = layout or _usual_layout(inputs)
        values = inputs[layout.name]
        numbers = _numbers(keys, len(values), generator)
        values = self._mask(values, layout, numbers)
        draws = generator.random(), float(generator.beta(self.mixup_alpha, self.mixup_alpha))
        if self.mixup_level == "input" and draws[0] < self.mixup:
            share = _alone(torch.full((len(values),), draws[1], device=values.device), weights)
            apart = share.to(values.dtype).view(-1, *[1] * (values.ndim - 1))
            values = apart * values + (1.0 - apart) * values.roll(1, 0)
            targets = self._mixed_targets(targets, share, objective)
            if "attention_mask" in inputs:  # a mixture is as long as its longer part
                mask = inputs["attention_mask"]
                longer = torch.maximum(mask, mask.roll(1, 0))
                inputs = {**inputs, "attention_mask": torch.where((share < 1.0)[:, None], longer, mask)}
        return {**inputs, layout.name: values}, targets

    def _mixed_targets(self, targets: torch.Tensor, share: torch.Tensor, objective: Objective) -> torch.Tensor:
        """(B, C) targets of mixtures with ``share`` (B,) of the first; those of share 1 stay."""
        partner, apart = targets.roll(1, 0), share.to(targets.dtype)[:, None]
        if self.mixup_targets == "weighted":
            mixed = apart * targets + (1.0 - apart) * partner
        elif self.mixup_targets == "union":
            mixed = torch.maximum(targets, partner)
        else:
            each: Any = apart  # one share an example, where the objective's type says one for all
            mixed = objective.mix(targets, partner, each)
        return torch.where(apart < 1.0, mixed, targets)

    def _mask(self, values: torch.Tensor, layout: InputLayout, numbers: Array) -> torch.Tensor:
        """Zero some bands and stretches of each spectrogram; of an image, in all its channels."""
        if layout.time_axis is None or layout.frequency_axis is None:
            return values
        kinds = (
            (layout.frequency_axis, self.frequency_masks, self.frequency_mask_bins),
            (layout.time_axis, self.time_masks, self.time_mask_frames),
        )
        draws = uniforms(numbers, 2 * (self.frequency_masks + self.time_masks), _MASKS)
        for axis, count, width in kinds:
            if not count or not width:
                continue
            mine, draws = draws[:, : 2 * count], draws[:, 2 * count :]
            size = values.shape[axis]
            widths = np.floor(mine[:, ::2] * (min(width, size) + 1)).astype(np.int64)  # (B, count)
            starts = np.floor(mine[:, 1::2] * (size - widths + 1)).astype(np.int64)
            edges = torch.from_numpy(np.stack([starts, starts + widths])).to(values.device, non_blocking=True)
            index = torch.arange(size, device=values.device)
            masked = ((index >= edges[0, :, :, None]) & (index < edges[1, :, :, None])).any(1)  # (B, size)
            shape = [len(values), *[1] * (values.ndim - 1)]
            shape[axis] = size
            values = values.masked_fill(masked.view(shape), 0.0)
        return values


def uniforms(keys: Array, count: int, purpose: int) -> Array:
    """Draws in [0, 1), (B, ``count``) float64, row b of them a function of ``keys[b]`` and ``purpose`` alone.

    Draw j of an example is its key plus 2^32 · purpose + j + 1 golden-ratio steps, mixed to 64 bits, of which the
    upper 53 count.

    Source: Steele, Lea, Flood: Fast splittable pseudorandom number generators (SplitMix64), 2014.

    >>> bool((uniforms(np.array([3, 4]), 2, 1)[1] == uniforms(np.array([4]), 2, 1)[0]).all())
    True
    """
    step = (np.arange(1, count + 1, dtype=np.uint64) + np.uint64(purpose << 32)) * np.uint64(0x9E3779B97F4A7C15)
    mixed = _scrambled(keys.astype(np.uint64))[:, None] + step[None, :]
    return (_scrambled(mixed) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _scrambled(z: Array) -> Array:
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def beta_of(keys: Array, alpha: float) -> Array:
    """(B,) draws of Beta(alpha, alpha), each a function of its key: the distribution's quantiles of a uniform draw.

    >>> bool((beta_of(np.array([3, 4]), 1.0) == uniforms(np.array([3, 4]), 1, 3)[:, 0]).all())
    True
    """
    draws = uniforms(keys, 1, _SHARE)[:, 0]
    if alpha == 1.0:
        return draws
    from scipy.special import betaincinv

    return np.asarray(betaincinv(alpha, alpha, draws))


def _numbers(keys: Array | None, size: int, generator: np.random.Generator) -> Array:
    return generator.integers(1 << 62, size=size) if keys is None else keys


def _alone(share: torch.Tensor, weights: torch.Tensor | None) -> torch.Tensor:
    """``share`` (B,), but 1 for examples whose partner has no weight: its label is not heard."""
    return share if weights is None else torch.where(weights.roll(1, 0) > 0, share, torch.ones_like(share))


def _usual_layout(inputs: dict[str, torch.Tensor]) -> InputLayout:
    spectrogram = inputs["input_values"].ndim == 3
    return InputLayout("input_values", 1, 2) if spectrogram else InputLayout("input_values")
