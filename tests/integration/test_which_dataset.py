"""What a dataset is: known by its annotation archives' md5, never by how many classes it has."""

import dataclasses
import hashlib
from pathlib import Path

import pytest

from hf_inatsounds.archives.fetch import Source
from hf_inatsounds.data.annotation_summary import summarise_annotations
from hf_inatsounds.data.annotations import read_annotations
from hf_inatsounds.data.split_info import split_info
from hf_inatsounds.reports.model_card import render_card
from hf_inatsounds.reports.source_reports import annotations_text
from hf_inatsounds.schema import OFFICIAL_FILES, OFFICIAL_TITLE
from tests.helpers.archive import category, write_source
from tests.helpers.archive_server import archive_server
from tests.integration.test_publishing import build
from tests.unit.test_reports import RESULTS

TONES = "tones in the layout of iNatSounds"
NOT_IT = "This is not a model of the iNaturalist Sounds Dataset"


@pytest.fixture
def as_official(tiny, monkeypatch):
    """Takes the tiny archives for those that the authors published."""

    def known(file):
        path = tiny / file.name
        return dataclasses.replace(file, md5=hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest())

    monkeypatch.setattr("hf_inatsounds.data.annotations.OFFICIAL_FILES", tuple(map(known, OFFICIAL_FILES)))


def told(source, split="train", **more):
    info = split_info(str(source), "all", split, **more)
    return info.title, info.official


def card_of(title, official):
    training = {**RESULTS["model"]["training"], "dataset": {"title": title, "official": official, "split": "train"}}
    return render_card([{**RESULTS, "model": {**RESULTS["model"], "training": training}}])


def test_as_many_classes_do_not_make_the_official_dataset(tmp_path):
    def many(stem, document, files):
        more = [{**category(0), "id": i, "name": f"Rana n{i}", "specific_epithet": f"n{i}"} for i in range(3, 5569)]
        document["categories"] += [{**one, "audio_dir_name": f"{one['id']:05d}_x"} for one in more]

    source = write_source(tmp_path, change=many)
    assert told(source) == (TONES, False)
    build(source, tmp_path / "mirror", audio=False)
    card = (tmp_path / "mirror/README.md").read_text()
    assert f"# {TONES.capitalize()[0]}{TONES[1:]}\n" in card
    assert "This is not the iNaturalist Sounds Dataset" in card
    results = {**RESULTS, "dataset": {**RESULTS["dataset"], "classes": 5569}}
    assert NOT_IT in render_card([results])


def test_the_official_archives_are_known_wherever_they_are_read(tiny, tmp_path, as_official):
    assert told(tiny) == (OFFICIAL_TITLE, True)
    assert told(tiny, select={"species": "Rana una", "relabel": True}) == (OFFICIAL_TITLE, True)
    with archive_server(tiny) as server:
        assert told(server.url, "validation") == (OFFICIAL_TITLE, True)
    build(tiny, tmp_path / "mirror")
    assert told(tmp_path / "mirror", "test") == (OFFICIAL_TITLE, True)
    card = (tmp_path / "mirror/README.md").read_text()
    assert f"# {OFFICIAL_TITLE}\n" in card
    assert "This is not" not in card


def test_a_split_is_not_known_by_another_splits_archive(tiny, tmp_path, as_official):
    (tmp_path / "val.json.tar.gz").write_bytes((tiny / "train.json.tar.gz").read_bytes())
    (tmp_path / "val.tar.gz").write_bytes((tiny / "train.tar.gz").read_bytes())
    assert told(tmp_path, "validation") == (TONES, False)


def test_an_unpacked_tree_is_what_its_json_says_and_known_by_the_archive_beside_it(tiny, tmp_path, as_official):
    tree = write_source(tmp_path, unpacked=True)
    assert told(tree) == (TONES, False)
    (tree / "train.json.tar.gz").write_bytes((tiny / "train.json.tar.gz").read_bytes())
    assert told(tree) == (OFFICIAL_TITLE, True)


def test_a_mirror_that_does_not_say_what_it_was_made_from_is_not_called_official(tiny, tmp_path, as_official):
    build(tiny, tmp_path)
    manifest: Path = tmp_path / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"annotations_md5"', '"another_key"'))
    assert told(tmp_path) == (TONES, False)


def test_the_card_of_a_model_goes_by_what_it_was_trained_on():
    assert NOT_IT not in card_of(OFFICIAL_TITLE, True)
    assert NOT_IT in card_of("noise", False)
    assert "it was trained on noise, train split" in card_of("noise", False)


def test_the_counts_of_annotations_say_which_they_are(tiny, as_official):
    official = [read_annotations(Source.parse(tiny), split) for split in ("train", "test")]
    assert ", the official annotations by their md5: 3 classes" in annotations_text(summarise_annotations(official))
    mixed = [official[0], dataclasses.replace(official[1], md5="0" * 32)]
    assert ", not by md5 the official annotations: 3 classes" in annotations_text(summarise_annotations(mixed))
