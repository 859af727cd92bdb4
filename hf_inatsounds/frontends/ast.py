"""Audio Spectrogram Transformer frontend: log-mel filter banks equal to ``ASTFeatureExtractor``, batched."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

from hf_inatsounds.frontends.base import Frontend, InputLayout, Precision, check_batch, check_precision, real_samples
from hf_inatsounds.frontends.blocks import bands_of
from hf_inatsounds.frontends.filterbank import (
    frame_count,
    frame_counts,
    kaldi_mel,
    log_mel_energy,
    samples_of,
)


class AstFrontend(Frontend):
    """Log-mel spectrogram, padded to ``max_length`` frames and normalised as AST expects it.

    ``y[b, t, m] = (log(max(mel_m · |DFT(frame_t)|², floor)) - mean) / (2 · std)`` for the frames that the
    waveform fills, and ``(0 - mean) / (2 · std)`` for the frames after them: the extractor pads the
    log-mel values with zeros before it normalises.

    Args:
        sampling_rate: in Hz.
        num_mel_bins: mel bands from 20 Hz to half the rate.
        max_length: frames of the output; further frames are cut off, so a waveform should have at most
            ``longest_samples``.
        do_normalize: whether to apply mean and std.
        mean: mean of the log-mel values.
        std: their standard deviation.
        precision: of the spectrum; "float32" is for GPUs without a quick float64, and up to 1.2e-3 off on real
            recordings (decision 0002).

    Source: transformers.ASTFeatureExtractor, the path without torchaudio.
    """

    layout = InputLayout("input_values", time_axis=1, frequency_axis=2)

    def __init__(
        self,
        sampling_rate: int = 16_000,
        num_mel_bins: int = 128,
        max_length: int = 1024,
        *,
        do_normalize: bool = True,
        mean: float = -4.2677393,
        std: float = 4.5689974,
        precision: Precision = "float64",
    ) -> None:
        super().__init__()
        check_precision(precision)
        self.sampling_rate = sampling_rate
        self.pads_safely = True  # features are padded, not waveforms
        self.num_mel_bins = num_mel_bins
        self.max_length = max_length
        self.longest_samples = samples_of(max_length + 1) - 1  # less than another frame
        self.offset = float(mean) if do_normalize else 0.0
        self.scale = 2.0 * float(std) if do_normalize else 1.0
        self.precision: Precision = precision
        self.mel: torch.Tensor
        self.register_buffer("mel", kaldi_mel(sampling_rate, num_mel_bins), persistent=False)
        self._bands = bands_of(self.mel[0])

    @classmethod
    def from_feature_extractor(cls, feature_extractor: Any, *, precision: Precision = "float64") -> AstFrontend:
        """The frontend that equals ``feature_extractor`` (an ``ASTFeatureExtractor``) to 1e-4."""
        return cls(
            feature_extractor.sampling_rate,
            feature_extractor.num_mel_bins,
            feature_extractor.max_length,
            do_normalize=feature_extractor.do_normalize,
            mean=feature_extractor.mean,
            std=feature_extractor.std,
            precision=precision,
        )

    def forward(self, waveforms: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Log-mel features.

        Args:
            waveforms: (B, T) float, mono, in [-1, 1], zero-padded on the right.
            lengths: (B,) int, real samples of each row. A row of fewer than 400 has no frame: all padding.

        Returns:
            (B, max_length, num_mel_bins) float32.

        Raises:
            ValueError: if the shapes do not fit each other.
        """
        check_batch(waveforms, lengths)
        n_frames = min(frame_count(waveforms.shape[1]), self.max_length)
        log_mel = log_mel_energy(waveforms, n_frames, self.mel, self.precision, lengths=lengths, bands=self._bands)
        if n_frames < self.max_length:
            log_mel = functional.pad(log_mel, (0, 0, 0, self.max_length - n_frames))
        real = real_samples(frame_counts(lengths), self.max_length)
        return log_mel.masked_fill_(~real[:, :, None], 0.0).sub_(self.offset).div_(self.scale)

    def model_inputs(self, waveforms: torch.Tensor, lengths: torch.Tensor) -> dict[str, torch.Tensor]:
        """``{"input_values": (B, max_length, num_mel_bins)}``."""
        return {"input_values": self(waveforms, lengths)}
