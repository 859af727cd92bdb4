"""What is measured of file-level scores: metrics, intervals, classes, groups, calibration, the effect of a prior."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from hf_inatsounds.data.labels import LabelSpace
from hf_inatsounds.geo import GeoPrior, Reweighting, apply_prior
from hf_inatsounds.metrics import (
    Replicates,
    bootstrap,
    brier_score,
    centred_interval,
    expected_calibration_error,
    file_metrics,
    mean_reciprocal_rank,
    present_ranking,
    reliability_curve,
    taxon_accuracy,
    top_accuracies,
    wilson_interval,
)
from hf_inatsounds.metrics.bootstrap import LEVEL, RESAMPLES
from hf_inatsounds.metrics.groups import bin_names, confused_pairs, frequency_bins, group_means
from hf_inatsounds.scoring import FileScores

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Bootstrap:
    """How intervals are made: by recording, percentiles centred on the number itself.

    Attributes:
        resamples: draws of the recordings, ≥ 1.
        seed: of the draws; two systems are compared on the same.
        level: share of the replicates that an interval holds, in (0, 1).

    Raises:
        ValueError: if a value is out of range.
    """

    resamples: int = RESAMPLES
    seed: int = 0
    level: float = LEVEL

    def __post_init__(self) -> None:
        if self.resamples < 1 or not 0 < self.level < 1:
            raise ValueError(f"resamples ≥ 1 and level in (0, 1); got {self.resamples} and {self.level}")

    def of(self, scores: FileScores, label_space: LabelSpace, matrix: Array | None = None) -> Replicates:
        """Replicates of the headline scores, or of ``matrix`` in their place."""
        return bootstrap(
            scores.mean if matrix is None else matrix,
            scores.label,
            classes=scores.classes,
            ranks=label_space.ranks,
            resamples=self.resamples,
            seed=self.seed,
        )


def metrics_of(scores: FileScores, label_space: LabelSpace, *, windows: bool = True) -> dict[str, dict[str, Any]]:
    """All metrics of the protocol, recomputed from scores without a model.

    Args:
        scores: of whichever aggregations.
        label_space: the dataset's classes.
        windows: whether to count single windows too.

    Returns:
        ``{"mean": …, "max": …, "log_mean_exp": …, "window": …}``: the headline, the other aggregations, and single
        windows, for which the protocol has top-k and taxon accuracies only.
    """
    columns, present = scores.columns, np.unique(scores.columns)
    ranks = [label_space.ranks[c] for c in scores.classes]
    found: dict[str, dict[str, Any]] = {
        name: file_metrics(matrix, columns, present=present, ranks=ranks) for name, matrix in scores.scores.items()
    }
    if windows:
        labels = scores.label[scores.window_file]
        accuracy = taxon_accuracy(scores.window_prediction, labels, label_space.ranks)
        found["window"] = {**top_accuracies(scores.window_place, labels), "taxon_accuracy": accuracy}
    return found


def measures_of(scores: FileScores, label_space: LabelSpace, training: Array | None, how: Bootstrap) -> dict[str, Any]:
    """What ``results.json`` holds of the headline scores beside the metrics.

    Args:
        scores: with "mean".
        label_space: the dataset's classes.
        training: (C,) training recordings of each class, None where unknown.
        how: of the intervals.

    Returns:
        JSON-ready: ``intervals``, ``calibration``, ``classes`` (one entry per present class), ``groups`` and
        ``confusions``.
    """
    ranking = present_ranking(scores.mean, scores.columns, np.arange(len(scores.classes)))
    items = np.bincount(scores.columns, minlength=len(scores.classes))
    ranks = [label_space.ranks[c] for c in scores.classes]
    headline = file_metrics(scores.mean, scores.columns, present=np.flatnonzero(items), ranks=ranks, ranking=ranking)
    replicates = how.of(scores, label_space)
    groups = {"supercategory": [label_space.taxa[c].supercategory for c in scores.classes]}
    if training is not None:
        groups["training_recordings"] = frequency_bins(training[scores.classes])
    grouped = {
        name: group_means(of, ranking.average_precision, items, replicates.average_precision, level=how.level)
        for name, of in groups.items()
    }
    if "training_recordings" in grouped:
        grouped["training_recordings"] = {
            name: grouped["training_recordings"][name] for name in bin_names() if name in grouped["training_recordings"]
        }
    return {
        "intervals": {**_about(how), "mean": finite(replicates.intervals(flat(headline), how.level))},
        "calibration": _calibration(scores, how.level),
        "classes": [
            {
                "label": int(c),
                "species": label_space.taxa[c].species,
                "common_name": label_space.taxa[c].common_name,
                "supercategory": label_space.taxa[c].supercategory,
                "recordings": int(items[i]),
                "training_recordings": None if training is None else int(training[c]),
                **{name: _number(values[i]) for name, values in ranking._asdict().items()},
                "interval": pair(
                    centred_interval(replicates.average_precision[i], ranking.average_precision[i], how.level)
                ),
            }
            for i, c in enumerate(scores.classes.tolist())
            if items[i]
        ],
        "groups": grouped,
        "confusions": [
            {"true": label_space.taxa[a].species, "predicted": label_space.taxa[b].species, "recordings": n, "of": of}
            for a, b, n, of in confused_pairs(scores.label, scores.classes[scores.mean.argmax(axis=1)])
        ],
    }


def geo_measures(
    scores: FileScores, label_space: LabelSpace, prior: GeoPrior, reweighting: Reweighting, how: Bootstrap
) -> dict[str, Any]:
    """The headline metrics with a range prior, and their differences from those without, on the same resamples.

    Returns:
        JSON-ready: how it was combined, counts of recordings, ``metrics``, ``intervals`` and ``difference``.
    """
    matrix, counts = apply_prior(prior, scores.mean, scores.place, scores.classes, reweighting)
    ranks = [label_space.ranks[c] for c in scores.classes]
    columns = scores.columns
    present = np.unique(columns)
    without = file_metrics(scores.mean, columns, present=present, ranks=ranks)
    metrics = file_metrics(matrix, columns, present=present, ranks=ranks)
    before, after = how.of(scores, label_space), how.of(scores, label_space, matrix)
    known = prior.known[scores.classes]
    return {
        "kind": type(prior).__name__, "mode": reweighting.mode, "threshold": reweighting.threshold,
        "weight": reweighting.weight, "recordings": counts, "unknown_classes": int((~known).sum()),
        "metrics": metrics,
        "intervals": {**_about(how), "mean": finite(after.intervals(flat(metrics), how.level))},
        "difference": differences(flat(without), flat(metrics), before, after, how.level),
    }  # fmt: skip


def differences(
    first: dict[str, float], second: dict[str, float], before: Replicates, after: Replicates, level: float
) -> dict[str, Any]:
    """Second minus first, each metric with the interval of the paired differences.

    Returns:
        metric → ``{"value", "interval", "share_above_zero"}``; the last is the share of resamples in which the
        second is better, ties half.
    """
    found = {}
    for name in before.metrics:
        value = second[name] - first[name]
        gaps = after.metrics[name] - before.metrics[name]
        found[name] = {
            "value": _number(value),
            "interval": pair(centred_interval(gaps, value, level, within=(-1.0, 1.0))),
            "share_above_zero": _share_above_zero(gaps),
        }
    return found


def _share_above_zero(gaps: Array) -> float | None:
    """Share of the resamples that have a difference, in which it is above 0; ties half."""
    known = gaps[~np.isnan(gaps)]
    return float(((known > 0) + 0.5 * (known == 0)).mean()) if len(known) else None


def flat(metrics: dict[str, Any]) -> dict[str, float]:
    """Metrics with the ranks as "taxon_accuracy.genus".

    >>> flat({"map": 0.5, "taxon_accuracy": {"genus": 0.7}})
    {'map': 0.5, 'taxon_accuracy.genus': 0.7}
    """
    taxa = metrics.get("taxon_accuracy", {})
    return {
        **{name: value for name, value in metrics.items() if name != "taxon_accuracy"},
        **{f"taxon_accuracy.{rank}": value for rank, value in taxa.items()},
    }


def _calibration(scores: FileScores, level: float) -> dict[str, Any]:
    confidence = scores.mean.max(axis=1)
    hits = scores.mean.argmax(axis=1) == scores.columns
    curve = reliability_curve(confidence, hits)
    low, high = wilson_interval(np.nan_to_num(curve.accuracy) * curve.items, curve.items, level=level)
    return {
        "expected_calibration_error": expected_calibration_error(confidence, hits),
        "brier_score": brier_score(scores.mean, scores.columns),
        "lrap": mean_reciprocal_rank(scores.mean, scores.columns),
        "bins": [
            {"from": _number(curve.edges[i]), "to": _number(curve.edges[i + 1]), "recordings": int(curve.items[i]),
             "confidence": _number(curve.confidence[i]), "accuracy": _number(curve.accuracy[i]),
             "interval": pair((float(low[i]), float(high[i])))}
            for i in range(len(curve.items))
        ],
    }  # fmt: skip


def _about(how: Bootstrap) -> dict[str, Any]:
    return {"level": how.level, "resamples": how.resamples, "seed": how.seed, "by": "recording"}


def finite(intervals: dict[str, tuple[float, float]]) -> dict[str, list[float] | None]:
    """Intervals as JSON has them."""
    return {name: pair(interval) for name, interval in intervals.items()}


def pair(interval: tuple[float, float]) -> list[float] | None:
    """An interval as JSON has it; None where it is undefined."""
    return None if any(math.isnan(one) for one in interval) else list(interval)


def _number(value: Any) -> float | None:
    """JSON has no NaN."""
    return None if math.isnan(value) else float(value)
