"""Pages that stand alone: HTML with inline SVG, no script, no request; and the same plots as PNG files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_inatsounds.files import replacing, write_text
from hf_inatsounds.metrics.names import METRIC_NAMES, OVERVIEW
from hf_inatsounds.reports.tables import (
    comparison_text,
    identical_line,
    interval_text,
    metric_rows,
    number_text,
    signed,
    summarise,
)
from hf_inatsounds.schema import TERMS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from hf_inatsounds.scoring import FileScores

REPORT_FILE, COMPARISON_FILE, PLOTS = "report.html", "comparison.html", "plots"

_ABOUT_PLOTS = {
    "supercategories": "mAP by supercategory",
    "training": "Average precision against training recordings",
    "training_bins": "mAP by how often a class was trained on",
    "ranks": "Accuracy at each rank of the taxonomy",
    "reliability": "Are scores probabilities?",
    "places": "Where the mistakes are",
}


def write_report(folder: str | Path, results: dict[str, Any], scores: FileScores) -> Path:
    """Write ``report.html`` and ``plots/*.png`` of an evaluation.

    Args:
        folder: where to.
        results: what ``results.json`` holds.
        scores: its file-level scores, with "mean".

    Returns:
        The page's path.
    """
    folder = Path(folder)
    figures = _figures(results, scores)
    _write_pngs(folder, figures)
    dataset = results["dataset"]
    classes = [one for one in results["classes"] if one["average_precision"] is not None]
    without = int(len(scores.place) - _placed(scores).sum())
    page = _render(
        "report.html.jinja",
        title=f"{results['model']['name']} on {dataset['split']}",
        results=results,
        rows=metric_rows(results["metrics"], results["intervals"]),
        headline=_headline(results),
        metric_names=METRIC_NAMES,
        figures=_inline(figures),
        about_plots=_ABOUT_PLOTS,
        worst=sorted(classes, key=lambda one: one["average_precision"])[:10],
        classes=classes,
        without_place=without,
        defects_line=summarise(results["defects"]),
        identical_line=identical_line(results),
        terms=TERMS,
    )
    write_text(folder / REPORT_FILE, page)
    return folder / REPORT_FILE


def write_comparison(path: str | Path, comparison: dict[str, Any]) -> Path:
    """Write a page of runs side by side.

    Args:
        path: the HTML file.
        comparison: what ``compare`` returns.
    """
    from hf_inatsounds.reports.plots import differences_plot

    names = {key: metric.name for key, metric in OVERVIEW.items()}
    page = _render(
        "comparison.html.jinja",
        title=f"{len(comparison['runs'])} runs on {comparison['split']}",
        comparison=comparison,
        metric_names=METRIC_NAMES,
        figures=_inline({"differences": differences_plot(comparison["differences"], names)}),
        text=comparison_text(comparison),
        terms=TERMS,
    )
    write_text(path, page)
    return Path(path)


def _figures(results: dict[str, Any], scores: FileScores) -> dict[str, Figure]:
    from hf_inatsounds.reports import plots
    from hf_inatsounds.reports.places import places_plot

    classes = [one for one in results["classes"] if one["average_precision"] is not None]
    groups = results["groups"]
    figures = {"supercategories": plots.groups_plot(groups["supercategory"], "mAP, with its interval")}
    if groups.get("training_recordings"):
        figures["training"] = plots.training_plot(classes)
    if len(groups.get("training_recordings") or ()) > 1:
        named = {f"{name} in train": one for name, one in groups["training_recordings"].items()}
        figures["training_bins"] = plots.groups_plot(named, "mAP, with its interval")
    figures["ranks"] = plots.ranks_plot(results["metrics"]["mean"], results["intervals"]["mean"])
    figures["reliability"] = plots.reliability_plot(results["calibration"])
    placed = _placed(scores)
    if placed.any():
        right = scores.mean.argmax(axis=1) == scores.columns
        figures["places"] = places_plot(scores.place[placed], right[placed])
    return figures


def _placed(scores: FileScores) -> Any:
    import numpy as np

    return ~np.isnan(scores.place).any(axis=1)


def _headline(results: dict[str, Any]) -> list[dict[str, Any]]:
    """The first numbers that a reader sees."""
    shown = []
    for key in ("map", "top1", "top5", "roc_auc"):
        interval = results["intervals"]["mean"].get(key)
        shown.append({"name": METRIC_NAMES[key], "value": results["metrics"]["mean"][key], "interval": interval})
    return shown


def _write_pngs(folder: Path, figures: dict[str, Figure]) -> None:
    from hf_inatsounds.reports.plots import as_png

    for name, made in figures.items():
        with replacing(folder / PLOTS / f"{name}.png") as path:
            path.write_bytes(as_png(made))


def _inline(figures: dict[str, Figure]) -> dict[str, Any]:
    from markupsafe import Markup

    from hf_inatsounds.reports.plots import as_svg

    # matplotlib escapes the text that it writes, and takes none of it as markup (plots.STYLE)
    return {name: Markup(as_svg(made)) for name, made in figures.items()}  # noqa: S704


def _render(template: str, **values: Any) -> str:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("hf_inatsounds.reports", "templates"),
        undefined=jinja2.StrictUndefined,
        autoescape=True,  # names of species and of folders are whatever somebody wrote
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"interval": interval_text, "signed": signed, "number": number_text}
    return environment.get_template(template).render(**values)
