"""Evaluation: a classifier on a split by the paper's protocol, into scores and ``results.json``."""

from __future__ import annotations

from hf_inatsounds.data.split_info import SplitInfo, chosen_annotations, split_info, training_counts
from hf_inatsounds.evaluation.measures import Bootstrap, geo_measures, measures_of, metrics_of
from hf_inatsounds.evaluation.model import default_out, evaluate_model
from hf_inatsounds.evaluation.processes import launched_processes
from hf_inatsounds.evaluation.run import RESULTS_FILE, TRAIN_FILE, GeoChoice, environment, evaluate

__all__ = [
    "RESULTS_FILE",
    "TRAIN_FILE",
    "Bootstrap",
    "GeoChoice",
    "SplitInfo",
    "chosen_annotations",
    "default_out",
    "environment",
    "evaluate",
    "evaluate_model",
    "geo_measures",
    "launched_processes",
    "measures_of",
    "metrics_of",
    "split_info",
    "training_counts",
]
