"""The iNatSounds protocol: window logits → file-level scores → the paper's numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from hf_inatsounds.metrics.accuracy import taxon_accuracy, top_k_accuracy, true_places
from hf_inatsounds.metrics.ranking import average_precision, f1_max, roc_auc

Aggregation = Literal["mean", "max", "window"]
Array = np.ndarray[Any, np.dtype[Any]]


def softmax(logits: Array, *, only: Array | None = None) -> Array:
    """Softmax over the last axis, in float64.

    Args:
        logits: (…, C).
        only: classes that take part; others score 0. None for all.

    Returns:
        (…, C), rows summing to 1.

    >>> softmax(np.array([0.0, 0.0, 9.0]), only=np.array([0, 1]))
    array([0.5, 0.5, 0. ])
    """
    logits = np.asarray(logits, dtype=np.float64)
    if only is not None:
        masked = np.full_like(logits, -np.inf)
        masked[..., only] = logits[..., only]
        logits = masked
    exponents = np.exp(logits - logits.max(axis=-1, keepdims=True))
    scores: Array = exponents / exponents.sum(axis=-1, keepdims=True)
    return scores


def aggregate(window_scores: Array, file_index: Array, n_files: int, aggregation: Literal["mean", "max"]) -> Array:
    """File-level scores: mean or maximum over each file's windows.

    Args:
        window_scores: (W, C).
        file_index: (W,) int, the file of each window, in [0, n_files); any order.
        n_files: F.
        aggregation: "mean" (the headline) or "max".

    Returns:
        (F, C) float64.

    Raises:
        ValueError: if a file has no window.

    >>> aggregate(np.array([[0.2, 0.8], [0.4, 0.6]]), np.array([0, 0]), 1, "mean").round(2)
    array([[0.3, 0.7]])
    """
    counts = np.bincount(file_index, minlength=n_files)
    if len(counts) > n_files or (counts == 0).any():
        found = f"file {len(counts) - 1}" if len(counts) > n_files else f"no window of file {int(np.argmin(counts))}"
        raise ValueError(f"file_index must name each of {n_files} files; got {found}")
    order = np.argsort(file_index, kind="stable")
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    operation = np.add if aggregation == "mean" else np.maximum
    files: Array = operation.reduceat(np.asarray(window_scores, dtype=np.float64)[order], starts, axis=0)
    return files / counts[:, None] if aggregation == "mean" else files


def file_metrics(scores: Array, labels: Array, *, present: Array, ranks: Sequence[Any] | None = None) -> dict[str, Any]:
    """The paper's numbers from scores of items with one label each.

    mAP, F1-max and ROC-AUC are unweighted means over the ``present`` classes; a class of them without an
    item is left out. Top-k and the taxon accuracies look at all classes.

    Args:
        scores: (N, C) in [0, 1].
        labels: (N,) int in [0, C).
        present: classes that the split holds.
        ranks: C lineages, as :func:`taxon_accuracy` takes them; None leaves ``taxon_accuracy`` out.

    Returns:
        ``{"map", "f1_max", "roc_auc", "top1", "top5", "top1_class_average", "top5_class_average",
        "taxon_accuracy": {rank: …}}``.

    Raises:
        ValueError: if shapes or labels do not fit, or a score is NaN.
    """
    scores, labels, present = np.asarray(scores), np.asarray(labels), np.asarray(present)
    if scores.ndim != 2 or labels.shape != scores.shape[:1]:
        raise ValueError(f"scores must be (N, C) and labels (N,); got {scores.shape} and {labels.shape}")
    for name, ids in (("labels", labels), ("present", present)):
        if len(ids) == 0 or ids.min() < 0 or ids.max() >= scores.shape[1]:
            found = f"{ids.min()} … {ids.max()}" if len(ids) else "none"
            raise ValueError(f"{name} must be classes in [0, {scores.shape[1]}); got {found}")
    columns, targets = scores[:, present], labels[:, None] == present[None, :]
    places = true_places(scores, labels)
    metrics: dict[str, Any] = {
        "map": _mean(average_precision(columns, targets)),
        "f1_max": _mean(f1_max(columns, targets)),
        "roc_auc": _mean(roc_auc(columns, targets)),
        "top1": top_k_accuracy(places, labels, 1),
        "top5": top_k_accuracy(places, labels, 5),
        "top1_class_average": top_k_accuracy(places, labels, 1, class_average=True),
        "top5_class_average": top_k_accuracy(places, labels, 5, class_average=True),
    }
    if ranks is not None:
        metrics["taxon_accuracy"] = taxon_accuracy(scores.argmax(axis=1), labels, ranks)
    return metrics


def inatsounds_metrics(
    window_logits: Array,
    file_index: Array,
    labels: Array,
    *,
    present: Array,
    ranks: Sequence[Any] | None = None,
    aggregation: Aggregation = "mean",
) -> dict[str, Any]:
    """The authors' evaluation: softmax over all classes per window, aggregation over files, metrics.

    Args:
        window_logits: (W, C) float.
        file_index: (W,) int, the file of each window, in [0, F).
        labels: (F,) int, the class of each file.
        present: classes that the split holds.
        ranks: C lineages (seven names each, or mappings with the ranks as keys); None leaves them out.
        aggregation: "mean" or "max" over a file's windows, or "window": each window is an item.

    Returns:
        As :func:`file_metrics`.

    Raises:
        ValueError: if shapes or ids do not fit each other, or a logit is NaN.

    Source: cvl-umass/iNatSounds; shared by "sound_avg", "sound_max" and the window metrics there.
    """
    window_logits, file_index, labels = np.asarray(window_logits), np.asarray(file_index), np.asarray(labels)
    if window_logits.ndim != 2 or file_index.shape != window_logits.shape[:1]:
        raise ValueError(
            f"window_logits must be (W, C) and file_index (W,); got {window_logits.shape} and {file_index.shape}"
        )
    if aggregation not in ("mean", "max", "window"):
        raise ValueError(f'aggregation must be "mean", "max" or "window"; got {aggregation!r}')
    scores = softmax(window_logits)
    if aggregation == "window":
        return file_metrics(scores, labels[file_index], present=present, ranks=ranks)
    files = aggregate(scores, file_index, len(labels), aggregation)
    return file_metrics(files, labels, present=present, ranks=ranks)


def _mean(values: Array) -> float:
    """Mean over the classes that have a value."""
    return float(np.nanmean(values)) if not np.isnan(values).all() else float("nan")
