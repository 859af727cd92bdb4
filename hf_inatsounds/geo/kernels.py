"""Kernels on the sphere: how wide each is, their sums by class, and what those say of a class at a place.

Neighbours are found by sklearn's BallTree. The kernels are summed by hand, since sklearn's KernelDensity gives all of
them one width, and its tree no radius of each point's own. Of the official train split 6 to 9 % of the kernels matter
at a place: :func:`near` finds them for places that lie together.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

NEIGHBOURS = 5
"""The n-th nearest recording of the same species sets a kernel's width."""


def unit_vectors(latitude: Any, longitude: Any) -> Array:
    """Places on the unit sphere, (B, 3).

    >>> unit_vectors(np.array([0.0]), np.array([90.0])).round(3) + 0.0
    array([[0., 1., 0.]])
    """
    phi, lam = (np.deg2rad(np.atleast_1d(np.asarray(value, np.float64))) for value in (latitude, longitude))
    return np.stack([np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)], axis=1)


def widths(points: Array, counts: Array) -> Array:
    """Distance of each place to its n-th nearest neighbour of the same class, in radians.

    A class with fewer takes its farthest; a lone recording the median of all. Points are ordered by class.
    """
    from sklearn.neighbors import BallTree

    radians = np.stack([np.arcsin(np.clip(points[:, 2], -1.0, 1.0)), np.arctan2(points[:, 1], points[:, 0])], axis=1)
    found = np.full(len(points), np.nan)
    last = np.cumsum(counts)
    for first, stop in zip(last - counts, last, strict=True):
        mine = radians[first:stop]  # latitude and longitude
        if len(mine) > 1:
            found[first:stop] = BallTree(mine, metric="haversine").query(mine, min(NEIGHBOURS + 1, len(mine)))[0][:, -1]
    lone = np.isnan(found)
    found[lone] = np.median(found[~lone]) if (~lone).any() else 0.2
    return found


NEGLIGIBLE = 1e-7
"""What a left-out kernel may add to its class's density, relative to the least that a density can be."""


def reach(concentration: Array) -> Array:
    """Angle from each of N kernels, beyond which it changes no density by more than ``NEGLIGIBLE``: (N,) in radians.

    A density is at least ``1 / (N + 1)`` (:func:`likelihood_ratio`) and a class's is the mean of its kernels, so that
    leaving all out from where ``2 κ exp(κ (cos - 1)) = NEGLIGIBLE / N`` changes a ratio by 2e-7 of it at most.

    >>> reach(np.array([1.0, 400.0])).round(2)  # as wide as the sphere, and of some 300 km
    array([3.14, 0.34])
    """
    kappa = concentration.astype(np.float64)
    height = 2.0 * kappa / -np.expm1(-2.0 * kappa)
    far = np.log(height * len(kappa) / NEGLIGIBLE) / kappa
    return np.arccos(1.0 - np.minimum(far, 2.0))


def near(
    points: Array, places: Array, reaches: Array, *, most: int, rows: Array | None = None, kernels: Array | None = None
) -> Iterator[tuple[Array, Array]]:
    """Divide points into groups that lie together, each with the kernels that reach it.

    Args:
        points: (B, 3) unit vectors.
        places: (N, 3) of the kernels.
        reaches: (N,) of :func:`reach`.
        most: points in a group.
        rows: numbers of the points that are divided; None for all.
        kernels: numbers of the kernels that may reach them, ascending; None for all.

    Yields:
        Numbers of a group's points, and of its kernels, ascending.
    """
    rows = np.arange(len(points)) if rows is None else rows
    kernels = np.arange(len(places)) if kernels is None else kernels
    mine = points[rows]
    centre = mine.mean(axis=0)
    length = np.linalg.norm(centre)
    centre = centre / length if length > 1e-6 else mine[0]
    radius = np.arccos(np.clip(mine @ centre, -1.0, 1.0)).max() + 1e-4  # places are float32: 4e-4 near an angle of 0
    angle = np.arccos(np.clip(places[kernels] @ centre, -1.0, 1.0))
    kernels = kernels[angle <= reaches[kernels] + radius]
    if len(rows) <= most:
        yield rows, kernels
        return
    order = np.argsort(mine[:, np.ptp(mine, axis=0).argmax()], kind="stable")
    for half in (order[: len(rows) // 2], order[len(rows) // 2 :]):
        yield from near(points, places, reaches, most=most, rows=rows[half], kernels=kernels)


def class_sums(points: Array, places: Array, concentration: Array, counts: Array) -> Array:
    """Sum of the kernels of each class at each point, (B, C known), in units of the uniform density."""
    kappa = concentration.astype(np.float64)
    # vMF density over the uniform one: 2 κ / (1 - exp(-2 κ)) · exp(κ (x·x_i - 1))
    height = 2.0 * kappa / -np.expm1(-2.0 * kappa)
    exponent = points @ places.T.astype(np.float64)  # 1 - cos of some km vanishes in float32
    np.minimum(exponent, 1.0, out=exponent)
    exponent -= 1.0
    exponent *= kappa
    kernels = np.exp(exponent.astype(np.float32))
    kernels *= height.astype(np.float32)
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    summed: Array = np.add.reduceat(kernels, starts, axis=1)
    return summed.astype(np.float64)


def likelihood_ratio(sums: Array, counts: Array, smoothing: float) -> Array:
    """R of each class from the sums of its kernels."""
    n = counts.sum()
    density = n / (n + 1.0) * sums / counts + 1.0 / (n + 1.0)
    overall = density @ (counts / n)
    found: Array = (counts * density / overall[:, None] + smoothing) / (counts + smoothing)
    return found
