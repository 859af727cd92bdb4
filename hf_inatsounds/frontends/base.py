"""What every frontend is: a torch module from waveforms to a model's input, on the model's device.

By hand, since transformers' feature extractors take one recording at a time, and most of them on the CPU alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import nn

from hf_inatsounds.audio.windows import WindowSpec, check_heard
from hf_inatsounds.errors import CheckpointError, RecipeError

Precision = Literal["float64", "float32"]


@dataclass(frozen=True)
class InputLayout:
    """Where a frontend's main output has time and frequency: what masks and mixtures on the device go by.

    Attributes:
        name: the model's keyword argument.
        time_axis: its axis of frames; None for waveforms, which have no spectrogram to mask.
        frequency_axis: its axis of bands; None for waveforms.

    >>> InputLayout("input_values", time_axis=1, frequency_axis=2).name
    'input_values'
    """

    name: str
    time_axis: int | None = None
    frequency_axis: int | None = None

    def __post_init__(self) -> None:
        if (self.time_axis is None) != (self.frequency_axis is None):
            raise ValueError(f"both axes or none; got time {self.time_axis}, frequency {self.frequency_axis}")


class Frontend(nn.Module):
    """Waveforms → model input, batched; the counterpart of one Hugging Face feature extractor.

    A frontend never mixes examples: row ``i`` of its output depends on row ``i`` of its input alone,
    whatever else is in the batch and however far the batch is padded.
    """

    sampling_rate: int
    """Rate of the waveforms that the frontend takes, in Hz."""

    pads_safely: bool
    """Whether waveforms of different lengths may share a batch without changing the model's output."""

    longest_samples: int | None = None
    """Samples of the longest waveform that is heard whole, rounding of the input's size included; None for any."""

    layout: InputLayout
    """Which of ``model_inputs`` is the spectrogram or waveform, and its axes."""

    def check_window(self, window: WindowSpec, *, name: str = "--window") -> None:
        """Raise InatSoundsError for a window longer than the model's input; ``name`` is the flag or key it is from."""
        samples = window.size_samples(self.sampling_rate)
        check_heard(samples, self.longest_samples, self.sampling_rate, name=name)

    def model_inputs(self, waveforms: torch.Tensor, lengths: torch.Tensor) -> dict[str, torch.Tensor]:
        """Keyword arguments of the model's ``forward``.

        Args:
            waveforms: (B, T) float, mono, in [-1, 1], zero-padded on the right.
            lengths: (B,) int, how many samples of each row are real, 0 ≤ length ≤ T.
        """
        raise NotImplementedError(f"{type(self).__name__} has no model_inputs")


def real_samples(lengths: torch.Tensor, n: int) -> torch.Tensor:
    """(B, n) bool: which samples, or frames, of each row there are; the others are padding.

    >>> real_samples(torch.tensor([2, 0]), 3)
    tensor([[ True,  True, False],
            [False, False, False]])
    """
    return torch.arange(n, device=lengths.device)[None, :] < lengths[:, None]


def check_batch(waveforms: torch.Tensor, lengths: torch.Tensor) -> None:
    """Raise ValueError unless ``waveforms`` is (B, T) floating point and ``lengths`` is (B,).

    >>> check_batch(torch.zeros(2, 5), torch.tensor([5]))
    Traceback (most recent call last):
    ...
    ValueError: lengths must have shape (2,), one a waveform; got (1,)
    """
    if waveforms.ndim != 2 or not waveforms.is_floating_point():
        raise ValueError(f"waveforms must be (B, T) float; got shape {tuple(waveforms.shape)}, {waveforms.dtype}")
    if lengths.shape != waveforms.shape[:1]:
        raise ValueError(f"lengths must have shape ({waveforms.shape[0]},), one a waveform; got {tuple(lengths.shape)}")


def spectrum_dtype(precision: Precision, device: torch.device) -> torch.dtype:
    """What a spectrum is computed in; MPS has no float64.

    >>> spectrum_dtype("float64", torch.device("cpu"))
    torch.float64
    """
    return torch.float32 if precision == "float32" or device.type == "mps" else torch.float64


def check_precision(precision: str) -> None:
    """Raise RecipeError unless ``precision`` is float64 or float32."""
    if precision not in get_args(Precision):
        raise RecipeError("unknown precision", where="precision", found=repr(precision), expected="float64 or float32")


def unknown_extractor(feature_extractor: object, known: str) -> CheckpointError:
    """The error for a feature extractor that no frontend stands for."""
    return CheckpointError(
        "no frontend for this checkpoint's feature extractor", found=type(feature_extractor).__name__, expected=known
    )
