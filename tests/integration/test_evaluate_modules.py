"""The `evaluate` wrappers: loaded by path, without a network, fed in batches."""

from pathlib import Path

import evaluate
import numpy as np
import pytest

import hf_inatsounds
from hf_inatsounds.metrics import file_metrics, inatsounds_metrics, multilabel_metrics, ranking_of_targets

MODULES = Path(hf_inatsounds.__file__).parent / "evaluate_modules"


def fed(metric, step=7, **columns):
    for first in range(0, len(columns["references"]), step):
        metric.add_batch(**{name: column[first : first + step] for name, column in columns.items()})
    return metric


def test_inatsounds_in_batches_gives_the_protocols_numbers():
    generator = np.random.default_rng(0)
    scores, labels = generator.random((40, 5)).astype(np.float32), generator.integers(0, 4, 40)
    found = fed(evaluate.load(str(MODULES / "inatsounds")), predictions=scores, references=labels).compute()
    assert found == pytest.approx(file_metrics(scores, labels, present=np.arange(4)), nan_ok=False)


def test_inatsounds_pools_windows_of_recordings():
    generator = np.random.default_rng(1)
    logits, files = generator.standard_normal((60, 5)).astype(np.float32), np.repeat(np.arange(20), 3)
    labels = generator.integers(0, 5, 20)
    ranks = [(*"ABCDEF", str(c)) for c in range(5)]
    metric = evaluate.load(str(MODULES / "inatsounds"), "windows")
    fed(metric, predictions=logits, references=labels[files], files=files * 10 + 3)
    found = metric.compute(ranks=ranks, present=list(range(5)), aggregation="max")
    expected = inatsounds_metrics(logits, files, labels, present=np.arange(5), ranks=ranks, aggregation="max")
    assert found.pop("taxon_accuracy") == expected.pop("taxon_accuracy")
    assert found == pytest.approx(expected)


def test_birdset_names_its_policy():
    generator = np.random.default_rng(2)
    scores = generator.random((30, 4)).astype(np.float32)
    targets = generator.random((30, 4)) < [0.3, 0.5, 0.2, 0.0]
    metric = evaluate.load(str(MODULES / "birdset"))
    found = fed(metric, predictions=scores, references=targets.astype(int)).compute()
    assert found == multilabel_metrics(scores, targets, "birdset")
    found = fed(metric, predictions=scores, references=targets.astype(int)).compute(protocol="birdset-zero")
    assert found["cmap"] == pytest.approx(np.nan_to_num(ranking_of_targets(scores, targets).average_precision).mean())
    assert found["policy"]["absent"] == "zero"


def test_beans_has_accuracy_and_map():
    found = fed(
        evaluate.load(str(MODULES / "beans"), "classification"),
        predictions=[[0.9, 0.1], [0.2, 0.3], [0.1, 0.6]],
        references=[0, 0, 1],
    )
    assert found.compute() == {"accuracy": pytest.approx(2 / 3)}
    found = fed(
        evaluate.load(str(MODULES / "beans"), "detection"),
        predictions=[[0.9, 0.1, 0.4], [0.2, 0.3, 0.4]],
        references=[[1, 1, 0], [0, 0, 0]],
    ).compute()
    assert found["map"] == pytest.approx((1 + 0.5 + 0) / 3)  # by hand: first at rank 1, second at rank 2, third absent
    assert found["absent_classes"] == 1
    with pytest.raises(ValueError, match="configuration must be"):
        evaluate.load(str(MODULES / "beans"), "nothing")
