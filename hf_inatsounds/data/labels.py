"""The label space: the ordered classes that a dataset has and a checkpoint scores."""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_inatsounds.errors import AnnotationError, CheckpointError
from hf_inatsounds.files import write_text
from hf_inatsounds.schema import RANKS

FILE_NAME = "label_space.json"


@dataclass(frozen=True)
class Taxon:
    """One class: a species and its place in iNaturalist's taxonomy.

    Attributes:
        species: scientific name, the key.
        common_name: English name, empty where there is none.
        supercategory: as iNaturalist has it ("Aves").
        ranks: names of the seven ranks, kingdom … specific epithet.
        evaluated: whether validation and test hold the class.
    """

    species: str
    common_name: str
    supercategory: str
    ranks: tuple[str, ...]
    evaluated: bool


@dataclass(frozen=True)
class LabelSpace:
    """Classes in label order; a label is an index into it.

    >>> frog = Taxon("Rana indet", "frog", "Amphibia", ("Animalia",) * 7, True)
    >>> space = LabelSpace((frog,))
    >>> len(space), space.label("Rana indet"), space.evaluated
    (1, 0, [0])
    """

    taxa: tuple[Taxon, ...]

    def __post_init__(self) -> None:
        index = {taxon.species: label for label, taxon in enumerate(self.taxa)}
        if len(index) != len(self.taxa):
            names = [taxon.species for taxon in self.taxa]
            twice = next(name for name in names if names.count(name) > 1)
            raise AnnotationError("two categories have one scientific name", where=repr(twice))
        object.__setattr__(self, "_index", index)

    def __len__(self) -> int:
        return len(self.taxa)

    @property
    def species(self) -> list[str]:
        """Scientific names in label order."""
        return [taxon.species for taxon in self.taxa]

    @property
    def evaluated(self) -> list[int]:
        """Labels of the evaluated classes, ascending."""
        return [label for label, taxon in enumerate(self.taxa) if taxon.evaluated]

    @property
    def ranks(self) -> list[tuple[str, ...]]:
        """(C, 7) names of the ranks, in label order."""
        return [taxon.ranks for taxon in self.taxa]

    def label(self, species: str) -> int:
        """Label of a scientific name.

        Raises:
            KeyError: if the name is not in the label space.
        """
        index: dict[str, int] = self._index  # type: ignore[attr-defined]  # set on a frozen dataclass
        return index[species]

    def columns(self, names: Sequence[str]) -> list[int | None]:
        """Where each class stands among ``names``; None for one that is not there.

        Names are compared without regard to case, underscores and spaces. A class may also be named as the archives'
        folders are: its seven ranks, with or without its number before them.

        Args:
            names: a checkpoint's classes in their order.

        Returns:
            For each class an index into ``names``.

        Raises:
            CheckpointError: if two names mean one class.

        >>> frog = Taxon("Rana indet", "frog", "Amphibia", ("Animalia",) * 7, True)
        >>> LabelSpace((frog,)).columns(["noise", "rana_indet"])
        [1]
        """
        ranked = [_plain(" ".join(taxon.ranks)) for taxon in self.taxa]
        alone = {name for name, count in Counter(ranked).items() if count == 1}
        labels = {name: label for label, name in enumerate(ranked) if name in alone}
        labels |= {_plain(taxon.species): label for label, taxon in enumerate(self.taxa)}
        found: list[int | None] = [None] * len(self)
        for column, name in enumerate(names):
            label = labels.get(_plain(name), labels.get(re.sub(r"^\d+ ", "", _plain(name))))
            if label is None:
                continue
            before = found[label]
            if before is not None:
                raise CheckpointError(
                    "two classes of the checkpoint are one species", where=self.taxa[label].species,
                    found=f"{names[before]!r} and {name!r}",
                )  # fmt: skip
            found[label] = column
        return found

    @classmethod
    def from_categories(cls, categories: list[dict[str, Any]]) -> LabelSpace:
        """From the annotation JSON's ``categories``, which must be in the order of their ids."""
        return cls(
            tuple(
                Taxon(
                    species=str(category["name"]),
                    common_name=str(category.get("common_name") or ""),
                    supercategory=str(category["supercategory"]),
                    ranks=tuple(str(category[rank]) for rank in RANKS),
                    evaluated=bool(category["evaluation"]),
                )
                for category in categories
            )
        )

    def save(self, folder: str | Path) -> None:
        """Write ``label_space.json`` into ``folder``, whole or not at all."""
        rows = [
            {
                "species": taxon.species,
                "common_name": taxon.common_name,
                "supercategory": taxon.supercategory,
                "ranks": list(taxon.ranks),
                "evaluated": taxon.evaluated,
            }
            for taxon in self.taxa
        ]
        write_text(Path(folder) / FILE_NAME, json.dumps({"taxa": rows}, indent=1, ensure_ascii=False) + "\n")

    @classmethod
    def load(cls, folder: str | Path) -> LabelSpace:
        """Read ``label_space.json`` from ``folder``.

        Raises:
            CheckpointError: if it is missing or malformed.
        """
        path = Path(folder) / FILE_NAME
        try:
            rows = json.loads(path.read_text(encoding="utf-8"))["taxa"]
            return cls(tuple(Taxon(**{**row, "ranks": tuple(row["ranks"])}) for row in rows))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CheckpointError(
                "no usable label space",
                where=path,
                found=f"{type(error).__name__}: {error}",
                expected="the label_space.json that train writes beside a checkpoint",
            ) from error

    def check_matches(self, other: LabelSpace, *, where: str) -> None:
        """Raise CheckpointError unless ``other`` has the same species in the same order."""
        if self.species == other.species:
            return
        pairs = zip(self.species, other.species, strict=False)
        first = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(self), len(other)))
        found = other.species[first] if first < len(other) else "nothing"
        expected = self.species[first] if first < len(self) else "nothing"
        raise CheckpointError(
            "label spaces differ",
            where=where,
            found=f"{len(other)} classes, {found!r} at label {first}",
            expected=f"{len(self)} classes, {expected!r} there",
        )


def _plain(name: str) -> str:
    """A name as it is compared.

    >>> _plain("Rana__Indet ")
    'rana indet'
    """
    return " ".join(unicodedata.normalize("NFC", name).replace("_", " ").split()).casefold()
