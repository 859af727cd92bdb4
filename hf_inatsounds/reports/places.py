"""The map of a report: where recordings are, and where they were named wrongly.

Land is Natural Earth's 1:110m countries (public domain) as one shape, simplified to half a degree: ``land.txt``, a ring
a line, the Caspian Sea the other way round.
"""

from __future__ import annotations

import functools
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_inatsounds.reports.plots import BLUE, MANY, ORANGE, figure, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.path import Path

LAND = "#e9e7df"
WIDTH = 8.4  # inches: on a phone the text of a wider figure would be too small


@styled
def places_plot(place: np.ndarray[Any, Any], right: np.ndarray[Any, Any]) -> Figure:
    """Where recordings are, equirectangular, over the outlines of land.

    Args:
        place: (F, 2) latitude and longitude in degrees, without NaN.
        right: (F,) bool.
    """
    from matplotlib.patches import PathPatch

    latitude, longitude = place.T
    west, east = max(longitude.min() - 8, -180), min(longitude.max() + 8, 180)
    south, north = max(latitude.min() - 8, -90), min(latitude.max() + 8, 90)
    made, axes = figure(WIDTH, min(max(WIDTH * (north - south) / max(east - west, 1), 2.4), 5.0))
    axes.add_patch(PathPatch(_land(), facecolor=LAND, edgecolor="none", zorder=0.5))
    size = 26 if len(place) < 500 else 8 if len(place) < 5_000 else 3
    order = np.random.default_rng(0).permutation(len(place))  # neither kind hides the other
    colours = np.where(right, BLUE, ORANGE)[order]
    axes.scatter(longitude[order], latitude[order], s=size, c=colours, alpha=0.7, linewidths=0,
                 rasterized=len(place) > MANY)  # fmt: skip
    for mine, colour, name in ((right, BLUE, "right"), (~right, ORANGE, "wrong")):
        axes.scatter([], [], s=36, color=colour, label=f"{name} ({int(mine.sum()):,})")
    axes.set_aspect("equal")
    axes.set_xlim(west, east)
    axes.set_ylim(south, north)
    step = 30 if east - west > 90 else 10 if east - west > 30 else 5
    degrees = range(-180, 181, step)
    axes.set_xticks([d for d in degrees if west <= d <= east])
    axes.set_yticks([d for d in degrees if south <= d <= north])
    axes.xaxis.set_major_formatter(lambda d, _: f"{abs(d):.0f}°{'E' if d > 0 else 'W' if d < 0 else ''}")
    axes.yaxis.set_major_formatter(lambda d, _: f"{abs(d):.0f}°{'N' if d > 0 else 'S' if d < 0 else ''}")
    axes.tick_params(length=0)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=2, handletextpad=0.1)
    return made


@functools.cache
def _land() -> Path:
    """All rings of land as one path, longitude and latitude in degrees."""
    from matplotlib.path import Path

    text = files("hf_inatsounds.reports").joinpath("land.txt").read_text(encoding="utf-8")
    rings = [np.array([point.split(",") for point in line.split()], np.float64) for line in text.splitlines()]
    return Path.make_compound_path(*(Path(np.concatenate([ring, ring[:1]]), closed=True) for ring in rings))
