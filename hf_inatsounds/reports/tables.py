"""Tables as text and Markdown, and the report of a training run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hf_inatsounds.metrics.names import METRIC_NAMES
from hf_inatsounds.schema import DEFECT_KINDS, RANKS

UNDEFINED = "–"
"""What stands for a number that is undefined, as ROC-AUC is without a negative, or was not measured."""
AGGREGATIONS = {
    "mean": "mean of windows",
    "max": "max of windows",
    "log_mean_exp": "log-mean-exp",
    "window": "single windows",
}


def text_table(rows: Sequence[Sequence[str]]) -> str:
    """Rows as aligned columns, the first row as heading, numbers to the right.

    >>> print(text_table([["metric", "value"], ["mAP", "0.912"]]))
    metric  value
    ------  -----
    mAP     0.912
    """
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]

    def line(row: Sequence[str]) -> str:
        first, *others = [
            cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        ]
        return "  ".join([first, *others]).rstrip()

    return "\n".join([line(rows[0]), line(["-" * width for width in widths]), *(line(row) for row in rows[1:])])


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """Rows as a Markdown table, the first row as heading."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    rule = "|" + "|".join(["---", *(["---:"] * (len(rows[0]) - 1))]) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


def metric_rows(metrics: dict[str, dict[str, Any]], intervals: dict[str, Any] | None = None) -> list[list[str]]:
    """The protocol's numbers as rows: one a metric, one column an aggregation, the headline's interval after it.

    Args:
        metrics: aggregation → metric → value.
        intervals: what ``results.json`` holds under that name; None leaves the column out.
    """
    kinds = [key for key in AGGREGATIONS if key in metrics]
    rows = [["metric", *(AGGREGATIONS[key] for key in kinds)]]
    keys = [""]
    for key, name in METRIC_NAMES.items():
        rows.append([name, *(number_text(metrics[kind].get(key)) for kind in kinds)])
        keys.append(key)
    for rank in RANKS:
        name = f"{rank.replace('_', ' ')} accuracy"
        rows.append([name, *(number_text(metrics[kind].get("taxon_accuracy", {}).get(rank)) for kind in kinds)])
        keys.append(f"taxon_accuracy.{rank}")
    if intervals is not None and "mean" in kinds:
        at = kinds.index("mean") + 2
        rows[0].insert(at, f"{intervals['level']:.0%} interval")
        for key, row in zip(keys[1:], rows[1:], strict=True):
            row.insert(at, interval_text(intervals["mean"].get(key)))
    return rows


def results_text(results: dict[str, Any]) -> str:
    """``results.json`` as a person reads it in a terminal."""
    dataset, window = results["dataset"], results["window"]
    head = (
        f"{results['model']['name']} ({results['model']['objective']}) on {dataset['title']}, "
        f"{dataset['split']} split, {dataset['name']!r}\n"
        f"{dataset['recordings']:,} recordings, {results['windows']:,} windows of {window['size_s']:g} s every "
        f"{window['stride_s']:g} s, {dataset['present_classes']} of {dataset['classes']} classes present"
    )
    parts = [head, text_table(metric_rows(results["metrics"], results.get("intervals"))), *_interval_lines(results)]
    return "\n\n".join([*parts, *_geo_lines(results), summarise(results["defects"]), identical_line(results)])


def _interval_lines(results: dict[str, Any]) -> list[str]:
    """What the intervals are, where the results have them."""
    intervals = results.get("intervals")
    if intervals is None:
        return []
    return [f"intervals: of the mean of windows, over {intervals['resamples']} resamples of the recordings"]


