import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from hf_inatsounds.metrics import (
    FilePool,
    file_metrics,
    inatsounds_metrics,
    ranking_of_targets,
    softmax,
    taxon_accuracy,
    top_k_accuracy,
    true_places,
)

GOLDEN_NAMES = {
    "mAP": "map",
    "F1-max": "f1_max",
    "ROC-AUC": "roc_auc",
    "class-avg-top-1": "top1_class_average",
    "class-avg-top-5": "top5_class_average",
    "simple-top-1": "top1",
    "simple-top-5": "top5",
}
GOLDEN_KEYS = {"mean": "sound_avg", "max": "sound_max", "window": "window"}


@pytest.mark.parametrize("case", ["small", "ties"])
@pytest.mark.parametrize("aggregation", ["mean", "max", "window"])
def test_all_numbers_are_the_authors(golden, case, aggregation):
    arrays = np.load(golden / f"metrics_{case}.npz")
    document = json.loads((golden / f"metrics_{case}.json").read_text())
    expected = document["expected"][GOLDEN_KEYS[aggregation]]
    found = inatsounds_metrics(
        arrays["logits"],
        arrays["file_index"],
        arrays["labels"],
        present=arrays["present"],
        ranks=document["categories"],
        aggregation=aggregation,
    )
    for name, value in expected.items():
        if name.startswith("taxa_"):
            mine = found["taxon_accuracy"][name[len("taxa_") : name.index("(")]]
        else:
            mine = found[GOLDEN_NAMES[name]]
        if case == "ties" and aggregation == "window" and "top-" in name:
            assert mine == pytest.approx(value, abs=0.05)  # the order among tied classes need not match
        else:
            assert mine == pytest.approx(value, abs=1e-6), name


@st.composite
def scored_targets(draw):
    n = draw(st.integers(2, 40))
    c = draw(st.integers(1, 6))
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    scores = generator.integers(0, draw(st.integers(1, 30)), (n, c)) / 7.0  # few levels: many ties
    return scores, generator.random((n, c)) < draw(st.floats(0.0, 1.0))


@given(scored_targets())
@settings(max_examples=150)
def test_ranking_metrics_equal_sklearn_with_ties_and_absent_classes(drawn):
    scores, targets = drawn
    precision, best, area = ranking_of_targets(scores, targets)
    for c in range(scores.shape[1]):
        s, t = scores[:, c], targets[:, c]
        if not t.any():
            assert np.isnan([precision[c], best[c], area[c]]).all()
            continue
        assert precision[c] == pytest.approx(average_precision_score(t, s), abs=1e-9)
        p, r, _ = precision_recall_curve(t, s)
        with np.errstate(invalid="ignore"):
            assert best[c] == pytest.approx(np.nanmax(2 * p * r / (p + r)), abs=1e-9)
        if t.all():
            assert np.isnan(area[c])
        else:
            assert area[c] == pytest.approx(roc_auc_score(t, s), abs=1e-9)


def test_policies_for_absent_classes():
    scores, targets = np.array([[0.1, 0.2], [0.3, 0.4]]), np.array([[True, False], [False, False]])
    assert np.isnan(ranking_of_targets(scores, targets).average_precision[1])
    assert ranking_of_targets(scores, targets, absent="zero").average_precision[1] == 0
    with pytest.raises(ValueError, match="class 1 has no positive"):
        ranking_of_targets(scores, targets, absent="error")


@pytest.mark.parametrize(
    ("scores", "targets", "message"),
    [
        (np.zeros((2, 2)), np.zeros((2, 3), bool), r"\(2, 2\) and \(2, 3\)"),
        (np.zeros((2, 2)), np.zeros((2, 2), int), "must be bool"),
        (np.array([[0.0], [np.nan]]), np.array([[True], [False]]), "NaN in row 1"),
    ],
)
def test_bad_arrays_are_refused(scores, targets, message):
    with pytest.raises(ValueError, match=message):
        ranking_of_targets(scores, targets)


def test_top_k_on_a_hand_computed_case():
    scores = np.array([[0.5, 0.3, 0.2], [0.5, 0.3, 0.2], [0.1, 0.2, 0.7]])
    labels = np.array([0, 2, 1])
    places = true_places(scores, labels, 2)
    assert places.tolist() == [0, 2, 1]
    assert top_k_accuracy(places, labels, 1) == pytest.approx(1 / 3)
    assert top_k_accuracy(places, labels, 2) == pytest.approx(2 / 3)


def test_a_rank_is_right_only_with_all_ranks_above_it():
    # two genera of one name in different families: the same genus name is no hit
    lineages = [
        ("Animalia", "Chordata", "Aves", "O", "F1", "Same", "a"),
        ("Animalia", "Chordata", "Aves", "O", "F2", "Same", "b"),
    ]
    accuracy = taxon_accuracy(np.array([1]), np.array([0]), lineages)
    assert [accuracy[rank] for rank in ("order", "family", "genus", "specific_epithet")] == [1, 0, 0, 0]


def test_aggregation_does_not_depend_on_the_order_of_windows():
    generator = np.random.default_rng(0)
    logits, files = generator.random((20, 4)), np.arange(20) % 5
    order = generator.permutation(20)
    pools = [FilePool(5, 4), FilePool(5, 4)]
    pools[0].add(logits, files)
    pools[1].add(logits[order], files[order])
    for how, expected in pools[0].scores().items():
        np.testing.assert_allclose(pools[1].scores()[how], expected, atol=1e-12)
    np.testing.assert_allclose(pools[0].scores()["mean"], softmax(logits).reshape(4, 5, 4).mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(pools[0].scores()["max"], softmax(logits).reshape(4, 5, 4).max(axis=0), atol=1e-12)


def test_a_file_without_windows_is_an_error():
    pool = FilePool(2, 2)
    pool.add(np.zeros((1, 2)), np.array([0]))
    with pytest.raises(ValueError, match="no window of file 1"):
        pool.scores()


def test_softmax_neither_overflows_nor_depends_on_the_level():
    scores = softmax(np.array([[1000.0, 1001.0], [-1000.0, -999.0]]))
    np.testing.assert_allclose(scores, [[1 / (1 + np.e), np.e / (1 + np.e)]] * 2)


def test_present_classes_must_exist():
    with pytest.raises(ValueError, match="present must be classes in"):
        file_metrics(np.zeros((1, 2)), np.array([0]), present=np.array([2]))
