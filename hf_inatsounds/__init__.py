"""iNatSounds for Hugging Face: streaming dataset, fine-tuning, the paper's evaluation, prediction.

Nothing heavy is imported until it is used. ``__all__`` is the public interface: docs/python.md shows it, and a name in
it that is to go warns for one minor version first.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

if TYPE_CHECKING:
    from hf_inatsounds.audio.windows import WindowSpec
    from hf_inatsounds.data.builder import INatSounds
    from hf_inatsounds.data.labels import LabelSpace
    from hf_inatsounds.data.loading import load_dataset
    from hf_inatsounds.downstream.benchmark import benchmark_model as benchmark
    from hf_inatsounds.errors import InatSoundsError
    from hf_inatsounds.evaluation.model import evaluate_model as evaluate
    from hf_inatsounds.inference.recordings import Classifier, embed, load_classifier, predict
    from hf_inatsounds.models.classifier import build_classifier
    from hf_inatsounds.publishing.finished_run import train
    from hf_inatsounds.quickstart.archive import make_archives
    from hf_inatsounds.training.arguments import make_recipe, read_recipe
    from hf_inatsounds.training.recipe import Recipe

_HOMES = {
    "Classifier": "inference.recordings",
    "INatSounds": "data.builder",
    "InatSoundsError": "errors",
    "LabelSpace": "data.labels",
    "Recipe": "training.recipe",
    "WindowSpec": "audio.windows",
    "benchmark": "downstream.benchmark:benchmark_model",
    "build_classifier": "models.classifier",
    "embed": "inference.recordings",
    "evaluate": "evaluation.model:evaluate_model",
    "load_classifier": "inference.recordings",
    "load_dataset": "data.loading",
    "make_archives": "quickstart.archive",
    "make_recipe": "training.arguments",
    "predict": "inference.recordings",
    "read_recipe": "training.arguments",
    "train": "publishing.finished_run",
}
"""Public name → its module, with the name there where that is another."""
_MODULES = ("audio", "frontends", "geo", "metrics", "schema")

__all__ = [
    "Classifier",
    "INatSounds",
    "InatSoundsError",
    "LabelSpace",
    "Recipe",
    "WindowSpec",
    "benchmark",
    "build_classifier",
    "embed",
    "evaluate",
    "load_classifier",
    "load_dataset",
    "make_archives",
    "make_recipe",
    "predict",
    "read_recipe",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        module, _, other = _HOMES[name].partition(":")
        try:
            return getattr(importlib.import_module(f"hf_inatsounds.{module}"), other or name)
        except ModuleNotFoundError as error:
            from hf_inatsounds.runtime.installing import models_missing

            raise models_missing(f"hf_inatsounds.{name}", error) or error from error
    if name in _MODULES:
        return importlib.import_module(f"hf_inatsounds.{name}")
    raise AttributeError(f"module 'hf_inatsounds' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES, *_MODULES])
