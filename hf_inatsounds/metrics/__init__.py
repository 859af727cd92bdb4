"""Metrics: pure functions of arrays, no I/O."""

from __future__ import annotations

from hf_inatsounds.metrics.accuracy import (
    mean_reciprocal_rank,
    taxon_accuracy,
    top_accuracies,
    top_k_accuracy,
    true_places,
)
from hf_inatsounds.metrics.bootstrap import Replicates, bootstrap, centred_interval, resample_weights
from hf_inatsounds.metrics.calibration import (
    Reliability,
    brier_score,
    expected_calibration_error,
    reliability_curve,
    wilson_interval,
)
from hf_inatsounds.metrics.multilabel import label_ranking_average_precision, t1_accuracy
from hf_inatsounds.metrics.pooling import FilePool, softmax
from hf_inatsounds.metrics.protocols import (
    PROTOCOLS,
    Protocol,
    file_metrics,
    inatsounds_metrics,
    multilabel_metrics,
    present_ranking,
)
from hf_inatsounds.metrics.ranking import RankingMetrics, ranking_metrics, ranking_of_targets
from hf_inatsounds.metrics.thresholds import rows_of_labels, rows_of_targets

__all__ = [
    "PROTOCOLS",
    "FilePool",
    "Protocol",
    "RankingMetrics",
    "Reliability",
    "Replicates",
    "bootstrap",
    "brier_score",
    "centred_interval",
    "expected_calibration_error",
    "file_metrics",
    "inatsounds_metrics",
    "label_ranking_average_precision",
    "mean_reciprocal_rank",
    "multilabel_metrics",
    "present_ranking",
    "ranking_metrics",
    "ranking_of_targets",
    "reliability_curve",
    "resample_weights",
    "rows_of_labels",
    "rows_of_targets",
    "softmax",
    "t1_accuracy",
    "taxon_accuracy",
    "top_accuracies",
    "top_k_accuracy",
    "true_places",
    "wilson_interval",
]
