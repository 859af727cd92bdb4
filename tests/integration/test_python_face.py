"""All of it from Python, with names of ``hf_inatsounds`` alone, on inputs as users have them."""

import json
import re
import subprocess
import sys
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pytest
import soundfile as sf
import torch

import hf_inatsounds as ins
from hf_inatsounds.errors import ArgumentsError, AudioError, CheckpointError, RecipeError
from tests.helpers import suites
from tests.helpers.training import SETTINGS

ROOT = Path(__file__).parents[2]
RATE = 22_050


@pytest.fixture(scope="module")
def run(tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("face") / "run"
    keys = {**SETTINGS, "validation_split": "validation", "num_train_epochs": 1}
    found = ins.train(model="ast-tiny", source=str(tiny), output_dir=str(folder), quiet=True, **keys)
    assert found["steps"] == 2
    return folder


@pytest.fixture(scope="module")
def classifier(run):
    return ins.load_classifier(run)


def sound(seconds, seed=0):
    return (np.random.default_rng(seed).standard_normal(round(RATE * seconds)) * 0.1).astype(np.float32)


def test_every_public_name_is_there_and_documented():
    text = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"^### `(\w+)", text, re.MULTILINE))
    assert documented == set(ins.__all__) == set(ins._HOMES)
    for name in ins.__all__:
        assert (getattr(ins, name).__doc__ or "").strip(), name
    assert set(ins.__all__) <= set(dir(ins))


def test_the_examples_of_the_page_run(run, tiny, tmp_path):
    """The page's code, in its order, with paths of this test."""
    text = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    code = "\n".join(re.findall(r"```python\n(.*?)```", text, re.DOTALL))
    assert code.count("\n") > 30
    sf.write(tmp_path / "dawn.wav", sound(4), RATE)
    suites.esc10(tmp_path / "esc10")
    code = code.replace("path/to/archives", str(tiny)).replace("path/to/esc10", str(tmp_path / "esc10"))
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


