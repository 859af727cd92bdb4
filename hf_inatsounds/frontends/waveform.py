"""Waveform frontend: zero mean, unit variance, as ``Wav2Vec2FeatureExtractor`` gives it one by one."""

from __future__ import annotations

from typing import Any

import torch

from hf_inatsounds.frontends.base import Frontend, InputLayout, check_batch, real_samples

VARIANCE_FLOOR = 1e-7
"""Added to the variance before the root, as Wav2Vec2FeatureExtractor does."""


class WaveformFrontend(Frontend):
    """Normalised waveforms for Wav2Vec2, HuBERT, WavLM and their relatives.

    ``y = (x - mean(x)) / sqrt(var(x) + 1e-7)`` over the real samples of each row, ``padding_value`` after
    them. Rows equal what the extractor gives for that waveform alone. (The extractor's own batches differ
    where it makes no attention mask: it then takes mean and variance over the padding too, so that a
    recording's input would depend on its neighbours.)

    Args:
        sampling_rate: in Hz.
        do_normalize: whether to normalise.
        padding_value: value after the real samples.
        return_attention_mask: whether ``model_inputs`` has an ``attention_mask``.

    Source: transformers.Wav2Vec2FeatureExtractor.zero_mean_unit_var_norm.
    """

    layout = InputLayout("input_values")

    def __init__(
        self,
        sampling_rate: int = 16_000,
        *,
        do_normalize: bool = True,
        padding_value: float = 0.0,
        return_attention_mask: bool = False,
    ) -> None:
        super().__init__()
        self.sampling_rate = sampling_rate
        self.do_normalize = do_normalize
        self.padding_value = padding_value
        self.return_attention_mask = return_attention_mask
        self.pads_safely = return_attention_mask

    @classmethod
    def from_feature_extractor(cls, feature_extractor: Any) -> WaveformFrontend:
        """The frontend that equals ``feature_extractor`` (a ``Wav2Vec2FeatureExtractor``) to 1e-4."""
        return cls(
            feature_extractor.sampling_rate,
            do_normalize=feature_extractor.do_normalize,
            padding_value=feature_extractor.padding_value,
            return_attention_mask=feature_extractor.return_attention_mask,
        )

    def forward(self, waveforms: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Normalised waveforms.

        Args:
            waveforms: (B, T) float, mono.
            lengths: (B,) int, real samples of each row.

        Returns:
            (B, T) float32.

        Raises:
            ValueError: if the shapes do not fit each other.
        """
        check_batch(waveforms, lengths)
        waveforms = waveforms.float()
        if waveforms.device.type == "cpu" and not torch.compiler.is_compiling():
            return self._row_by_row(waveforms, lengths)
        real = real_samples(lengths, waveforms.shape[1])
        if self.do_normalize:
            count = lengths.clamp_min(1)[:, None]
            mean = waveforms.where(real, 0.0).sum(1, keepdim=True) / count
            centred = (waveforms - mean).where(real, 0.0)
            variance = centred.square().sum(1, keepdim=True) / count
            waveforms = centred / (variance + VARIANCE_FLOOR).sqrt()
        return waveforms.masked_fill(~real, self.padding_value)

    def _row_by_row(self, waveforms: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """The same on a CPU: a row fits its cache, and padding is not looked at."""
        made = torch.empty_like(waveforms)
        for row, waveform, length in zip(made, waveforms, lengths.tolist(), strict=True):
            heard = waveform[:length]
            if self.do_normalize and length:
                mean = heard.mean()
                heard = torch.sub(heard, mean, out=row[:length])
                heard.mul_(1 / (torch.dot(heard, heard) / length + VARIANCE_FLOOR).sqrt())
            else:
                row[:length] = heard
            row[length:] = self.padding_value
        return made

    def model_inputs(self, waveforms: torch.Tensor, lengths: torch.Tensor) -> dict[str, torch.Tensor]:
        """``{"input_values": (B, T)}``, with ``"attention_mask": (B, T) int32`` where the extractor makes one."""
        inputs = {"input_values": self(waveforms, lengths)}
        if self.return_attention_mask:
            inputs["attention_mask"] = real_samples(lengths, waveforms.shape[1]).int()
        return inputs
