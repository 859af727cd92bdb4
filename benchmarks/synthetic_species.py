"""The species of :mod:`benchmarks.synthetic_archive`: names, lineages, places, and how often each was recorded."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Supercategory:
    """What is exact of a supercategory.

    Attributes:
        phylum: of all its species.
        species: how many.
        evaluated: how many of them validation and test hold.
        recordings: stem → how many.
        singletons: species with one recording in train.
        most: recordings of a species in train.
    """

    phylum: str
    species: int
    evaluated: int
    recordings: dict[str, int]
    singletons: int
    most: int


def _counts(train: int, val: int, test: int) -> dict[str, int]:
    return {"train": train, "val": val, "test": test}


SUPERCATEGORIES = {
    "Insecta": Supercategory("Arthropoda", 745, 111, _counts(10_080, 3_065, 3_305), 261, 1_000),
    "Amphibia": Supercategory("Chordata", 650, 118, _counts(13_183, 4_004, 4_081), 228, 1_000),
    "Aves": Supercategory("Chordata", 3_846, 939, _counts(111_029, 37_597, 41_036), 1_347, 1_000),
    "Mammalia": Supercategory("Chordata", 296, 41, _counts(2_566, 983, 1_073), 104, 250),
    "Reptilia": Supercategory("Chordata", 32, 3, _counts(154, 49, 32), 11, 40),
}
LEAST_EVALUATED, MOST_EVALUATED = 5, 100
SYLLABLES = (
    "a", "ca", "ne", "pho", "ri", "to", "lo", "mus", "ra", "chi", "xen", "ptera", "go", "phi", "la", "ma", "sy", "lvi",
    "cor", "vus", "stri", "x", "tur", "du", "s", "hy", "dro", "bu", "fo",
)  # fmt: skip
REGIONS = ((38, -98, 8, 15), (48, 12, 6, 12), (-5, -62, 12, 8), (-28, 145, 6, 9), (-25, 26, 6, 5), (20, 102, 9, 9))
"""Latitude, longitude, and how far places scatter in each, in degrees."""
REGION_SHARES = (0.45, 0.15, 0.12, 0.12, 0.08, 0.08)


@dataclass(frozen=True)
class Species:
    """One species.

    Attributes:
        lineage: its seven ranks.
        supercategory: as the JSON has it.
        common_name: empty for some.
        evaluated: whether validation and test hold it at full size.
        counts: stem → recordings.
        place: latitude and longitude of its range's middle.
        spread: of its range, in degrees.
    """

    lineage: tuple[str, ...]
    supercategory: str
    common_name: str
    evaluated: bool
    counts: dict[str, int]
    place: tuple[float, float]
    spread: float


def draw_species(rng: np.random.Generator) -> list[Species]:
    """All 5,569, in alphabetical order of their lineages, as the official ids are."""
    made: list[Species] = []
    for name, about in SUPERCATEGORIES.items():
        counts = _recordings(rng, about)
        lineages = _lineages(rng, name, about)
        for number, lineage in enumerate(lineages):
            common_name = f"{_word(rng, 2, 5).capitalize()}’s {_word(rng, 2, 4)}" if rng.random() > 0.08 else ""
            own = {stem: int(values[number]) if number < len(values) else 0 for stem, values in counts.items()}
            latitude, longitude, a, b = REGIONS[rng.choice(len(REGIONS), p=REGION_SHARES)]
            place = float(rng.normal(latitude, a)), float(rng.normal(longitude, b))
            spread = float(rng.lognormal(1.2, 0.8))
            made.append(Species(lineage, name, common_name, own["val"] > 0, own, place, spread))
    return sorted(made, key=lambda one: "_".join(one.lineage))


def thinned(species: list[Species], rows: float) -> list[Species]:
    """The same species with a share of their recordings: exactly that share of each split's, and so of some none."""
    ends = {stem: np.floor(np.cumsum([one.counts[stem] for one in species]) * rows + 0.5) for stem in species[0].counts}
    counts = {stem: np.diff(end, prepend=0).astype(int).tolist() for stem, end in ends.items()}
    return [replace(one, counts={stem: counts[stem][number] for stem in counts}) for number, one in enumerate(species)]


def _recordings(rng: np.random.Generator, about: Supercategory) -> dict[str, Array]:
    """Stem → recordings of each species that it holds, most first."""
    n, singles = about.species, about.singletons
    ranks = np.arange(n - singles) + 1.0
    tail = _of_sum(lambda a: about.most * ranks**-a, about.recordings["train"] - singles, 2, about.most, 0.0, 10.0)
    found = {"train": np.concatenate([tail, np.ones(singles, np.int64)])}
    for stem in ("val", "test"):
        weight = rng.lognormal(0, 1.0, about.evaluated)
        total = about.recordings[stem]
        found[stem] = _of_sum(
            lambda a, weight=weight: LEAST_EVALUATED + weight * a, total, LEAST_EVALUATED, MOST_EVALUATED, 1e6, 0.0
        )
    return found


def _of_sum(values: Any, total: int, low: int, high: int, most_at: float, least_at: float) -> Array:
    """Whole numbers within [low, high] of the sum ``total``, most first.

    Args:
        values: a number → real values, whose sum falls from ``most_at`` to ``least_at``.
        total: their sum.
        low: no number is smaller.
        high: no number is larger.
        most_at: where the sum is largest.
        least_at: where it is smallest.
    """

    def whole(a: float) -> Array:
        return np.clip(np.round(values(a)), low, high).astype(np.int64)

    for _ in range(80):
        middle = (most_at + least_at) / 2
        most_at, least_at = (middle, least_at) if whole(middle).sum() > total else (most_at, middle)
    found = np.sort(whole(least_at))[::-1]
    for number in np.tile(np.roll(np.arange(len(found)), -(len(found) // 3)), total):  # what is left, one for each
        step = int(np.sign(total - found.sum()))
        if not step:
            break
        if low <= found[number] + step <= high:
            found[number] += step
    return np.sort(found)[::-1]


def _lineages(rng: np.random.Generator, name: str, about: Supercategory) -> list[tuple[str, ...]]:
    """As many as the supercategory has species, no two of one name."""
    genera = []
    families = [_word(rng, 2, 4) for _ in range(max(3, about.species // 15))]
    for _ in range(max(3, about.species // 3)):
        order = f"{name[:3]}{rng.integers(max(2, about.species // 90))}"
        family = f"{order}{families[rng.integers(len(families))]}idae"
        genera.append((f"{order}iformes", family, f"{_word(rng, 3, 6)}".capitalize()))
    found: dict[tuple[str, str], tuple[str, ...]] = {}
    while len(found) < about.species:
        order, family, genus = genera[rng.integers(len(genera))]
        epithet = _word(rng, 3, 7)
        found.setdefault((genus, epithet), ("Animalia", about.phylum, name, order, family, genus, epithet))
    return list(found.values())


def _word(rng: np.random.Generator, low: int, high: int) -> str:
    return "".join(rng.choice(SYLLABLES) for _ in range(rng.integers(low, high)))
