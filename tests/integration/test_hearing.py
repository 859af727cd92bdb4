"""Damaged and odd recordings: seconds heard and rows written are the same for every consumer."""

import csv
import json
import math
import re

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile as sf
import torch

from hf_inatsounds.audio import Recording
from hf_inatsounds.audio.hearing import Hearing, hear, heard_windows
from hf_inatsounds.audio.windows import WindowSpec
from hf_inatsounds.augmentation import WaveformAugmentation
from hf_inatsounds.cli.main import main
from hf_inatsounds.data.labels import LabelSpace
from hf_inatsounds.downstream.clips import Clip
from hf_inatsounds.errors import AudioError
from hf_inatsounds.models.classifier import build_classifier, load_classifier
from hf_inatsounds.objectives import objective_of
from hf_inatsounds.training.crops import CropCollator
from hf_inatsounds.training.run import train
from tests.helpers.archive import SPECIES, category, write_source
from tests.helpers.odd_recordings import SECONDS, encoded, odd_recordings, tone
from tests.helpers.scored import score_recordings
from tests.helpers.training import small_recipe

ODD = odd_recordings()
WINDOW = WindowSpec(1.0, 1.0, "start")

HEARD_S = {
    name: {None: SECONDS, "empty": 0.0, "unreadable": 0.0}.get(defect) for name, (_, defect) in ODD.items()
} | {
    "a hundred samples": 100 / 22_050, "OGG, chained": 2 * SECONDS,
    "cut": SECONDS / 2, "cut within a sample": SECONDS / 2, "24 bits, cut within a sample": SECONDS,
    "FLAC, cut": 2.97, "FLAC, holed": 5.7, "MP3, cut": 2.89, "MP3, holed": 5.66, "OGG, cut": 2.33,
    "float, then no numbers": SECONDS - 1 / 22_050, "OGG, holed": 5.21,
    **{f"{form}, cut": 75_000 / 22_050 for form in ("AIFF", "W64", "RF64", "AU")},
}  # fmt: skip
"""Of each recording."""

TOLERANCE_S = 0.3
"""A damaged stretch is stepped over in steps of 4,096 samples, and decoders lose a frame or two at a cut."""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    space = LabelSpace.from_categories([category(i) for i in range(len(SPECIES))])
    objective = objective_of("single_label_classification")
    build_classifier("ast-tiny", space, objective, window=WindowSpec(1.0, 1.0)).save(folder)
    return folder


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("odd")
    for name, (content, _) in ODD.items():
        (folder / f"{name}.wav").write_bytes(content)
    return {name: str(folder / f"{name}.wav") for name in ODD}


def heard(audio):
    hearing = Hearing()
    return list(heard_windows(audio, WINDOW, 16_000, hearing)), hearing


@pytest.mark.parametrize("name", ODD)
def test_what_is_heard_is_what_is_there_and_the_rest_has_a_reason(name, files):
    content, defect = ODD[name]
    windows, hearing = heard(files[name])
    assert [one[1:] for one in windows] == [one[1:] for one in heard({"bytes": content, "path": name})[0]]
    assert abs(hearing.heard_s - HEARD_S[name]) <= (TOLERANCE_S if defect == "truncated" else 1e-9)
    assert hearing.windows == len(windows) == len([one for one in windows if len(one.waveform)])
    assert all(one.end_s <= HEARD_S[name] + sum(b - a for a, b in hearing.gaps_s) + TOLERANCE_S for one in windows)
    assert hearing.status == {None: "ok", "truncated": "partial"}.get(defect, "failed")
    assert (hearing.status == "ok") == (not hearing.reason)


