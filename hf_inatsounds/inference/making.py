"""What the results of recordings depend on besides the recordings: a journal keeps them only where it is the same."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from hf_inatsounds.audio.windows import WindowSpec
from hf_inatsounds.fingerprints import code_fingerprint, versions
from hf_inatsounds.inference.embedding import Embedder, embedder_of
from hf_inatsounds.models.classifier import Classifier

MADE_BY = ("hf_inatsounds.inference.predict", "hf_inatsounds.inference.embedding_table")
"""Modules that make results of recordings; what they import counts too."""

COMPUTED_BY = ("torch", "torchaudio", "transformers", "numpy", "soundfile", "soxr")


def made_by(model: Classifier | Embedder, **settings: Any) -> dict[str, Any]:
    """Facts by the names under which a message tells that they have changed.

    Args:
        model: what predicts or embeds.
        settings: options by name, in JSON's types, or a window. The batch size is none: no result depends on it.
    """
    embedder = model if isinstance(model, Embedder) else embedder_of(model, "")
    facts = {name: asdict(value) if isinstance(value, WindowSpec) else value for name, value in settings.items()}
    if isinstance(model, Classifier):
        facts["objective"] = model.objective.name
    return {
        **facts, "model": embedder.digest, "code": code_fingerprint(*MADE_BY), "libraries": versions(*COMPUTED_BY),
    }  # fmt: skip
