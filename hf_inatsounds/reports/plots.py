"""Plots of an evaluation, as matplotlib figures; drawn without a display, text from datasets never taken as markup."""

from __future__ import annotations

import functools
import io
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import numpy as np

from hf_inatsounds.reports.tables import signed
from hf_inatsounds.schema import RANKS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, QUIET, GRID = "#1f2933", "#66727f", "#e3e7eb"
BLUE, ORANGE = "#1f6fb2", "#d9622b"
CATEGORY_COLOURS = ("#1f6fb2", "#d9622b", "#2b9a66", "#8b5fbf", "#b8860b", "#c2457a", "#4a7c8c", "#7a7a7a")
"""Told apart by people with the common colour deficiencies, the first five."""

STYLE = {
    "font.family": "sans-serif", "font.sans-serif": ["DejaVu Sans"], "font.size": 9.5, "text.color": INK,
    "axes.labelcolor": QUIET, "axes.edgecolor": "#b7c0c8", "axes.spines.top": False, "axes.spines.right": False,
    "axes.grid": True, "grid.color": GRID, "axes.axisbelow": True, "xtick.color": QUIET, "ytick.color": QUIET,
    "legend.frameon": False, "text.parse_math": False, "svg.fonttype": "none", "figure.dpi": 110,
}  # fmt: skip
MANY = 1_500  # points from which on a scatter is an image within its plot: 49,527 of them would be a page of 10 MB


P = ParamSpec("P")
T = TypeVar("T")


def styled(draw: Callable[P, T]) -> Callable[P, T]:
    """``draw`` under the style: artists take it when they are made, ``text.parse_math`` too."""

    @functools.wraps(draw)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> T:
        from matplotlib import rc_context

        with rc_context(STYLE):
            return draw(*args, **kwargs)

    return wrapped


def figure(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure with one set of axes; no pyplot, so that nothing is global."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    made = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(made)
    return made, made.add_subplot()


@styled
def as_png(made: Figure) -> bytes:
    """The figure as PNG."""
    buffer = io.BytesIO()
    made.savefig(buffer, format="png", dpi=160, metadata={"Software": None})
    return buffer.getvalue()


@styled
def as_svg(made: Figure) -> str:
    """The figure as an SVG element to stand in HTML: scales with the page, and names nothing elsewhere."""
    buffer = io.StringIO()
    made.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = re.sub(r"<metadata>.*?</metadata>", "", buffer.getvalue(), flags=re.DOTALL)
    text = text[text.index("<svg") :]
    head, rest = text.split(">", 1)
    return re.sub(r' (width|height)="[^"]*"', "", head) + ">" + rest


def _dots(
    axes: Axes, names: Sequence[str], values: Sequence[float | None], intervals: Sequence[Any], *, zero: bool
) -> None:
    """Values with their intervals, one a line, the first on top; of an undefined one its name alone."""
    places = np.arange(len(names))[::-1]
    for y, value, interval in zip(places, values, intervals, strict=True):
        if value is None:
            axes.annotate("undefined", (0, y), (7, 0), textcoords="offset points", va="center", color=QUIET)
            continue
        if interval is not None:
            axes.plot(interval, [y, y], color=BLUE, alpha=0.35, linewidth=6, solid_capstyle="butt")
        axes.plot([value], [y], "o", color=BLUE, markersize=6)
        right = max(value, interval[1]) if interval is not None else value
        text = signed(value) if zero else f"{value:.3f}"
        axes.annotate(text, (right, y), (7, 0), textcoords="offset points", va="center", color=INK,
                      bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.0})  # fmt: skip
    axes.set_yticks(places, list(names), color=INK)
    axes.set_ylim(-0.7, len(names) - 0.3)
    axes.tick_params(length=0)
    axes.grid(axis="y", visible=False)
    if zero:
        axes.axvline(0, color=INK, linewidth=1)
        axes.margins(x=0.25)
    else:
        axes.set_xlim(0, 1.12)
        axes.set_xticks(np.linspace(0, 1, 6))


@styled
def groups_plot(groups: dict[str, Any], label: str) -> Figure:
    """MAP of groups of classes, with intervals."""
    made, axes = figure(5.2, 0.7 + 0.5 * len(groups))
    names = [
        f"{name}\n{one['classes']} class{'es' * (one['classes'] > 1)}, {one['items']:,} rec."
        for name, one in groups.items()
    ]
    _dots(
        axes, names, [one["map"] for one in groups.values()], [one["interval"] for one in groups.values()], zero=False
    )
    axes.set_xlabel(label)
    return made


