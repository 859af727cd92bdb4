"""BEANS' metrics as an ``evaluate`` module: a thin wrapper of hf_inatsounds.metrics."""

from __future__ import annotations

from typing import Any

import datasets
import evaluate
import numpy as np

from hf_inatsounds.metrics import multilabel_metrics

_DESCRIPTION = """BEANS: accuracy of its classification tasks (configuration "classification"), mAP over windows of its
detection tasks (configuration "detection", the default). A class absent from the test set has AP 0, averaged in."""

_INPUTS = """
Args:
    predictions: (N, C) scores of clips or windows.
    references: "detection": (N, C) 0 or 1; "classification": (N,) labels.

>>> import evaluate
>>> metric = evaluate.load("path/to/hf_inatsounds/evaluate_modules/beans", "classification")
>>> metric.add_batch(predictions=[[0.9, 0.1], [0.2, 0.3]], references=[0, 0])
>>> metric.compute()
{'accuracy': 0.5}
"""


class BeansMetric(evaluate.Metric):
    """Accuracy, or mAP with absent classes at 0."""

    def _info(self) -> evaluate.MetricInfo:
        if self.config_name not in ("default", "detection", "classification"):
            raise ValueError(f'the configuration must be "detection" or "classification"; got {self.config_name!r}')
        labels = datasets.Value("int64")
        one = labels if self.config_name == "classification" else datasets.Sequence(datasets.Value("int8"))
        features = {"predictions": datasets.Sequence(datasets.Value("float32")), "references": one}
        return evaluate.MetricInfo(
            description=_DESCRIPTION, citation="", inputs_description=_INPUTS, features=datasets.Features(features)
        )

    def _compute(self, predictions: Any, references: Any) -> dict[str, Any]:
        scores, references = np.asarray(predictions), np.asarray(references)
        if self.config_name == "classification":
            if np.isnan(scores).any():
                raise ValueError("predictions hold NaN")
            return {"accuracy": float((scores.argmax(axis=1) == references).mean())}
        found = multilabel_metrics(scores, references == 1, "beans")
        return {"map": found["cmap"], "absent_classes": found["absent_classes"], "policy": found["policy"]}
