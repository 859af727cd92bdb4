"""Probes, crosswalk and intervals as pure functions, against scikit-learn and numbers worked out by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from hf_inatsounds.downstream.attentive_probe import AttentiveSettings, fit_attentive
from hf_inatsounds.downstream.crosswalk import match_classes, read_codes, read_synonyms
from hf_inatsounds.downstream.overlap import Event, overlaps_enough
from hf_inatsounds.downstream.probes import Examples, centroids, choose_strength, fit_linear, held_out, shots
from hf_inatsounds.errors import SuiteError
from hf_inatsounds.metrics.bootstrap import bootstrap_interval
from hf_inatsounds.metrics.multilabel import macro_f1, t1_accuracy
from tests.helpers.suites import write_csv


def drawn(n=60, d=5, c=3, seed=0):
    generator = np.random.default_rng(seed)
    labels = np.arange(n) % c
    x = generator.standard_normal((n, d)) * [1, 10, 100, 1, 1]
    x[:, :c] += 3 * np.eye(c)[labels] * [1, 10, 100][:c]
    return Examples(x.astype(np.float32), np.eye(c, dtype=bool)[labels], np.arange(n))


def test_the_linear_probe_is_scikit_learns_pipeline():
    examples = drawn()
    probe = fit_linear(examples, multilabel=False, strength=0.1)
    peer = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500))
    peer.fit(examples.x, examples.y.argmax(1))
    np.testing.assert_allclose(probe(examples.x), peer.predict_proba(examples.x), atol=1e-6)


def test_a_class_that_training_lacks_scores_nothing_and_one_that_is_always_there_everything():
    examples = drawn()
    y = examples.y.copy()
    y[:, 1], y[:, 2] = False, True
    scores = fit_linear(Examples(examples.x, y, examples.recordings), multilabel=True, strength=1.0)(examples.x)
    assert (scores[:, 1] == 0).all()
    assert (scores[:, 2] == 1).all()
    assert scores[:, 0].std() > 0
    gone = Examples(examples.x, examples.y & [True, False, True], examples.recordings).take(
        np.flatnonzero(~examples.y[:, 1])
    )
    assert (fit_linear(gone, multilabel=False, strength=1.0)(examples.x)[:, 1] == 0).all()


def test_the_strength_is_chosen_on_recordings_that_are_held_out():
    examples = drawn(200)
    # recordings that leak: noise that tells the recording is of no use on another one
    chosen = choose_strength(
        examples, lambda s, t: float((s.argmax(1) == t.argmax(1)).mean()), multilabel=False, validation=None, seed=0
    )
    assert chosen in (1e-3, 1e-2, 1e-1, 1.0, 10.0)
    asked = []
    choose_strength(
        examples, lambda s, t: asked.append(len(t)), multilabel=False, validation=examples.take(np.arange(7)), seed=0
    )
    assert asked == [7] * 5


@given(st.lists(st.integers(0, 8), min_size=1, max_size=40), st.integers(0, 5))
def test_held_out_recordings_stay_together(recordings, seed):
    recordings = np.array(recordings)
    out = held_out(recordings, seed)
    assert not set(recordings[out]) & set(recordings[~out])
    assert out.any() == (len(set(recordings.tolist())) > 1)


@given(st.integers(1, 5), st.integers(0, 100))
def test_shots_are_k_a_class_and_depend_on_the_seed_alone(k, seed):
    y = np.eye(3, dtype=bool)[[0] * 6 + [1] * 6 + [2] * 2]
    rows = shots(y, k, seed)
    assert y[rows].sum(0).tolist() == [k, k, min(k, 2)]
    assert rows.tolist() == shots(y, k, seed).tolist()


def test_centroids_rank_by_the_cosine_to_the_mean_exemplar():
    train = Examples(
        np.array([[1.0, 0.0], [0.0, 2.0]]), np.array([[True, False, False], [False, True, False]]), np.arange(2)
    )
    scores = centroids(train)(np.array([[3.0, 3.0], [0.0, 5.0]]))
    root = (1 + 2**-0.5) / 2
    np.testing.assert_allclose(scores, [[root, root, 0.0], [0.5, 1.0, 0.0]])


def test_the_attentive_probe_finds_the_one_token_that_tells():
    generator = np.random.default_rng(0)
    tokens, labels = [], np.arange(80) % 2
    for label in labels:
        one = generator.standard_normal((int(generator.integers(4, 9)), 6)).astype(np.float32)
        one[generator.integers(len(one)), :2] = (8.0, 6.0 if label else -6.0)  # the marked token carries the class
        tokens.append(one)
    y = np.eye(2, dtype=bool)[labels]
    fit = AttentiveSettings(epochs=30, learning_rate=1e-2)
    before = torch.get_rng_state()
    scores = fit_attentive(tokens[:60], y[:60], multilabel=False, seed=1, settings=fit)(tokens[60:])
    assert (scores.argmax(1) == labels[60:]).mean() >= 0.9
    assert (before == torch.get_rng_state()).all()  # nobody else's draws are touched
    again = fit_attentive(tokens[:60], y[:60], multilabel=False, seed=1, settings=fit)(tokens[60:])
    np.testing.assert_array_equal(scores, again)


def test_the_crosswalk_goes_by_name_code_synonym_and_common_name_and_reports_the_rest():
    suite = ["Rana_una (Shaw, 1802)", "amerob", "Hyla vetus", "Dog bark", "Nemo nullus"]
    model = ["Turdus migratorius", "Rana una", "Hyla nova", "Canis familiaris", "Felis catus"]
    found = match_classes(
        suite, model, codes={"amerob": "Turdus migratorius"}, synonyms={"Hyla vetus": "Hyla nova"},
        common_names=["", "", "", "dog bark", "cat"],
    )  # fmt: skip
    assert found.pairs == ((0, (1,)), (1, (0,)), (2, (2,)), (3, (3,)))
    assert found.report() == {
        "matched": 4, "unmatched": ["Nemo nullus"], "unused_model_classes": 1,
        "matched_by": {"name": 1, "code": 1, "synonym": 1, "common name": 1},
    }  # fmt: skip


def test_two_classes_with_one_common_name_match_neither_and_a_split_species_matches_both():
    assert match_classes(["robin"], ["A b", "C d"], common_names=["robin", "robin"]).unmatched == ("robin",)
    both = match_classes(
        ["Hyla vetus"], ["Hyla a", "Hyla b"], synonyms={"Hyla a": "Hyla vetus", "Hyla b": "Hyla vetus"}
    )
    assert both.pairs == ((0, (0, 1)),)


def test_tables_of_names_are_read_and_contradictions_named(tmp_path):
    ebird = write_csv(tmp_path / "e.csv", ["SPECIES_CODE", "SCI_NAME"], [["amerob", "Turdus migratorius"]])
    assert read_codes(ebird) == {"amerob": "Turdus migratorius"}
    with pytest.raises(SuiteError, match="no table of names"):
        read_codes(write_csv(tmp_path / "f.csv", ["a", "b"], [["1", "2"]]))
    with pytest.raises(SuiteError, match="two names for one"):
        read_synonyms(write_csv(tmp_path / "g.csv", ["name", "accepted"], [["x", "y"], ["x", "z"]]))


def test_the_interval_covers_the_mean_and_draws_whole_recordings():
    generator = np.random.default_rng(0)
    scores = generator.random((100, 1))
    same = np.zeros(100, np.int64)
    same[50:] = 1

    def judge(s, t):
        return float(s.mean())

    fold = (scores, scores > 0.5, np.arange(100))
    low, high = bootstrap_interval(judge, [fold, fold], draws=400, seed=0)
    assert low < scores.mean() < high
    # the mean of two folds of 100 has a standard error of sd / √200
    assert high - low == pytest.approx(2 * 1.96 * scores.std() / 200**0.5, rel=0.2)
    two = bootstrap_interval(judge, [(scores, scores > 0.5, same)], draws=50, seed=0)
    # two recordings: a draw is one of them twice, or both; the interval reaches from one to the other
    assert two[1] - two[0] == pytest.approx(abs(float(scores[:50].mean() - scores[50:].mean())))
    assert bootstrap_interval(judge, [fold], draws=0, seed=0) is None


@given(st.integers(0, 2**31))
@settings(max_examples=30)
def test_macro_f1_is_scikit_learns(seed):
    generator = np.random.default_rng(seed)
    scores, targets = generator.random((12, 4)).round(1), generator.random((12, 4)) < 0.3
    expected = f1_score(targets, scores >= 0.5, average="macro", zero_division=0)
    assert macro_f1(scores, targets) == pytest.approx(expected)


def test_t1_leaves_out_what_has_no_label():
    scores = np.array([[0.9, 0.1], [0.9, 0.1], [0.9, 0.1]])
    assert t1_accuracy(scores, np.array([[True, False], [False, True], [False, False]])) == 0.5
    assert np.isnan(t1_accuracy(scores, np.zeros((3, 2), bool)))


@given(*[st.integers(0, 40)] * 4)
def test_the_overlap_rule_is_the_one_that_beans_writes_out(a, b, c, d):
    # in tenths of a second; the benchmark asks first whether an end lies in the window, which changes nothing
    st_, ed = a / 10, (a + b + 1) / 10
    event = Event(c / 10, (c + d) / 10, "x")
    expected = False
    if (st_ <= event.start_s <= ed) or (st_ <= event.end_s <= ed):
        shorter = min(ed - st_, event.end_s - event.start_s)
        if shorter != 0:
            expected = (min(ed, event.end_s) - max(st_, event.start_s)) / shorter > 0.2
    if event.start_s <= st_ and ed <= event.end_s:
        expected = True
    assert overlaps_enough(st_, ed, event) == expected