@styled
def ranks_plot(metrics: dict[str, Any], intervals: dict[str, Any]) -> Figure:
    """Accuracy down to each rank, kingdom to species."""
    made, axes = figure(5.2, 3.2)
    names = ["species" if rank == "specific_epithet" else rank for rank in RANKS]
    values = [metrics["taxon_accuracy"][rank] for rank in RANKS]
    _dots(axes, names, values, [intervals.get(f"taxon_accuracy.{rank}") for rank in RANKS], zero=False)
    axes.set_xlabel("accuracy down to the rank, mean over its taxa")
    return made


@styled
def training_plot(classes: Sequence[dict[str, Any]]) -> Figure:
    """Average precision of each class against its training recordings, coloured by supercategory."""
    made, axes = figure(5.2, 3.5)
    counts = np.array([one["training_recordings"] for one in classes], float)
    values = np.array([one["average_precision"] for one in classes], float)
    kinds = [one["supercategory"] for one in classes]
    names = sorted(set(kinds), key=lambda name: -kinds.count(name))
    at = np.maximum(counts, 0.5)  # none: left of one, on a logarithmic axis
    for i, name in enumerate(names):
        mine = np.array([kind == name for kind in kinds])
        colour = CATEGORY_COLOURS[min(i, len(CATEGORY_COLOURS) - 1)]
        size = 26 if len(classes) < 200 else 12
        axes.scatter(at[mine], values[mine], s=size, color=colour, alpha=0.75, linewidths=0, label=name,
                     rasterized=len(classes) > MANY)  # fmt: skip
    axes.set_xscale("log")
    steps: Sequence[int] = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
    if at.max() < 5 * at.min():
        steps = range(5, 1000, 5)
    shown = [n for n in steps if at.min() * 0.8 <= n <= at.max() * 1.25]
    ticks = [0.5, *shown] if (counts == 0).any() else [float(n) for n in shown]
    axes.set_xticks(ticks, ["0" if n == 0.5 else f"{n:g}" for n in ticks])
    axes.minorticks_off()
    axes.set_xlim(at.min() * 0.8, at.max() * 1.25)
    axes.set_ylim(-0.03, 1.03)
    axes.set_xlabel("training recordings of the class")
    axes.set_ylabel("average precision")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.16), ncols=min(len(names), 5), handletextpad=0.1,
                columnspacing=1.0, borderaxespad=0.0)  # fmt: skip
    return made


@styled
def reliability_plot(calibration: dict[str, Any]) -> Figure:
    """Accuracy against confidence with each bin's interval, and how many recordings each bin has."""
    made, axes = figure(5.2, 3.6)
    bins = [one for one in calibration["bins"] if one["recordings"]]
    most = max(one["recordings"] for one in bins)
    for one in calibration["bins"]:
        height = 0.16 * one["recordings"] / most
        axes.bar(one["from"], height, width=one["to"] - one["from"], align="edge", color="#dfe5ea", edgecolor="white")
    axes.plot([0, 1], [0, 1], color=QUIET, linewidth=1, linestyle=(0, (4, 3)), label="as often right as claimed")
    confidence, accuracy = [one["confidence"] for one in bins], [one["accuracy"] for one in bins]
    for one in bins:
        x = [one["confidence"]] * 2
        axes.plot(x, one["interval"], color=BLUE, alpha=0.3, linewidth=5, solid_capstyle="butt", clip_on=False)
    axes.plot(confidence, accuracy, color=BLUE, linewidth=0.8, alpha=0.6, clip_on=False)
    axes.scatter(confidence, accuracy, s=30, color=BLUE, zorder=3, clip_on=False, label="recordings of a bin")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_xlabel("score of the predicted class (grey: recordings in each bin)")
    axes.set_ylabel("share that is right")
    axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=2, borderaxespad=0.2, columnspacing=1.2)
    return made


@styled
def differences_plot(differences: Sequence[dict[str, Any]], names: dict[str, str]) -> Figure:
    """Paired differences of runs from the first one, with intervals."""
    rows = [(f"{one['name']}: {names[key]}", one["metrics"][key]) for one in differences for key in names]
    made, axes = figure(8.4, 0.8 + 0.34 * len(rows))
    values = [gap["value"] for _, gap in rows]
    _dots(axes, [name for name, _ in rows], values, [gap["interval"] for _, gap in rows], zero=True)
    axes.set_xlabel("difference from the first run")
    return made
