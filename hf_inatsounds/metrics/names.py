"""The protocol's metrics by key: what they are called in tables, on pages and in the Hub's model-index."""

from __future__ import annotations

from typing import NamedTuple


class Metric(NamedTuple):
    """How a metric is shown.

    Attributes:
        name: in tables.
        hub_type: its type in a model-index; None keeps it out of the card's metadata and of overviews.
        hub_name: its name in a model-index.
    """

    name: str
    hub_type: str | None = None
    hub_name: str = ""


METRICS = {
    "map": Metric("mAP", "mean_average_precision", "mAP"),
    "f1_max": Metric("F1-max", "f1_max", "F1-max"),
    "roc_auc": Metric("ROC-AUC", "roc_auc", "ROC-AUC"),
    "top1": Metric("top-1", "accuracy", "Top-1 accuracy"),
    "top5": Metric("top-5", "top5_accuracy", "Top-5 accuracy"),
    "top1_class_average": Metric("top-1, class average"),
    "top5_class_average": Metric("top-5, class average"),
}
"""Keys as :func:`file_metrics` returns them; a new metric is computed there and named here."""

METRIC_NAMES = {key: metric.name for key, metric in METRICS.items()}
"""Key → name in tables."""

OVERVIEW = {key: metric for key, metric in METRICS.items() if metric.hub_type}
"""The metrics that stand for a result where there is little room."""
