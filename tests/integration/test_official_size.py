"""The benchmark at the official size, on a fivehundredth of it: every command runs, and the archive is what it says."""

import json
import subprocess
import sys

import numpy as np

from benchmarks import goals
from benchmarks.official_size import ALL_CLASSES, commands, figures_of
from benchmarks.synthetic_archive import write_archives
from benchmarks.synthetic_species import SUPERCATEGORIES, draw_species, thinned
from hf_inatsounds.archives.fetch import Source
from hf_inatsounds.data.annotations import read_annotations
from hf_inatsounds.schema import SPLITS


def test_every_command_runs_on_all_classes_and_is_measured(tmp_path):
    words = ["--rows", "0.002", "--steps", "2", "--once", "--folder", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.official_size", *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found.pop("recordings") == 274 + 91 + 99
    assert list(found) == list(commands(tmp_path, 2))
    assert all(used["CPU s"] > 0.1 and 0.02 < used["largest process, GB"] < 1.5 for used in found.values())
    run = tmp_path / "rows-0.002/run"
    assert json.loads((run / "train.json").read_text())["dataset"]["classes"] == 5569
    assert "This is not a model of the iNaturalist Sounds Dataset" in (run / "README.md").read_text()
    mirror = (tmp_path / "rows-0.002/mirror/README.md").read_text()
    assert "This is not the iNaturalist Sounds Dataset" in mirror
    assert "# iNaturalist Sounds Dataset" not in mirror


def test_the_species_are_as_many_and_as_often_recorded_as_the_official_ones():
    species = draw_species(np.random.default_rng(0))
    assert len({one.lineage[-2:] for one in species}) == 5569
    for name, about in SUPERCATEGORIES.items():
        mine = [one for one in species if one.supercategory == name]
        assert {stem: sum(one.counts[stem] for one in mine) for stem in about.recordings} == about.recordings
        assert sum(one.evaluated for one in mine) == about.evaluated
        assert all((one.counts["val"] > 0) == (one.counts["test"] > 0) == one.evaluated for one in mine)
        assert sum(one.counts["train"] == 1 for one in mine) == about.singletons
        assert max(one.counts["train"] for one in mine) <= about.most
    assert thinned(species, 1.0) == species
    assert sum(one.counts["train"] for one in thinned(species, 0.1)) == 13_701


def test_the_same_arguments_give_the_same_archives_which_can_be_read(tmp_path):
    for name in ("a", "b"):
        write_archives(tmp_path / name, rows=0.001)
    first, second = ({path.name: path.read_bytes() for path in (tmp_path / one).iterdir()} for one in ("a", "b"))
    assert first == second
    annotations = [read_annotations(Source.parse(tmp_path / "a"), split) for split in SPLITS]
    assert [one.table.num_rows for one in annotations] == [137, 46, 50]
    assert {len(one.label_space) for one in annotations} == {5569}
    assert len(annotations[0].label_space.evaluated) == 1212


def test_costs_that_grow_too_fast_or_are_too_large_are_named():
    def size(n, seconds, gb):
        return {"recordings": n, "commands": {name: {"cpu_s": seconds, "gb": gb} for name in ("card", ALL_CLASSES)}}

    text = goals.text("official_size", figures_of([size(1000, 1.0, 0.1), size(2000, 2.5, 2.0)]))
    assert "- largest exponent, of card: 1.322, goal at most 1.1, missed" in text
    assert "- largest process, GB, of card: 2, goal at most 1.5, missed" in text
    assert f"- largest process of {ALL_CLASSES}, GB: 2, goal at most 4, met" in text
    once = goals.text("official_size", figures_of([size(1000, 1.0, 0.1)]))
    assert "exponent" not in once
