"""A chain of audiomentations' transforms, named in a recipe, each crop's result a function of its own seed."""

from __future__ import annotations

import difflib
import inspect
import random
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hf_inatsounds.audio import Waveform
from hf_inatsounds.errors import RecipeError

SHORTEST_S = 0.05
"""Shorter crops pass unchanged: filters and stretches need some samples to work on."""

FOLDER_PARAMETERS = ("sounds_path", "ir_path")
"""Parameters that name folders of recordings."""

EXCLUDED = ("Lambda",)
"""Transforms that need a Python function."""

RECORDINGS = (".wav", ".flac", ".ogg", ".mp3")


@dataclass(frozen=True)
class Transform:
    """One of audiomentations' waveform transforms.

    Args:
        name: its class, as "AddBackgroundNoise".
        parameters: of its constructor; ``p`` is the probability that it is applied.
    """

    name: str
    parameters: Mapping[str, Any] = field(default_factory=dict)


class AugmentationChain:
    """Transforms in their order, on one crop at a time.

    audiomentations draws from the process's global generators. Here both are seeded for each crop and put back
    after it, so that a crop depends on its seed alone: not on its neighbours, nor on the worker, nor on what else
    draws from them. The library is imported at the first crop, in the worker: it takes a second or two.

    Args:
        transforms: the chain; :func:`parse_chain` makes it from a recipe.
    """

    def __init__(self, transforms: Sequence[Transform] = ()) -> None:
        self.transforms = tuple(transforms)
        self._built: list[Any] | None = None

    def __len__(self) -> int:
        return len(self.transforms)

    def __getstate__(self) -> dict[str, Any]:
        return {"transforms": self.transforms, "_built": None}

    def check(self) -> None:
        """Make the transforms.

        Raises:
            RecipeError: unknown transform or parameter, with the nearest right one; a value that is refused.
        """
        self._built = [_built(transform) for transform in self.transforms]

    def __call__(self, crop: Waveform, sampling_rate: int, generator: np.random.Generator) -> Waveform:
        """The crop after all transforms.

        Args:
            crop: (T,) float32.
            sampling_rate: in Hz.
            generator: decides; one draw is taken from it.

        Returns:
            (T',) float32; T' = T but for transforms that are there to change it.

        Raises:
            RecipeError: as :meth:`check`, or if a transform fails on the crop.
        """
        seed = int(generator.integers(1 << 32))
        if not self.transforms or len(crop) < SHORTEST_S * sampling_rate:
            return crop
        if self._built is None:
            self.check()
        states = random.getstate(), np.random.get_state()
        try:
            random.seed(seed)
            np.random.seed(seed)
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message=".*had to be resampled")  # each background, each time
                for transform in self._built or ():
                    crop = transform(crop, sampling_rate)
        except (ValueError, TypeError, AssertionError, RuntimeError, OSError, ImportError) as error:
            raise RecipeError(
                "an augmentation fails", where=f"waveform_augmentation, {type(transform).__name__}", found=error
            ) from error
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])
        return np.asarray(crop, dtype=np.float32)


def parse_chain(entries: Any, *, where: str = "waveform_augmentation") -> AugmentationChain:
    """A chain from a recipe's list of ``{"name": …, "parameters": {…}}``; nothing heavy is imported.

    Raises:
        RecipeError: if an entry has another form.

    >>> parse_chain([{"name": "Shift", "parameters": {"p": 0.3}}]).transforms
    (Transform(name='Shift', parameters={'p': 0.3}),)
    """
    transforms = []
    for entry in entries:
        entry = {"name": entry} if isinstance(entry, str) else entry
        known = isinstance(entry, Mapping) and set(entry) <= {"name", "parameters"}
        parameters = (entry.get("parameters") or {}) if known and isinstance(entry.get("name"), str) else None
        if not isinstance(parameters, Mapping) or not all(isinstance(one, str) for one in parameters):
            raise RecipeError(
                "not a transform", where=where, found=repr(entry), expected="a name, and parameters if it has any"
            )
        transforms.append(Transform(entry["name"], dict(parameters)))
    return AugmentationChain(transforms)


def _built(transform: Transform) -> Any:
    """The library's object."""
    import audiomentations
    from audiomentations.core.transforms_interface import BaseWaveformTransform

    where = "waveform_augmentation"
    known = {
        name: kind
        for name, kind in vars(audiomentations).items()
        if isinstance(kind, type) and issubclass(kind, BaseWaveformTransform) and name not in EXCLUDED
    }
    if transform.name not in known:
        raise RecipeError("unknown transform", where=where, found=transform.name, expected=_near(transform.name, known))
    taken = list(inspect.signature(known[transform.name]).parameters)
    for name in transform.parameters:
        if name not in taken:
            raise RecipeError(
                "unknown parameter", where=f"{where}, {transform.name}", found=name, expected=_near(name, taken)
            )
    parameters = dict(transform.parameters)
    for name in set(FOLDER_PARAMETERS) & set(parameters):
        parameters[name] = _recordings(parameters[name], f"{where}, {transform.name}, {name}")
    try:
        return known[transform.name](**parameters)
    except (ValueError, TypeError, AssertionError, ImportError) as error:
        found = str(error) or f"parameters {parameters}"
        raise RecipeError("audiomentations refuses", where=f"{where}, {transform.name}", found=found) from error


def _near(name: str, known: Any) -> str:
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"{near[0]!r}?" if near else f"one of {', '.join(known)}"


def _recordings(paths: Any, where: str) -> list[str]:
    """All recordings of files and folders, sorted: in which order a folder is listed depends on the machine."""
    named = [paths] if isinstance(paths, str | Path) else paths
    if not isinstance(named, list | tuple) or not all(isinstance(one, str | Path) for one in named):
        raise RecipeError("not a folder", where=where, found=repr(paths), expected="a path, or a list of them")
    found: list[str] = []
    for path in named:
        folder = Path(path)
        found += [str(folder)] if folder.is_file() else [str(one) for one in folder.rglob("*") if one.is_file()]
    chosen = sorted(path for path in found if Path(path).suffix.lower() in RECORDINGS)
    if not chosen:
        raise RecipeError("no recordings", where=where, found=paths, expected="a folder of WAV, FLAC, OGG or MP3")
    return chosen
