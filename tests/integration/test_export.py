"""A part of the dataset as a folder that other tools read."""

import csv

import pyarrow.parquet as pq
import pytest

from hf_inatsounds import load_dataset
from hf_inatsounds.cli.main import main
from hf_inatsounds.data.split_info import split_info
from hf_inatsounds.errors import PublishError
from hf_inatsounds.publishing.audio_folder import export_folder
from hf_inatsounds.publishing.mirror import MirrorBuilder
from hf_inatsounds.publishing.plan import MirrorSettings
from tests.helpers.archive import write_source


def exported(*words):
    assert main(["export", *map(str, words), "--quiet"]) == 0


def test_other_tools_read_what_was_chosen(tiny, tmp_path):
    out = tmp_path / "out"
    exported(tiny, "--out", out, "--split", "train", "--select", "supercategory=Aves", "--select", "max_per_class=2")
    select = {"supercategory": "Aves", "max_per_class": 2}
    wanted = {row["recording_id"]: row for row in load_dataset(split="train", source=tiny, select=select)}
    assert len(wanted) == 4
    with open(out / "train" / "metadata.csv", newline="", encoding="utf-8") as file:
        found = list(csv.DictReader(file))
    for row in found:
        expected = wanted[int(row["recording_id"])]
        assert row["species"] == expected["species"]
        assert (out / "train" / row["file_name"]).read_bytes() == expected["audio"]["bytes"]
    assert {int(row["recording_id"]) for row in found} == wanted.keys()
    assert len(list(out.rglob("*.wav"))) == len(found)
    assert set(pq.read_table(out / "train.parquet")["license"].to_pylist()) == {"CC BY 4.0"}
    assert "may not distribute" in (out / "TERMS.txt").read_text()


@pytest.mark.parametrize("shape", ["archives", "tree", "mirror"])
def test_what_a_kill_left_is_gone_on_with(tmp_path, shape, monkeypatch):
    (tmp_path / "source").mkdir()
    source = write_source(tmp_path / "source", unpacked=shape == "tree")
    if shape == "mirror":
        MirrorBuilder(str(source), tmp_path / "mirror", MirrorSettings(), quiet=True).build()
        source = tmp_path / "mirror"
    info, count = split_info(str(source), "all", "test"), []

    def killed(audio):
        count.append(1)
        if len(count) == 4:
            raise KeyboardInterrupt
        return real(audio)

    from hf_inatsounds.publishing import audio_folder

    real = audio_folder.content_of
    monkeypatch.setattr(audio_folder, "content_of", killed)
    with pytest.raises(KeyboardInterrupt):
        export_folder([info], tmp_path / "out", quiet=True)
    assert not list(tmp_path.glob("out/**/metadata.csv"))
    assert export_folder([info], tmp_path / "out", quiet=True)["recordings"] == 6
    assert len(count) == 4 + 3  # the three that were whole are not written again
    whole = export_folder([info], tmp_path / "whole", quiet=True)
    names = {path.relative_to(tmp_path / "out"): path.read_bytes() for path in (tmp_path / "out").rglob("*.*")}
    assert names == {
        path.relative_to(tmp_path / "whole"): path.read_bytes() for path in (tmp_path / "whole").rglob("*.*")
    }
    assert whole["bytes"] > 0
    other = split_info(str(source), "all", "test", select={"supercategory": "Aves"})
    with pytest.raises(PublishError, match="another export"):
        export_folder([other], tmp_path / "out", quiet=True)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("all of it")
    with pytest.raises(PublishError, match=r"something else.*thesis\.txt"):
        export_folder([info], tmp_path / "mine", quiet=True)
