"""The iNatSounds protocol as an ``evaluate`` module: a thin wrapper of hf_inatsounds.metrics."""

from __future__ import annotations

from typing import Any

import datasets
import evaluate
import numpy as np

from hf_inatsounds.metrics import FilePool, file_metrics

_DESCRIPTION = """mAP, F1-max, ROC-AUC, top-1 and top-5, and the accuracy at each taxonomic rank, as the authors of the
iNaturalist Sounds Dataset report them: unweighted means over the classes that the split holds."""

_INPUTS = """
Args:
    predictions: (N, C) scores of recordings; with the configuration "windows" (W, C) logits of windows.
    references: (N,) labels; with "windows" each window's recording's label.
    files: (W,) with "windows" only: the recording of each window, any integers.
    present: classes that the split holds; default those among the references.
    ranks: C lineages of seven names each, for the rank accuracies.
    aggregation: with "windows": "mean" (default), "max" or "log_mean_exp" over a recording's windows.

>>> import evaluate
>>> metric = evaluate.load("path/to/hf_inatsounds/evaluate_modules/inatsounds")
>>> metric.add_batch(predictions=[[0.9, 0.1], [0.2, 0.8]], references=[0, 1])
>>> metric.compute()["map"]
1.0
"""


class INatSoundsMetric(evaluate.Metric):
    """The protocol's numbers from file-level scores, or from window logits."""

    def _info(self) -> evaluate.MetricInfo:
        features = {"predictions": datasets.Sequence(datasets.Value("float32")), "references": datasets.Value("int64")}
        if self.config_name == "windows":
            features["files"] = datasets.Value("int64")
        elif self.config_name not in ("default", "files"):
            raise ValueError(f'the configuration must be "files" or "windows"; got {self.config_name!r}')
        return evaluate.MetricInfo(
            description=_DESCRIPTION, citation="", inputs_description=_INPUTS, features=datasets.Features(features)
        )

    def _compute(
        self,
        predictions: Any,
        references: Any,
        files: Any = None,
        present: Any = None,
        ranks: Any = None,
        aggregation: str = "mean",
    ) -> dict[str, Any]:
        scores, labels = np.asarray(predictions), np.asarray(references)
        if files is not None:
            _, first, index = np.unique(np.asarray(files), return_index=True, return_inverse=True)
            pool = FilePool(len(first), scores.shape[1])
            pool.add(scores, index)
            if (labels != labels[first][index]).any():
                raise ValueError("two windows of one recording have different references")
            scores, labels = pool.scores()[aggregation], labels[first]  # type: ignore[index]  # a KeyError names it
        held = np.unique(labels) if present is None else np.asarray(present)
        return file_metrics(scores, labels, present=held, ranks=ranks)
