"""Whisper frontend: log-mel spectrograms equal to ``WhisperFeatureExtractor``, batched."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional
from transformers.audio_utils import mel_filter_bank

from hf_inatsounds.errors import CheckpointError
from hf_inatsounds.frontends.base import Frontend, InputLayout, check_batch, real_samples
from hf_inatsounds.frontends.blocks import by_rows

MEL_FLOOR = 1e-10
RANGE = 8.0
"""What is further than this below a recording's loudest value, in powers of ten, is raised to there."""


class WhisperFrontend(Frontend):
    """Log-mel spectrogram of ``n_samples``, longer recordings cut and shorter ones padded.

    ``y = log10(max(mel · |STFT(x)|², 1e-10))``, ``z = (max(y, max(y) - 8) + 4) / 4``, the STFT centred with
    reflection and without its last frame.

    Args:
        sampling_rate: in Hz.
        num_mel_bins: mel bands.
        hop_length: samples between frames.
        n_fft: samples of a frame.
        n_samples: samples of an input.
        padding_value: of the waveform.

    There is no attention mask: the encoder looks at all frames, silent ones too.

    Source: transformers.WhisperFeatureExtractor, the path with torch.
    """

    layout = InputLayout("input_features", time_axis=2, frequency_axis=1)

    def __init__(
        self,
        sampling_rate: int = 16_000,
        num_mel_bins: int = 80,
        hop_length: int = 160,
        n_fft: int = 400,
        n_samples: int = 480_000,
        *,
        padding_value: float = 0.0,
    ) -> None:
        super().__init__()
        self.sampling_rate = sampling_rate
        self.hop_length, self.n_fft, self.n_samples = hop_length, n_fft, n_samples
        self.longest_samples = n_samples
        self.padding_value = padding_value
        self.pads_safely = True  # every input has n_samples
        mel = mel_filter_bank(
            num_frequency_bins=1 + n_fft // 2,
            num_mel_filters=num_mel_bins,
            min_frequency=0.0,
            max_frequency=8_000.0,
            sampling_rate=sampling_rate,
            norm="slaney",
            mel_scale="slaney",
        )
        self.mel: torch.Tensor
        self.register_buffer("mel", torch.from_numpy(mel.T.copy()).float(), persistent=False)

    @classmethod
    def from_feature_extractor(cls, feature_extractor: Any) -> WhisperFrontend:
        """The frontend that equals ``feature_extractor`` (a ``WhisperFeatureExtractor``) to 1e-4.

        Raises:
            CheckpointError: if the extractor adds noise (``dither``).
        """
        if feature_extractor.dither:
            raise CheckpointError(
                "no frontend for a dithered input", where="dither", found=feature_extractor.dither, expected=0
            )
        return cls(
            feature_extractor.sampling_rate,
            feature_extractor.feature_size,
            feature_extractor.hop_length,
            feature_extractor.n_fft,
            int(feature_extractor.n_samples),
            padding_value=feature_extractor.padding_value,
        )

    def forward(self, waveforms: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Log-mel spectrograms.

        Args:
            waveforms: (B, T) float, mono, in [-1, 1].
            lengths: (B,) int, real samples of each row.

        Returns:
            (B, num_mel_bins, n_samples // hop_length) float32.

        Raises:
            ValueError: if the shapes do not fit each other.
        """
        check_batch(waveforms, lengths)
        with torch.autocast(waveforms.device.type, enabled=False):
            heard = waveforms[:, : self.n_samples].float()
            heard = functional.pad(heard, (0, self.n_samples - heard.shape[1]))
            heard = heard.masked_fill(~real_samples(lengths, self.n_samples), self.padding_value)
            return by_rows(self._spectrogram, heard)

    def _spectrogram(self, waveforms: torch.Tensor) -> torch.Tensor:
        window = torch.hann_window(self.n_fft, device=waveforms.device)
        spectrum = torch.stft(waveforms, self.n_fft, self.hop_length, window=window, return_complex=True)[..., :-1]
        power = (spectrum.real.square() + spectrum.imag.square()).contiguous()
        level = (self.mel @ power).clamp_min(MEL_FLOOR).log10()
        return (torch.maximum(level, level.amax((1, 2), keepdim=True) - RANGE) + 4.0) / 4.0

    def model_inputs(self, waveforms: torch.Tensor, lengths: torch.Tensor) -> dict[str, torch.Tensor]:
        """``{"input_features": (B, num_mel_bins, n_samples // hop_length)}``."""
        return {"input_features": self(waveforms, lengths)}
