"""Pages and plots: whole, alone, and safe with whatever a name holds."""

import html.parser
import json
import re

import numpy as np
import pytest

from hf_inatsounds.cli.main import main
from hf_inatsounds.data.labels import LabelSpace, Taxon
from hf_inatsounds.errors import CheckpointError, ScoresError
from hf_inatsounds.evaluation.comparison import compare
from hf_inatsounds.evaluation.measures import Bootstrap, differences, geo_measures, measures_of, metrics_of
from hf_inatsounds.files import write_json
from hf_inatsounds.geo import Reweighting, fit_prior
from hf_inatsounds.metrics import Replicates
from hf_inatsounds.reports import comparison_text, results_text, write_comparison, write_report
from hf_inatsounds.reports.model_card import render_card
from hf_inatsounds.scoring import FileScores
from hf_inatsounds.scoring.scores import write_scores
from tests.unit.test_reports import RESULTS

NAMES = ("Rana <script>alert(1)</script>", r"Turdus $\frac{x}$", 'Apis "&amp;" onclick', "Bufo plain")
EVIL = LabelSpace(tuple(
    Taxon(name, "<b>frog</b>", ("<i>Aves</i>", "Insecta & $x_$")[i % 2], (*"ABCDEF", name), True)
    for i, name in enumerate(NAMES)
))  # fmt: skip


def drawn_scores(n=40, seed=0, strength=2.0):
    generator = np.random.default_rng(seed)
    labels = np.arange(n) % 4
    labels[labels == 3] = 0  # the fourth class has no recording
    logits = generator.standard_normal((n, 3)) + strength * np.eye(3)[labels]
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    place = np.stack([10.0 * labels, 20.0 * labels], axis=1) + np.random.default_rng(0).random((n, 2))
    place[0] = np.nan
    spans = np.tile([0.0, 3.0], (n, 1))
    best = scores.argmax(axis=1)
    mean = {"mean": scores.astype(np.float32)}
    return FileScores(np.arange(n), labels, place, mean, np.arange(3), np.arange(n), spans, best, (best != labels) * 5)


def drawn_results(scores):
    how = Bootstrap(40)
    placed = scores.place[1:]
    prior = fit_prior(placed[:, 0], placed[:, 1], scores.label[1:], EVIL.species)
    return {
        **RESULTS,
        "metrics": metrics_of(scores, EVIL),
        "scored_classes": {"which": "present", "count": 3},
        **measures_of(scores, EVIL, np.array([0, 1, 300, 7]), how),
        "geo_prior": {"name": "<prior>", **geo_measures(scores, EVIL, prior, Reweighting("soft"), how)},
    }


