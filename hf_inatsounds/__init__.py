"""iNatSounds for Hugging Face: streaming dataset, fine-tuning, the paper's evaluation, prediction.

Nothing heavy is imported until it is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from hf_inatsounds.audio.windows import WindowSpec
    from hf_inatsounds.data.builder import INatSounds, load_dataset
    from hf_inatsounds.data.labels import LabelSpace
    from hf_inatsounds.errors import InatSoundsError
    from hf_inatsounds.models.classifier import build_classifier, load_classifier

_HOMES = {
    "INatSounds": "data.builder",
    "load_dataset": "data.builder",
    "InatSoundsError": "errors",
    "LabelSpace": "data.labels",
    "build_classifier": "models.classifier",
    "load_classifier": "models.classifier",
    "WindowSpec": "audio.windows",
}
_MODULES = ("audio", "frontends", "geo", "metrics", "schema")

__all__ = [
    "INatSounds",
    "InatSoundsError",
    "LabelSpace",
    "WindowSpec",
    "build_classifier",
    "load_classifier",
    "load_dataset",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"hf_inatsounds.{_HOMES[name]}"), name)
    if name in _MODULES:
        return importlib.import_module(f"hf_inatsounds.{name}")
    raise AttributeError(f"module 'hf_inatsounds' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES, *_MODULES])