def test_predict_and_embed_write_rows_of_what_was_heard_and_name_the_rest(model, files, tmp_path, capsys):
    paths = list(files.values())
    assert main(["predict", str(model), *paths, "--out", str(tmp_path / "d.csv"), "--json", "--quiet"]) == 1
    said = capsys.readouterr()
    found = json.loads(said.out)
    assert main(["embed", str(model), *paths, "--out", str(tmp_path / "e.parquet"), "--json", "--quiet"]) == 1
    assert json.loads(capsys.readouterr().out)["files"] == found["files"]
    with open(tmp_path / "d.csv", encoding="utf-8", newline="") as stream:
        detections = [(row["file"], row["start_s"], row["end_s"]) for row in csv.DictReader(stream)]
    rows = pq.read_table(tmp_path / "e.parquet").to_pylist()
    assert detections == [(row["file"], f"{row['start_s']:.3f}", f"{row['end_s']:.3f}") for row in rows]
    for name, path in files.items():
        windows, hearing = heard(path)
        assert [row["start_s"] for row in rows if row["file"] == path] == [one.start_s for one in windows]
        assert found["files"][path]["status"] == hearing.status
        assert (path in said.err) == (hearing.status != "ok"), name
        assert (path in found["failed"]) == (hearing.status == "failed")


def test_evaluation_training_verification_and_benchmarks_hear_the_same(model, files):
    classifier = load_classifier(model)
    rows = [
        {"recording_id": i, "file_name": name, "label": 0, "epoch": 0, "audio": {"bytes": ODD[name][0], "path": name}}
        for i, name in enumerate(ODD)
    ]
    scores, _ = score_recordings(classifier, rows, WINDOW, present=np.arange(3))
    collate = CropCollator(1.0, 16_000, WaveformAugmentation(), 400, seed=0)
    weights = collate(rows)["weights"].tolist()
    for i, name in enumerate(ODD):
        windows, hearing = heard(files[name])
        spans = scores.window_span_s[scores.window_file == i].tolist()
        assert spans == ([[one.start_s, one.end_s] for one in windows] or [[0.0, 0.0]]), name
        assert bool(weights[i]) == bool(windows), name
        seen = hear(rows[i]["audio"])
        assert (seen.status, seen.gaps_s) == (hearing.status, hearing.gaps_s), name
        assert abs(seen.heard_s - hearing.heard_s) < 1e-9, name
        clip = Clip(files[name], 0.0, 0.004, (0,), "1", name)
        if windows:
            with clip.open() as recording:
                assert len(clip.waveform(recording, 16_000)) == 64
        else:
            with pytest.raises(AudioError), clip.open() as recording:
                clip.waveform(recording, 16_000)


def test_an_mp3_gives_the_same_samples_window_by_window_as_at_once(tmp_path):
    sf.write(tmp_path / "a.mp3", tone(20.0, 44_100), 44_100, bitrate_mode="VARIABLE", compression_level=0.9)
    for stride_s in (1.0, 0.5):
        windows = list(heard_windows(tmp_path / "a.mp3", WindowSpec(1.0, stride_s, "start"), 44_100, Hearing()))
        whole, _ = sf.read(tmp_path / "a.mp3", dtype="float32")
        for one in windows:
            start = round(one.start_s * 44_100)
            np.testing.assert_array_equal(one.waveform, whole[start : start + len(one.waveform)])


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
def test_a_wav_beyond_4_gib_with_wrapped_sizes_is_whole(subtype, tmp_path):
    short = encoded("WAV", subtype, 0.001)
    start = short.index(b"data") + 8
    width = {"PCM_16": 2, "PCM_24": 3, "FLOAT": 4}[subtype]
    samples = (1 << 32) // width + 22_050
    head = short[: start - 4] + (width * samples % (1 << 32)).to_bytes(4, "little")
    with open(tmp_path / "long.wav", "wb") as stream:
        stream.write(head)
        stream.seek(start + width * (samples - 1_000))
        stream.write(np.full(1_000 * width, 1, np.uint8).tobytes())
        stream.truncate(start + width * samples)  # a sparse file: no disk is needed
    with Recording(tmp_path / "long.wav") as recording:
        assert recording.info.n_samples == samples
        assert recording.read_samples(samples - 1_000, samples).any()


def test_channels_that_cancel_each_other_are_told_and_one_can_be_chosen(model, tmp_path, capsys):
    one = tone(2.0)
    sf.write(tmp_path / "a.wav", np.stack([one, -one], axis=1), 22_050)
    quiet, hearing = heard(tmp_path / "a.wav")
    assert hearing.cancelled_db > 80 or math.isinf(hearing.cancelled_db)
    loud = list(heard_windows(tmp_path / "a.wav", WINDOW, 16_000, Hearing(), channel=1))
    assert np.abs(loud[0].waveform).max() > 0.2 > 1e3 * np.abs(quiet[0].waveform).max()
    words = ["predict", str(model), str(tmp_path / "a.wav")]
    assert main(words) == 0
    assert "cancel each other" in capsys.readouterr().err
    assert main([*words, "--channel", "1"]) == 0
    assert "cancel" not in capsys.readouterr().err
    assert main([*words, "--channel", "2"]) == 1
    assert "no such channel" in capsys.readouterr().err


