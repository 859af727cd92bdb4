"""Whether places are within a box, a radius or a polygon, in degrees; an unknown place is within none."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from hf_inatsounds.errors import ArgumentsError

EARTH_RADIUS_KM = 6371.0088
"""Mean radius, IUGG."""

Array = np.ndarray[Any, np.dtype[Any]]
Ring = list[list[float]]
"""[longitude, latitude] of its corners, as GeoJSON has them."""


def in_box(latitude: Array, longitude: Array, south: float, west: float, north: float, east: float) -> Array:
    """(N,) whether each place is within a box, its edges included; one with ``west`` > ``east`` crosses the date line.

    >>> in_box(np.array([0.0, 0.0, np.nan]), np.array([179.0, 0.0, 0.0]), -10, 170, 10, -170).tolist()
    [True, False, False]
    """
    with np.errstate(invalid="ignore"):
        between = (longitude >= west) & (longitude <= east)
        if west > east:
            between = (longitude >= west) | (longitude <= east)
        return (latitude >= south) & (latitude <= north) & between & ~np.isnan(longitude)


def in_radius(latitude: Array, longitude: Array, center_latitude: float, center_longitude: float, km: float) -> Array:
    """(N,) whether each place is within ``km`` of the centre, along a great circle.

    >>> in_radius(np.array([1.0, 1.0]), np.array([0.0, 1.0]), 0.0, 0.0, 112.0).tolist()
    [True, False]
    """
    phi, lam = np.radians(latitude), np.radians(longitude)
    phi0, lam0 = np.radians(center_latitude), np.radians(center_longitude)
    chord = np.sin((phi - phi0) / 2) ** 2 + np.cos(phi) * np.cos(phi0) * np.sin((lam - lam0) / 2) ** 2
    with np.errstate(invalid="ignore"):
        return 2 * EARTH_RADIUS_KM * np.arcsin(np.sqrt(np.minimum(chord, 1))) <= km


def in_polygon(latitude: Array, longitude: Array, rings: list[Ring]) -> Array:
    """(N,) whether each place is within an odd number of rings: outer ones, their holes, islands in these.

    >>> square = [[0.0, 0.0], [2.0, 0.0], [2.0, 2.0], [0.0, 2.0], [0.0, 0.0]]
    >>> in_polygon(np.array([1.0, 3.0, np.nan]), np.array([1.0, 1.0, 1.0]), [square]).tolist()
    [True, False, False]
    """
    inside = np.zeros(len(latitude), bool)
    with np.errstate(invalid="ignore", divide="ignore"):
        for ring in rings:
            corners = np.asarray(ring, np.float64)
            for (x0, y0), (x1, y1) in pairwise(corners):
                crosses = (y0 > latitude) != (y1 > latitude)
                if y0 != y1:
                    inside ^= crosses & (longitude < (x1 - x0) * (latitude - y0) / (y1 - y0) + x0)
    return inside & ~np.isnan(latitude) & ~np.isnan(longitude)


def read_polygon(path: Path) -> list[Ring]:
    """The rings of all polygons in a GeoJSON file.

    Raises:
        ArgumentsError: if it is no GeoJSON, or has no polygon.
    """
    try:
        rings = [_checked(ring) for ring in _rings(json.loads(path.read_text(encoding="utf-8")))]
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise _refused(path, error) from error
    if not rings:
        raise _refused(path, "no polygon")
    return rings


def _refused(path: Path, found: object) -> ArgumentsError:
    return ArgumentsError(
        "bad selection", where=f"select polygon, {path}", found=found,
        expected="GeoJSON with a Polygon or MultiPolygon, in degrees of longitude and latitude",
    )  # fmt: skip


def _rings(node: Any) -> list[Any]:
    kind = node["type"]
    if kind == "FeatureCollection":
        return [ring for feature in node["features"] for ring in _rings(feature)]
    if kind == "GeometryCollection":
        return [ring for one in node["geometries"] for ring in _rings(one)]
    if kind == "Feature":
        return _rings(node["geometry"]) if node["geometry"] else []
    if kind == "Polygon":
        return list(node["coordinates"])
    if kind == "MultiPolygon":
        return [ring for polygon in node["coordinates"] for ring in polygon]
    return []


def _checked(ring: Any) -> Ring:
    corners = [[float(corner[0]), float(corner[1])] for corner in ring]
    if len(corners) < 4 or corners[0] != corners[-1]:
        raise ValueError("a ring that is not closed")
    if any(not (abs(x) <= 180 and abs(y) <= 90) for x, y in corners):
        raise ValueError("a corner beyond 180 degrees of longitude or 90 of latitude")
    return corners
