"""From a checkpoint's folder to a native model: nothing in it runs, and no weight is missing unnoticed."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import CONFIG_MAPPING, AutoConfig, AutoFeatureExtractor

from hf_inatsounds.errors import CheckpointError, InatSoundsError, RecipeError
from hf_inatsounds.models.weights import read_weights

DRAWN_FREELY = ("masked_spec_embed", "num_batches_tracked", "encoder.embed_positions.weight")
"""Ends of names that a checkpoint may lack: what only masking in training uses, counters, Whisper's fixed sines."""
POOLERS = "pooler."
"""What some encoders put on top of their states, and embeddings do not use."""

_REFUSALS = (OSError, ValueError, KeyError, TypeError, RuntimeError, AttributeError, StrictDataclassError)


@dataclass(frozen=True)
class Loaded:
    """A model, and what its checkpoint had of it.

    Attributes:
        model: in float32 on the CPU, in evaluation mode.
        missing: names of its weights that the checkpoint lacks; they are drawn anew.
        mismatched: name → shapes in the checkpoint and in the model; these are drawn anew, too.
        unused: names of the checkpoint's weights that the model has no place for.
    """

    model: Any
    missing: frozenset[str]
    mismatched: dict[str, tuple[tuple[int, ...], tuple[int, ...]]]
    unused: frozenset[str]

    @property
    def drawn(self) -> set[str]:
        """Weights that are drawn anew."""
        return {*self.missing, *self.mismatched}


def read_config(folder: Path, values: dict[str, Any] | None = None) -> Any:
    """A checkpoint's config, as a class of transformers; code that a checkpoint brings along is never run.

    Args:
        folder: the checkpoint.
        values: that replace its own.

    Raises:
        CheckpointError: if it is malformed, or of a type that transformers does not know.
        RecipeError: if transformers refuses ``values``.
    """
    path = folder / "config.json"
    try:
        written = json.loads(path.read_text(encoding="utf-8"))
        kind = written.get("model_type")
    except (OSError, ValueError, AttributeError) as error:
        raise CheckpointError("unusable checkpoint: malformed config", where=path, found=error) from error
    if kind not in CONFIG_MAPPING:
        if "auto_map" in written:
            raise custom_code(path, f"model_type {kind!r} and auto_map")
        raise CheckpointError("a model type that transformers does not know", where=path, found=repr(kind))
    if written.get("quantization_config"):
        raise CheckpointError(
            "a quantised checkpoint", where=path, found="quantization_config", expected="weights in float32, 16 or bf16"
        )
    config = None
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        if values:
            config = AutoConfig.from_pretrained(folder, trust_remote_code=False, **values)
    except ImportError:
        raise
    except _REFUSALS as error:
        if config is not None:
            raise RecipeError("transformers refuses these values", where="config", found=error) from error
        raise CheckpointError("unusable checkpoint", where=path, found=error) from error
    if hasattr(config, "auto_map"):
        del config.auto_map  # the class is transformers' own
    config._attn_implementation = None  # a config may name a kernel, which is code, on the Hub
    return config


def read_extractor(folder: Path, values: dict[str, Any] | None = None) -> Any:
    """A checkpoint's feature extractor, as a class of transformers.

    Args:
        folder: the checkpoint.
        values: that replace its own.

    Raises:
        CheckpointError: if there is none, or it is malformed or code.
        RecipeError: if transformers refuses ``values``.
    """
    found = [path for path in (folder / "preprocessor_config.json", folder / "processor_config.json") if path.exists()]
    if not found:
        raise CheckpointError(
            "unusable checkpoint: no feature extractor", where=folder, found="no preprocessor_config.json",
            fix="Save the one of the model that it was fine-tuned from beside it.",
        )  # fmt: skip
    extractor = None
    try:
        extractor = AutoFeatureExtractor.from_pretrained(folder, trust_remote_code=False)
        if values:
            extractor = AutoFeatureExtractor.from_pretrained(folder, trust_remote_code=False, **values)
    except ImportError:
        raise
    except _REFUSALS as error:
        if extractor is not None:
            where = "feature_extractor"
            raise RecipeError("transformers refuses these values", where=where, found=error) from error
        if "auto_map" in found[0].read_text(encoding="utf-8", errors="replace"):
            raise custom_code(found[0], "auto_map") from error
        raise CheckpointError("unusable checkpoint", where=found[0], found=error) from error
    return extractor


def custom_code(where: object, found: str) -> CheckpointError:
    """The error for a checkpoint that needs code of its own."""
    return CheckpointError(
        "the checkpoint needs code of its own, which is never run", where=where, found=found,
        expected="a model type and feature extractor of transformers",
    )  # fmt: skip


def load_model(kind: Any, config: Any, folder: Path, where: object) -> Loaded:
    """A model with the checkpoint's weights, in float32 whatever they are stored in.

    Args:
        kind: transformers' class.
        config: what it is built from.
        folder: the checkpoint.
        where: its name, for errors.

    Raises:
        CheckpointError: if the weights are missing, damaged, or would run code.
    """
    try:
        with _without_report():
            model, about = kind.from_pretrained(
                None, config=config, state_dict=read_weights(folder), dtype=torch.float32,
                ignore_mismatched_sizes=True, output_loading_info=True,
            )  # fmt: skip
    except (InatSoundsError, ImportError):
        raise
    except _REFUSALS as error:
        raise CheckpointError("unusable checkpoint", where=where, found=error) from error
    model.config.name_or_path = str(folder)
    for name, weights in model.named_parameters():
        if name in about["missing_keys"] and name.endswith(DRAWN_FREELY[0]):
            torch.nn.init.uniform_(weights)  # of SEW-D transformers 5.23 leaves what was in memory
    mismatched = {name: (tuple(theirs), tuple(ours)) for name, theirs, ours in about["mismatched_keys"]}
    return Loaded(model, frozenset(about["missing_keys"]), mismatched, frozenset(about["unexpected_keys"]))


def check_complete(loaded: Loaded, needed: set[str], where: object, *, chosen: bool = False) -> None:
    """Refuse a model that would go on with random weights.

    Args:
        loaded: the model.
        needed: names of the weights that must be the checkpoint's.
        where: its name, for errors.
        chosen: whether the user changed the config, which is then at fault.

    Raises:
        RecipeError, CheckpointError: naming the first weight that is not, and how many there are.
    """
    lost = sorted(name for name in loaded.drawn & needed if not name.endswith(DRAWN_FREELY))
    if not lost:
        return
    first = lost[0]
    shapes = loaded.mismatched.get(first)
    found = f"{first} of shape {shapes[0]}" if shapes else f"no {first}"
    expected = f"shape {shapes[1]}" if shapes else "all weights of the model's body"
    more = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
    if chosen:
        raise RecipeError(
            "the values under config. do not fit the checkpoint's weights", where=where, found=found + more,
            expected=expected, fix="What does not fit would be random: leave these values out, or take a preset.",
        )  # fmt: skip
    raise CheckpointError(
        "unusable checkpoint: its weights are not the model's", where=where, found=found + more, expected=expected
    )


@contextlib.contextmanager
def _without_report() -> Iterator[None]:
    """Keep transformers' table of missing weights off stderr: what it says is checked, and told in one line."""

    def other(record: logging.LogRecord) -> bool:
        return "LOAD REPORT" not in record.getMessage()

    logger = logging.getLogger("transformers.modeling_utils")
    logger.addFilter(other)
    try:
        yield
    finally:
        logger.removeFilter(other)
