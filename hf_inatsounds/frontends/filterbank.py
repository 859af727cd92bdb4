"""Kaldi's mel filter banks, batched: what AST and Wav2Vec2-BERT see before they normalise."""

from __future__ import annotations

import warnings

import torch
from torch.nn import functional
from transformers.audio_utils import mel_filter_bank

from hf_inatsounds.frontends.base import Precision, spectrum_dtype
from hf_inatsounds.frontends.blocks import Bands, Frames, banded, by_frames, magnitude

FRAME_SAMPLES = 400
HOP_SAMPLES = 160
FFT_SAMPLES = 512
PREEMPHASIS = 0.97
MEL_FLOOR = 1.192092955078125e-07
"""Smallest mel energy, 2**-23 (Kaldi's), as the extractors have it."""


def frame_count(n_samples: int) -> int:
    """Whole frames of ``n_samples``.

    >>> frame_count(399), frame_count(400), frame_count(560)
    (0, 1, 2)
    """
    return max(1 + (n_samples - FRAME_SAMPLES) // HOP_SAMPLES, 0)


def samples_of(frames: int) -> int:
    """The fewest samples that give so many frames.

    >>> samples_of(1), samples_of(2)
    (400, 560)
    """
    return FRAME_SAMPLES + (frames - 1) * HOP_SAMPLES


def frame_counts(lengths: torch.Tensor) -> torch.Tensor:
    """The same for each length, (B,)."""
    return ((lengths - FRAME_SAMPLES).div(HOP_SAMPLES, rounding_mode="floor") + 1).clamp_min(0)


def kaldi_mel(sampling_rate: int, num_mel_bins: int) -> torch.Tensor:
    """Mel filters from 20 Hz to half the rate, as two float32 parts that add up to float64's digits.

    A buffer of float64 could not move to MPS.

    Returns:
        (2, 257, num_mel_bins) float32.
    """
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
    whole = torch.from_numpy(mel)
    return torch.stack([whole.float(), (whole - whole.float()).float()])


def log_mel_energy(
    waveforms: torch.Tensor,
    n_frames: int,
    mel: torch.Tensor,
    precision: Precision,
    *,
    exponent: float = 1.0,
    as_stored: bool = False,
    lengths: torch.Tensor | None = None,
    bands: Bands | None = None,
) -> torch.Tensor:
    """``log(max(mel · |DFT(window · (x - mean(x) with pre-emphasis))|², floor))`` of the first ``n_frames`` frames.

    The spectrum is float64, as the extractors': beside a loud low tone float32 loses the quiet bands, and was
    measured 7e-4 off on real recordings as a matrix product, 1e-3 as an FFT (decision 0002). MPS has no float64.
    From the power on nothing cancels, and float32 does.

    Args:
        waveforms: (B, T) float, as loud as the extractor takes them.
        n_frames: ≤ ``frame_count(T)``.
        mel: as ``kaldi_mel`` gives them.
        precision: of the spectrum.
        exponent: of the symmetric Hann window: 1, or 0.85 for Kaldi's "povey" window.
        as_stored: round as the extractors do, and nowhere else: of two nearly equal frames that are normalised by
            their difference, one sees it.
        lengths: (B,) real samples of each row; frames behind them may be anything.
        bands: of ``mel``, as :func:`bands_of` finds them: less to multiply.

    Returns:
        (B, n_frames, M) float32.
    """
    if n_frames == 0:
        return waveforms.new_zeros((waveforms.shape[0], 0, mel.shape[2]), dtype=torch.float32)
    kind = spectrum_dtype(precision, waveforms.device)
    with torch.autocast(waveforms.device.type, enabled=False):
        hann = torch.hann_window(FRAME_SAMPLES, periodic=False, dtype=kind, device=waveforms.device)
        window = functional.pad(hann.pow(exponent), (0, FFT_SAMPLES - FRAME_SAMPLES))
        filters = mel.to(kind).sum(0) if as_stored else mel[0]

        def log_mel(rows: torch.Tensor) -> torch.Tensor:
            spectrum = _spectrum(rows.to(kind), window)
            if as_stored:
                spectrum = spectrum.to(torch.complex64)
                power = spectrum.real.to(kind).square() + spectrum.imag.to(kind).square()
                return (power @ filters).clamp_min(MEL_FLOOR).log().float()
            power = magnitude(spectrum).float().square_()
            energy = power @ filters if bands is None else banded(power, filters, bands)
            return energy.clamp_min(MEL_FLOOR).log()

        return by_frames(log_mel, waveforms, Frames(FRAME_SAMPLES, HOP_SAMPLES, n_frames, mel.shape[2]), lengths)


def _spectrum(samples: torch.Tensor, window: torch.Tensor) -> torch.Tensor:
    """Spectra (B, frames, 257) of all whole frames.

    Frames are cut as long as the FFT, under a window that is 0 from the 400th sample on: given shorter ones, torch
    pads them itself, and was measured to take six times as long.
    """
    n_frames = frame_count(samples.shape[1])
    # A frame's mean is taken away before pre-emphasis, which leaves 1 - a of it. Its first sample, whose
    # predecessor is another frame's, does not matter: the window is 0 there.
    mean = samples.unfold(1, FRAME_SAMPLES, HOP_SAMPLES).mean(-1, keepdim=True)
    emphasised = torch.sub(samples[:, 1:], samples[:, :-1], alpha=PREEMPHASIS)
    emphasised = functional.pad(emphasised, (1, FFT_SAMPLES - FRAME_SAMPLES))
    frames = emphasised.unfold(1, FFT_SAMPLES, HOP_SAMPLES)[:, :n_frames]
    return torch.fft.rfft((frames - (1.0 - PREEMPHASIS) * mean).mul_(window))
