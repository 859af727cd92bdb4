"""The metrics beyond the authors' own, each against sklearn, torchmetrics or plain arithmetic."""

import warnings
from statistics import NormalDist

import numpy as np
import pytest
import sklearn.metrics
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics.functional import classification

from hf_inatsounds.metrics import (
    PROTOCOLS,
    FilePool,
    Protocol,
    bootstrap,
    brier_score,
    expected_calibration_error,
    file_metrics,
    inatsounds_metrics,
    label_ranking_average_precision,
    mean_reciprocal_rank,
    multilabel_metrics,
    reliability_curve,
    resample_weights,
    softmax,
    t1_accuracy,
    wilson_interval,
)
from hf_inatsounds.metrics.groups import confused_pairs, frequency_bins, group_means
from hf_inatsounds.metrics.multilabel import macro_f1
from hf_inatsounds.metrics.ranking import ranking_metrics
from hf_inatsounds.metrics.thresholds import rows_of_labels


@st.composite
def drawn(draw, least_classes=1):
    n, c = draw(st.integers(1, 30)), draw(st.integers(least_classes, 6))
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    scores = generator.integers(0, draw(st.integers(1, 30)), (n, c)) / 32.0  # few levels: many ties
    return scores.astype(np.float32), generator.random((n, c)) < draw(st.floats(0.0, 1.0))


@given(drawn(least_classes=2))
@settings(max_examples=100)
def test_lrap_is_its_definition_with_ties_and_items_without_labels(case):
    scores, targets = case
    above = scores[:, None, :] >= scores[:, :, None]  # of each class, the classes ranked as high
    precision = (above & targets[:, None, :]).sum(axis=2) / above.sum(axis=2)
    called = targets.any(axis=1)
    values = np.where(called, (precision * targets).sum(axis=1) / np.maximum(targets.sum(axis=1), 1), 1.0)
    assert label_ranking_average_precision(scores, targets) == pytest.approx(values.mean(), abs=1e-9)
    if called.any():
        found = label_ranking_average_precision(scores, targets, no_call="drop")
        assert found == pytest.approx(values[called].mean(), abs=1e-9)


def test_lrap_ranks_infinite_scores_and_has_no_value_without_items():
    scores, targets = np.array([[np.inf, 0.0, -np.inf]]), np.array([[False, True, True]])
    assert label_ranking_average_precision(scores, targets) == (1 / 2 + 2 / 3) / 2
    assert np.isnan(label_ranking_average_precision(scores, np.zeros_like(targets), no_call="drop"))
    assert label_ranking_average_precision(scores, np.zeros_like(targets)) == 1


@given(drawn(), st.integers(0, 2**32))
@settings(max_examples=60)
def test_the_mean_reciprocal_rank_is_lrap_of_single_labels(case, seed):
    scores = case[0]
    labels = np.random.default_rng(seed).integers(0, scores.shape[1], len(scores))
    expected = label_ranking_average_precision(scores, labels[:, None] == np.arange(scores.shape[1]))
    assert mean_reciprocal_rank(scores, labels) == pytest.approx(expected, abs=1e-12)


def test_each_policy_of_a_protocol_decides_its_number():
    scores = np.array([[0.9, 0.1, 0.5], [0.2, 0.8, 0.1], [0.6, 0.4, 0.3]])
    targets = np.array([[True, False, False], [False, False, False], [False, True, False]])
    # by hand. AP: 1; 1/2 (second to the silent item), 1 without that item; the third class is absent
    found = multilabel_metrics(scores, targets, Protocol("mine"))
    assert (found["cmap"], found["t1_accuracy"], found["no_call_items"]) == (0.75, 0.5, 1)
    assert found["lrap"] == (1 + 1 / 2) / 2
    assert multilabel_metrics(scores, targets, Protocol("mine", absent="zero"))["cmap"] == 0.5
    assert multilabel_metrics(scores, targets, Protocol("mine", no_call="drop"))["cmap"] == 1
    assert multilabel_metrics(scores, targets, Protocol("mine", absent_auc="zero"))["roc_auc"] == 0.5  # 1, 1/2, absent
    assert multilabel_metrics(scores, targets, Protocol("mine", no_call_top1="miss"))["t1_accuracy"] == 1 / 3
    all_items = multilabel_metrics(scores, targets, Protocol("mine", no_call_lrap="one"))
    assert all_items["lrap"] == pytest.approx(2.5 / 3)
    assert all_items["policy"] == {
        "protocol": "mine", "absent": "ignore", "absent_auc": "ignore", "no_call": "negative", "no_call_top1": "drop",
        "no_call_lrap": "one",
    }  # fmt: skip
    with pytest.raises(ValueError, match="class 2 has no positive"):
        multilabel_metrics(scores, targets, Protocol("mine", absent="error"))


