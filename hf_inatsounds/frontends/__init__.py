"""Frontends: torch modules from waveforms to model input, each equal to a Hugging Face feature extractor."""

from __future__ import annotations

from typing import Any

from hf_inatsounds.frontends.ast import AstFrontend
from hf_inatsounds.frontends.base import Frontend, InputLayout, unknown_extractor
from hf_inatsounds.frontends.image_settings import SpectrogramImageExtractor
from hf_inatsounds.frontends.spectrogram_image import SpectrogramImageFrontend
from hf_inatsounds.frontends.wav2vec2_bert import Wav2Vec2BertFrontend
from hf_inatsounds.frontends.waveform import WaveformFrontend
from hf_inatsounds.frontends.whisper import WhisperFrontend

__all__ = [
    "AstFrontend",
    "Frontend",
    "InputLayout",
    "SpectrogramImageExtractor",
    "SpectrogramImageFrontend",
    "Wav2Vec2BertFrontend",
    "WaveformFrontend",
    "WhisperFrontend",
    "frontend_for",
]

_FRONTENDS: dict[str, Any] = {
    "ASTFeatureExtractor": AstFrontend,
    "SeamlessM4TFeatureExtractor": Wav2Vec2BertFrontend,
    "SpectrogramImageExtractor": SpectrogramImageFrontend,
    "Wav2Vec2FeatureExtractor": WaveformFrontend,
    "WhisperFeatureExtractor": WhisperFrontend,
}


def frontend_for(feature_extractor: Any) -> Frontend:
    """The frontend that stands for ``feature_extractor``.

    Raises:
        CheckpointError: if there is none.
    """
    for base in type(feature_extractor).__mro__:
        if base.__name__ in _FRONTENDS:
            return _FRONTENDS[base.__name__].from_feature_extractor(feature_extractor)
    raise unknown_extractor(feature_extractor, ", ".join(_FRONTENDS))
