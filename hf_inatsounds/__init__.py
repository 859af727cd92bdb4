"""iNatSounds for Hugging Face: streaming dataset, fine-tuning, the paper's evaluation, prediction.

Nothing heavy is imported until it is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from hf_inatsounds.builder import INatSounds, load_dataset
    from hf_inatsounds.errors import InatSoundsError
    from hf_inatsounds.labels import LabelSpace
    from hf_inatsounds.models import build_classifier, load_classifier
    from hf_inatsounds.windows import WindowSpec

_HOMES = {
    "INatSounds": "builder",
    "load_dataset": "builder",
    "InatSoundsError": "errors",
    "LabelSpace": "labels",
    "build_classifier": "models",
    "load_classifier": "models",
    "WindowSpec": "windows",
}
_MODULES = ("audio", "frontends", "metrics", "windows", "schema")

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
