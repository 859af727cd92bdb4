"""The results of a benchmark as text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def benchmark_text(results: dict[str, Any]) -> str:
    """A table for a person: this run's numbers first, then published ones, labelled as such."""
    model = results["model"]
    start = "" if model["random_init"] is None else f", random weights (seed {model['random_init']})"
    lines = [f"{results['suite']} · {results['protocol']} · {model['name']}{start}"]
    for name, task in results["tasks"].items():
        lines += ["", *_task_lines(name, task)]
    if results["mean"] is not None:
        mean = results["mean"]
        missing = f"; missing: {', '.join(mean['missing'])}" if mean["missing"] else ""
        lines += ["", f"mean over {', '.join(mean['over'])}{missing}", *_metric_lines(mean["metrics"])]
        lines += _published_lines(mean["published"]) if not mean["missing"] else []
    lines += [
        f"{one['file']}: {'; '.join(one['notes'])}" for one in results.get("heard", ()) if one["status"] != "failed"
    ]
    return "\n".join(lines)


def _task_lines(name: str, task: dict[str, Any]) -> Iterator[str]:
    folds, headline = task["folds"], task["policy"]["headline"]
    some = f"{len(folds)} folds" if len(folds) > 1 else "one split"
    yield f"{name}: {task['clips']} clips, {task['classes']} classes, {some}; policy {task['policy']['name']}"
    if "shots" in task:
        yield f"  {'exemplars':>9}  {headline:>10}  {'± seeds':>8}"
        for one in task["shots"]:
            value, sd = _number(one["metrics"][headline]), _number(one["sd_over_seeds"])
            yield f"  {one['shots']:>9}  {value:>10}  {sd:>8}"
    else:
        yield from _metric_lines(task["metrics"])
        if task["interval"] is not None and None not in task["interval"]:
            low, high = task["interval"]
            yield f"  95 % interval of {headline}: {low:.3f} … {high:.3f} (bootstrap over recordings)"
        if len(folds) > 1:
            values = ", ".join(_number(one["entries"][0][headline]) for one in folds)
            yield f"  folds: {values}; sd {_number(task['sd_over_folds'][headline])}"
    if "crosswalk" in task:
        yield from _crosswalk_lines(task)
    for note in task["notes"]:
        yield f"  note: {note}"
    yield from _published_lines(task["published"])


def _metric_lines(metrics: dict[str, float | None]) -> list[str]:
    return [f"  {name:<18}{_number(value)}" for name, value in metrics.items()]


def _crosswalk_lines(task: dict[str, Any]) -> Iterator[str]:
    crosswalk = task["crosswalk"]
    yield f"  numbers are of the {crosswalk['matched']} classes of {task['classes']} that the model has"
    if crosswalk["unmatched"]:
        some, more = crosswalk["unmatched"][:8], len(crosswalk["unmatched"]) - 8
        yield f"  without a match: {', '.join(some)}{f' and {more} more (results.json)' if more > 0 else ''}"


def _published_lines(published: list[dict[str, Any]]) -> list[str]:
    if not published:
        return []
    lines = ["  published by others, under their own training:"]
    for one in published:
        values = ", ".join(f"{name} {value:g}" for name, value in one["values"].items())
        lines.append(f"    {one['name']}: {values} ({one['source']})")
    return lines


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
