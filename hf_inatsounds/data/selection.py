"""Which recordings of a dataset are wanted: one notion of it for every source, command and function.

A selection is a mapping, ``{"family": "Ranidae", "max_per_class": 150}`` in Python and in a recipe, and
``--select family=Ranidae --select max_per_class=150`` on the command line. A recording is wanted if it meets every
condition; of one condition's several values it has to have one.
"""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa

from hf_inatsounds.data.annotations import Annotations
from hf_inatsounds.data.labels import LabelSpace, Taxon
from hf_inatsounds.data.places import in_box, in_polygon, in_radius
from hf_inatsounds.data.selection_keys import CLASS_KEYS, RECORDING_KEYS
from hf_inatsounds.data.selection_values import Select, read_conditions
from hf_inatsounds.errors import SourceError
from hf_inatsounds.schema import RANKS

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Selection:
    """Which recordings are wanted.

    Attributes:
        name: short form: "all", a supercategory in lower case, "evaluation", or "annotations" (all, without audio).
        conditions: key → value, in JSON's types; what files said is in them, so that they can be compared.
    """

    name: str = "all"
    conditions: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, name: str = "all", select: Select = None) -> Selection:
        """A selection as users give it.

        Args:
            name: of the dataset.
            select: key → value, or texts ``key=value``. ``species``, ``supercategory``, the ranks and ``license``: a
                name, a list of them, or ``@FILE`` with one per line (also eBird's "Scientific name_Common name");
                ``evaluation``: bool; ``box``: south, west, north, east in degrees; ``radius``: latitude, longitude,
                km; ``polygon``: a GeoJSON file; ``date``: "FROM..TO" of ISO dates, years or months, both included,
                either left out; ``duration_s``: "FROM..TO" in seconds, of the annotated length; ``max_per_class``:
                recordings of each class at most, drawn by ``seed``; ``relabel``: whether the classes are those chosen
                by species, rank, supercategory or evaluation alone, instead of all.

        Raises:
            ArgumentsError: for an unknown key, or a value that it cannot have.
        """
        return cls(name, read_conditions(select))

    @classmethod
    def from_text(cls, text: str) -> Selection:
        """What :attr:`text` was made of."""
        return cls(**json.loads(text))

    @property
    def text(self) -> str:
        """As canonical JSON: the same for the same selection."""
        kept = {key: self.conditions[key] for key in sorted(self.conditions)}
        return json.dumps({"name": self.name, "conditions": kept}, ensure_ascii=False)

    @property
    def relabels(self) -> bool:
        """Whether the label space is that of the chosen classes alone."""
        return bool(self.conditions.get("relabel"))

    @property
    def of_classes(self) -> Selection:
        """What it says of classes alone."""
        kept = {key: value for key, value in self.conditions.items() if key in (*CLASS_KEYS, "relabel")}
        return Selection(self.name, kept)

    def __str__(self) -> str:
        return " ".join([self.name, *(f"{key}={_shown(value)}" for key, value in self.conditions.items())])

    def apply(self, annotations: Annotations) -> Annotations:
        """The annotations of the wanted recordings, in their order.

        Raises:
            SourceError: if the name is unknown, or a species, a rank's or a licence's name is not in the annotations.
        """
        space, table = annotations.label_space, annotations.select(self.name)
        if not self.conditions:
            return replace(annotations, table=table, label_space=space)
        classes = self._classes(space)
        keep = classes[table["label"].to_numpy()]
        for key in RECORDING_KEYS:
            if key in self.conditions:
                keep = keep & _CONDITIONS[key](table, self.conditions[key], annotations.table)
        if "max_per_class" in self.conditions:
            keep = keep & self._drawn(table, keep)
        table = table.filter(pa.array(keep))
        if self.relabels:
            space, table = self._relabelled(space, table, classes)
        return replace(annotations, table=table, label_space=space)

    def _classes(self, space: LabelSpace) -> Array:
        """(C,) whether each class is wanted."""
        keep = np.array([self._is_named(taxon) for taxon in space.taxa], bool)
        for key in CLASS_KEYS:
            if key not in self.conditions:
                continue
            wanted = self.conditions[key]
            if key == "evaluation":
                keep &= np.array([taxon.evaluated == wanted for taxon in space.taxa], bool)
            else:
                keep &= _among([_of(taxon, key) for taxon in space.taxa], wanted, key)
        return keep

    def _is_named(self, taxon: Taxon) -> bool:
        """Whether the short form has the class."""
        if self.name == "evaluation":
            return taxon.evaluated
        return self.name in ("all", "annotations", taxon.supercategory.lower())

    def _drawn(self, table: pa.Table, keep: Array) -> Array:
        """(N,) whether each row is among the first so many of its class, in an order of ids that the seed decides."""
        ids, labels = table["recording_id"].to_numpy(), table["label"].to_numpy()
        draws = _mixed(ids, int(self.conditions.get("seed", 0)))
        order = np.lexsort((ids, draws, labels, ~keep))
        starts = np.flatnonzero(_begins(labels[order], keep[order]))
        place = np.arange(len(order)) - np.repeat(starts, np.diff(np.append(starts, len(order))))
        chosen = np.zeros(len(order), bool)
        chosen[order] = place < self.conditions["max_per_class"]
        return chosen

    def _relabelled(self, space: LabelSpace, table: pa.Table, classes: Array) -> tuple[LabelSpace, pa.Table]:
        """The wanted classes as a label space, and the rows with their labels in it."""
        new = np.cumsum(classes) - 1
        at = table.schema.get_field_index("label")
        table = table.set_column(at, table.schema.field("label"), pa.array(new[table["label"].to_numpy()], pa.int64()))
        return LabelSpace(tuple(taxon for taxon, kept in zip(space.taxa, classes, strict=True) if kept)), table


