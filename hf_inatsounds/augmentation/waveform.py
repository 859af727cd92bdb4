"""Random changes of a waveform that leave its species the same."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import soxr

from hf_inatsounds.audio import Waveform
from hf_inatsounds.augmentation.chain import AugmentationChain


@dataclass(frozen=True)
class WaveformAugmentation:
    """Random changes of a training crop that leave its species the same.

    Args:
        gain_db: gain drawn from ± this, in dB; 0 for none.
        noise: probability of added white noise, 5 to 40 dB below the crop.
        pitch: probability of playing the crop up to 18 % faster or slower, which moves pitch and tempo.
        shorten: probability of keeping only a part, 60 % at least, of a crop that holds a whole recording.
        chain: audiomentations' transforms, after the others.
    """

    gain_db: float = 0.0
    noise: float = 0.0
    pitch: float = 0.0
    shorten: float = 0.0
    chain: AugmentationChain = field(default_factory=AugmentationChain)

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
        if not (self.gain_db or self.noise or self.pitch or self.shorten or len(self.chain)):
            return crop[:size_samples]
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
        if self.gain_db:
            crop = crop * np.float32(10 ** (gain_db / 20))
        crop = np.asarray(crop, dtype=np.float32)
        return self.chain(crop, sampling_rate, generator)[:size_samples]
