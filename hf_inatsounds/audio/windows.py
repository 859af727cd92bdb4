"""Windows: all arithmetic on where one begins and ends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from hf_inatsounds.errors import ArgumentsError, InatSoundsError

Alignment = Literal["centered", "start"]


@dataclass(frozen=True)
class WindowSpec:
    """Fixed evaluation slices of a recording.

    A recording of T samples gets ``n = ceil(max(T - W, 0) / S) + 1`` windows of W samples, S apart.
    They reach over ``(n - 1) S + W ≥ T`` samples. ``alignment`` says where the surplus goes:

    - ``"centered"``: before and after, ``surplus // 2`` before: the authors' evaluation.
    - ``"start"``: the first window begins at 0 and the last is moved back to end with the recording, so
      that all are full: what a person reading a table of detections expects.

    Spans are cut at the recording's ends: what lies outside does not exist, and a frontend pads it in its
    family's own way.

    Args:
        size_s: length of a window, in seconds.
        stride_s: between the beginnings of two windows, in seconds, at most ``size_s``.
        alignment: "centered" or "start".

    Raises:
        ValueError: if a value is out of range.

    Source: cvl-umass/iNatSounds, evaluation: 512 frames, stride 256, zero-padded with pad // 2 on the left.

    >>> WindowSpec(3.0, 1.5).spans(70, 10)
    [(0, 28), (13, 43), (28, 58), (43, 70)]
    >>> WindowSpec(3.0, 1.5, alignment="start").spans(70, 10)
    [(0, 30), (15, 45), (30, 60), (40, 70)]
    >>> WindowSpec(3.0, 1.5).spans(8, 10)
    [(0, 8)]
    """

    size_s: float
    stride_s: float
    alignment: Alignment = "centered"

    def __post_init__(self) -> None:
        if not 0 < self.size_s < float("inf"):
            raise ValueError(f"size_s must be a positive number of seconds; got {self.size_s}")
        if not 0 < self.stride_s <= self.size_s:
            raise ValueError(f"stride_s must be in (0, size_s = {self.size_s}]; got {self.stride_s}")
        if self.alignment not in get_args(Alignment):
            raise ValueError(f"alignment must be one of {get_args(Alignment)}; got {self.alignment!r}")

    def side_by_side(self) -> WindowSpec:
        """Windows of this size without overlap, from the recording's beginning on."""
        return WindowSpec(self.size_s, self.size_s, "start")

    def size_samples(self, sampling_rate: int) -> int:
        """Samples of a window, at least one."""
        return max(round(self.size_s * sampling_rate), 1)

    def stride_samples(self, sampling_rate: int) -> int:
        """Samples between two windows, at least one."""
        return max(round(self.stride_s * sampling_rate), 1)

    def count(self, n_samples: int, sampling_rate: int) -> int:
        """Number of windows of a recording of ``n_samples``; an empty one has one, empty, window."""
        excess = max(n_samples - self.size_samples(sampling_rate), 0)
        return -(-excess // self.stride_samples(sampling_rate)) + 1

    def spans(self, n_samples: int, sampling_rate: int) -> list[tuple[int, int]]:
        """Beginning and end of each window, in samples, within [0, ``n_samples``].

        Args:
            n_samples: length of the recording, ≥ 0.
            sampling_rate: in Hz.
        """
        size, stride = self.size_samples(sampling_rate), self.stride_samples(sampling_rate)
        n = self.count(n_samples, sampling_rate)
        surplus = (n - 1) * stride + size - n_samples
        if self.alignment == "centered":
            starts = [i * stride - surplus // 2 for i in range(n)]
        else:
            starts = [min(i * stride, max(n_samples - size, 0)) for i in range(n)]
        if n == 1:
            return [(0, n_samples)]
        return [(max(start, 0), min(start + size, n_samples)) for start in starts]


def check_heard(samples: int, longest_samples: int | None, sampling_rate: int, *, name: str) -> None:
    """Refuse a window or waveform of which a model would hear the beginning alone.

    A millisecond more passes: it is what rounding at a recording's own rate can add.

    Args:
        samples: of the window or waveform.
        longest_samples: that the model's input holds; None for any number.
        sampling_rate: of both, in Hz.
        name: of what is too long, as the message has it: a flag or a key.

    Raises:
        InatSoundsError: if it is longer than the input.

    >>> check_heard(160_000, 48_000, 16_000, name="--window")
    Traceback (most recent call last):
    ...
    hf_inatsounds.errors.InatSoundsError: --window must be at most 3 s, the length of the model's input, got 10 s
    """
    if longest_samples is not None and samples > longest_samples + sampling_rate // 1000:
        longest_s = longest_samples * 1000 // sampling_rate / 1000  # to the millisecond below
        found = f"{samples / sampling_rate:g} s"
        raise InatSoundsError(f"{name} must be at most {longest_s:g} s, the length of the model's input, got {found}")


def random_crop(n_samples: int, size_samples: int, generator: np.random.Generator) -> tuple[int, int]:
    """A training crop, uniform over all full ones; the whole recording where it is shorter.

    Args:
        n_samples: length of the recording, ≥ 0.
        size_samples: length of the crop, ≥ 1.
        generator: decides.

    Returns:
        Beginning and end, in samples.

    >>> random_crop(5, 10, np.random.default_rng(0))
    (0, 5)
    """
    if n_samples <= size_samples:
        return 0, n_samples
    start = int(generator.integers(0, n_samples - size_samples + 1))
    return start, start + size_samples


def chosen_window(
    default: WindowSpec, size_s: float | None, stride_s: float | None, *, alignment: Alignment | None = None
) -> WindowSpec:
    """``default`` with what a user chose in its place; a chosen size alone keeps the share of overlap.

    Raises:
        ArgumentsError: if the choice is out of range.

    >>> chosen_window(WindowSpec(3.0, 1.5), 5.0, None).stride_s
    2.5
    """
    size = default.size_s if size_s is None else size_s
    stride = min(default.stride_s * size / default.size_s, size) if stride_s is None else stride_s  # rounding
    try:
        return WindowSpec(size, stride, alignment or default.alignment)
    except ValueError as error:
        raise ArgumentsError("bad window", where="--window, --stride", found=error) from error
