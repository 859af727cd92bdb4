"""Synthesised vocalisations: one call a species, repeated over noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hf_inatsounds.schema import SAMPLING_RATE_HZ

Waveform = np.ndarray[Any, np.dtype[np.float64]]

SNRS_DB = (-3.0, 3.0, 9.0, 18.0)
"""Signal-to-noise ratios that recordings are drawn from."""


@dataclass(frozen=True)
class Voice:
    """How a species sounds.

    A call is ``notes`` notes of ``note_s`` seconds, ``gap_s`` apart; calls are ``pause_s`` apart. A note's
    frequency goes from ``start_hz`` to ``stop_hz`` and wobbles by ``vibrato`` (a share of it) ``vibrato_hz``
    times per second; its amplitude is modulated ``buzz_hz`` times per second; ``harmonics`` are added at 1 / n
    of the amplitude; ``hiss`` of its energy is band noise around the frequency.
    """

    start_hz: float
    stop_hz: float
    note_s: float
    notes: int = 1
    gap_s: float = 0.05
    pause_s: float = 0.6
    vibrato: float = 0.0
    vibrato_hz: float = 0.0
    buzz_hz: float = 0.0
    harmonics: int = 1
    hiss: float = 0.0


def note(voice: Voice, pitch: float, generator: np.random.Generator) -> Waveform:
    """One note, (T,), at ``pitch`` times the voice's frequency, peak about 1."""
    t = np.arange(max(round(voice.note_s * SAMPLING_RATE_HZ), 2)) / SAMPLING_RATE_HZ
    frequency = pitch * np.geomspace(voice.start_hz, voice.stop_hz, len(t))
    if voice.vibrato:
        frequency = frequency * (1.0 + voice.vibrato * np.sin(2 * np.pi * voice.vibrato_hz * t))
    phase = 2 * np.pi * np.cumsum(frequency) / SAMPLING_RATE_HZ
    tone = sum(np.sin(n * phase) / n for n in range(1, voice.harmonics + 1))
    if voice.hiss:  # a slow random walk of the phase smears the tone into a band
        walk = np.cumsum(generator.normal(0.0, 0.35, len(t)))
        tone = (1.0 - voice.hiss) * tone + voice.hiss * np.sin(phase + walk)
    if voice.buzz_hz:
        tone = tone * (0.5 - 0.5 * np.cos(2 * np.pi * voice.buzz_hz * t)) ** 2
    fade = np.minimum(1.0, np.minimum(t, t[::-1]) / max(0.15 * voice.note_s, 0.002))
    shaped: Waveform = tone * fade
    return shaped


def recording(voice: Voice, duration_s: float, generator: np.random.Generator) -> Waveform:
    """One field recording, (T,), in [-1, 1]: calls of one individual over coloured noise.

    Args:
        voice: who calls.
        duration_s: in seconds.
        generator: decides on pitch, rhythm, loudness and noise.
    """
    n = max(round(duration_s * SAMPLING_RATE_HZ), 1)
    signal = np.zeros(n)
    pitch = float(np.exp(generator.normal(0.0, 0.04)))  # an individual's own
    tempo = float(np.exp(generator.normal(0.0, 0.10)))
    position = 0 if duration_s < 1.0 else int(generator.uniform(0.0, 0.5) * SAMPLING_RATE_HZ)
    while position < n:
        for _ in range(voice.notes):
            sound = note(voice, pitch * float(np.exp(generator.normal(0.0, 0.01))), generator)
            stop = min(position + len(sound), n)
            if position < stop:
                signal[position:stop] += sound[: stop - position]
            position += len(sound) + round(voice.gap_s * tempo * SAMPLING_RATE_HZ)
        position += round(voice.pause_s * tempo * float(generator.uniform(0.7, 1.3)) * SAMPLING_RATE_HZ)
    loud = np.abs(signal) > 0.05
    power = float(np.mean(signal[loud] ** 2)) if loud.any() else 1.0
    snr_db = float(generator.choice(SNRS_DB))
    mixed = signal + noise(n, generator) * np.sqrt(power / 10 ** (snr_db / 10))
    level: Waveform = mixed / np.abs(mixed).max() * float(generator.uniform(0.15, 0.9))
    return level


def noise(n: int, generator: np.random.Generator) -> Waveform:
    """Noise of unit power, (n,), between white and brown, as wind, water and microphones make it."""
    spectrum = np.fft.rfft(generator.standard_normal(n))
    tilt = float(generator.uniform(0.2, 0.9))
    coloured = np.fft.irfft(spectrum / np.arange(1, len(spectrum) + 1) ** tilt, n)
    unit: Waveform = coloured / (np.sqrt(np.mean(coloured**2)) + 1e-12)
    return unit