def test_digital_silence_has_no_species_and_is_told(model, tmp_path, capsys):
    samples = np.zeros(3 * 22_050)
    samples[:20_000] = tone(1.0)[:20_000]
    sf.write(tmp_path / "a.wav", samples, 22_050)
    assert main(["predict", str(model), str(tmp_path / "a.wav")]) == 0
    said = capsys.readouterr()
    assert [row["start_s"] for row in csv.DictReader(said.out.splitlines())] == ["0.000"]
    assert "2 of 3 windows are digital silence" in said.err


def test_silence_beside_sound_is_silence_at_every_rate(tmp_path):
    samples = np.zeros(4 * 22_050)
    samples[22_050 : 2 * 22_050] = tone(1.0)
    sf.write(tmp_path / "a.wav", samples, 22_050)
    for rate in (None, 16_000, 32_000):
        windows = heard_windows(tmp_path / "a.wav", WINDOW, rate, Hearing())
        assert [one.is_silent for one in windows] == [True, False, True, True]


def test_nothing_is_printed_where_nothing_was_heard(model, tmp_path, capsys):
    for name in ("a.wav", "b.wav"):
        (tmp_path / name).write_bytes(b"")
    assert main(["predict", str(model), str(tmp_path / "a.wav"), str(tmp_path / "b.wav")]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert "nothing was heard" in said.err


def test_training_on_silence_with_every_waveform_augmentation_has_a_finite_loss(tmp_path):
    (tmp_path / "sounds").mkdir()
    sf.write(tmp_path / "sounds" / "silent.wav", np.zeros(88_200), 22_050)
    sf.write(tmp_path / "sounds" / "short.wav", np.zeros(100), 22_050)
    (tmp_path / "source").mkdir()

    def silent(_, __, recordings):
        recordings.update({name: encoded("WAV", "PCM_16")[:44] + bytes(44_100) for name in recordings})

    parts = [
        {"name": name, "parameters": {"p": 1.0, **more}}
        for name, more in (("Normalize", {}), ("AddGaussianSNR", {}), ("PitchShift", {}),
                           ("AddBackgroundNoise", {"sounds_path": str(tmp_path / "sounds")}))
    ]  # fmt: skip
    recipe = small_recipe(
        write_source(tmp_path / "source", change=silent), tmp_path / "run", num_train_epochs=1, noise=1.0, pitch=1.0,
        gain_db=6.0,
        mixup=1.0, waveform_augmentation=parts,
    )  # fmt: skip
    assert all(math.isfinite(loss) for _, loss in train(recipe, quiet=True)["losses"])


@pytest.mark.parametrize("command", ["predict", "embed"])
def test_an_output_is_never_replaced_by_one_without_a_recording(command, model, tmp_path, capsys):
    (tmp_path / "empty.wav").write_bytes(b"")
    (tmp_path / "out").write_text("from yesterday")
    assert main([command, str(model), str(tmp_path / "empty.wav"), "--out", str(tmp_path / "out")]) == 1
    assert (tmp_path / "out").read_text() == "from yesterday"
    assert "nothing was heard" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["predict", "embed"])
def test_a_model_of_nan_fails_instead_of_hearing_nothing(command, model, tmp_path, capsys):
    classifier = load_classifier(model)
    with torch.no_grad():
        for parameter in classifier.model.parameters():
            parameter.fill_(float("nan"))
    classifier.save(tmp_path / "nan")
    sf.write(tmp_path / "a.wav", tone(2.0), 22_050)
    assert main([command, str(tmp_path / "nan"), str(tmp_path / "a.wav"), "--out", str(tmp_path / "out")]) == 1
    assert re.search("no number|finite", capsys.readouterr().err)
    assert not (tmp_path / "out").exists()
