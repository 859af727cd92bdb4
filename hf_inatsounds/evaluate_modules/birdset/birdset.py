"""BirdSet's metrics as an ``evaluate`` module: a thin wrapper of hf_inatsounds.metrics."""

from __future__ import annotations

from typing import Any

import datasets
import evaluate
import numpy as np

from hf_inatsounds.metrics import multilabel_metrics

_DESCRIPTION = """cmAP (macro average precision), macro ROC-AUC and T1-accuracy over segments, as BirdSet reports them.
torchmetrics changed what a class absent from the test set contributes, so a number names its policy: "birdset" leaves
absent classes out, "birdset-zero" averages them in as 0."""

_INPUTS = """
Args:
    predictions: (N, C) scores of segments.
    references: (N, C) 0 or 1; a segment without a call is all 0.
    protocol: "birdset" (default), "birdset-zero", or another preset of hf_inatsounds.metrics.PROTOCOLS.

>>> import evaluate
>>> metric = evaluate.load("path/to/hf_inatsounds/evaluate_modules/birdset")
>>> metric.add_batch(predictions=[[0.9, 0.1], [0.2, 0.3]], references=[[1, 0], [0, 0]])
>>> metric.compute()["t1_accuracy"]
1.0
"""


class BirdSetMetric(evaluate.Metric):
    """cmAP, ROC-AUC and T1-accuracy, with the policy that they stand on."""

    def _info(self) -> evaluate.MetricInfo:
        features = {
            "predictions": datasets.Sequence(datasets.Value("float32")),
            "references": datasets.Sequence(datasets.Value("int8")),
        }
        return evaluate.MetricInfo(
            description=_DESCRIPTION, citation="", inputs_description=_INPUTS, features=datasets.Features(features)
        )

    def _compute(self, predictions: Any, references: Any, protocol: str = "birdset") -> dict[str, Any]:
        return multilabel_metrics(np.asarray(predictions), np.asarray(references) == 1, protocol)