def _geo_lines(results: dict[str, Any]) -> list[str]:
    """With and without a range prior, side by side."""
    geo = results.get("geo_prior")
    if geo is None:
        return []
    rows = [["metric", "without prior", "with prior", "difference", "interval"]]
    for key, name in METRIC_NAMES.items():
        gap = geo["difference"][key]
        values = [number_text(results["metrics"]["mean"].get(key)), number_text(geo["metrics"].get(key))]
        rows.append([name, *values, signed(gap["value"]), interval_text(gap["interval"], sign=True)])
    counts = geo["recordings"]
    how = f"presence > {geo['threshold']:g}" if geo["mode"] == "mask" else f"weight {geo['weight']:g}"
    line = (
        f"range prior {geo['name']} ({geo['mode']}, {how}): {counts['with_place']:,} recordings with a place, "
        f"{counts['without_place']:,} without one left as they are, {geo['unknown_classes']} classes unknown to it"
    )
    return [f"{line}\n\n{text_table(rows)}"]


def comparison_text(comparison: dict[str, Any]) -> str:
    """Runs side by side, with the differences from the first, as a person reads them in a terminal."""
    names = [run["name"] for run in comparison["runs"]]
    rows = [["metric", *names]]
    for key, name in METRIC_NAMES.items():
        rows.append([name, *(number_text(run["metrics"].get(key)) for run in comparison["runs"])])
    parts = [
        f"{comparison['recordings']:,} recordings of {comparison['dataset']}, {comparison['split']} split; "
        f"{comparison['present_classes']} classes",
        text_table(rows),
    ]
    for one in comparison["differences"]:
        gaps = [["metric", "difference", f"{comparison['level']:.0%} interval", "resamples above 0"]]
        for key, name in METRIC_NAMES.items():
            gap = one["metrics"][key]
            share = gap["share_above_zero"]
            above = UNDEFINED if share is None else f"{share:.0%}"
            shown = [signed(gap["value"]), interval_text(gap["interval"], sign=True), above]
            gaps.append([name, *shown])
        parts.append(f"{one['name']} against {names[0]}, on the same resamples of recordings\n\n{text_table(gaps)}")
    return "\n\n".join(parts)


def interval_text(interval: Sequence[float] | None, *, sign: bool = False) -> str:
    """An interval in brackets.

    >>> interval_text([0.1234, 0.5])
    '[0.123, 0.500]'
    """
    if interval is None:
        return UNDEFINED
    return "[" + ", ".join(signed(one) if sign else f"{one:.3f}" for one in interval) + "]"


def signed(value: float | None) -> str:
    """A difference.

    >>> signed(0.05), signed(-0.00001)
    ('+0.050', '0.000')
    """
    if value is None:
        return UNDEFINED
    return "0.000" if abs(value) < 0.0005 else f"{value:+.3f}"


def summarise(report: dict[str, Any]) -> str:
    """One line of counts.

    >>> summarise({"recordings": 3, "defects": {"empty": [{"recording_id": 1, "file_name": "a.wav"}]}})
    '3 recordings, 1 empty'
    """
    counts = [f"{len(rows)} {kind}" for kind, rows in report["defects"].items()]
    return ", ".join([f"{report['recordings']} recordings", *(counts or ["no defects"])])


def identical_line(results: dict[str, Any]) -> str:
    """How many evaluated recordings were trained on too, byte for byte.

    >>> counts = {"recordings": 6, "of": 76, "training_recordings_known": 278, "training_recordings": 278}
    >>> identical_line({"byte_identical": counts})
    '6 of 76 evaluated recordings are byte-identical to a training recording'
    """
    counts = results.get("byte_identical")
    if counts is None:
        return (
            "how many evaluated recordings are byte-identical to a training recording is unknown: "
            "the training recordings' digests are not beside the checkpoint"
        )
    known, trained = counts["training_recordings_known"], counts["training_recordings"]
    line = (
        f"{counts['recordings']:,} of {counts['of']:,} evaluated recordings are byte-identical to a training recording"
    )
    return line if known >= trained else f"{line} ({known:,} of {trained:,} training recordings were read and compared)"