def test_a_recipe_by_file_and_keys(tiny, tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text("model: ast-tiny\nnum_train_epochs: 9\nwindow_s: 1.0\nstride_s: 0.5\nvalidation_split: none\n")
    found = ins.train(
        path, source=str(tiny), output_dir=str(tmp_path / "run"), max_steps=1, quiet=True, config=SETTINGS["config"]
    )
    assert (found["steps"], found["main_process"]) == (1, True)
    with pytest.raises(RecipeError, match="'num_train_epochs'"):
        ins.train(path, num_epochs=3)
    with pytest.raises(RecipeError, match="a finished run"):
        ins.train(ins.read_recipe(path), output_dir=str(tmp_path / "run"))


def test_evaluate_gives_what_it_writes(run, tiny, tmp_path):
    found = ins.evaluate(run, tiny, "validation", out=tmp_path / "e", resamples=5, quiet=True)
    assert 0 <= found["metrics"]["mean"]["map"] <= 1
    assert (tmp_path / "e" / "results.json").is_file()


FORMS = {
    "path": lambda path, wave: ((path,), {}),
    "text": lambda path, wave: ((str(path),), {}),
    "array": lambda path, wave: ((wave,), {"sampling_rate": RATE}),
    "tensor": lambda path, wave: ((torch.from_numpy(wave),), {"sampling_rate": RATE}),
    "channels": lambda path, wave: ((np.stack([wave, wave]),), {"sampling_rate": RATE}),
    "bytes": lambda path, wave: ((path.read_bytes(),), {}),
    "column": lambda path, wave: (({"array": wave, "sampling_rate": RATE, "path": "x.wav"},), {}),
    "row": lambda path, wave: (({"file_name": "a/x.wav", "audio": {"bytes": path.read_bytes(), "path": None}},), {}),
    "many": lambda path, wave: (([path, path],), {}),
    "arrays": lambda path, wave: (([wave, wave],), {"sampling_rate": RATE}),
    "generator": lambda path, wave: ((one for one in [path, path]), {}),
}


@pytest.mark.parametrize("form", FORMS)
def test_recordings_in_every_form_give_the_same(classifier, tmp_path, form):
    path, wave = tmp_path / "x.wav", sound(2.5)
    sf.write(path, wave, RATE, subtype="FLOAT")
    given, options = FORMS[form](path, wave)
    given = given if isinstance(given, tuple) else (given,)
    expected, embedded = classifier.predict(path), classifier.embed(path)
    copies = 2 if form in ("many", "arrays", "generator") else 1
    found = classifier.predict(*given, **options)
    assert found.schema.names == ["file", "start_s", "end_s", "species", "common_name", "score"]
    assert found.num_rows == copies * expected.num_rows == copies * 3
    np.testing.assert_allclose(found["score"].to_numpy()[:3], expected["score"].to_numpy(), atol=1e-5)
    if form == "generator":
        given = ([path, path],)
    vectors = classifier.embed(*given, **options)
    assert vectors.schema.names == ["file", "start_s", "end_s", "embedding"]
    np.testing.assert_allclose(np.stack(vectors["embedding"].to_pylist()[:3]),
    np.stack(embedded["embedding"].to_pylist()),
                               atol=1e-4)  # fmt: skip
    assert set(found["file"].to_pylist()) == set(vectors["file"].to_pylist())
    if form == "row":
        assert set(found["file"].to_pylist()) == {"a/x.wav"}
    if form == "arrays":
        assert set(found["file"].to_pylist()) == {"array 0", "array 1"}


def test_rows_of_the_dataset_and_what_pandas_makes_of_them(classifier, tiny):
    rows = ins.load_dataset(split="test", source=tiny).take(2)
    found = classifier.predict(rows, top=2)
    assert isinstance(found, pa.Table)
    assert len(found.to_pandas().groupby("file")) == 2
    listed = datasets.Dataset.from_list([{"audio": {"array": [0.1, -0.2] * 20_000, "sampling_rate": 16_000}}])
    assert classifier.predict(listed).num_rows > 0


@pytest.mark.parametrize(
    ("recordings", "options", "message"),
    [
        (sound(1), {}, "an array needs its sampling rate"),
        (sound(1), {"sampling_rate": 0}, "an array needs its sampling rate"),
        (np.zeros((2, 2, 2)), {"sampling_rate": 8}, "no waveform"),
        (np.zeros(0), {"sampling_rate": 8}, "no waveform"),
        (5, {}, "no recordings.*found int"),
        ([5], {}, "no recording.*found int"),
        (sound(1), {"sampling_rate": RATE, "top": 0}, "top must be at least 1, got 0"),
        (sound(1), {"sampling_rate": RATE, "min_score": 2}, "min_score must be from 0 to 1, got 2"),
        (sound(1), {"sampling_rate": RATE, "window_s": -1}, "bad window"),
    ],
)
def test_mistakes_are_told(classifier, recordings, options, message):
    with pytest.raises(ArgumentsError, match=message):
        classifier.predict(recordings, **options)


def test_a_recording_that_cannot_be_heard_is_raised_or_kept_account_of(classifier, tmp_path):
    (tmp_path / "bad.wav").write_bytes(b"nothing")
    sf.write(tmp_path / "good.wav", sound(1), RATE)
    files = [tmp_path / "bad.wav", tmp_path / "good.wav", tmp_path / "absent.wav"]
    with pytest.raises(AudioError, match=r"bad\.wav"):
        classifier.predict(files)
    for act in (classifier.predict, classifier.embed):
        heard = {}
        found = act(files, heard=heard)
        assert [one.status for one in heard.values()] == ["failed", "ok", "failed"]
        assert set(found["file"].to_pylist()) == {str(tmp_path / "good.wav")}


def test_a_model_by_its_name(run, tmp_path):
    wave = sound(1)
    assert ins.predict(run, wave, sampling_rate=RATE, device="cpu").num_rows == 1
    assert ins.embed(str(run), wave, sampling_rate=RATE).num_rows == 1
    with pytest.raises(CheckpointError, match="nowhere"):
        ins.predict(tmp_path / "nowhere", wave, sampling_rate=RATE)


def test_options_of_benchmark_are_named(run, tmp_path):
    with pytest.raises(ArgumentsError, match=r"unknown option.*protocol"):
        ins.benchmark(run, "esc10", tmp_path, protocoll="zero-shot")


def test_the_notebook_runs_with_imports_of_hf_inatsounds_alone(tmp_path):
    """Its cells in order, in a folder of their own."""
    cells = json.loads((ROOT / "docs" / "quickstart.ipynb").read_text(encoding="utf-8"))["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    packages = set(re.findall(r"^\s*(?:import|from) (\w+)", code, re.MULTILINE))
    assert packages == {"hf_inatsounds", "pathlib"}
    assert [cell["outputs"] for cell in cells if cell["cell_type"] == "code" and cell["outputs"]] == []
    code += "\nassert test_map > 0.5\nassert len(detections) and embeddings.num_rows\n"
    code += "assert judged['tasks']['suite']['metrics']['accuracy'] > 0.4\n"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "test mAP" in done.stdout


def test_arrays_as_soundfile_gives_them_and_folders(classifier, tmp_path):
    stereo = np.stack([sound(3.0), sound(3.0, 1)], axis=1)  # (T, 2)
    expected = classifier.predict(stereo.T, sampling_rate=RATE).to_pylist()
    assert classifier.predict(stereo, sampling_rate=RATE).to_pylist() == expected != []
    assert classifier.predict({"array": stereo, "sampling_rate": RATE}).num_rows == len(expected)
    (tmp_path / "below").mkdir()
    for name in ("b.WAV", "below/a.flac"):
        sf.write(tmp_path / name, sound(2.0), RATE)
    (tmp_path / "notes.txt").write_text("no sound")
    assert classifier.predict(tmp_path)["file"].unique().to_pylist() == [
        str(tmp_path / "b.WAV"),
        str(tmp_path / "below/a.flac"),
    ]
    assert ins.embed(classifier, tmp_path)["file"].unique().to_pylist() == [
        str(tmp_path / "b.WAV"),
        str(tmp_path / "below/a.flac"),
    ]


@pytest.mark.parametrize("rate", [None, 0, -5, float("nan"), float("inf"), "22050", True])
def test_a_rate_that_is_none_is_told(classifier, rate):
    for recording, options in (
        (sound(2.0), {"sampling_rate": rate}),
        ({"array": sound(2.0), "sampling_rate": rate}, {}),
    ):
        with pytest.raises(ArgumentsError, match="an array needs its sampling rate"):
            classifier.predict(recording, **options)


def test_samples_that_are_no_numbers_are_the_recordings_fault(classifier, tmp_path):
    nothing = np.full(3 * RATE, np.nan, np.float32)
    sf.write(tmp_path / "nan.wav", nothing, RATE, subtype="FLOAT")
    for recording, options in ((nothing, {"sampling_rate": RATE}), (tmp_path / "nan.wav", {})):
        with pytest.raises(AudioError):
            classifier.predict(recording, **options)
    with pytest.raises(ArgumentsError, match="unsigned samples"):
        classifier.predict(np.full(RATE, 128, np.uint8), sampling_rate=RATE)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda c, run: ins.predict(c, "a.wav", revision="x"), "revision is of a model that is loaded here"),
        (lambda c, run: ins.embed(c, "a.wav", revison="x"), r"unknown option revison: expected revision\?"),
        (lambda c, run: ins.predict(run, "a.wav", top="3"), "top must be a whole number, got '3'"),
        (lambda c, run: ins.predict(run, "a.wav", min_score="1"), "min_score must be from 0 to 1"),
        (
            lambda c, run: ins.evaluate(run, "x", classes="some"),
            "classes must be present, evaluated or all, got 'some'",
        ),
        (lambda c, run: ins.evaluate(run, "x", split="dev"), "split must be train, validation or test, got 'dev'"),
        (lambda c, run: ins.evaluate(run, "x", batch_size=0), "batch_size must be at least 1, got 0"),
        (lambda c, run: ins.evaluate(run, "x", resamples=-1), "resamples must be at least 1, got -1"),
    ],
)
def test_values_that_cannot_be_are_refused_and_not_dropped(classifier, run, call, said):
    with pytest.raises(ArgumentsError, match=said):
        call(classifier, run)
