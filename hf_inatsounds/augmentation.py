"""Augmentation: on waveforms in the collator, on model input on the device. All of it seeded by the caller."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import soxr
import torch

from hf_inatsounds.audio import Waveform
from hf_inatsounds.objectives import Objective


@dataclass(frozen=True)
class WaveformAugmentation:
    """Random changes of a training crop that leave its species the same.

    Args:
        gain_db: gain drawn from ± this, in dB; 0 for none.
        noise: probability of added white noise, 5 to 40 dB below the crop.
        pitch: probability of playing the crop up to 18 % faster or slower, which moves pitch and tempo.
        shorten: probability of keeping only a part, 60 % at least, of a crop that holds a whole recording.
    """

    gain_db: float = 0.0
    noise: float = 0.0
    pitch: float = 0.0
    shorten: float = 0.0

    def __post_init__(self) -> None:
        if self.gain_db < 0:
            raise ValueError(f"gain_db must not be negative; got {self.gain_db}")
        for name in ("noise", "pitch", "shorten"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} must be a probability in [0, 1]; got {getattr(self, name)}")

    def __call__(
        self, crop: Waveform, size_samples: int, sampling_rate: int, generator: np.random.Generator
    ) -> Waveform:
        """Augmented crop.

        Args:
            crop: (T,) float32.
            size_samples: the crop's full size; one shorter than it holds a whole recording.
            sampling_rate: in Hz.
            generator: decides; always drawn from equally often, so that one change leaves the others' draws.

        Returns:
            (T',) float32, T' ≤ ``size_samples``.
        """
        chances = generator.random(3)
        share, place, rate, snr_db, gain_db = generator.uniform(
            [0.6, 0.0, 0.85, 5.0, -self.gain_db], [1.0, 1.0, 1.18, 40.0, self.gain_db]
        )
        if chances[0] < self.shorten and sampling_rate // 5 < len(crop) < size_samples:
            length = int(len(crop) * share)
            start = int(place * (len(crop) - length))
            crop = crop[start : start + length]
        if chances[1] < self.pitch and len(crop):
            crop = soxr.resample(crop, sampling_rate, sampling_rate * rate, quality="LQ")[:size_samples]
        if chances[2] < self.noise and len(crop):
            power = float(np.mean(np.square(crop, dtype=np.float64)))
            scale = np.sqrt(power * 10 ** (-snr_db / 10))
            crop = crop + generator.standard_normal(len(crop), dtype=np.float32) * np.float32(scale)
        return np.asarray(crop * np.float32(10 ** (gain_db / 20)), dtype=np.float32)


@dataclass(frozen=True)
class BatchAugmentation:
    """SpecAugment and mixup on a batch of model input.

    Args:
        frequency_masks: masks a spectrogram, each up to ``frequency_mask_bins`` wide.
        frequency_mask_bins: greatest width, in mel bins.
        time_masks: masks a spectrogram, each up to ``time_mask_frames`` long.
        time_mask_frames: greatest length, in frames.
        mixup: probability that a batch is mixed with itself rolled by one.
        mixup_alpha: λ ~ Beta(alpha, alpha), one a batch.

    Source: cvl-umass/iNatSounds (``sound_aug``: one mask each below 15 bins; mixup with Beta(1, 1)).
    """

    frequency_masks: int = 0
    frequency_mask_bins: int = 0
    time_masks: int = 0
    time_mask_frames: int = 0
    mixup: float = 0.0
    mixup_alpha: float = 1.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.mixup <= 1.0 or self.mixup_alpha <= 0:
            raise ValueError(f"mixup must be in [0, 1] and mixup_alpha > 0; got {self.mixup} and {self.mixup_alpha}")

    def __call__(
        self,
        inputs: dict[str, torch.Tensor],
        targets: torch.Tensor,
        objective: Objective,
        generator: np.random.Generator,
    ) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """Augmented inputs and targets.

        Args:
            inputs: the model's keyword arguments; ``input_values`` (B, frames, bins) is masked, (B, T) is not.
            targets: (B, C).
            objective: how targets mix.
            generator: decides.
        """
        values = inputs["input_values"]
        if values.ndim == 3:
            values = self._mask(values, generator)
        if generator.random() < self.mixup:
            share = float(generator.beta(self.mixup_alpha, self.mixup_alpha))
            values = share * values + (1.0 - share) * values.roll(1, 0)
            targets = objective.mix(targets, targets.roll(1, 0), share)
            if "attention_mask" in inputs:  # a mixture is as long as its longer part
                mask = torch.maximum(inputs["attention_mask"], inputs["attention_mask"].roll(1, 0))
                inputs = {**inputs, "attention_mask": mask}
        return {**inputs, "input_values": values}, targets

    def _mask(self, values: torch.Tensor, generator: np.random.Generator) -> torch.Tensor:
        """Zero some bands and stretches of each spectrogram, (B, frames, bins)."""
        for axis, count, width in (
            (2, self.frequency_masks, self.frequency_mask_bins),
            (1, self.time_masks, self.time_mask_frames),
        ):
            size = values.shape[axis]
            index = torch.arange(size, device=values.device)
            for _ in range(count):
                widths = generator.integers(0, min(width, size), len(values), endpoint=True)
                starts = torch.from_numpy(generator.integers(0, size - widths + 1)).to(values.device)
                stops = starts + torch.from_numpy(widths).to(values.device)
                masked = (index >= starts[:, None]) & (index < stops[:, None])  # (B, size)
                values = values.masked_fill(masked[:, None, :] if axis == 2 else masked[:, :, None], 0.0)
        return values
