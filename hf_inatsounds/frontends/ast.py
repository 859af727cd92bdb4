"""Audio Spectrogram Transformer frontend: log-mel filter banks equal to ``ASTFeatureExtractor``, batched."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from transformers.audio_utils import mel_filter_bank

from hf_inatsounds.frontends.base import Frontend, check_batch

FRAME_SAMPLES = 400
HOP_SAMPLES = 160
FFT_SAMPLES = 512
PREEMPHASIS = 0.97
MEL_FLOOR = 1.192092955078125e-07
"""Smallest mel energy, 2**-23 (Kaldi's), as ASTFeatureExtractor has it."""


class AstFrontend(Frontend):
    """Log-mel spectrogram, padded to ``max_length`` frames and normalised as AST expects it.

    ``y[b, t, m] = (log(max(mel_m · |DFT(frame_t)|², floor)) - mean) / (2 · std)`` for the frames that the
    waveform fills, and ``(0 - mean) / (2 · std)`` for the frames after them: the extractor pads the
    log-mel values with zeros before it normalises.

    Args:
        sampling_rate: in Hz.
        num_mel_bins: mel bands from 20 Hz to half the rate.
        max_length: frames of the output; further frames are cut off.
        do_normalize: whether to apply mean and std.
        mean: mean of the log-mel values.
        std: their standard deviation.

    Source: transformers.ASTFeatureExtractor, the path without torchaudio.
    """

    def __init__(
        self,
        sampling_rate: int = 16_000,
        num_mel_bins: int = 128,
        max_length: int = 1024,
        *,
        do_normalize: bool = True,
        mean: float = -4.2677393,
        std: float = 4.5689974,
    ) -> None:
        super().__init__()
        self.sampling_rate = sampling_rate
        self.pads_safely = True  # features are padded, not waveforms
        self.num_mel_bins = num_mel_bins
        self.max_length = max_length
        self.offset = float(mean) if do_normalize else 0.0
        self.scale = 2.0 * float(std) if do_normalize else 1.0
        with warnings.catch_warnings():  # 128 bands of 257 bins leave the lowest ones empty, in AST as published
            warnings.filterwarnings("ignore", message="At least one mel filter has all zero values")
            mel = mel_filter_bank(
                num_frequency_bins=FFT_SAMPLES // 2 + 1,
                num_mel_filters=num_mel_bins,
                min_frequency=20,
                max_frequency=sampling_rate // 2,
                sampling_rate=sampling_rate,
                norm=None,
                mel_scale="kaldi",
                triangularize_in_mel_space=True,
            )
        self.mel: torch.Tensor
        self.register_buffer("mel", torch.from_numpy(mel).float(), persistent=False)

    @classmethod
    def from_feature_extractor(cls, feature_extractor: Any) -> AstFrontend:
        """The frontend that equals ``feature_extractor`` (an ``ASTFeatureExtractor``) to 1e-4."""
        return cls(
            feature_extractor.sampling_rate,
            feature_extractor.num_mel_bins,
            feature_extractor.max_length,
            do_normalize=feature_extractor.do_normalize,
            mean=feature_extractor.mean,
            std=feature_extractor.std,
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
        n_frames = min(1 + (waveforms.shape[1] - FRAME_SAMPLES) // HOP_SAMPLES, self.max_length)
        shape = (waveforms.shape[0], self.max_length, self.num_mel_bins)
        log_mel = torch.zeros(shape, dtype=torch.float32, device=waveforms.device)
        if n_frames > 0:
            heard = waveforms[:, : FRAME_SAMPLES + (n_frames - 1) * HOP_SAMPLES]
            log_mel[:, :n_frames] = self._energy(heard).clamp_min(MEL_FLOOR).log()
        filled = (lengths - FRAME_SAMPLES).div(HOP_SAMPLES, rounding_mode="floor") + 1  # (B,) frames
        index = torch.arange(self.max_length, device=waveforms.device)
        padding = index[None, :] >= filled[:, None]
        log_mel = log_mel.masked_fill(padding[:, :, None], 0.0)
        return (log_mel - self.offset) / self.scale

    def _energy(self, waveforms: torch.Tensor) -> torch.Tensor:
        """Mel energies (B, frames, num_mel_bins) of all whole frames.

        In float64, as the extractor: beside a loud low tone float32 loses the quiet bands, and was measured
        7e-4 off on real recordings as a matrix product, 1e-3 as an FFT; on a CPU float64 costs an eighth more.
        MPS has no float64.
        """
        kind = torch.float32 if waveforms.device.type == "mps" else torch.float64
        with torch.autocast(waveforms.device.type, enabled=False):
            samples = waveforms.to(kind)
            emphasised = samples.clone()
            emphasised[:, 1:] -= PREEMPHASIS * samples[:, :-1]
            # A frame's mean is taken away before pre-emphasis, which leaves 1 - a of it. Its first sample, whose
            # predecessor is another frame's, does not matter: the window is 0 there.
            mean = samples.unfold(1, FRAME_SAMPLES, HOP_SAMPLES).mean(-1, keepdim=True)
            frames = emphasised.unfold(1, FRAME_SAMPLES, HOP_SAMPLES) - (1.0 - PREEMPHASIS) * mean
            window = torch.hann_window(FRAME_SAMPLES, periodic=False, dtype=kind, device=samples.device)
            spectrum = torch.fft.rfft(frames * window, FFT_SAMPLES)
            power = spectrum.real.square() + spectrum.imag.square()
            return (power @ self.mel.to(kind)).float()

    def model_inputs(self, waveforms: torch.Tensor, lengths: torch.Tensor) -> dict[str, torch.Tensor]:
        """``{"input_values": (B, max_length, num_mel_bins)}``."""
        return {"input_values": self(waveforms, lengths)}