class Page(html.parser.HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.loads, self.text = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.loads += [v for k, v in attributes if k in ("src", "href", "xlink:href", "action", "data") and v]

    def handle_data(self, data):
        self.text += data


def assert_alone_and_safe(text):
    page = Page(text)
    assert not {"script", "link", "iframe", "object", "b"} & set(page.tags)
    assert all(link.startswith(("#", "data:image/png;base64,")) for link in page.loads)
    assert not re.search(r"url\((?!#)|@import", text)
    assert "default-src 'none'" in text  # what a browser would not even then ask for
    return page


def test_a_report_stands_alone_and_takes_no_name_as_markup(tmp_path):
    scores = drawn_scores()
    results = drawn_results(scores)
    write_json(tmp_path / "results.json", results)  # no NaN in it
    page = assert_alone_and_safe(write_report(tmp_path, results, scores).read_text())
    for name in NAMES[:3]:
        assert name in page.text
    for words in (
        "With and without the range prior",
        "Most confused pairs",
        "Where the mistakes are",
        "1 recordings have no place",
    ):
        assert words in page.text
    assert page.tags.count("svg") == 6
    pngs = sorted(path.name for path in (tmp_path / "plots").iterdir())
    assert pngs == [f"{name}.png" for name in
                    ("places", "ranks", "reliability", "supercategories", "training", "training_bins")]  # fmt: skip
    assert all((tmp_path / "plots" / name).read_bytes().startswith(b"\x89PNG") for name in pngs)
    text = results_text(results)
    (row,) = [line.split() for line in text.splitlines() if line.startswith("ROC-AUC")][:1]
    low, high = results["intervals"]["mean"]["roc_auc"]
    assert row[2:4] == [f"[{low:.3f},", f"{high:.3f}]"]
    assert "over 40 resamples of the recordings" in text
    assert "range prior <prior> (soft, weight 1): 39 recordings with a place, 1 without one" in text
    assert "log-mean-exp" not in text  # these scores have the mean alone
    assert f"| ROC-AUC | {row[1]} | {row[2]} {row[3]} |" in render_card([results])
    gap = results["geo_prior"]["difference"]["map"]
    assert f"{gap['value']:+.3f}" in page.text


def test_a_report_without_places_or_training_counts_leaves_out_what_needs_them(tmp_path):
    scores = drawn_scores()
    scores.place[:] = np.nan
    results = {**RESULTS, "metrics": metrics_of(scores, EVIL), "scored_classes": {"which": "all", "count": 3},
               **measures_of(scores, EVIL, None, Bootstrap(5))}  # fmt: skip
    page = assert_alone_and_safe(write_report(tmp_path, results, scores).read_text())
    assert page.tags.count("svg") == 3
    assert "range prior" not in page.text


def test_the_maps_land_is_where_land_is():
    from hf_inatsounds.reports.places import _land

    land = {"Nairobi": (37, -1), "Kansas": (-98, 38), "Siberia": (100, 62), "Alice Springs": (134, -24),
            "Antarctica": (20, -80)}  # fmt: skip
    sea = {"Atlantic": (-35, 30), "Pacific": (-140, 0), "Mediterranean": (18, 35), "Tasman": (160, -38)}
    assert [name for name, place in land.items() if not _land().contains_point(place)] == []
    assert [name for name, place in sea.items() if _land().contains_point(place)] == []


def test_measures_add_up():
    scores = drawn_scores()
    found = measures_of(scores, EVIL, np.array([0, 1, 300, 7]), Bootstrap(20))
    assert [one["recordings"] for one in found["classes"]] == [20, 10, 10]
    assert list(found["groups"]["training_recordings"]) == ["0", "1", "101+"]
    wrong = (scores.mean.argmax(axis=1) != scores.label).sum()
    assert sum(one["recordings"] for one in found["confusions"]) == wrong
    assert sum(one["recordings"] for one in found["calibration"]["bins"]) == 40
    mean = np.mean([one["average_precision"] for one in found["classes"]])
    assert mean == pytest.approx(metrics_of(scores, EVIL)["mean"]["map"])


def saved(scores, folder, about=None):
    folder.mkdir(parents=True, exist_ok=True)
    table, windows = scores.tables()
    write_scores(folder, [table], windows, about or {})


@pytest.fixture
def runs(tmp_path):
    for name, strength in (("weak", 1.0), ("strong", 4.0)):
        folder = tmp_path / name / "evaluation-test"
        saved(drawn_scores(strength=strength), folder, {"split": "test", "dataset": "<b>tones</b>"})
        EVIL.save(folder)
    return tmp_path / "weak", tmp_path / "strong"


def test_runs_are_compared_on_the_same_resamples(runs, tmp_path, capsys):
    found = compare(runs, how=Bootstrap(50))
    gap = found["differences"][0]["metrics"]["map"]
    assert gap["value"] == pytest.approx(found["runs"][1]["metrics"]["map"] - found["runs"][0]["metrics"]["map"])
    assert gap["interval"][0] > 0
    assert gap["share_above_zero"] == 1
    same = compare([runs[0], runs[0] / "evaluation-test"], how=Bootstrap(5))["differences"][0]["metrics"]["map"]
    named = {one["species"]: one for one in found["differences"][0]["classes"]}
    assert set(named) == set(NAMES[:3])
    assert all(one["interval"][0] <= one["second"] - one["first"] <= one["interval"][1] for one in named.values())
    assert same == {"value": 0, "interval": [0, 0], "share_above_zero": 0.5}
    page = assert_alone_and_safe(write_comparison(tmp_path / "c.html", found).read_text())
    assert NAMES[0] in page.text
    assert "strong against weak" in comparison_text(found)
    words = ["compare", *map(str, runs), "--resamples", "20", "--out", str(tmp_path / "d.html"), "--json"]
    assert main(words) == 0
    assert json.loads(capsys.readouterr().out)["recordings"] == 40
    assert (tmp_path / "d.html").exists()


def test_resamples_without_a_difference_count_half():
    before = Replicates({"top1": np.array([0.5, 0.5, 0.5, 0.6])}, np.zeros((0, 4)))
    after = Replicates({"top1": np.array([0.5, 0.5, 0.5, 0.4])}, np.zeros((0, 4)))
    gap = differences({"top1": 0.52}, {"top1": 0.5}, before, after, 0.95)["top1"]
    assert gap["share_above_zero"] == 3 / 8  # three ties, moved to no side by the centring of the interval
    assert gap["interval"][0] < gap["value"] < gap["interval"][1]


def test_what_cannot_be_compared_is_one_line(runs, tmp_path):
    with pytest.raises(ScoresError, match="at least two"):
        compare(runs[:1])
    with pytest.raises(ScoresError, match=r"no scores to compare.*Run: hf-inatsounds evaluate"):
        compare([runs[0], tmp_path])
    saved(drawn_scores(n=44), tmp_path / "other")
    EVIL.save(tmp_path / "other")
    with pytest.raises(ScoresError, match=r"different recordings.*found 40 and 44, 40 in common"):
        compare([runs[0], tmp_path / "other"])
    saved(drawn_scores(), tmp_path / "other")
    LabelSpace(EVIL.taxa[::-1]).save(tmp_path / "other")
    with pytest.raises(CheckpointError, match="label spaces differ"):
        compare([runs[0], tmp_path / "other"])


def test_evaluate_reports_with_and_without_a_prior(tiny, tmp_path, capsys):
    from tests.integration.test_evaluation import classifier_for

    classifier_for(tiny).save(tmp_path / "run")
    prior = tmp_path / "prior.safetensors"
    assert main(["geo-prior", str(tiny), "--out", str(prior), "--json", "--quiet"]) == 0
    assert json.loads(capsys.readouterr().out)["recordings"] == 12
    words = ["evaluate", str(tmp_path / "run"), "--source", str(tiny), "--resamples", "20", "--quiet"]
    assert main([*words, "--geo-prior", str(prior), "--json"]) == 0
    results = json.loads(capsys.readouterr().out)
    assert results["geo_prior"]["recordings"] == {"with_place": 6, "without_place": 0, "left": 0}
    assert set(results["geo_prior"]["difference"]) >= {"map", "top1", "taxon_accuracy.genus"}
    assert results["groups"]["training_recordings"] == {"2–5": results["groups"]["training_recordings"]["2–5"]}
    out = tmp_path / "run" / "evaluation-test"
    assert {path.name for path in out.iterdir()} == {
        "scores.parquet", "windows.parquet", "scores.json", "results.json", "label_space.json", "digests.parquet",
            "report.html", "plots",
    }  # fmt: skip
    assert main([*words, "--geo-prior", str(tmp_path / "none")]) == 1
    error = capsys.readouterr().err.strip()
    assert "no such prior" in error
    assert "\n" not in error
