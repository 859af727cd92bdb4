"""The keys of a recipe, as their dataclasses declare them, the recipe that they make, and how YAML is read."""

from __future__ import annotations

import copy
import dataclasses
import enum
import os
import re
import types
import typing
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml

from hf_inatsounds.audio.windows import WindowSpec
from hf_inatsounds.errors import RecipeError
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


_IN_WORDS = {
    int: "a whole number", float: "a number", bool: "true or false", str: "text", dict: "keys and values",
    list: "a list", type(None): "nothing",
}  # fmt: skip


class BadValue(RecipeError):
    """A value that its key cannot have.

    Args:
        what: what is wrong, in a few words.
        key: of the recipe; with a dot, an inner one.
        found: what was there.
        expected: what should have been there.
    """

    def __init__(self, what: str, key: str = "", found: object = None, expected: object = None) -> None:
        super().__init__(what, where=key, found=found, expected=expected)
        self.what, self.key, self.found, self.expected = what, key, found, expected


class _Loader(yaml.SafeLoader):
    """PyYAML's, which takes the last of two equal keys in silence; here they are an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """A mapping, whose own keys differ (those that ``<<`` brings in may be repeated)."""
        own = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.value != "<<"]
        twice = {key for key in own if own.count(key) > 1}
        if twice:
            raise yaml.constructor.ConstructorError(None, None, f"{min(twice)!r} stands there twice", node.start_mark)
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """Writes what :class:`_Loader` reads."""


_POWER = re.compile(r"^[-+]?[0-9][0-9_]*(?:\.[0-9_]*)?[eE][-+]?[0-9]+$")
"""A number that YAML 1.1 reads as a text, since it has no point, or no sign after its e: 1e-3, 1.5e3."""
for _one in (_Loader, _Dumper):
    _one.add_implicit_resolver("tag:yaml.org,2002:float", _POWER, list("-+0123456789"))


def to_yaml(values: Mapping[str, Any]) -> str:
    """YAML of a mapping, its keys in their order.

    >>> from_yaml(to_yaml({"rate": 1e-5, "name": "1e-5"}))
    {'rate': 1e-05, 'name': '1e-5'}
    """
    return str(yaml.dump(dict(values), Dumper=_Dumper, sort_keys=False, allow_unicode=True))


def from_yaml(text: str) -> Any:
    """What YAML says; nothing but plain values is made of it.

    Raises:
        ValueError: if it is no YAML.

    >>> from_yaml("[1, 2.5, 1e-3, a]")
    [1, 2.5, 0.001, 'a']
    """
    try:
        return yaml.load(text, _Loader)  # noqa: S506  # a SafeLoader
    except (yaml.YAMLError, RecursionError) as error:  # of a thousand brackets
        raise ValueError(str(error) or type(error).__name__) from error


def read_mapping(path: str | Path) -> dict[Any, Any]:
    """Keys and values of a YAML file.

    Raises:
        RecipeError: if it is missing, no YAML, or holds something else.
    """
    try:
        values = from_yaml(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError("cannot read the recipe", where=path, found=error.strerror) from error
    except ValueError as error:
        raise RecipeError("not YAML", where=path, found=error) from error
    values = {} if values is None else values
    if not isinstance(values, dict):
        raise RecipeError("not a recipe", where=path, found=type(values).__name__, expected="keys and values")
    return values


def typed(key: str, value: Any, kinds: tuple[type, ...]) -> Any:
    """A value of a recipe as its key's type: whole numbers pass for real ones, texts from flags are read as YAML.

    Args:
        key: for errors.
        value: as YAML or a flag gives it.
        kinds: the key's types.

    Raises:
        BadValue: if it has another type.

    >>> typed("learning_rate", "1e-3", (float,)), typed("fsdp", "full_shard", (str, type(None)))
    (0.001, 'full_shard')
    """
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if isinstance(value, str) and kinds != (str,):
        try:
            read = from_yaml(value)
        except ValueError:
            read = value  # left a text, which the check below may refuse
        value = read if str not in kinds or isinstance(read, kinds) else value
    if key == "report_to" and isinstance(value, list) and all(isinstance(one, str) for one in value):
        value = ",".join(value)  # as transformers takes several trackers
    if key == "freeze" and isinstance(value, int) and not isinstance(value, bool):
        value = str(value)  # a number of layers
    if float in kinds and isinstance(value, int) and not isinstance(value, bool):
        value = float(value) if abs(value) < 2**1023 else value
    is_bool = isinstance(value, bool)
    if not isinstance(value, kinds) or (is_bool and bool not in kinds):
        names = [_IN_WORDS[kind] for kind in kinds]
        raise BadValue("wrong type", key, found=repr(value), expected=" or ".join(names))
    return value


def laid_over(base: Mapping[Any, Any], over: Mapping[Any, Any]) -> dict[Any, Any]:
    """``base`` with the values of ``over``: mappings are merged key by key, at any depth; all else is replaced.

    >>> laid_over({"a": {"b": 1, "c": {"d": 2}}, "e": [1]}, {"a": {"c": {"f": 3}}, "e": [2]})
    {'a': {'b': 1, 'c': {'d': 2, 'f': 3}}, 'e': [2]}
    """
    made = dict(base)
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(made.get(key), Mapping)
        made[key] = laid_over(made[key], value) if both else value
    return made