@given(drawn())
@settings(max_examples=60)
def test_macro_f1_is_that_of_the_counts(case):
    scores, targets = case
    detected = scores >= 0.5
    hits, total = (detected & targets).sum(axis=0), detected.sum(axis=0) + targets.sum(axis=0)
    expected = np.where(total > 0, 2 * hits / np.maximum(total, 1), 0.0).mean()
    assert macro_f1(scores, targets) == pytest.approx(expected, abs=1e-9)


@given(drawn(least_classes=2), st.integers(0, 2**32))
@settings(max_examples=60)
def test_accuracies_of_single_labels_are_sklearns(case, seed):
    scores = case[0] + np.random.default_rng(seed).random(case[0].shape)  # no ties: sklearn breaks them otherwise
    labels = np.random.default_rng(seed).integers(0, scores.shape[1], len(scores))
    found = file_metrics(scores, labels, present=np.unique(labels))
    best = scores.argmax(axis=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # classes that are predicted and never true
        assert found["top1_class_average"] == pytest.approx(sklearn.metrics.balanced_accuracy_score(labels, best))
    assert found["top1"] == pytest.approx(sklearn.metrics.accuracy_score(labels, best))
    if scores.shape[1] == 6:
        expected = sklearn.metrics.top_k_accuracy_score(labels, scores, k=5, labels=np.arange(6))
        assert found["top5"] == pytest.approx(expected)


def test_single_positives_first_last_and_tied():
    scores = np.array([[0.9, 0.1, 0.5], [0.5, 0.5, 0.5], [0.1, 0.9, 0.5]])
    rows = [np.array([0])] * 3
    found = ranking_metrics(scores, rows)
    np.testing.assert_allclose(found.average_precision, [1, 1 / 3, 1 / 3])
    np.testing.assert_allclose(found.f1_max, [1, 0.5, 0.5])
    np.testing.assert_allclose(found.roc_auc, [1, 0, 0.5])


@given(drawn(least_classes=2))
@settings(max_examples=60)
def test_presets_are_torchmetrics_under_the_same_policy(case):
    scores, targets = case
    p, t, c = torch.from_numpy(scores), torch.from_numpy(targets).long(), scores.shape[1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        precision = classification.multilabel_average_precision(p, t, c, average=None).numpy()
        area = classification.multilabel_auroc(p, t, c, average=None).numpy()
    present = targets.any(axis=0)
    with_negative = present & ~targets.all(axis=0)
    birdset, zero = multilabel_metrics(scores, targets, "birdset"), multilabel_metrics(scores, targets, "birdset-zero")
    assert zero["absent_classes"] == (~present).sum()
    assert zero["cmap"] == pytest.approx(np.where(present, precision, 0).mean(), abs=1e-6)
    assert zero["roc_auc"] == pytest.approx(np.where(with_negative, area, 0).mean(), abs=1e-6)
    assert multilabel_metrics(scores, targets, "beans")["cmap"] == zero["cmap"]
    if present.any():
        assert birdset["cmap"] == pytest.approx(precision[present].mean(), abs=1e-6)
    else:
        assert np.isnan(birdset["cmap"])


@given(st.integers(2, 60), st.integers(2, 6), st.integers(1, 20), st.integers(0, 2**32))
@settings(max_examples=60)
def test_calibration_is_torchmetrics_and_sklearns(n, c, bins, seed):
    generator = np.random.default_rng(seed)
    scores, labels = softmax(2 * generator.standard_normal((n, c))), generator.integers(0, c, n)
    hits = scores.argmax(axis=1) == labels
    expected = classification.multiclass_calibration_error(
        torch.from_numpy(scores), torch.from_numpy(labels), c, n_bins=bins, norm="l1"
    )
    assert expected_calibration_error(scores.max(axis=1), hits, bins=bins) == pytest.approx(float(expected), abs=1e-6)
    expected = sklearn.metrics.brier_score_loss(labels, scores, labels=np.arange(c), scale_by_half=False)
    assert brier_score(scores, labels) == pytest.approx(expected, abs=1e-9)


def test_the_reliability_curve_is_sklearns():
    from sklearn.calibration import calibration_curve

    generator = np.random.default_rng(0)
    confidence = generator.random(500)
    hits = generator.random(500) < confidence
    curve = reliability_curve(confidence, hits, bins=10)
    accuracy, mean = calibration_curve(hits, confidence, n_bins=10)
    np.testing.assert_allclose(curve.accuracy, accuracy)
    np.testing.assert_allclose(curve.confidence, mean)
    with pytest.raises(ValueError, match="without NaN"):
        reliability_curve(np.array([np.nan]), np.array([True]))


def test_the_interval_of_a_share_is_wilsons():
    items = np.array([1, 4, 4, 30, 500])
    hits = np.array([0, 0, 4, 11, 499])
    low, high = wilson_interval(hits, items, level=0.9)
    for i in range(len(items)):
        z, n, share = NormalDist().inv_cdf(0.95), items[i], hits[i] / items[i]
        spread = z * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
        expected = (np.array([share - spread, share + spread]) + z * z / (2 * n)) / (1 + z * z / n)
        assert (low[i], high[i]) == pytest.approx(expected.clip(0, 1), abs=1e-9)
    assert np.isnan(wilson_interval(np.array([0]), np.array([0]))).all()


def test_t1_leaves_out_what_has_no_call_or_counts_it_as_a_miss():
    scores = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])
    targets = np.array([[True, False], [False, False], [False, True]])
    assert t1_accuracy(scores, targets) == 0.5
    assert t1_accuracy(scores, targets, no_call="miss") == pytest.approx(1 / 3)
    assert np.isnan(t1_accuracy(scores, np.zeros_like(targets)))
    assert set(PROTOCOLS) >= {"inatsounds", "birdset", "beans", "birb"}


