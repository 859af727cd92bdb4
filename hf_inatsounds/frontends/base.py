"""What every frontend is: a torch module from waveforms to a model's input, on the model's device."""

from __future__ import annotations

import torch
from torch import nn

from hf_inatsounds.errors import CheckpointError


class Frontend(nn.Module):
    """Waveforms → model input, batched; the counterpart of one Hugging Face feature extractor.

    A frontend never mixes examples: row ``i`` of its output depends on row ``i`` of its input alone,
    whatever else is in the batch and however far the batch is padded.
    """

    sampling_rate: int
    """Rate of the waveforms that the frontend takes, in Hz."""

    pads_safely: bool
    """Whether waveforms of different lengths may share a batch without changing the model's output."""

    def model_inputs(self, waveforms: torch.Tensor, lengths: torch.Tensor) -> dict[str, torch.Tensor]:
        """Keyword arguments of the model's ``forward``.

        Args:
            waveforms: (B, T) float, mono, in [-1, 1], zero-padded on the right.
            lengths: (B,) int, how many samples of each row are real, 0 ≤ length ≤ T.
        """
        raise NotImplementedError(f"{type(self).__name__} has no model_inputs")


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


def unknown_extractor(feature_extractor: object) -> CheckpointError:
    """The error for a feature extractor that no frontend stands for."""
    return CheckpointError(
        "no frontend for this checkpoint's feature extractor",
        found=type(feature_extractor).__name__,
        expected="ASTFeatureExtractor or Wav2Vec2FeatureExtractor",
    )
