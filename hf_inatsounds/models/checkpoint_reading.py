"""Checkpoints: native transformers models in folders or on the Hub, with the feature extractor beside them."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from transformers import (
    MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING,
    MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING,
    MODEL_MAPPING,
    ASTFeatureExtractor,
)

from hf_inatsounds.audio.windows import WindowSpec
from hf_inatsounds.data.labels import LabelSpace
from hf_inatsounds.errors import CheckpointError
from hf_inatsounds.frontends import SpectrogramImageExtractor, frontend_for
from hf_inatsounds.frontends.filterbank import FRAME_SAMPLES, HOP_SAMPLES
from hf_inatsounds.frontends.overrides import check_config
from hf_inatsounds.frontends.settings import check_settings
from hf_inatsounds.models.families import image_extractor
from hf_inatsounds.models.heads import body, head_weights, redraw_head, reorder_head
from hf_inatsounds.models.hub_checkpoints import commit_of
from hf_inatsounds.models.input_length import extractor_length, fit_input_length
from hf_inatsounds.models.loading import POOLERS, Loaded, check_complete, load_model, read_config, read_extractor
from hf_inatsounds.models.weights import check_finite

SETTINGS_FILE = "inatsounds.json"


@dataclass(frozen=True)
class Start:
    """What a classifier that is to be fine-tuned has of its checkpoint.

    Attributes:
        head: "kept", where the checkpoint's classes are the dataset's in the same order; "reordered", where they are
            the same in another; "new" otherwise.
        drawn_anew: names of the weights that are random.
        unused: how many of the checkpoint's weights the model has no place for.
        commit: of a Hub checkpoint.
    """

    head: Literal["new", "kept", "reordered"]
    drawn_anew: tuple[str, ...] = ()
    unused: int = 0
    commit: str | None = None

    def __str__(self) -> str:
        """One line for a person.

        >>> print(Start("new", ("classifier.bias", "classifier.weight"), 7))
        new head; drawn anew: classifier.bias, classifier.weight; 7 weights of the checkpoint are not used
        """
        heads = {"new": "new head", "kept": "head kept: its classes are the dataset's",
                 "reordered": "head kept: its classes are the dataset's, put in the dataset's order"}  # fmt: skip
        parts = [heads[self.head]]
        if self.drawn_anew:
            more = f" and {len(self.drawn_anew) - 6} more" if len(self.drawn_anew) > 6 else ""
            parts.append(f"drawn anew: {', '.join(self.drawn_anew[:6])}{more}")
        if self.unused:
            parts.append(f"{self.unused} weights of the checkpoint are not used")
        return "; ".join(parts)


def read_to_tune(
    folder: Path,
    name: str,
    label_space: LabelSpace,
    problem_type: str | None,
    *,
    config: dict[str, Any],
    feature_extractor: dict[str, Any],
    window: WindowSpec,
) -> tuple[Any, Any, Start]:
    """Model and feature extractor of a checkpoint, fitted to classes and a window.

    Args:
        folder: the checkpoint.
        name: what the user calls it, for errors.
        label_space: the classes.
        problem_type: as transformers has it.
        config: the user's values that replace the model config's.
        feature_extractor: the user's values that replace the feature extractor's.
        window: its input length is fitted to it.

    Raises:
        CheckpointError: missing, incomplete, no classifier, or a library is missing that it needs.
        RecipeError: unknown keys, values that do not fit the weights, an input length that it cannot take.
    """
    before = _named_libraries(read_config, folder, name=name)
    check_config(config, type(before))
    length = {key: config[key] for key in ("max_length",) if key in config}  # it is fitted below
    given = {key: value for key, value in config.items() if key not in length}
    species = label_space.species
    values = {
        **given, "id2label": dict(enumerate(species)),
        "label2id": {one: label for label, one in enumerate(species)}, "problem_type": problem_type,
    }  # fmt: skip
    if before.model_type == "timm_wrapper":  # it asks for the number, too
        values["num_labels"] = len(species)
    settings = _named_libraries(read_config, folder, values, name=name)
    kind, is_image = _classifier_kind(settings, name)
    if is_image:
        extractor = _image_extractor(folder, settings, feature_extractor, window)
    else:
        extractor = _audio_extractor(folder, settings, length, feature_extractor, window)
    loaded = _named_libraries(load_model, kind, settings, folder, name, name=name)
    check_complete(loaded, _body_weights(loaded.model), name, chosen=bool(given))
    check_finite(loaded.model, name)
    start = _start(loaded, label_space, class_names(before), commit_of(folder))
    fit_input_length(loaded.model, extractor)
    return loaded.model, extractor, start


def read_to_use(folder: Path) -> tuple[Any, Any]:
    """Model and feature extractor of a classifier, as it is.

    Raises:
        CheckpointError: missing, incomplete, no classifier, or a library is missing that it needs.
    """
    config = _named_libraries(read_config, folder, name=folder)
    kind, is_image = _classifier_kind(config, folder)
    extractor = SpectrogramImageExtractor.from_pretrained(folder) if is_image else read_extractor(folder)
    loaded = _named_libraries(load_model, kind, config, folder, folder, name=folder)
    check_complete(loaded, _body_weights(loaded.model), folder)
    if loaded.drawn & head_weights(loaded.model):
        raise without_head(folder)
    check_complete(loaded, set(loaded.model.state_dict()), folder)
    check_finite(loaded.model, folder)
    return loaded.model, extractor


def read_encoder(folder: Path, name: str) -> tuple[Any, Any]:
    """Encoder and feature extractor of any checkpoint that transformers' ``AutoModel`` has a class for.

    Raises:
        CheckpointError: missing, incomplete, or no such class.
    """
    config = _named_libraries(read_config, folder, name=name)
    if type(config) not in MODEL_MAPPING:
        raise CheckpointError("no encoder", where=name, found=config.model_type, expected="a model of audio")
    extractor = read_extractor(folder)
    loaded = _named_libraries(load_model, _one(MODEL_MAPPING[type(config)], config), config, folder, name, name=name)
    check_complete(loaded, {key for key in loaded.model.state_dict() if POOLERS not in key}, name)
    check_finite(loaded.model, name)
    return loaded.model, extractor


def without_head(folder: Path) -> CheckpointError:
    """The error for an encoder where a classifier is needed."""
    return CheckpointError(
        "an encoder without a classification head", where=folder, expected="a classifier",
        fix=f"Fine-tune it first: hf-inatsounds train RECIPE.yaml --model {folder}",
    )  # fmt: skip


def class_names(config: Any) -> list[str]:
    """Names of a config's classes in their order."""
    return [str(config.id2label[label]) for label in sorted(config.id2label)]


