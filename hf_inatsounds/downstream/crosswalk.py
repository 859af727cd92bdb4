"""Crosswalk: which of a model's classes stand for a suite's. What has no match is reported, not dropped."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_inatsounds.downstream.annotation_tables import Row, read_csv
from hf_inatsounds.errors import SuiteError

CODE_COLUMNS = ("code", "ebird_code", "species_code", "SPECIES_CODE", "label")
NAME_COLUMNS = ("scientific_name", "SCI_NAME", "sci_name", "scientificName", "species")


@dataclass(frozen=True)
class Crosswalk:
    """Matches between two lists of classes.

    Attributes:
        pairs: (suite class, model classes that stand for it), ascending; a class without a match is not among them.
        unmatched: suite classes without a match.
        unused: number of model classes that stand for nothing in the suite.
        how: kind of match → number of suite classes matched so.
    """

    pairs: tuple[tuple[int, tuple[int, ...]], ...]
    unmatched: tuple[str, ...]
    unused: int
    how: Mapping[str, int]

    def report(self) -> dict[str, Any]:
        """What ``results.json`` says of it."""
        return {
            "matched": len(self.pairs),
            "unmatched": list(self.unmatched),
            "unused_model_classes": self.unused,
            "matched_by": dict(self.how),
        }


def normalised(name: str) -> str:
    """A name for comparison: lower case, one space between words, no authorship in brackets, no underscores.

    >>> normalised("Rana_catesbeiana  (Shaw, 1802)")
    'rana catesbeiana'
    """
    return " ".join(re.sub(r"\([^)]*\)", " ", name).replace("_", " ").lower().split())


def match_classes(
    suite: Sequence[str],
    model: Sequence[str],
    *,
    codes: Mapping[str, str] | None = None,
    synonyms: Mapping[str, str] | None = None,
    common_names: Sequence[str] | None = None,
) -> Crosswalk:
    """Match a suite's classes to a model's.

    Tried in this order: the same name; the code's scientific name; a synonym of either; the model's common name, if
    only one class has it. Several model classes may stand for one suite class (a species split since), and one for
    several.

    Args:
        suite: the suite's class names or codes.
        model: the model's class names.
        codes: code → scientific name.
        synonyms: name → accepted name; both directions are tried.
        common_names: of the model's classes, in their order; "" for none.

    >>> match_classes(["amerob", "Hyla una"], ["Turdus migratorius"], codes={"amerob": "Turdus migratorius"}).unmatched
    ('Hyla una',)
    """
    places: dict[str, list[int]] = {}
    for i, name in enumerate(model):
        places.setdefault(normalised(name), []).append(i)
    common: dict[str, list[int]] = {}
    for i, name in enumerate(common_names or ()):
        if name:
            common.setdefault(normalised(name), []).append(i)
    by_code = {normalised(code): normalised(name) for code, name in (codes or {}).items()}
    same: dict[str, set[str]] = {}
    for one, other in (synonyms or {}).items():
        same.setdefault(normalised(one), set()).add(normalised(other))
        same.setdefault(normalised(other), set()).add(normalised(one))

    def find(name: str) -> tuple[str, list[int]]:
        coded = by_code.get(name, name)
        if name in places:
            return "name", places[name]
        if coded in places:
            return "code", places[coded]
        names = same.get(coded, set()) | {other for one in same.get(coded, set()) for other in same.get(one, set())}
        alike = sorted(i for other in names for i in places.get(other, []))
        if alike:
            return "synonym", alike
        return "common name", common[name] if len(common.get(name, [])) == 1 else []

    pairs, unmatched, how = [], [], dict.fromkeys(("name", "code", "synonym", "common name"), 0)
    for i, name in enumerate(suite):
        kind, found = find(normalised(name))
        if found:
            pairs.append((i, tuple(found)))
            how[kind] += 1
        else:
            unmatched.append(name)
    used = {j for _, found in pairs for j in found}
    return Crosswalk(tuple(pairs), tuple(unmatched), len(model) - len(used), how)


def read_codes(path: str | Path) -> dict[str, str]:
    """Code → scientific name from a CSV, such as eBird's own taxonomy.

    Raises:
        SuiteError: if it has no pair of such columns, or gives a code two names.
    """
    rows = read_csv(Path(path), [])
    code = next((name for name in CODE_COLUMNS if name in rows[0]), None)
    name = next((name for name in NAME_COLUMNS if name in rows[0]), None)
    if code is None or name is None:
        raise SuiteError(
            "no table of names", where=path, found=", ".join(rows[0]),
            expected=f"one of {', '.join(CODE_COLUMNS)} and one of {', '.join(NAME_COLUMNS)}",
        )  # fmt: skip
    return _pairs(rows, code, name)


def read_synonyms(path: str | Path) -> dict[str, str]:
    """Name → accepted name from a CSV with ``name`` and ``accepted``."""
    return _pairs(read_csv(Path(path), ["name", "accepted"]), "name", "accepted")


def _pairs(rows: Sequence[Row], key: str, value: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for row in rows:
        if found.setdefault(row[key], row[value]) != row[value]:
            raise SuiteError("two names for one", where=row.where, found=repr(row[key]))
    return found
