"""Metrics: pure functions of arrays, no I/O."""

from __future__ import annotations

from hf_inatsounds.metrics.accuracy import taxon_accuracy, top_k_accuracy, true_places
from hf_inatsounds.metrics.protocols import aggregate, file_metrics, inatsounds_metrics, softmax
from hf_inatsounds.metrics.ranking import average_precision, f1_max, roc_auc

__all__ = [
    "aggregate",
    "average_precision",
    "f1_max",
    "file_metrics",
    "inatsounds_metrics",
    "roc_auc",
    "softmax",
    "taxon_accuracy",
    "top_k_accuracy",
    "true_places",
]
