"""Windows of FLAC files, by a decoder of our own where much is read.

It takes 3.6 ns a sample, where libsndfile takes 9.5, and gives the same values. It reads what encoders write and
nothing else; whatever is unusual or damaged it leaves to libsndfile, errors included. numba compiles it, seven seconds
once an installation, and half a second is needed to load it: so it comes into use when a process has read enough, or
is about to (decision 0022).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from hf_inatsounds.flac.stream import PlainFlac, plain_flac

__all__ = ["PlainFlac", "WORTHWHILE_SAMPLES", "count_read", "plain_flac", "prepare", "read_mono", "ready"]

WORTHWHILE_SAMPLES = 1 << 26
"""Read by libsndfile, .6 s of a core, before the decoder is loaded, which takes as long: who reads less never waits
for it, and who reads more has not lost more than that."""

Waveform = np.ndarray[Any, np.dtype[np.float32]]


class _Decoder:
    """The compiled function, once there is one, and what was read before."""

    read: Callable[..., bool] | None = None
    samples_before: int = 0


def ready() -> bool:
    """Whether the decoder is loaded."""
    return _Decoder.read is not None


def prepare() -> None:
    """Load the decoder; compile it where this installation has not yet. Processes forked from here on have it, too."""
    if _Decoder.read is None:
        import numba

        if numba.config.DISABLE_JIT:  # its functions are no Python
            return
        from hf_inatsounds.flac.window import read_window

        _Decoder.read = read_window


def count_read(n_samples: int) -> None:
    """That libsndfile decoded so many samples of FLAC; they may make it worthwhile to load the decoder."""
    _Decoder.samples_before += n_samples
    if _Decoder.samples_before >= WORTHWHILE_SAMPLES:
        prepare()
        _Decoder.samples_before = 0


def read_mono(content: Any, plain: PlainFlac, start: int, stop: int) -> Waveform | None:
    """Samples [start, stop), channels averaged; None where a frame among them is not sound.

    Args:
        content: the whole file, bytes or another buffer.
        plain: its head.
        start: first sample, ≥ 0.
        stop: behind the last one, at most ``plain.n_samples``.

    Returns:
        (stop - start,) float32 in [-1, 1), bit for bit what libsndfile gives.
    """
    if _Decoder.read is None:
        return None
    out = np.empty(stop - start, np.float32)
    layout = (plain.n_channels, plain.n_bits, plain.sampling_rate, plain.block_samples, plain.n_samples)
    return out if _Decoder.read(np.frombuffer(content, np.uint8), plain.position, layout, start, out) else None