def test_files_come_out_the_same_however_their_windows_are_portioned():
    generator = np.random.default_rng(0)
    logits, files = 30 * generator.standard_normal((40, 7)), np.sort(generator.integers(0, 6, 40))
    whole = FilePool(6, 7)
    whole.add(logits, files)
    portions = FilePool(6, 7)
    order = generator.permutation(40)
    for first in range(0, 40, 3):
        part = order[first : first + 3]
        np.testing.assert_allclose(portions.add(logits[part], files[part]), softmax(logits[part]), atol=1e-12)
    for name, scores in whole.scores().items():
        np.testing.assert_allclose(portions.scores()[name], scores, atol=1e-12)
    mine = [np.logaddexp.reduce(logits[files == f]) - np.log((files == f).sum()) for f in range(6)]
    np.testing.assert_allclose(whole.scores()["log_mean_exp"], softmax(np.array(mine)), atol=1e-12)
    lacking = FilePool(2, 7)
    lacking.add(logits[:1], np.array([0]))
    with pytest.raises(ValueError, match="no window of file 1"):
        lacking.scores()
    with pytest.raises(ValueError, match="window 1 are not finite"):
        FilePool(1, 2).add(np.array([[0.0, 1.0], [np.nan, 0.0]]), np.array([0, 0]))


