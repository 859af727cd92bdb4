import hashlib
import json
import tarfile
from collections import Counter

import numpy as np
import pytest
import soundfile as sf

from hf_inatsounds.data.loading import load_dataset
from hf_inatsounds.quickstart import make_archives
from hf_inatsounds.quickstart.species import SPECIES
from hf_inatsounds.quickstart.voices import recording


def digests(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def annotations(folder, stem):
    with tarfile.open(folder / f"{stem}.json.tar.gz") as archive:
        return json.load(archive.extractfile(f"{stem}.json"))


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bytes(archives, tmp_path):
    assert digests(make_archives(tmp_path / "again")) == digests(archives)


def test_the_layout_is_the_official_one(archives):
    assert sorted(path.name for path in archives.iterdir()) == sorted(
        f"{stem}{ending}" for stem in ("train", "val", "test") for ending in (".tar.gz", ".json.tar.gz")
    )
    made = annotations(archives, "val")
    assert list(made) == ["info", "audio", "categories", "annotations", "licenses"]
    folders = [category["audio_dir_name"] for category in made["categories"]]
    assert folders == sorted(folders)
    assert [category["id"] for category in made["categories"]] == list(range(len(SPECIES)))
    with tarfile.open(archives / "val.tar.gz") as archive:
        members = archive.getmembers()
        assert [member.name for member in members] == [audio["file_name"] for audio in made["audio"]]
        with sf.SoundFile(archive.extractfile(members[0])) as wav:
            assert (wav.samplerate, wav.channels, wav.subtype) == (22_050, 1, "PCM_16")


def test_it_has_what_makes_the_real_one_hard(archives):
    train, val, test = (annotations(archives, stem) for stem in ("train", "val", "test"))
    counts = Counter(annotation["category_id"] for annotation in train["annotations"])
    assert min(counts.values()) == 1
    assert max(counts.values()) >= 20
    held_out = {annotation["category_id"] for annotation in val["annotations"]}
    assert held_out == {annotation["category_id"] for annotation in test["annotations"]}
    assert held_out == {category["id"] for category in val["categories"] if category["evaluation"]}
    assert 0 < len(held_out) < len(SPECIES)
    durations = [audio["duration"] for audio in train["audio"]]
    assert (min(durations), max(durations)) == (0.1, 60.0)
    assert len({category["supercategory"] for category in train["categories"]}) == 5
    uncertainties = [audio["location_uncertainty"] for audio in train["audio"]]
    assert any(value is None for value in uncertainties)
    assert any(value is not None and np.isnan(value) for value in uncertainties)


def test_places_depend_on_the_species(archives):
    table = load_dataset("annotations", "train", source=archives, streaming=False)
    places: dict[int, list[float]] = {}
    for row in table:
        if row["latitude"] is not None:
            places.setdefault(row["label"], []).append(row["latitude"])
    within = np.mean([np.std(values) for values in places.values() if len(values) > 3])
    between = np.std([np.mean(values) for values in places.values()])
    assert between > 3 * within


def test_recordings_are_in_range_and_no_two_alike():
    voice = SPECIES[0].voice
    one, two = (recording(voice, 2.0, np.random.default_rng(seed)) for seed in (1, 2))
    assert np.abs(one).max() <= 1
    assert len(one) == 2 * 22_050
    assert not np.array_equal(one, two)
