"""Metadata as collections have it: each command goes through, and the mirror holds each value as it was."""

import pyarrow.parquet as pq

from hf_inatsounds.audio.windows import WindowSpec
from hf_inatsounds.cli.main import main
from hf_inatsounds.evaluation import split_info
from hf_inatsounds.models.classifier import build_classifier
from hf_inatsounds.objectives import Multiclass
from tests.helpers.archive import write_source

NAN = float("nan")
COMMON_NAMES = (None, "Robin", "Robin")
ODD = (
    {"license": None}, {"license": NAN}, {"date": "2021-03-04T05:06:07+13:45"}, {"date": None},
    {"rights_holder": 'Ana\n"Ñu" \U0001f438, (c)'}, {"latitude": 90.0, "longitude": -180.0},
)  # fmt: skip
"""Of the first recordings of each split, of which test has six …"""
MORE = (
    {"latitude": NAN, "longitude": None}, {"location_uncertainty": NAN}, {"date": "", "rights_holder": ""},
    {"duration": None},
)  # fmt: skip
"""… and train twelve."""
COLUMNS = {
    "license": "license", "date": "date", "rights_holder": "rights_holder", "latitude": "latitude",
    "longitude": "longitude", "location_uncertainty": "location_uncertainty_m", "duration": "duration_s",
}  # fmt: skip


def spoil(stem, document, files):
    for category, name in zip(document["categories"], COMMON_NAMES, strict=True):
        category["common_name"] = name
    for audio, values in zip(document["audio"], (*ODD, *MORE), strict=False):
        audio.update(values)


def right(value):
    return None if value is None or value != value else value


def test_odd_metadata_go_through_every_command_and_stay_what_they_are(tmp_path, monkeypatch, capsys):
    (tmp_path / "source").mkdir()
    source = str(write_source(tmp_path / "source", change=spoil))
    monkeypatch.chdir(tmp_path)
    space = split_info(source, "all", "train").label_space
    build_classifier("ast-tiny", space, Multiclass(), window=WindowSpec(1.0, 0.5)).save("model")
    for words in (
        ["annotations", source],
        ["verify", source],
        ["geo-prior", source, "--out", "p.safetensors"],
        ["publish", source, "--local-dir", "mirror", "--workers", "1", "--split", "train", "--split", "test"],
        ["evaluate", "model", "--source", source, "--geo-prior", "p.safetensors", "--resamples", "5", "--no-report"],
        ["card", "model"],
    ):
        assert main([*words, "--quiet"]) == 0, capsys.readouterr().err
    for split, odd in (("train", (*ODD, *MORE)), ("test", ODD)):
        paths = sorted((tmp_path / "mirror" / "data").rglob(f"{split}*.parquet"))
        rows = sorted((row for path in paths for row in pq.read_table(path).to_pylist()), key=by_id)
        assert len(rows) == {"train": 12, "test": 6}[split]
        for row, values in zip(rows, odd, strict=False):
            assert {COLUMNS[key]: row[COLUMNS[key]] for key in values} == {
                COLUMNS[key]: right(value) for key, value in values.items()
            }
        assert all(row["common_name"] == COMMON_NAMES[row["label"]] for row in rows)


def by_id(row):
    return row["recording_id"]
