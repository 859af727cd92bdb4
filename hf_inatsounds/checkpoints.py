"""Checkpoints: native transformers models in folders or on the Hub, with the feature extractor beside them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from transformers import (
    MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING,
    MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING,
    ASTFeatureExtractor,
    AutoConfig,
    AutoFeatureExtractor,
    AutoModelForAudioClassification,
    AutoModelForImageClassification,
)

from hf_inatsounds.errors import CheckpointError
from hf_inatsounds.frontends import SpectrogramImageExtractor, frontend_for
from hf_inatsounds.frontends.filterbank import FRAME_SAMPLES, HOP_SAMPLES
from hf_inatsounds.frontends.settings import check_settings
from hf_inatsounds.input_length import extractor_length, fit_input_length
from hf_inatsounds.presets.families import image_extractor
from hf_inatsounds.windows import WindowSpec

SETTINGS_FILE = "inatsounds.json"
_FILES = ["*.json", "*.safetensors"]  # what is fetched of a Hub checkpoint: nothing that is unpickled


def checkpoint_folder(checkpoint: str | Path) -> Path:
    """The folder of a checkpoint, fetched from the Hub if need be (JSON and safetensors only)."""
    folder = Path(checkpoint).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").exists():
            raise CheckpointError("not a checkpoint", where=folder, found="no config.json", expected="what train wrote")
        return folder
    if str(checkpoint).count("/") != 1 or str(checkpoint).startswith((".", "/", "~")):
        raise CheckpointError("no such checkpoint", where=checkpoint, expected="a folder, or a Hub id (owner/name)")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(str(checkpoint), allow_patterns=_FILES))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            "no such folder, and not to be had from the Hub", where=checkpoint, found=error
        ) from error


def read_checkpoint(
    checkpoint: str, shared: dict[str, Any], overrides: dict[str, Any], window: WindowSpec | None
) -> tuple[Any, Any]:
    """Model and feature extractor of a checkpoint.

    Args:
        checkpoint: a folder or a Hub model id.
        shared: values that override the model's config.
        overrides: values that override the feature extractor's.
        window: what it is to be fine-tuned on, and its input length fitted to; None to use it as it is.

    Raises:
        CheckpointError: missing, incomplete, no classifier, or a library is missing that it needs.
        RecipeError: an input length that it cannot take.
    """
    folder = checkpoint_folder(checkpoint)
    shared = {**shared, "num_labels": len(shared["id2label"])} if shared else {}  # timm's wrapper asks for the number
    try:
        config = AutoConfig.from_pretrained(folder, **shared)
        if type(config) in MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING:
            auto = AutoModelForAudioClassification
            extractor = _audio_extractor(folder, shared, overrides, window)
            config = AutoConfig.from_pretrained(folder, **shared)  # less the input length, which is fitted below
        elif type(config) in MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING:
            auto, extractor = AutoModelForImageClassification, _image_extractor(folder, config, overrides, window)
        else:
            raise CheckpointError(
                "no classifier", where=checkpoint, found=config.model_type, expected="an audio or image classifier"
            )
        model = auto.from_pretrained(folder, config=config, use_safetensors=True, ignore_mismatched_sizes=bool(shared))
    except ImportError as error:
        fix = "pip install 'hf-inatsounds[timm]'" if "timm" in str(error) else None
        raise CheckpointError("a library is missing", where=checkpoint, found=error, fix=fix) from error
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise CheckpointError("unusable checkpoint", where=checkpoint, found=error) from error
    if window is not None:
        fit_input_length(model, extractor)
    return model, extractor


def checkpoint_classes(checkpoint: str | Path) -> list[str]:
    """Names of a checkpoint's classes in their order; none of one whose config cannot be read."""
    try:
        named = AutoConfig.from_pretrained(checkpoint_folder(checkpoint)).id2label
    except (OSError, ValueError, KeyError):
        return []
    return [named[label] for label in sorted(named)]


def _audio_extractor(folder: Path, shared: dict[str, Any], overrides: dict[str, Any], window: WindowSpec | None) -> Any:
    """A checkpoint's feature extractor, as long as the window; a length in ``shared`` is taken out of it."""
    length = {key: shared.pop(key) for key in ("max_length",) if key in shared}
    check_settings(type(AutoFeatureExtractor.from_pretrained(folder)), overrides)
    extractor = AutoFeatureExtractor.from_pretrained(folder, **{**length, **overrides})
    if window is None or length:
        return extractor
    config = AutoConfig.from_pretrained(folder, **shared)
    fitted = extractor_length(config, overrides, window, extractor.sampling_rate)
    return AutoFeatureExtractor.from_pretrained(folder, **{**overrides, **fitted}) if fitted else extractor


def _image_extractor(
    folder: Path, config: Any, overrides: dict[str, Any], window: WindowSpec | None
) -> SpectrogramImageExtractor:
    """A checkpoint's spectrogram settings; for an image model from elsewhere, new ones of its image size."""
    if window is None or SpectrogramImageExtractor.is_in(folder):
        return SpectrogramImageExtractor.from_pretrained(folder, **overrides)
    size = getattr(config, "image_size", None) or 224
    return image_extractor({"image_size": size, **overrides}, window)


def checkpoint_settings(folder: Path) -> dict[str, Any]:
    """What ``Classifier.save`` wrote beside a checkpoint; nothing for one from elsewhere.

    Raises:
        CheckpointError: if it cannot be read.
    """
    path = folder / SETTINGS_FILE
    if not path.exists():
        return {}
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError("malformed settings", where=path, found=error, expected="JSON") from error
    if not isinstance(settings, dict) or not settings:
        raise CheckpointError("malformed settings", where=path, found=settings, expected="window_s, stride_s")
    return settings


def checkpoint_window(folder: Path, extractor: Any) -> WindowSpec:
    """The window that a checkpoint was trained on; for one from elsewhere what its extractor holds, or 3 s."""
    settings = checkpoint_settings(folder)
    if settings:
        try:
            return WindowSpec(float(settings["window_s"]), float(settings["stride_s"]))
        except (ValueError, KeyError, TypeError) as error:
            raise CheckpointError(
                "malformed settings", where=folder / SETTINGS_FILE, found=error, expected="window_s, stride_s"
            ) from error
    frames = getattr(extractor, "max_length", None)
    if isinstance(extractor, ASTFeatureExtractor) and frames:
        size_s = ((frames - 1) * HOP_SAMPLES + FRAME_SAMPLES) / extractor.sampling_rate
        return WindowSpec(size_s, size_s / 2)
    frontend = frontend_for(extractor)
    size_s = min(3.0, (frontend.longest_samples or math.inf) / frontend.sampling_rate)
    return WindowSpec(size_s, size_s / 2)
