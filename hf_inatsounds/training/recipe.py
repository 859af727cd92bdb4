"""The keys of a recipe, as their dataclasses declare them, and the recipe that they make."""

from __future__ import annotations

import copy
import dataclasses
import enum
import types
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from hf_inatsounds.audio.windows import WindowSpec
from hf_inatsounds.runtime.ranges import Range
from hf_inatsounds.training.options import DataArguments, MayBeEmpty, ModelArguments, ObjectiveArguments
from hf_inatsounds.training.run_arguments import HONOURED, RunArguments

PARTS = {
    "data": DataArguments, "model": ModelArguments, "objective": ObjectiveArguments, "training": RunArguments,
}  # fmt: skip


@dataclass(frozen=True)
class Key:
    """One key of a recipe, as its dataclass declares it.

    Attributes:
        name: of the key.
        part: of the recipe that has it: "data", "model", "objective" or "training".
        kinds: types that its values may have.
        range: numbers that it may be; None for any.
        choices: texts that it may be; none for any.
        may_be_empty: whether an empty text says something.
        help: what it is.
        make: makes its default.
    """

    name: str
    part: str
    kinds: tuple[type, ...]
    range: Range | None
    choices: tuple[str, ...]
    may_be_empty: bool
    help: str
    make: Any

    @property
    def default(self) -> Any:
        """A default of the key's own."""
        return self.make()


def _keys() -> dict[str, Key]:
    found = {}
    for part, kind in PARTS.items():
        hints = typing.get_type_hints(kind, include_extras=True)
        own = kind.__annotations__ if kind is RunArguments else hints
        fields = {one.name: one for one in dataclasses.fields(kind)}
        for name in (*own, *(HONOURED if kind is RunArguments else ())):
            if name in fields:  # of this version of transformers
                found[name] = _key(fields[name], part, hints[name])
    return found


def _key(one: dataclasses.Field[Any], part: str, hint: Any) -> Key:
    marks = hint.__metadata__ if typing.get_origin(hint) is Annotated else ()
    factory = one.default_factory
    return Key(
        one.name,
        part,
        _kinds(hint),
        next((mark for mark in marks if isinstance(mark, Range)), None),
        tuple(one.metadata.get("choices", ())),
        any(isinstance(mark, MayBeEmpty) for mark in marks) or one.name in HONOURED,
        one.metadata.get("help", ""),
        (lambda: one.default) if factory is dataclasses.MISSING else factory,
    )


def _kinds(hint: Any) -> tuple[type, ...]:
    """The plain types that a hint allows.

    >>> _kinds(Annotated[int, Range(0, 1)]), _kinds(dict[str, Any] | None)
    ((<class 'int'>,), (<class 'dict'>, <class 'NoneType'>))
    """
    origin = typing.get_origin(hint)
    if origin is Annotated:
        return _kinds(hint.__origin__)
    if origin in (typing.Union, types.UnionType):
        return tuple(dict.fromkeys(kind for one in typing.get_args(hint) for kind in _kinds(one)))
    if origin is Literal:
        return tuple(dict.fromkeys(type(value) for value in typing.get_args(hint)))
    kind = origin or hint
    return (str,) if isinstance(kind, type) and issubclass(kind, enum.Enum) else (kind,)


KEYS = _keys()
"""Every key of a recipe, in the order of ``train --help``."""


@dataclass(frozen=True)
class Recipe:
    """One training run: a part for each of :data:`PARTS`, made by ``make_recipe`` and not changed after."""

    data: DataArguments
    model: ModelArguments
    objective: ObjectiveArguments
    training: RunArguments

    def values(self) -> dict[str, Any]:
        """All keys and values; of the arguments that go to transformers as they are, those that were set."""
        found = {name: copy.deepcopy(getattr(getattr(self, key.part), name)) for name, key in KEYS.items()}
        return {name: value for name, value in found.items() if name not in HONOURED or value != KEYS[name].default}

    @property
    def out(self) -> Path:
        """The run folder."""
        return Path(self.training.output_dir)

    @property
    def is_validated(self) -> bool:
        """Whether there is a split that chooses the best checkpoint."""
        return self.data.validation_split != "none"

    @property
    def window(self) -> WindowSpec:
        """Training crop and evaluation window."""
        return WindowSpec(self.data.window_s, self.data.stride_s)

    @property
    def validated_by(self) -> str:
        """What ``map`` of a validation is, in words."""
        return "nearest-neighbour mAP" if self.objective.objective == "contrastive" else "mAP"

    @property
    def trackers(self) -> tuple[str, ...]:
        """Names of ``report_to``."""
        asked = self.training.report_to
        return () if asked == "none" else tuple(name.strip() for name in asked.split(","))
