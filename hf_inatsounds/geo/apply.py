"""What a range prior does to file-level scores: classes masked, or all reweighted."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

import numpy as np

from hf_inatsounds.data.labels import LabelSpace
from hf_inatsounds.errors import GeoError
from hf_inatsounds.geo.fitted import FittedPrior

Array = np.ndarray[Any, np.dtype[Any]]
Mode = Literal["mask", "soft"]

THRESHOLD = 0.1
"""The authors' threshold: a class that is present with this probability or less is masked."""

PORTION = 1024  # recordings at a time: 45 MB of 5,569 classes


class GeoPrior(Protocol):
    """From place to species."""

    default_mode: ClassVar[str]

    @property
    def known(self) -> Array:
        """(C,) bool: classes that the prior knows; the others are never masked."""

    def __call__(self, latitude: Array, longitude: Array) -> Array:
        """(B, C) probability of presence in [0, 1], 1 for unknown classes."""

    def likelihood(self, latitude: Array, longitude: Array) -> Array:
        """(B, C) ≥ 0: what a soft combination multiplies scores by, 1 for unknown classes."""


@dataclass(frozen=True)
class Reweighting:
    """How a prior is combined with scores.

    - "mask": scores of classes whose presence is at most ``threshold`` become 0
    - "soft": scores are multiplied by ``likelihood ** weight``

    and the others are renormalised so that a recording's scores sum to what they did.

    Attributes:
        mode: "mask" or "soft".
        threshold: of the mask, in [0, 1).
        weight: exponent of the soft combination, ≥ 0.

    Raises:
        ValueError: if a value is out of range.
    """

    mode: Mode = "mask"
    threshold: float = THRESHOLD
    weight: float = 1.0

    def __post_init__(self) -> None:
        if self.mode not in ("mask", "soft"):
            raise ValueError(f'mode must be "mask" or "soft"; got {self.mode!r}')
        if not 0 <= self.threshold < 1 or not 0 <= self.weight < 100:
            raise ValueError(f"threshold must be in [0, 1), weight in [0, 100); got {self.threshold}, {self.weight}")


def apply_prior(
    prior: GeoPrior, scores: Array, place: Array, classes: Array, reweighting: Reweighting
) -> tuple[Array, dict[str, int]]:
    """File-level scores with a prior.

    Args:
        prior: of all classes of the label space.
        scores: (F, K) ≥ 0, the columns of ``classes``.
        place: (F, 2) latitude and longitude in degrees, NaN where unknown: such a recording is left as it is.
        classes: (K,) labels.
        reweighting: how.

    Returns:
        (F, K) float32, and counts: ``with_place``, ``without_place``, and ``left``: recordings with a place where the
        prior would have left no class.
    """
    found = np.array(scores, np.float32)
    placed = np.flatnonzero(~np.isnan(place).any(axis=1))
    placed = placed[_by_neighbourhood(place[placed])]
    left = 0
    for first in range(0, len(placed), PORTION):
        rows = placed[first : first + PORTION]
        latitude, longitude = place[rows].T
        factor: Array
        if reweighting.mode == "mask":
            factor = np.asarray(prior(latitude, longitude))[:, classes] > reweighting.threshold
        else:
            factor = np.asarray(prior.likelihood(latitude, longitude))[:, classes] ** reweighting.weight
        before = found[rows].astype(np.float64)
        after = before * factor
        total, whole = after.sum(axis=1), before.sum(axis=1)
        usable = total > 1e-30
        after[usable] *= (whole[usable] / total[usable])[:, None]
        after[~usable] = before[~usable]
        left += int((~usable).sum())
        found[rows] = after
    return found, {"with_place": len(placed), "without_place": len(scores) - len(placed), "left": left}


def _by_neighbourhood(place: Array) -> Array:
    """Order of places in which neighbours stand together: strips of 10 degrees, in each from west to east.

    A fitted prior looks only at what was recorded around the places that it is asked about together.
    """
    return np.lexsort((place[:, 1], np.floor(place[:, 0] / 10)))


def load_prior(path: str | Path, label_space: LabelSpace) -> GeoPrior:
    """A prior for the classes of a label space, whichever kind it is.

    Args:
        path: a fitted prior (``.safetensors``), a SINR checkpoint (``.pt``) with a JSON file of taxon names beside it
            (taxon id → scientific name), or a folder with one of the two.
        label_space: the dataset's classes.

    Raises:
        GeoError: if there is none, or it is malformed, or knows none of the classes.
    """
    path = Path(path)
    file = path
    if path.is_dir():
        found = sorted([*path.glob("*.safetensors"), *path.glob("*.pt"), *path.glob("*.pth")])
        if len(found) != 1:
            raise GeoError("not one prior", where=path, found=f"{len(found)} of *.safetensors, *.pt", expected="one")
        file = found[0]
    if not file.exists():
        raise GeoError(
            "no such prior", where=path, expected="a fitted prior (.safetensors) or a SINR checkpoint (.pt)",
            fix="Fit one: hf-inatsounds geo-prior SOURCE --out prior.safetensors",
        )  # fmt: skip
    prior: GeoPrior
    if file.suffix == ".safetensors":
        prior = FittedPrior.load(file, label_space.species)
    else:
        from hf_inatsounds.geo.sinr import SinrPrior

        prior = SinrPrior.from_checkpoint(file, _taxon_names(file), label_space.species)
    if not prior.known.any():
        raise GeoError("the prior knows none of the dataset's classes", where=file)
    return prior


def _taxon_names(checkpoint: Path) -> dict[str, str]:
    """Taxon id → name from the JSON beside a checkpoint: a mapping of them, or the first value that is one."""
    for path in sorted(checkpoint.parent.glob("*.json")):
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        for candidate in [document, *(document.values() if isinstance(document, dict) else [])]:
            if isinstance(candidate, dict) and candidate and all(
                str(key).isdigit() and isinstance(name, str) for key, name in candidate.items()
            ):  # fmt: skip
                return candidate
    raise GeoError(
        "no taxon names beside the checkpoint", where=checkpoint.parent, expected="a JSON file, taxon id → name"
    )
