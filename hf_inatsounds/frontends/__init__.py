"""Frontends: torch modules from waveforms to model input, each equal to a Hugging Face feature extractor."""

from __future__ import annotations

from typing import Any

from hf_inatsounds.frontends.ast import AstFrontend
from hf_inatsounds.frontends.base import Frontend, unknown_extractor
from hf_inatsounds.frontends.waveform import WaveformFrontend

__all__ = ["AstFrontend", "Frontend", "WaveformFrontend", "frontend_for"]

_FRONTENDS: dict[str, Any] = {
    "ASTFeatureExtractor": AstFrontend,
    "Wav2Vec2FeatureExtractor": WaveformFrontend,
}


def frontend_for(feature_extractor: Any) -> Frontend:
    """The frontend that stands for ``feature_extractor``.

    Raises:
        CheckpointError: if there is none.
    """
    for base in type(feature_extractor).__mro__:
        if base.__name__ in _FRONTENDS:
            return _FRONTENDS[base.__name__].from_feature_extractor(feature_extractor)
    raise unknown_extractor(feature_extractor)
