"""Wav2Vec2-BERT frontend: pairs of log-mel frames equal to ``SeamlessM4TFeatureExtractor``, batched."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

from hf_inatsounds.frontends.base import Frontend, InputLayout, Precision, check_batch, check_precision, real_samples
from hf_inatsounds.frontends.filterbank import frame_count, frame_counts, kaldi_mel, log_mel_energy

INT16_SCALE = 2.0**15
POVEY = 0.85
VARIANCE_FLOOR = 1e-7


class Wav2Vec2BertFrontend(Frontend):
    """Log-mel frames with zero mean and unit variance in each band, ``stride`` of them side by side.

    ``z[t, m] = (y[t, m] - mean_t y[·, m]) / sqrt(var_t y[·, m] + 1e-7)`` over the real frames of a row, with the
    variance of n - 1; ``padding_value`` after them; then frames 2 t and 2 t + 1 become one row of 2 M values. A
    recording of one frame, for which the extractor gives NaN, gives zeros.

    Args:
        sampling_rate: in Hz.
        num_mel_bins: mel bands from 20 Hz to half the rate.
        stride: frames side by side.
        padding_value: value after the real frames.
        return_attention_mask: whether ``model_inputs`` has an ``attention_mask``.
        precision: of the spectrum.

    Source: transformers.SeamlessM4TFeatureExtractor.
    """

    layout = InputLayout("input_features", time_axis=1, frequency_axis=2)

    def __init__(
        self,
        sampling_rate: int = 16_000,
        num_mel_bins: int = 80,
        stride: int = 2,
        *,
        padding_value: float = 0.0,
        return_attention_mask: bool = True,
        precision: Precision = "float64",
    ) -> None:
        super().__init__()
        check_precision(precision)
        self.sampling_rate = sampling_rate
        self.stride = stride
        self.padding_value = padding_value
        self.return_attention_mask = return_attention_mask
        self.pads_safely = return_attention_mask
        self.precision: Precision = precision
        self.mel: torch.Tensor
        self.register_buffer("mel", kaldi_mel(sampling_rate, num_mel_bins), persistent=False)

    @classmethod
    def from_feature_extractor(cls, feature_extractor: Any) -> Wav2Vec2BertFrontend:
        """The frontend that equals ``feature_extractor`` (a ``SeamlessM4TFeatureExtractor``) to 1e-4."""
        return cls(
            feature_extractor.sampling_rate,
            feature_extractor.num_mel_bins,
            feature_extractor.stride,
            padding_value=feature_extractor.padding_value,
            return_attention_mask=feature_extractor.return_attention_mask,
        )

    def forward(self, waveforms: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Normalised log-mel frames.

        Args:
            waveforms: (B, T) float, mono, in [-1, 1], zero-padded on the right.
            lengths: (B,) int, real samples of each row.

        Returns:
            (B, ⌈frames / stride⌉, stride · num_mel_bins) float32, frames those of T.

        Raises:
            ValueError: if the shapes do not fit each other.
        """
        check_batch(waveforms, lengths)
        n_frames = frame_count(waveforms.shape[1])
        log_mel = log_mel_energy(
            waveforms * INT16_SCALE,
            n_frames,
            self.mel,
            self.precision,
            exponent=POVEY,
            as_stored=True,
            lengths=lengths,
        )
        filled = frame_counts(lengths)
        real = real_samples(filled, n_frames)[:, :, None]
        count = filled[:, None, None]
        mean = log_mel.where(real, 0.0).sum(1, keepdim=True) / count.clamp_min(1)
        centred = (log_mel - mean).where(real, 0.0)
        variance = centred.square().sum(1, keepdim=True) / (count - 1).clamp_min(1)
        features = (centred / (variance + VARIANCE_FLOOR).sqrt()).masked_fill(~real, self.padding_value)
        features = functional.pad(features, (0, 0, 0, -n_frames % self.stride), value=self.padding_value)
        return features.reshape(len(features), -1, self.stride * features.shape[2])

    def model_inputs(self, waveforms: torch.Tensor, lengths: torch.Tensor) -> dict[str, torch.Tensor]:
        """``{"input_features": (B, F, 2 M)}``, with ``"attention_mask": (B, F) int32`` where the extractor makes one.

        A pair of frames counts where its second frame is real, as the extractor has it.
        """
        inputs = {"input_features": self(waveforms, lengths)}
        if self.return_attention_mask:
            last = torch.arange(inputs["input_features"].shape[1], device=waveforms.device) * self.stride + 1
            inputs["attention_mask"] = (last[None, :] < frame_counts(lengths)[:, None]).int()
        return inputs