def _start(loaded: Loaded, label_space: LabelSpace, before: list[str], commit: str | None) -> Start:
    """Keep the head, put it in the dataset's order, or see that it is new."""
    columns = label_space.columns(before)
    head = head_weights(loaded.model)
    drawn, unused = loaded.drawn, len(loaded.unused)
    whole = [column for column in columns if column is not None]
    if drawn & head or len(whole) != len(before) or len(before) != len(label_space):
        if not head <= drawn:
            redraw_head(loaded.model)
        return Start("new", tuple(sorted(drawn | head)), unused, commit)
    if whole == sorted(whole):
        return Start("kept", tuple(sorted(drawn)), unused, commit)
    reorder_head(loaded.model, whole, label_space.species)
    return Start("reordered", tuple(sorted(drawn)), unused, commit)


def _named_libraries(read: Any, *arguments: Any, name: object) -> Any:
    """Call ``read``; a library that it lacks is named."""
    try:
        return read(*arguments)
    except ImportError as error:
        fix = "pip install 'hf-inatsounds[timm]'" if "timm" in str(error) else None
        raise CheckpointError("a library is missing", where=name, found=error, fix=fix) from error


def _classifier_kind(config: Any, name: object) -> tuple[Any, bool]:
    """Transformers' class for it, and whether it classifies images."""
    for mapping, is_image in (
        (MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING, False),
        (MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING, True),
    ):
        if type(config) in mapping:
            return _one(mapping[type(config)], config), is_image
    raise CheckpointError("no classifier", where=name, found=config.model_type, expected="an audio or image classifier")


def _one(kinds: Any, config: Any) -> Any:
    """The class that the checkpoint was saved from, where there are several."""
    several = kinds if isinstance(kinds, (list, tuple)) else [kinds]
    return next((kind for kind in several if kind.__name__ in (config.architectures or [])), several[0])


def _body_weights(model: Any) -> set[str]:
    """Names of the weights that must be the checkpoint's: all of the body but, where it is inside, the head."""
    inside = {id(tensor) for tensor in body(model).state_dict(keep_vars=True).values()}
    names = {name for name, tensor in model.state_dict(keep_vars=True).items() if id(tensor) in inside}
    return names - head_weights(model)


def _audio_extractor(
    folder: Path, config: Any, length: dict[str, Any], overrides: dict[str, Any], window: WindowSpec
) -> Any:
    """A checkpoint's feature extractor, as long as the window or as the user chose."""
    extractor = read_extractor(folder)
    check_settings(type(extractor), overrides)
    if not length:
        rate = overrides.get("sampling_rate", extractor.sampling_rate)
        length = extractor_length(config, overrides, window, rate)
    return read_extractor(folder, {**length, **overrides})


def _image_extractor(
    folder: Path, config: Any, overrides: dict[str, Any], window: WindowSpec
) -> SpectrogramImageExtractor:
    """A checkpoint's spectrogram settings; for an image model from elsewhere, new ones of its image size."""
    check_settings(SpectrogramImageExtractor, overrides)
    if SpectrogramImageExtractor.is_in(folder):
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
