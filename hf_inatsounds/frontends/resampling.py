"""Resampling in batch on any device: polyphase windowed-sinc as one matrix product."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from hf_inatsounds.frontends.base import real_samples

STOPBAND_DB = 100.0
"""Attenuation that the Kaiser window is designed for."""

PASSBAND = 0.9
"""Share of the lower Nyquist frequency that passes unchanged. Between it and the Nyquist frequency the filter falls,
so that nothing is folded back: 7.2 to 8 kHz at 16 kHz."""


def resampled_length(n_samples: int, rate_in: int, rate_out: int) -> int:
    """Samples of the result: round(T · out / in), as Python rounds.

    >>> resampled_length(22_050, 22_050, 16_000)
    16000
    """
    return round(n_samples * rate_out / rate_in)


def resampling_kernel(rate_in: int, rate_out: int) -> tuple[np.ndarray[Any, np.dtype[np.float32]], int]:
    """The filter of one period: ``out // gcd`` results from a stretch of input.

    Result k of a period lies at k · in / out samples of the input and is the input there, convolved with
    ``h(t) = c · sinc(c · t) · kaiser(t / w)``, c the cutoff in units of the input's rate. Each row of the kernel sums
    to 1, so that a constant stays what it is.

    Args:
        rate_in: in Hz.
        rate_out: in Hz.

    Returns:
        (out // gcd, in // gcd + 2 · width) float32, and ``width``, the samples needed on either side.

    Source: Kaiser's design formulas, as in scipy.signal.kaiserord.
    """
    gcd = math.gcd(rate_in, rate_out)
    step_in, step_out = rate_in // gcd, rate_out // gcd
    nyquist = min(1.0, rate_out / rate_in) / 2  # of the lower rate, in cycles a sample of the input
    fall = nyquist * (1.0 - PASSBAND)
    cutoff = nyquist - fall / 2
    half = (STOPBAND_DB - 7.95) / (2.285 * 2 * math.pi * fall) / 2  # of the filter's length, in samples
    width = math.ceil(half)
    beta = 0.1102 * (STOPBAND_DB - 8.7)
    place = np.arange(step_out)[:, None] * (step_in / step_out)
    t = np.arange(-width, step_in + width)[None, :] - place
    window = np.i0(beta * np.sqrt(np.clip(1.0 - (t / half) ** 2, 0.0, None))) / np.i0(beta)
    kernel = 2 * cutoff * np.sinc(2 * cutoff * t) * np.where(np.abs(t) < half, window, 0.0)
    return (kernel / kernel.sum(1, keepdims=True)).astype(np.float32), width


LARGEST_STEP = 4096
"""Of the ratio in lowest terms; beyond it the kernel would be a large matrix for a strange rate."""


def resamples_in_batch(rate_in: int, rate_out: int) -> bool:
    """Whether :class:`Resample` takes these rates.

    >>> resamples_in_batch(22_050, 16_000), resamples_in_batch(22_051, 16_000)
    (True, False)
    """
    return max(rate_in, rate_out) // math.gcd(rate_in, rate_out) <= LARGEST_STEP


class Resample(nn.Module):
    """(B, T) waveforms at one rate → at another, in float32.

    Each stretch of ``in // gcd`` samples gives ``out // gcd``: 441 → 320 for 22,050 → 16,000 Hz. Waveforms are taken
    as silent outside of [0, length).

    Args:
        rate_in: in Hz.
        rate_out: in Hz.

    Raises:
        ValueError: if a rate is not positive, or their ratio has no small numbers.
    """

    def __init__(self, rate_in: int, rate_out: int) -> None:
        super().__init__()
        if rate_in < 1 or rate_out < 1:
            raise ValueError(f"rates must be positive; got {rate_in} and {rate_out}")
        gcd = math.gcd(rate_in, rate_out)
        self.rate_in, self.rate_out = rate_in, rate_out
        self.step_in, self.step_out, self.width = 1, 1, 0
        if rate_in == rate_out:
            return
        self.step_in, self.step_out = rate_in // gcd, rate_out // gcd
        if not resamples_in_batch(rate_in, rate_out):
            raise ValueError(f"{rate_in} and {rate_out} Hz have too small a common divisor; resample with soxr")
        self.kernel: torch.Tensor
        kernel, self.width = resampling_kernel(rate_in, rate_out)
        self.register_buffer("kernel", torch.from_numpy(kernel), persistent=False)

    def forward(self, waveforms: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Resampled waveforms.

        Args:
            waveforms: (B, T) float, zero behind each one's length.
            lengths: (B,) int, real samples of each.

        Returns:
            (B, round(T · out / in)) float32, zero behind each one's length, and the lengths, (B,) int64.
        """
        if self.rate_in == self.rate_out:
            return waveforms.float(), lengths
        n_out = resampled_length(waveforms.shape[1], self.rate_in, self.rate_out)
        with torch.autocast(waveforms.device.type, enabled=False):
            periods = max(-(-n_out // self.step_out), 1)
            size = (periods - 1) * self.step_in + self.kernel.shape[1]
            padded = functional.pad(waveforms.float(), (self.width, max(size - self.width - waveforms.shape[1], 0)))
            stretches = padded[:, :size].unfold(1, self.kernel.shape[1], self.step_in)  # (B, periods, stretch)
            made = (stretches @ self.kernel.T).flatten(1)[:, :n_out]
        new = (lengths.double() * self.rate_out / self.rate_in).round().long()
        return made.masked_fill(~real_samples(new, made.shape[1]), 0.0), new