def defect_lines(report: dict[str, Any], most: int = 50) -> list[str]:
    """Markdown: each kind with its meaning, count and files."""
    lines = [summarise(report) + "."]
    for kind, rows in report["defects"].items():
        lines += ["", f"**{kind}**, {DEFECT_KINDS[kind]}: {len(rows)}", ""]
        for row in rows[:most]:
            repeats = f" (repeats {row['repeats_recording_id']})" if "repeats_recording_id" in row else ""
            lines.append(f"- {row['recording_id']}{repeats}: `{row['file_name']}`")
        if len(rows) > most:
            lines.append(f"- and {len(rows) - most:,} more, in train.json")
    return lines


def training_report(run: dict[str, Any]) -> str:
    """The run folder's ``report.md``."""
    lines = [
        "# Training run",
        "",
        f"{run['model']}, {run['objective']}, {run['parameters'] / 1e6:.2f} M parameters, seed {run['seed']}; "
        f"{run['recordings']:,} recordings ({run['hours']:.2f} h) of {run['dataset']['title']}, "
        f"{run['dataset']['split']} split; {run['epochs']:g} epochs, {run['steps']:,} steps, "
        f"{run['seconds'] / 60:.1f} minutes in {run['processes']} process(es).",
        "",
    ]
    if run.get("start"):
        lines += [f"From the checkpoint: {run['start']['told']}.", ""]
    if run["history"]:
        lines += [*_measured(run), ""]
        rows = [["epoch", "loss", "mAP", "F1-max", "ROC-AUC", "top-1"]]
        for entry in run["history"]:
            values = [number_text(entry.get(key)) for key in ("loss", "map", "f1_max", "roc_auc", "top1")]
            rows.append([f"{entry['epoch']:g}", *values])
        said = setting_text(run["validation"])
        lines += ["## Validation", "", f"During the run, on the {said}.", "", markdown_table(rows), ""]
    lines += ["## Recordings", "", *defect_lines(run["defects"]), ""]
    lines += ["## Environment", "", *(f"- {name} {version}" for name, version in run["environment"].items()), ""]
    return "\n".join(lines)


def _measured(run: dict[str, Any]) -> list[str]:
    """What a run reached, each number with what it was measured on."""
    name = "nearest-neighbour mAP" if run["objective"] == "contrastive" else "mAP"
    best, final, during = run["best"], run["final"], setting_text(run["validation"])
    told = f"The validation {name} is undefined; the checkpoint is the last one."
    if best is not None:
        told = f"Best validation {name} {best['map']:.3f}, after epoch {best['epoch']:g}, on the {during}; "
        told += "the checkpoint is that one."
    if final is None or run["final_validation"] == run["validation"]:
        return [told]
    reached = f"Final {name} {number_text(final['map'])}, of the saved weights, on the "
    reached += f"{setting_text(run['final_validation'])}."
    return [reached, "", f"{told} That setting chose the checkpoint; the final one is the model's result."]


def setting_text(validation: dict[str, Any]) -> str:
    """What a validation's numbers were measured on.

    Args:
        validation: the ``split``, ``windows`` ("full" or "cheap"), and how many ``recordings`` of how many (``of``).

    >>> setting_text({"split": "validation", "windows": "full", "recordings": 45698, "of": 45698})
    'validation split (all windows of all 45,698 recordings)'
    >>> setting_text({"split": "validation", "windows": "cheap", "recordings": 500, "of": 45698})
    'validation split (the central window of 500 of 45,698 recordings)'
    """
    windows = "all windows" if validation["windows"] == "full" else "the central window"
    part = "all" if validation["recordings"] == validation["of"] else f"{validation['recordings']:,} of"
    return f"{validation['split']} split ({windows} of {part} {validation['of']:,} recordings)"


def number_text(value: float | None) -> str:
    """A number of a result.

    >>> number_text(0.25), number_text(None)
    ('0.250', '–')
    """
    return UNDEFINED if value is None else f"{value:.3f}"