def _begins(labels: Array, keep: Array) -> Array:
    """Where a run of equal (label, keep) begins, in sorted arrays."""
    begins = np.ones(len(labels), bool)
    begins[1:] = (labels[1:] != labels[:-1]) | (keep[1:] != keep[:-1])
    return begins


def _mixed(ids: Array, seed: int) -> Array:
    """(N,) uint64, each a function of (seed, id) alone: splitmix64, so that no other recording affects the draw."""
    with np.errstate(over="ignore"):
        mixed = ids.astype(np.uint64) ^ (np.uint64(seed) * np.uint64(0x9E3779B97F4A7C15))
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1)):
            mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return mixed


def _of(taxon: Taxon, key: str) -> str:
    if key in RANKS:
        return taxon.ranks[RANKS.index(key)]
    return taxon.supercategory if key == "supercategory" else taxon.species


def _plain(name: str) -> str:
    return " ".join(name.split()).casefold()


def _among(names: Sequence[str | None], wanted: Sequence[str], key: str) -> Array:
    """(N,) whether each name is wanted, without regard to case.

    Raises:
        SourceError: if a wanted one is not there.
    """
    there = {_plain(name) for name in names if name is not None}
    chosen = set()
    for name in wanted:
        plain = [_plain(name), _plain(name.split("_")[0])]  # eBird's lists: Scientific name_Common name
        found = next((one for one in plain if one in there), None)
        if found is None:
            near = difflib.get_close_matches(plain[0], there, 3, 0.75)
            known = {_plain(one): one for one in names if one is not None}
            raise SourceError(
                f"no {key} of this name in the annotations", where=f"select {key}", found=repr(name),
                expected=" or ".join(known[one] for one in near) if near else f"one of {len(there):,} names",
            )  # fmt: skip
        chosen.add(found)
    return np.array([name is not None and _plain(name) in chosen for name in names], bool)


def _numbers(table: pa.Table, name: str) -> Array:
    """(N,) float64; NaN where unknown."""
    return np.array(table[name].to_numpy(), np.float64)


def _places(table: pa.Table) -> tuple[Array, Array]:
    return _numbers(table, "latitude"), _numbers(table, "longitude")


def _licensed(table: pa.Table, wanted: Sequence[str], all_rows: pa.Table) -> Array:
    known = all_rows["license"].unique().to_pylist()
    here = {_plain(name) for name in known if name is not None}
    found = [name for name in wanted if _plain(name) in here] or wanted  # a split need not have each
    kept = {name for name, is_wanted in zip(known, _among(known, found, "license"), strict=True) if is_wanted}
    return np.array([name in kept for name in table["license"].to_pylist()], bool)


def _dated(table: pa.Table, bounds: Sequence[str | None], _: pa.Table) -> Array:
    first, last = bounds

    def wanted(date: str | None) -> bool:
        if not date:
            return False
        return (first is None or date[: len(first)] >= first) and (last is None or date[: len(last)] <= last)

    return np.array([wanted(date) for date in table["date"].to_pylist()], bool)


def _lasting(table: pa.Table, bounds: Sequence[float | None], _: pa.Table) -> Array:
    first, last = bounds
    durations = _numbers(table, "duration_s")
    with np.errstate(invalid="ignore"):
        return (durations >= (-math.inf if first is None else first)) & (
            durations <= (math.inf if last is None else last)
        )


_CONDITIONS: dict[str, Callable[[pa.Table, Any, pa.Table], Array]] = {
    "license": _licensed,
    "box": lambda table, box, _: in_box(*_places(table), *box),
    "radius": lambda table, radius, _: in_radius(*_places(table), *radius),
    "polygon": lambda table, rings, _: in_polygon(*_places(table), rings),
    "date": _dated,
    "duration_s": _lasting,
}
"""Key → (N,) whether each row meets the condition, of (rows, value, all rows of the split)."""


def _shown(value: Any) -> str:
    text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= 60 else f"{text[:59]}…"
