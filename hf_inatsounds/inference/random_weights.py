"""The same architecture with random weights: what a checkpoint's training is compared with."""

from __future__ import annotations

from typing import Any

import torch

from hf_inatsounds.models.classifier import Classifier
from hf_inatsounds.models.families import FAMILIES


def reinitialise(classifier: Classifier, seed: int) -> None:
    """Draw all of a classifier's weights anew, as its architecture starts."""
    classifier.model = redrawn(classifier.model, seed)


def redrawn(model: Any, seed: int) -> Any:
    """A model of the same class and config with weights drawn from ``seed``; the global generator stays untouched."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        fresh = type(model)(model.config)
        # transformers starts some position embeddings at zero, which would make random weights look worse than a
        # preset's are
        starts = [family.start for family in FAMILIES.values() if family.model == type(fresh).__name__]
        for start in starts[:1]:
            if start is not None:
                start(fresh)
    return fresh.to(model.device).eval()
