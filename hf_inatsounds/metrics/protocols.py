"""Protocols: which policy a benchmark's numbers stand on, and the numbers themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from hf_inatsounds.metrics.accuracy import taxon_accuracy, top_accuracies, true_places
from hf_inatsounds.metrics.multilabel import NoCall, checked, label_ranking_average_precision, t1_accuracy
from hf_inatsounds.metrics.pooling import FilePool, softmax
from hf_inatsounds.metrics.ranking import Absent, RankingMetrics, ranking_metrics, with_policy
from hf_inatsounds.metrics.thresholds import rows_of_labels, rows_of_targets

Aggregation = Literal["mean", "max", "log_mean_exp", "window"]
Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Protocol:
    """What a benchmark does where conventions differ.

    Attributes:
        name: of the preset.
        absent: what a class without a positive gives to mAP, cmAP and F1-max: "ignore", "zero" or "error".
        absent_auc: the same for ROC-AUC, where a class without a negative counts as absent too.
        no_call: items without a label in the class metrics: "negative" keeps them as negatives of every class,
            "drop" leaves them out.
        no_call_top1: the same in T1-accuracy, "drop" or "miss".
        no_call_lrap: the same in LRAP, "drop", or "one" as sklearn has it: nothing could be ranked wrongly.
        source: where the policy is from.
    """

    name: str
    absent: Absent = "ignore"
    absent_auc: Absent = "ignore"
    no_call: Literal["negative", "drop"] = "negative"
    no_call_top1: NoCall = "drop"
    no_call_lrap: Literal["one", "drop"] = "drop"
    source: str = ""

    def policy(self) -> dict[str, str]:
        """The policies by name: what a reported number must come with."""
        keys = ("absent", "absent_auc", "no_call", "no_call_top1", "no_call_lrap")
        return {"protocol": self.name, **{key: str(getattr(self, key)) for key in keys}}


PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol("inatsounds", source="cvl-umass/iNatSounds: means over the classes that the split holds"),
        Protocol("birdset", source="DBD-research-group/BirdSet with torchmetrics before its change: absent left out"),
        Protocol(
            "birdset-zero", absent="zero", absent_auc="zero",
            source="DBD-research-group/BirdSet with torchmetrics since its change: absent classes average in as 0",
        ),
        Protocol("beans", absent="zero", source="earthspecies/beans: a class without a positive has AP 0, averaged in"),
        Protocol("birb", source="google-research/perch: absent classes are left out"),
    )
}  # fmt: skip
"""Preset → policy."""


def multilabel_metrics(scores: Array, targets: Array, protocol: Protocol | str) -> dict[str, Any]:
    """Metrics of items with any number of labels, by a protocol's policy.

    Args:
        scores: (N, C) real, no NaN.
        targets: (N, C) bool.
        protocol: a policy, or the name of a preset.

    Returns:
        ``{"cmap", "f1_max", "roc_auc", "t1_accuracy", "lrap", "policy", "items", "no_call_items",
        "absent_classes"}``: cmap is the macro average precision, the number that BEANS calls mAP.

    Raises:
        ValueError: if shapes do not fit, a score is NaN, or the policy is "error" and a class is absent.

    >>> found = multilabel_metrics(np.array([[0.9, 0.1], [0.2, 0.3]]), np.array([[True, False]] * 2), "beans")
    >>> found["cmap"], found["absent_classes"]
    (0.5, 1)
    """
    chosen = PROTOCOLS[protocol] if isinstance(protocol, str) else protocol
    scores, targets = checked(scores, targets)
    silent = ~targets.any(axis=1)
    kept = slice(None) if chosen.no_call == "negative" else ~silent
    ranking = ranking_metrics(scores[kept], rows_of_targets(targets[kept]))
    return {
        "cmap": mean(with_policy(ranking.average_precision, chosen.absent)),
        "f1_max": mean(with_policy(ranking.f1_max, chosen.absent)),
        "roc_auc": mean(with_policy(ranking.roc_auc, chosen.absent_auc)),
        "t1_accuracy": t1_accuracy(scores, targets, no_call=chosen.no_call_top1),
        "lrap": label_ranking_average_precision(scores, targets, no_call=chosen.no_call_lrap),
        "policy": chosen.policy(),
        "items": len(scores),
        "no_call_items": int(silent.sum()),
        "absent_classes": int((~targets.any(axis=0)).sum()),
    }


def file_metrics(
    scores: Array,
    labels: Array,
    *,
    present: Array,
    ranks: Sequence[Any] | None = None,
    ranking: RankingMetrics | None = None,
) -> dict[str, Any]:
    """The paper's numbers from scores of items with one label each.

    mAP, F1-max and ROC-AUC are unweighted means over the ``present`` classes; a class of them without an
    item is left out. Top-k and the taxon accuracies look at all classes.

    Args:
        scores: (N, C) in [0, 1].
        labels: (N,) int in [0, C).
        present: classes that the split holds.
        ranks: C lineages, as :func:`taxon_accuracy` takes them; None leaves ``taxon_accuracy`` out.
        ranking: of all classes, where it is known already.

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
    if ranking is None:
        ranking = present_ranking(scores, labels, present)
    metrics: dict[str, Any] = {
        "map": mean(ranking.average_precision),
        "f1_max": mean(ranking.f1_max),
        "roc_auc": mean(ranking.roc_auc),
        **top_accuracies(true_places(scores, labels), labels),
    }
    if ranks is not None:
        metrics["taxon_accuracy"] = taxon_accuracy(scores.argmax(axis=1), labels, ranks)
    return metrics


def present_ranking(scores: Array, labels: Array, present: Array) -> RankingMetrics:
    """Ranking metrics of the ``present`` columns of ``scores`` (N, C), one label an item."""
    whole = np.array_equal(present, np.arange(scores.shape[1]))
    return ranking_metrics(scores if whole else scores[:, present], rows_of_labels(labels, present))


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
        aggregation: "mean", "max" or "log_mean_exp" over a file's windows, or "window": each window is an item.

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
    if aggregation not in ("mean", "max", "log_mean_exp", "window"):
        raise ValueError(f'aggregation must be "mean", "max", "log_mean_exp" or "window"; got {aggregation!r}')
    if aggregation == "window":
        return file_metrics(softmax(window_logits), labels[file_index], present=present, ranks=ranks)
    if len(file_index) and not 0 <= file_index.min() <= file_index.max() < len(labels):
        raise ValueError(f"file_index must name each of {len(labels)} files; got file {int(file_index.max())}")
    pool = FilePool(len(labels), window_logits.shape[1])
    pool.add(window_logits, file_index)
    return file_metrics(pool.scores()[aggregation], labels, present=present, ranks=ranks)


def mean(values: Array) -> float:
    """Mean over the classes that have a value; NaN where none has.

    >>> mean(np.array([0.5, np.nan]))
    0.5
    """
    return float(np.nanmean(values)) if not np.isnan(values).all() else float("nan")
