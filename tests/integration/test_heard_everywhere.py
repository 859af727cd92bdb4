"""Damaged and odd recordings of every container, through every command at once: all tell the same of each."""

import contextlib
import csv
import io
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile as sf
import torch
import yaml

from hf_inatsounds.audio.windows import WindowSpec
from hf_inatsounds.cli.main import main
from hf_inatsounds.data.labels import LabelSpace
from hf_inatsounds.models.classifier import build_classifier
from hf_inatsounds.objectives import objective_of
from tests.conftest import shared_path
from tests.helpers.archive import SPECIES, category, write_source
from tests.helpers.odd_recordings import holed, odd_recordings, tone

WINDOW_S = 1.0
AST = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
UNWRITABLE = ("RAW", "SD2")
"""Without a header, and with one in a file of its own."""
UNTOLD = ("AVR", "HTK", "IRCAM", "MAT4", "MAT5", "MPC2K", "NIST", "PAF", "PVF", "SDS", "SVX", "VOC", "WVE", "XI")
"""Containers of which libsndfile does not tell what their headers promise."""
FACTS = ("status", "promised_s", "heard_s", "gaps_s")


def containers():
    """Each container that libsndfile writes here: whole, cut in the middle, with a hole, with garbage behind it."""
    made = {}
    for form in sorted(set(sf.available_formats()) - set(UNWRITABLE)):
        for subtype in ("VORBIS", "OPUS") if form == "OGG" else (sf.default_subtype(form),):
            rate = {"OPUS": 48_000, "MPEG_LAYER_III": 44_100}.get(subtype, 22_050)
            buffer = io.BytesIO()
            sf.write(buffer, tone(2.0, rate), rate, format=form, subtype=subtype)
            content, name = buffer.getvalue(), f"{form} {subtype}"
            made[name] = content
            if form not in UNTOLD:
                made |= {f"{name}, cut": content[: len(content) // 2], f"{name}, holed": holed(content, 0.5, 300),
                         f"{name}, garbage": content + np.random.default_rng(0).bytes(1_001)}  # fmt: skip
    return made


CONTAINERS = containers()


def made_recordings():
    stereo = io.BytesIO()
    sf.write(stereo, np.stack([tone(2.0), -tone(2.0)], axis=1), 22_050, format="WAV", subtype="PCM_16")
    silent = io.BytesIO()
    sf.write(silent, np.zeros(44_100), 22_050, format="FLAC")
    odd = {name: content for name, (content, _) in odd_recordings().items()}
    return {**CONTAINERS, **odd, "anti-phase": stereo.getvalue(), "silence": silent.getvalue()}


def field_recordings():
    """Recordings as users have them, damaged ones among them; of those of a minute one or two."""
    folder = shared_path("data/field")
    paths = [*sorted(folder.glob("opensoundscape/*.*")), *sorted(folder.glob("perch/*")),
             *sorted(folder.glob("audiomoth/CHE*")), *sorted(folder.glob("maad_day/*"))[:2]]  # fmt: skip
    return {path.name: path.read_bytes() for path in paths if path.suffix.lower() in
            (".wav", ".mp3", ".flac", ".ogg", ".opus")}  # fmt: skip


@pytest.fixture(scope="module", params=["made", "field"])
def recordings(request):
    return made_recordings() if request.param == "made" else field_recordings()


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    space = LabelSpace.from_categories([category(i) for i in range(len(SPECIES))])
    window = WindowSpec(WINDOW_S, WINDOW_S)
    objective = objective_of("single_label_classification")
    build_classifier("ast-tiny", space, objective, window=window, config=AST).save(folder)
    return folder


@pytest.fixture(scope="module")
def source(recordings, tmp_path_factory):
    """All recordings as the training and test splits of a dataset: an archive of the one, a tree of the other."""

    def change(stem, document, files):
        files.clear()
        document["audio"], document["annotations"] = document["audio"][:1], document["annotations"][:1]
        audio, annotation = document["audio"].pop(), document["annotations"].pop()
        for i, name in enumerate(recordings):
            file = f"{stem}/{category(i % 2)['audio_dir_name']}/{i:04d}.wav"
            files[file] = recordings[name]
            document["audio"].append({**audio, "id": i, "file_name": file, "duration": None})
            document["annotations"].append({**annotation, "id": i, "audio_id": i, "category_id": i % 2})

    folder = tmp_path_factory.mktemp("source")
    for form in ("archives", "tree"):
        (folder / form).mkdir()
        write_source(folder / form, change=change, unpacked=form == "tree")
    return folder


@pytest.fixture(scope="module")
def files(recordings, tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    for i, content in enumerate(recordings.values()):
        (folder / f"{i:04d}.wav").write_bytes(content)
    return [str(folder / f"{i:04d}.wav") for i in range(len(recordings))]


@pytest.fixture(scope="module")
def predicted(recordings, files, model, tmp_path_factory):
    """Name → what ``predict`` tells, with the spans of its rows; ``embed`` tells the same and has the same rows."""
    folder = tmp_path_factory.mktemp("out")
    detections, embeddings = folder / "detections.csv", folder / "embeddings.parquet"
    told = [
        out_of(["predict", str(model), *files, "--out", str(detections)]),
        out_of(["embed", str(model), *files, "--out", str(embeddings)]),
    ]
    assert told[0]["files"] == told[1]["files"]
    spans = {file: [] for file in files}
    for row in pq.read_table(embeddings).to_pylist():
        spans[row["file"]].append((row["start_s"], row["end_s"]))
    with open(detections, encoding="utf-8", newline="") as stream:
        rows = [(row["file"], float(row["start_s"])) for row in csv.DictReader(stream)]
    assert set(rows) <= {(file, round(start_s, 3)) for file in files for start_s, _ in spans[file]}
    for file in files:
        found = told[0]["files"][file]
        assert len(spans[file]) == found["windows"] == found["silent_windows"] + sum(one == file for one, _ in rows)
    return {
        name: {**told[0]["files"][file], "spans": spans[file]} for name, file in zip(recordings, files, strict=True)
    }


def out_of(words, code=1):
    """A command's JSON."""
    stream = io.StringIO()
    with contextlib.redirect_stdout(stream):
        assert main([*words, "--json", "--quiet"]) == code
    return json.loads(stream.getvalue())


def agrees(told, predicted, number=lambda one: one["recording_id"]):
    """What a report lists is what ``predict`` tells of it, and what it does not list is whole."""
    names = list(predicted)
    listed = {names[number(one)]: one for one in told}
    assert len(listed) == len(told)
    for name, expected in predicted.items():
        found = listed.get(name, {"status": "ok"})
        assert found["status"] == expected["status"], name
        if name in listed and found["status"] != "failed":
            for key in ("promised_s", "heard_s"):
                assert found[key] == pytest.approx(expected[key], abs=0.0015), (name, key)
            np.testing.assert_allclose(found["gaps_s"], expected["gaps_s"], atol=0.0015, err_msg=name)
            assert found["cancelled_db"] == pytest.approx(expected["cancelled_db"], abs=0.2), name
        assert (found["status"] != "ok") == bool(expected["reason"])


def test_what_is_damaged_is_told_and_nothing_else(predicted):
    """Of the containers; a hole in samples that are not compressed is silence, as any other."""
    for name, found in predicted.items():
        container, _, damage = name.partition(", ")
        if container not in CONTAINERS:
            continue
        is_compressed = container.split()[0] in ("FLAC", "MP3", "OGG")
        if damage == "cut" or (damage == "holed" and is_compressed):
            assert found["status"] in ("partial", "failed"), name
            assert found["heard_s"] < 1.95, name
        else:
            assert found["status"] == "ok", name
            assert found["heard_s"] == pytest.approx(2.0, abs=0.02) or name.split()[0] in UNTOLD, name


def test_verification_tells_the_same(source, predicted):
    for form in ("archives", "tree"):
        found = out_of(["verify", str(source / form), "--split", "test"], code=0)
        agrees(found["splits"]["test"]["heard"], predicted)


def test_evaluation_tells_the_same_and_scores_the_same_windows(source, model, predicted, tmp_path):
    sizes = ["--window", str(WINDOW_S), "--stride", str(WINDOW_S), "--resamples", "1", "--no-report"]
    words = ["evaluate", str(model), "--split", "test", *sizes]
    for form in ("archives", "tree"):
        found = out_of([*words, "--source", str(source / form), "--out", str(tmp_path / form)], code=0)
        agrees(found["defects"]["heard"], predicted)
        ends = {}
        for row in pq.read_table(tmp_path / form / "windows.parquet").to_pylist():
            ends[row["recording_id"]] = max(ends.get(row["recording_id"], 0.0), row["end_s"])
        for i, one in enumerate(predicted.values()):
            assert ends[i] == pytest.approx(max((end for _, end in one["spans"]), default=0.0), abs=0.0015)


def test_training_tells_the_same_of_what_it_read_whole(source, predicted, tmp_path):
    longest_s = 13.0  # a crop holds each made recording
    recipe = {
        "model": "ast-tiny", "config": AST, "window_s": longest_s, "stride_s": longest_s, "num_train_epochs": 1,
        "per_device_train_batch_size": 8,
        "validation_split": "none", "max_unusable_share": 1.0,
    }  # fmt: skip
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    for form in ("archives", "tree"):
        out = tmp_path / form
        words = [
            "train",
            str(tmp_path / "recipe.yaml"),
            "--source",
            str(source / form),
            "--output_dir",
            str(out),
            "--quiet",
        ]
        assert main(words) == 0
        run = json.loads((out / "train.json").read_text())
        assert all(np.isfinite(loss) for _, loss in run["losses"])
        whole = {name: one for name, one in predicted.items() if one["promised_s"] <= longest_s}
        told = [one for one in run["defects"]["heard"] if list(predicted)[one["recording_id"]] in whole]
        names = {list(predicted)[one["recording_id"]]: one for one in told}
        assert {name for name, one in whole.items() if one["status"] != "ok"} <= set(names)
        agrees(told, {name: one if name in whole else {**one, "status": "ok", "reason": ""}
                      for name, one in predicted.items()})  # fmt: skip


def test_a_benchmark_of_a_folder_tells_the_same_and_leaves_out_what_is_not_heard(files, model, predicted, tmp_path):
    folder = Path(files[0]).parent
    rows = [[Path(file).name, "ab"[i // 2 % 2], ("train", "test")[i % 2]] for i, file in enumerate(files)]
    with open(folder / "annotations.csv", "w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([["file", "label", "split"], *rows])
    words = ["benchmark", str(model), "--suite", "folder", "--data", str(folder), "--out", str(tmp_path / "out")]
    found = out_of([*words, "--cache", str(tmp_path / "cache"), "--bootstrap", "0"])
    agrees(found["heard"], predicted, lambda one: files.index(one["file"]))
    failed = {file for file, one in zip(files, predicted.values(), strict=True) if one["status"] == "failed"}
    assert set(found["left_out"]) == failed
    (task,) = found["tasks"].values()
    assert task["clips"] == len(files) - len(failed)
