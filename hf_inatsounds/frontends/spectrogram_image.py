"""Spectrogram images, as the dataset's paper makes them, for image backbones."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any

import numpy as np
import scipy.fft
import torch
from torch.nn import functional
from transformers.audio_utils import mel_filter_bank

from hf_inatsounds.frontends.base import Frontend, InputLayout, Precision, check_batch, spectrum_dtype
from hf_inatsounds.frontends.blocks import Frames, banded, bands_of, magnitude
from hf_inatsounds.frontends.image_settings import (
    HOP_SAMPLES,
    SCALES,
    WINDOW_SAMPLES,
    SpectrogramImageExtractor,
    Variant,
    longest_samples,
)
from hf_inatsounds.frontends.log_mel_images import level_of, log_mel_images

FFT_SAMPLES = 1024
MEL_BINS = 128
BAND = 8
"""Filters that are multiplied together: half as many as of log-mel frames. Their products go into memory that is
there, where sixteen small ones take three quarters of the time of eight."""
MAGNITUDE_FLOOR = 1e-10


class SpectrogramImageFrontend(Frontend):
    """Mel spectrogram as a grey image, resized and normalised for an image backbone.

    ``S[m, t] = 20 · log10(max(Σ_k mel[k, m] · |DFT_1024(w · x_t)_k| · 2 / Σ w, 1e-10))`` with x_t the 512 samples
    from 128 t on and w the periodic Hann window; ``pixel = ⌊255 · (clip(S) - low) / (high - low)⌋``, the highest
    band in row 0. The frames are cut at ``n_frames`` or centred among black columns, divided by 255, resized
    (bilinear, antialiased), normalised by the variant's mean and standard deviation, repeated to three channels.

    Args:
        variant: "raw" or "scaled".
        n_frames: columns before resizing.
        image_size: of the output.
        sampling_rate: in Hz.
        precision: of the spectrum, "float32" or "float64". The authors' pixels hold the rounding of scipy's float32
            FFT, so that neither gives them all: on real recordings 0.11 % (raw) and 0.01 % (scaled) of the pixels are
            one off in float32, 0.07 % and 0.01 % in float64, and none more. ``spectrogram`` has their very arithmetic.

    Source: gvanhorn38/iNatSounds wav2mel.py (raw), cvl-umass/audio-geolocation (scaled), cvl-umass/iNatSounds.
    """

    layout = InputLayout("pixel_values", time_axis=3, frequency_axis=2)

    def __init__(
        self,
        variant: Variant = "raw",
        n_frames: int = 512,
        image_size: int | tuple[int, int] = 224,
        sampling_rate: int = 22_050,
        precision: Precision = "float32",
    ) -> None:
        super().__init__()
        self.settings = SpectrogramImageExtractor(variant, n_frames, image_size, sampling_rate, precision)
        self.sampling_rate = sampling_rate
        self.pads_safely = True  # images are padded, not waveforms
        self.longest_samples = longest_samples(n_frames)
        mel = mel_filter_bank(
            num_frequency_bins=FFT_SAMPLES // 2 + 1,
            num_mel_filters=MEL_BINS,
            min_frequency=0,
            max_frequency=sampling_rate / 2,
            sampling_rate=sampling_rate,
            norm=None,
            mel_scale="kaldi",  # 1127 · ln(1 + f / 700)
            triangularize_in_mel_space=True,
        )
        self.mel: torch.Tensor
        self._authors_mel = mel[:, ::-1].copy()  # bands from high to low, so that row 0 is the highest
        self.register_buffer("mel", torch.from_numpy(self._authors_mel).float(), persistent=False)
        self._bands = bands_of(self.mel, BAND)

    @classmethod
    def from_feature_extractor(cls, feature_extractor: SpectrogramImageExtractor) -> SpectrogramImageFrontend:
        """The frontend with the settings of ``feature_extractor``."""
        return cls(**{one.name: getattr(feature_extractor, one.name) for one in fields(feature_extractor)})

    def spectrogram(self, waveform: Any) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """The whole spectrogram of one recording, as the authors store it, on the host and in their arithmetic.

        Args:
            waveform: (T,) int16, or float32 in [-1, 1].

        Returns:
            (128, frames) uint8, frames = 1 + (T - 512) // 128, or 0 below 512 samples.
        """
        scale, samples = SCALES[self.settings.variant], np.asarray(waveform)
        values = samples.astype(np.float32) * np.float32(1.0 if samples.dtype == np.int16 else 32_768.0)
        if self.settings.variant == "scaled":
            values = values / np.float32(32_767.0)
        if len(values) < WINDOW_SAMPLES:
            return np.zeros((MEL_BINS, 0), np.uint8)
        frames = np.lib.stride_tricks.sliding_window_view(values, WINDOW_SAMPLES)[::HOP_SAMPLES]
        window = torch.hann_window(WINDOW_SAMPLES, periodic=True, dtype=torch.float64).numpy()
        spectrum = scipy.fft.rfft(frames * window.astype(np.float32), FFT_SAMPLES)
        magnitudes = np.abs(spectrum) * np.float32(2.0 / window.sum())
        bands = np.empty((len(frames), MEL_BINS))  # in float64, as the authors' filters are
        for filters, bins in self._bands:
            bands[:, filters] = magnitudes[:, bins] @ self._authors_mel[bins, filters]
        level = np.clip(20.0 * np.log10(np.maximum(bands, MAGNITUDE_FLOOR)), scale.lowest_db, scale.highest_db)
        values = (level - scale.lowest_db) * 255.0 / (scale.highest_db - scale.lowest_db)
        pixels: np.ndarray[Any, np.dtype[np.uint8]] = values.astype(np.uint8).T
        return pixels

    def forward(self, waveforms: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Images.

        Args:
            waveforms: (B, T) float, mono, in [-1, 1], zero-padded on the right.
            lengths: (B,) int, real samples of each row. A row of fewer than 512 has no frame: a black image.

        Returns:
            (B, 3, height, width) float32; the three channels are one.

        Raises:
            ValueError: if the shapes do not fit each other.
        """
        check_batch(waveforms, lengths)
        n_frames, scale = self.settings.n_frames, SCALES[self.settings.variant]
        found = min(max(1 + (waveforms.shape[1] - WINDOW_SAMPLES) // HOP_SAMPLES, 0), n_frames)
        images = functional.pad(self._pixels(waveforms, found, lengths), (0, n_frames - found))  # (B, 128, n_frames)
        filled = (lengths - WINDOW_SAMPLES).div(HOP_SAMPLES, rounding_mode="floor") + 1
        filled = filled.clamp(0, found)[:, None]
        index = torch.arange(n_frames, device=waveforms.device)[None, :] - (n_frames - filled) // 2
        heard = (index >= 0) & (index < filled)  # (B, n_frames)
        columns = index.clamp(0, n_frames - 1)[:, None, :].expand(-1, MEL_BINS, -1)
        images = images.gather(2, columns).where(heard[:, None, :], 0) / 255.0
        resized = functional.interpolate(images[:, None], self.settings.size, mode="bilinear", antialias=True)
        mean = (
            scale.mean - 0.0 * waveforms.sum(1)[:, None, None, None]
        )  # no number where a sample is none: pixels hide it
        return ((resized - mean) / scale.std).expand(-1, 3, -1, -1)

    def _pixels(self, waveforms: torch.Tensor, n_frames: int, lengths: torch.Tensor | None = None) -> torch.Tensor:
        """Pixels (B, 128, n_frames) uint8 of the first ``n_frames`` frames."""
        if n_frames == 0:
            return waveforms.new_zeros((waveforms.shape[0], MEL_BINS, 0), dtype=torch.uint8)
        scale, device = SCALES[self.settings.variant], waveforms.device
        window = torch.hann_window(
            WINDOW_SAMPLES, periodic=True, dtype=spectrum_dtype(self.settings.precision, device), device=device
        )
        # so that what the lowest decibels are the level of becomes 1, and its logarithm 0
        window = window * (scale.full_scale * 2.0 / 10.0 ** (scale.lowest_db / 20.0) / window.sum())
        levels_a_neper = 20.0 / math.log(10.0) * 255.0 / (scale.highest_db - scale.lowest_db)
        with torch.autocast(device.type, enabled=False):
            if device.type == "cpu" and not torch.compiler.is_compiling() and not waveforms.requires_grad:
                frames = Frames(WINDOW_SAMPLES, HOP_SAMPLES, n_frames, MEL_BINS)
                return log_mel_images(
                    waveforms, lengths, frames, window, FFT_SAMPLES, self.mel, self._bands, levels_a_neper
                )
            return level_of(self._bands_of_frames(waveforms, n_frames, window).log(), levels_a_neper).byte()

    def _bands_of_frames(self, waveforms: torch.Tensor, n_frames: int, window: torch.Tensor) -> torch.Tensor:
        """(B, 128, n_frames) magnitudes in bands, of all rows at once on any device."""
        # as long as the FFT, under a window that is 0 from sample 512 on: torch's own padding takes longer than the FFT
        padded = functional.pad(waveforms.to(window.dtype), (0, FFT_SAMPLES - WINDOW_SAMPLES))
        frames = padded.unfold(1, FFT_SAMPLES, HOP_SAMPLES)[:, :n_frames]
        spectrum = torch.fft.rfft(frames * functional.pad(window, (0, FFT_SAMPLES - WINDOW_SAMPLES)))
        # what follows the magnitudes has no cancellation and needs no float64
        return banded(magnitude(spectrum).float(), self.mel, self._bands).transpose(1, 2)

    def model_inputs(self, waveforms: torch.Tensor, lengths: torch.Tensor) -> dict[str, torch.Tensor]:
        """``{"pixel_values": (B, 3, height, width)}``."""
        return {"pixel_values": self(waveforms, lengths)}
