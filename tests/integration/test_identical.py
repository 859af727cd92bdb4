"""Recordings that were trained on and are evaluated too, byte for byte."""

import json

import pytest

from hf_inatsounds.audio.digests import DIGESTS_FILE
from hf_inatsounds.evaluation import evaluate, split_info
from hf_inatsounds.models.classifier import load_classifier
from hf_inatsounds.reports import results_text, write_report
from hf_inatsounds.reports.model_card import render_card
from hf_inatsounds.scoring import FileScores
from hf_inatsounds.training.run import train
from tests.helpers.archive import write_source
from tests.helpers.training import small_recipe

kept = {}


def repeat(stem, document, files):
    """The first two recordings of each split are the train split's, and the last of each is empty."""
    names = [entry["file_name"] for entry in document["audio"]]
    if stem == "train":
        kept["two"] = [files[name] for name in names[:2]]
    for name, content in zip(names[:2], kept["two"], strict=True):
        files[name] = content
    files[names[-1]] = b""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("identical")
    (folder / "source").mkdir()
    source = write_source(folder / "source", change=repeat)
    train(small_recipe(source, folder / "run", num_train_epochs=1, max_unusable_share=1.0), quiet=True)
    return folder


def evaluated(folder, out="test", **more):
    classifier = load_classifier(folder / "run")
    info = split_info(str(folder / "source"), "all", "test")
    return evaluate(
        classifier, info, folder / out, window=classifier.window, checkpoint=str(folder / "run"), quiet=True, **more
    )


def test_they_are_counted_in_results_report_and_card(run):
    for results in (evaluated(run), evaluated(run)):  # the second time from the scores that are there
        assert results["byte_identical"] == {
            "recordings": 2, "of": 6, "training_recordings_known": 11, "training_recordings": 12,
        }  # fmt: skip
    said = "2 of 6 evaluated recordings are byte-identical to a training recording"
    assert said in results_text(results)
    assert said in write_report(run / "test", results, FileScores.load(run / "test", ["mean"])).read_text()
    assert said in render_card([results])
    assert said in (run / "test" / "report.html").read_text()


def test_it_is_unknown_without_the_runs_own_digests(run):
    path = run / "run" / DIGESTS_FILE
    content = path.read_bytes()
    other = run / "test" / DIGESTS_FILE
    try:
        for change in (path.unlink, lambda: path.write_bytes(b"PAR1"), lambda: path.write_bytes(other.read_bytes())):
            change()  # missing; damaged; copied in from another folder
            results = evaluated(run)
            assert results["byte_identical"] is None
            assert "is unknown" in render_card([results])
    finally:
        path.write_bytes(content)
    assert json.loads((run / "run" / "train.json").read_text())["digests_sha256"]
