"""A range prior fitted from the places of training recordings: kernel densities on the sphere."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from hf_inatsounds.errors import GeoError
from hf_inatsounds.files import replacing
from hf_inatsounds.geo.kernels import NEIGHBOURS, class_sums, likelihood_ratio, near, reach, unit_vectors, widths
from hf_inatsounds.geo.validation import choose
from hf_inatsounds.metrics.thresholds import cores

Array = np.ndarray[Any, np.dtype[Any]]

EARTH_RADIUS_KM = 6_371.0
SHORTEST_KM = 10.0
"""No kernel is narrower: observers' places are obscured by up to some 20 km for threatened species."""

PORTION = 64  # places at a time: at most 70 MB of kernels for the official train split, where all reach them


@dataclass(frozen=True)
class FittedPrior:
    """Presence of species by where they were recorded, smoothed.

    Each training recording i is a von Mises-Fisher kernel ``k_i`` on the sphere, as wide as the distance to its n-th
    nearest neighbour of the same species, times ``scale`` (adaptive bandwidth). With ``n_c`` recordings of class c
    among N, a uniform density u and ``b`` the density of all recordings together,

        f_c(x) = N / (N + 1) · 1 / n_c Σ_{i of c} k_i(x) + u / (N + 1),    b = Σ_c n_c / N f_c
        r_c(x) = (n_c f_c(x) / b(x) + α) / (n_c + α)

    is how much likelier the class is here than on the whole: above 1 where it is at home; near 1 for a class with few
    recordings (additive smoothing, α) and where nobody has recorded anything. ``r`` times a class's frequency is its
    probability given the place.

    Attributes:
        species: C names; those without a training place are unknown to the prior.
        places: (N, 3) float32 unit vectors, ordered by class.
        concentration: (N,) float32 κ of each kernel, ≈ 1 / width² in radians.
        counts: (C,) int64, kernels of each class.
        smoothing: α.
        about: how it was fitted.
    """

    species: tuple[str, ...]
    places: Array
    concentration: Array
    counts: Array
    smoothing: float
    about: dict[str, Any]

    default_mode: ClassVar[str] = "soft"

    @property
    def known(self) -> Array:
        """(C,) bool: classes that have a training place."""
        return np.asarray(self.counts > 0)

    def __call__(self, latitude: Any, longitude: Any) -> Array:
        """Presence ``r / (1 + r)``: 1/2 where a place says nothing, and for unknown classes 1.

        Args:
            latitude: (B,) degrees in [-90, 90].
            longitude: (B,) degrees in [-180, 180].

        Returns:
            (B, C) float32 in [0, 1].
        """
        ratio = self.likelihood(latitude, longitude)
        presence = ratio / (1.0 + ratio)
        presence[:, ~self.known] = 1.0
        return presence

    def likelihood(self, latitude: Any, longitude: Any) -> Array:
        """The ratio r, (B, C) float32 > 0, 1 for unknown classes: what a soft combination multiplies scores by."""
        points = unit_vectors(latitude, longitude)
        found = np.ones((len(points), len(self.species)), np.float32)
        known = np.flatnonzero(self.known)
        counts = self.counts[known]
        classes = np.repeat(np.arange(len(known)), counts)  # of each kernel

        def one(group: tuple[Array, Array]) -> None:
            rows, kernels = group
            here, n_here = np.unique(classes[kernels], return_counts=True)
            sums = np.zeros((len(rows), len(known)))
            if len(kernels):
                sums[:, here] = class_sums(points[rows], self.places[kernels], self.concentration[kernels], n_here)
            found[np.ix_(rows, known)] = likelihood_ratio(sums, counts, self.smoothing)

        groups = near(points, self.places, reach(self.concentration), most=PORTION) if len(points) else ()
        with ThreadPoolExecutor(cores()) as pool:  # numpy's exp and products run without the interpreter's lock
            list(pool.map(one, groups))
        return found

    def save(self, path: str | Path) -> None:
        """Write safetensors, whole or not at all."""
        from safetensors.numpy import save_file

        tensors = {"places": self.places, "concentration": self.concentration, "counts": self.counts}
        metadata = {
            "format": "hf_inatsounds range prior 1", "species": json.dumps(self.species),
            "smoothing": repr(self.smoothing), "about": json.dumps(self.about),
        }  # fmt: skip
        with replacing(path) as temporary:
            save_file(tensors, temporary, metadata)

    @classmethod
    def load(cls, path: str | Path, species: Sequence[str] | None = None) -> FittedPrior:
        """Read a prior, for the classes that it was fitted on or for ``species``, by name.

        Raises:
            GeoError: if it is missing or malformed.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(str(path), framework="numpy") as file:
                metadata = file.metadata() or {}
                names = tuple(json.loads(metadata["species"]))
                places, concentration, counts = (file.get_tensor(n) for n in ("places", "concentration", "counts"))
                prior = cls(
                    names, places, concentration, counts, float(metadata["smoothing"]), json.loads(metadata["about"])
                )
            prior._check()
        except (OSError, SafetensorError, KeyError, ValueError, TypeError) as error:
            raise GeoError(
                "no usable range prior", where=path, found=f"{type(error).__name__}: {error}",
                expected="what hf-inatsounds geo-prior wrote",
            ) from error  # fmt: skip
        return prior if species is None else prior.of(species)

    def of(self, species: Sequence[str]) -> FittedPrior:
        """The same prior for other classes, by name; classes that it lacks are unknown, never masked."""
        mine = {name: c for c, name in enumerate(self.species)}
        starts = np.concatenate([[0], np.cumsum(self.counts)])
        chosen = [mine.get(name) for name in species]
        rows = [np.arange(starts[c], starts[c + 1]) for c in chosen if c is not None] or [np.zeros(0, np.int64)]
        kept = np.concatenate(rows)
        counts = np.array([0 if c is None else self.counts[c] for c in chosen], np.int64)
        return FittedPrior(
            tuple(species), self.places[kept], self.concentration[kept], counts, self.smoothing, self.about
        )

    def _check(self) -> None:
        n = len(self.places)
        if self.places.shape != (n, 3) or self.concentration.shape != (n,) or len(self.counts) != len(self.species):
            raise ValueError("tensors of sizes that do not fit each other")
        if self.counts.sum() != n or (self.counts < 0).any() or not self.smoothing > 0:
            raise ValueError("counts that do not fit the places, or no positive smoothing")
        if not np.isfinite(self.places).all() or not (np.isfinite(self.concentration) & (self.concentration > 0)).all():
            raise ValueError("places or widths that are no numbers")


def fit_prior(
    latitude: Array,
    longitude: Array,
    labels: Array,
    species: Sequence[str],
    *,
    uncertainty_m: Array | None = None,
    seed: int = 0,
    about: dict[str, Any] | None = None,
) -> FittedPrior:
    """Fit a prior; the kernels' scale and the smoothing are those that predict held-out recordings' species best.

    Args:
        latitude: (N,) degrees; recordings with NaN in either are passed over.
        longitude: (N,) degrees.
        labels: (N,) int.
        species: C names.
        uncertainty_m: (N,) of the place, NaN where unknown; no kernel is narrower.
        seed: of the folds.
        about: what the prior says of itself besides.

    Raises:
        GeoError: if fewer than ten recordings have a place.
    """
    known = ~(np.isnan(latitude) | np.isnan(longitude))
    if known.sum() < 10:
        raise GeoError("too few places to fit a prior", found=int(known.sum()), expected="at least 10 recordings")
    order = np.flatnonzero(known)[np.argsort(labels[known], kind="stable")]
    points, labels = unit_vectors(latitude[order], longitude[order]), labels[order]
    least = np.full(len(order), SHORTEST_KM / EARTH_RADIUS_KM)
    if uncertainty_m is not None:
        least = np.maximum(least, np.nan_to_num(uncertainty_m[order]) / 1000 / EARTH_RADIUS_KM)
    chosen = choose(points, labels, least, seed=seed)
    counts = np.bincount(labels, minlength=len(species)).astype(np.int64)
    width = np.clip(widths(points, counts) * chosen["scale"], least, np.pi)
    facts = {
        **(about or {}), **chosen, "recordings": len(order), "recordings_without_place": int((~known).sum()),
        "neighbours": NEIGHBOURS, "shortest_km": SHORTEST_KM,
        "median_width_km": float(np.median(width) * EARTH_RADIUS_KM), "seed": seed,
    }  # fmt: skip
    return FittedPrior(
        tuple(species), points.astype(np.float32), (1.0 / width**2).astype(np.float32), counts,
        float(chosen["smoothing"]), facts,
    )  # fmt: skip
