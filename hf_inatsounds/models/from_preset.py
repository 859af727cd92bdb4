"""Presets: native transformers models from random weights, small ones for two CPU cores and the usual sizes."""

from __future__ import annotations

from typing import Any

from hf_inatsounds.audio.windows import WindowSpec
from hf_inatsounds.frontends.overrides import check_config
from hf_inatsounds.frontends.settings import check_settings, refusals_named
from hf_inatsounds.models.families import FAMILIES
from hf_inatsounds.models.presets import PRESETS, Preset

__all__ = ["PRESETS", "Preset", "from_preset"]


def from_preset(
    preset: str, shared: dict[str, Any], given: dict[str, Any], overrides: dict[str, Any], window: WindowSpec
) -> tuple[Any, Any]:
    """A new model and its feature extractor.

    Args:
        preset: a name in ``PRESETS``.
        shared: all values that override the preset's model config.
        given: those of them that a user chose, which are checked.
        overrides: values that override the feature extractor's.
        window: inputs have its length.

    Raises:
        RecipeError: if a chosen key is not in the config or the feature extractor, or a value makes no model.
    """
    import transformers

    one = PRESETS[preset]
    family = FAMILIES[one.family]
    kind = getattr(transformers, family.config)
    check_config(given, kind)
    check_settings(family.extractor, overrides)
    with refusals_named("transformers refuses such a model"):
        values, extractor = family.fit({**one.config, **shared}, {**one.feature_extractor, **overrides}, window)
        model = getattr(transformers, family.model)(kind(**values))
        if family.start is not None:
            family.start(model)
    return model, extractor