@pytest.mark.parametrize("levels", [5, 1_000_000])
def test_resamples_give_what_the_metrics_are_on_the_drawn_recordings(levels):
    generator = np.random.default_rng(1)
    n, classes = 60, np.array([1, 4, 6, 7])
    labels = classes[generator.integers(0, 4, n)]
    labels[0] = 7
    scores = (np.round(generator.random((n, 4)) * levels) / levels).astype(np.float32)
    ranks = [(*"ABCD", f"f{i // 3}", f"g{i // 2}", f"s{i}") for i in range(8)]
    found = bootstrap(scores, labels, classes=classes, ranks=ranks, resamples=12, seed=3)
    weights = resample_weights(n, 12, 3).astype(int)
    for r in range(12):
        rows = np.repeat(np.arange(n), weights[:, r])
        columns = np.searchsorted(classes, labels[rows])
        drawn = file_metrics(scores[rows], columns, present=np.arange(4), ranks=[ranks[c] for c in classes])
        taxa = {f"taxon_accuracy.{rank}": value for rank, value in drawn.pop("taxon_accuracy").items()}
        for key, value in {**drawn, **taxa}.items():
            if "top5" not in key:  # four classes
                assert found.metrics[key][r] == pytest.approx(value, abs=1e-6), key
    point = float(np.mean(found.metrics["map"])) - 0.01
    low, high = found.intervals(dict.fromkeys(found.metrics, point))["map"]
    assert low < point < high


@pytest.mark.slow
def test_intervals_cover_the_truth_about_as_often_as_they_say():
    generator = np.random.default_rng(5)

    def draw(n=300, c=10):
        labels = generator.integers(0, c, n)
        scores = generator.standard_normal((n, c)) + 1.5 * np.eye(c)[labels]
        return scores.astype(np.float32), labels, file_metrics(scores, labels, present=np.arange(c))

    samples = [draw() for _ in range(100)]
    for key in ("map", "f1_max", "top1"):
        truth = np.mean([found[key] for _, _, found in samples])
        covered = 0
        for seed, (scores, labels, found) in enumerate(samples[:60]):
            replicates = bootstrap(scores, labels, classes=np.arange(10), resamples=60, seed=seed)
            low, high = replicates.intervals(found)[key]
            assert 0 <= low <= found[key] <= high <= 1
            covered += low <= truth <= high
        assert covered >= 51, key  # of 60; uncentred percentiles hold F1-max in about 45


def test_labels_and_targets_name_the_same_positives():
    labels = np.array([3, 1, 3])
    scores = np.random.default_rng(0).random((3, 2))
    assert [rows.tolist() for rows in rows_of_labels(labels, np.array([1, 3]))] == [[1], [0, 2]]
    assert np.isnan(ranking_metrics(scores, rows_of_labels(labels, np.array([0, 3]))).average_precision[0])


def test_log_mean_exp_is_an_aggregation_of_the_protocol():
    logits = np.log(np.array([[1.0, 1.0], [9.0, 1.0], [1.0, 2.0]]))
    found = inatsounds_metrics(
        logits, np.array([0, 0, 1]), np.array([0, 1]), present=np.arange(2), aggregation="log_mean_exp"
    )
    assert found["top1"] == 1


def test_groups_and_confusions_are_counted():
    assert frequency_bins(np.array([0, 1, 2, 5, 6, 20, 21, 100, 101])) == [
        "0", "1", "2–5", "2–5", "6–20", "6–20", "21–100", "21–100", "101+",
    ]  # fmt: skip
    replicates = np.array([[0.1, 0.3], [np.nan, 0.5], [0.9, 0.9]])
    found = group_means(["a", "a", "b"], np.array([0.2, 0.4, np.nan]), np.array([2, 3, 0]), replicates, level=1.0)
    assert set(found) == {"a"}
    assert found["a"]["map"] == pytest.approx(0.3)
    assert found["a"]["interval"] == pytest.approx([0.15, 0.45])  # 0.1 … 0.4, moved to have the mean 0.3
    assert confused_pairs(np.array([0, 0, 1, 2]), np.array([1, 1, 0, 2])) == [(0, 1, 2, 2), (1, 0, 1, 1)]
