"""Learning curves of a run as a picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hf_inatsounds.files import replacing

CURVES_FILE = "curves.png"
_LOSS, _RATE, _MAP, _BEST = "#3b6ea5", "#7a7a7a", "#2e7d4f", "#c0392b"


def draw_curves(log: Sequence[dict[str, Any]], path: str | Path, *, title: str) -> None:
    """Loss with the learning rate, and the validation's metrics, over steps.

    Args:
        log: the Trainer's log history: entries with ``step`` and ``loss``, ``learning_rate``, ``eval_map`` …
        path: of the PNG, written whole or not at all.
        title: above both.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    validated = any("eval_map" in entry for entry in log)
    figure = Figure(figsize=(11 if validated else 5.8, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=11)
    panels = figure.subplots(1, 2 if validated else 1, squeeze=False)[0]
    _training(panels[0], log)
    if validated:
        _validation(panels[1], log)
    for panel in panels:
        panel.set_xlabel("optimiser step")
        panel.set_xlim(0, 1.03 * max(entry["step"] for entry in log))
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        panel.grid(alpha=0.25)
        panel.spines[["top", "right"]].set_visible(False)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=150)


def _series(log: Sequence[dict[str, Any]], key: str) -> tuple[list[float], list[float]]:
    found = [(entry["step"], entry[key]) for entry in log if entry.get(key) is not None]
    found = [(step, value) for step, value in found if not math.isnan(value)]
    return [step for step, _ in found], [value for _, value in found]


def _training(panel: Any, log: Sequence[dict[str, Any]]) -> None:
    steps, losses = _series(log, "loss")
    marker = "o" if len(steps) < 30 else None
    panel.plot(steps, losses, color=_LOSS, marker=marker, markersize=3, label="training loss")
    panel.set_ylabel("training loss", color=_LOSS)
    panel.tick_params(axis="y", colors=_LOSS)
    if losses:
        panel.set_ylim(bottom=0)
    rate = panel.twinx()
    rate.plot(*_series(log, "learning_rate"), color=_RATE, linestyle=":", label="learning rate")
    rate.set_ylabel("learning rate", color=_RATE)
    rate.tick_params(axis="y", colors=_RATE)
    rate.set_ylim(bottom=0)
    rate.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3))
    rate.spines["top"].set_visible(False)


def _validation(panel: Any, log: Sequence[dict[str, Any]]) -> None:
    for key, name, style in (("eval_map", "mAP", "-"), ("eval_top1", "top-1", "--"), ("eval_roc_auc", "ROC-AUC", ":")):
        steps, values = _series(log, key)
        if not steps:
            continue
        shown = {"color": _MAP, "linewidth": 2.0} if key == "eval_map" else {"color": "#999999"}
        marker = "o" if len(steps) < 30 else None
        panel.plot(steps, values, linestyle=style, marker=marker, markersize=3, label=name, **shown)
    steps, values = _series(log, "eval_map")
    if values:
        best = max(range(len(values)), key=values.__getitem__)
        panel.plot(steps[best], values[best], "o", color=_BEST, markersize=7, label=f"best mAP {values[best]:.3f}")
    panel.set_ylim(0.0, 1.02)
    panel.set_ylabel("validation" if values else "validation (mAP undefined)")
    if panel.get_lines():
        panel.legend(loc="lower right", frameon=False)
