"""The command line as users start it: in a process of its own."""

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.archive import pack, wav, write_source
from tests.integration.test_training import AST, FAST

ROOT = Path(__file__).parents[2]

# the checkpoint's only user here is transformers: this package cannot be imported
NATIVE = """
import json, sys
sys.modules["hf_inatsounds"] = None
import numpy as np, soundfile
from transformers import AutoModelForAudioClassification, pipeline
folder, window = sys.argv[1:]
AutoModelForAudioClassification.from_pretrained(folder)
waveform = np.load(window)
classify = pipeline("audio-classification", model=folder, top_k=None)
print(json.dumps({one["label"]: one["score"] for one in classify({"raw": waveform, "sampling_rate": 16000})}))
"""


def run(*words, code=0, cwd=None):
    command = [sys.executable, "-m", "hf_inatsounds.cli.main", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=500, check=False)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


def recipe_file(folder, **changes):
    path = folder / "recipe.yaml"
    path.write_text(json.dumps({**FAST, "config": AST, **changes}))  # JSON is YAML
    return path


@pytest.fixture(scope="module", params=["multiclass", "multilabel"])
def trained(request, tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    recipe = recipe_file(folder, objective=request.param)
    done = run("train", recipe, "--source", tiny, "--output_dir", folder / "run", "--num_train_epochs", "6", "--json")
    return folder / "run", json.loads(done.stdout)


def test_train_evaluate_card_and_predict_follow_each_other(trained, tiny, tmp_path):
    folder, training = trained
    assert training["epochs"] == 6
    done = run("evaluate", folder, "--source", tiny, "--split", "test")
    assert "mAP" in done.stdout
    assert "card" in done.stderr  # what to do next
    results = json.loads((folder / "evaluation-test" / "results.json").read_text())
    assert 0 <= results["metrics"]["mean"]["map"] <= 1
    card = Path(run("card", folder).stdout.strip())
    assert f"| Objective | {training['objective']} |" in card.read_text()
    (tmp_path / "a.wav").write_bytes(wav(np.random.default_rng(0).standard_normal(50_000) * 0.1))
    rows = list(csv.DictReader(run("predict", folder, tmp_path / "a.wav", "--quiet").stdout.splitlines()))
    assert [row["start_s"] for row in rows] == ["0.000", "1.000", "1.268"]


def test_pipeline_without_this_package_gives_the_scores_of_predict(trained, tiny, tmp_path):
    from hf_inatsounds.audio import read_window

    folder, _ = trained
    content = wav(np.random.default_rng(1).standard_normal(22_050 * 2) * 0.1)
    (tmp_path / "a.wav").write_bytes(content)
    done = run("predict", folder, tmp_path / "a.wav", "--top", "3", "--json", "--quiet")
    rows = [row for row in json.loads(done.stdout)["detections"] if row["start_s"] == 0.0]
    mine = {row["species"]: row["score"] for row in rows}
    np.save(tmp_path / "window.npy", read_window(content, 0.0, 1.0, 16_000))
    command = [sys.executable, "-c", NATIVE, str(folder), str(tmp_path / "window.npy")]
    native = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert native.keys() == {"Rana una", "Turdus duo", "Turdus tres"}
    assert mine == pytest.approx(native, abs=1e-5)


@pytest.mark.parametrize(("form", "lines"), [("csv", 3), ("raven", 3), ("audacity", 2), ("parquet", 2)])
def test_predictions_are_written_in_each_format(trained, tmp_path, form, lines):
    folder, _ = trained
    (tmp_path / "a.wav").write_bytes(wav(np.random.default_rng(0).standard_normal(22_050 * 2) * 0.1))
    out = tmp_path / f"out.{form}"
    done = run("predict", folder, tmp_path / "a.wav", "--format", form, "--out", out, "--json", "--quiet")
    told = json.loads(done.stdout)
    assert (told["out"], told["detections"], told["failed"], told["partial"]) == (str(out), 2, [], [])
    if form == "parquet":
        import pyarrow.parquet as pq

        assert pq.read_table(out).num_rows == lines
    else:
        assert len(out.read_text().splitlines()) == lines


def test_a_file_that_cannot_be_read_does_not_stop_the_others(trained, tmp_path):
    folder, _ = trained
    (tmp_path / "bad.wav").write_bytes(b"")
    (tmp_path / "good.wav").write_bytes(wav(np.random.default_rng(0).standard_normal(22_050) * 0.1))
    done = run("predict", folder, tmp_path / "bad.wav", tmp_path / "good.wav", code=1)
    assert "empty recording" in done.stderr
    assert "1 of 2 files" in done.stderr
    assert len(done.stdout.splitlines()) == 2


def spoil_annotation(key, value):
    def change(stem, document, files):
        document["annotations"][0][key] = value

    return change


def test_mistakes_are_one_line_and_an_exit_code(tiny, tmp_path):
    recipe = recipe_file(tmp_path)
    (tmp_path / "typo.yaml").write_text("num_train_epcohs: 3\n")
    places = {name: tmp_path / name for name in ("missing", "text", "unknown", "range")}
    for name, folder in places.items():
        folder.mkdir()
        change = {"unknown": spoil_annotation("audio_id", 12345), "range": spoil_annotation("category_id", 77)}.get(
            name
        )
        write_source(folder, change=change)
    (places["missing"] / "train.json.tar.gz").unlink()
    pack(places["text"] / "train.json.tar.gz", {"train.json": b"<html>"})
    train = ("train", recipe, "--output_dir", tmp_path / "run", "--source")
    cases = [
        ((*train, places["missing"]), ["missing annotation archive", "train.json.tar.gz", "no such file"]),
        ((*train, places["text"]), ["not JSON", "train.json.tar.gz", "expected the annotation JSON"]),
        ((*train, places["unknown"]), ["unknown recording", "train.json.tar.gz", "annotations[0]", "audio_id 12345"]),
        ((*train, places["range"]), ["category id out of range", "category_id 77", "0 … 2"]),
        ((*train, tiny, "--name", "reptilia"), ["unknown dataset name", "'reptilia'", "aves"]),
        (("train", tmp_path / "typo.yaml"), ["typo.yaml", "'num_train_epcohs'", "'num_train_epochs'?"]),
        (("train", tmp_path / "no.yaml"), ["no.yaml", "No such file"]),
        (("evaluate", tmp_path / "nothing", "--source", tiny), ["no such checkpoint", "nothing"]),
        (("card", tmp_path), ["no results", "hf-inatsounds evaluate"]),
        (("predict", tmp_path, "a.wav"), ["not a checkpoint", "config.json"]),
    ]
    for words, parts in cases:
        done = run(*words, code=1)
        lines = done.stderr.strip().splitlines()
        assert len(lines) == 1, done.stderr
        for part in parts:
            assert part in lines[0]
        assert done.stdout == ""
    assert not (tmp_path / "run").exists()


WRONG = [
    [], ["nothing"], ["evaluate"], ["predict", "m", "f", "--format", "pdf"], ["verify"], ["annotations"],
    ["evaluate", "m", "--split", "dev"],
    ["verify", ".", "--jobs", "0"], ["verify", ".", "--window", "-1"], ["verify", ".", "--split", "dev"],
]  # fmt: skip


def test_flags_that_no_recipe_can_have_are_wrong_arguments(tiny, tmp_path):
    recipe = recipe_file(tmp_path)
    for words, part in (
        (["--num_train_epcohs", "3"], "unknown flag: found '--num_train_epcohs'; expected 'num_train_epochs'?"),
        (["--num_train_epochs", "0"], "bad value: --num_train_epochs: found 0"),
        (["--num_train_epochs"], "no value: --num_train_epochs"),
        (["--train_split", "dev"], "bad value: --train_split: found 'dev'; expected train, validation or test"),
    ):
        done = run("train", recipe, "--source", tiny, "--output_dir", tmp_path / "run", *words, code=2)
        assert part in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("words", WRONG)
def test_wrong_arguments_exit_with_2(words):
    done = run(*words, code=2)
    assert len(done.stderr.splitlines()) == 1
    assert ": error: " in done.stderr


@pytest.mark.parametrize(
    "command",
    [
        "quickstart",
        "annotations",
        "verify",
        "train",
        "evaluate",
        "compare",
        "card",
        "predict",
        "benchmark",
        "embed",
        "push",
    ],
)
def test_every_command_shows_examples(command):
    assert f"hf-inatsounds {command}" in run(command, "--help").stdout


def test_annotations_counts_and_verify_judges(tiny, tmp_path):
    assert "Amphibia" in run("annotations", tiny, "--split", "train").stdout
    counted = json.loads(run("annotations", tiny, "--json").stdout)
    assert {split: one["total"]["recordings"] for split, one in counted["splits"].items()} == {
        "train": 12, "validation": 6, "test": 6,
    }  # fmt: skip
    assert "whole" in run("verify", tiny, "--quiet").stdout
    shutil.copytree(tiny, tmp_path, dirs_exist_ok=True)
    (tmp_path / "val.tar.gz").write_bytes((tiny / "val.tar.gz").read_bytes()[:-9_000])
    done = run("verify", tmp_path, "--json", "--quiet", "--cache", tmp_path / "cache", code=1)
    report = json.loads(done.stdout)
    assert done.stderr == ""
    assert not report["ok"]
    assert "val.tar.gz" in report["problems"][0]
    assert "ANOTHER" not in run("verify", tmp_path, "--split", "train", "--quiet").stdout
    assert "no such source" in run("verify", tmp_path / "nowhere", code=1).stderr
    (tmp_path / "empty").mkdir()
    assert "no annotations here" in run("annotations", tmp_path / "empty", code=1).stderr
    assert "missing annotation archive" in run("annotations", tmp_path / "empty", "--split", "test", code=1).stderr


def test_two_processes_train_the_same_recipe(tiny, tmp_path):
    recipe = recipe_file(tmp_path, objective="multiclass", num_train_epochs=4, per_device_train_batch_size=2)
    launch = [
        sys.executable, "-m", "accelerate.commands.launch", "--config_file",
        str(ROOT / "train" / "accelerate" / "two-cpu-processes.yaml"), str(ROOT / "train" / "finetune.py"),
        str(recipe), "--source", str(tiny), "--output_dir", str(tmp_path / "run"), "--json",
    ]  # fmt: skip
    done = subprocess.run(launch, capture_output=True, text=True, cwd=ROOT, timeout=500, check=False)
    assert done.returncode == 0, done.stderr
    training = json.loads(done.stdout.strip().splitlines()[-1])
    assert (training["processes"], training["steps"]) == (2, 12)
    assert training["defects"]["recordings"] == 12  # both halves were counted
    assert len(training["history"]) == 4
    run("evaluate", tmp_path / "run", "--source", tiny, "--quiet")


def test_launched_processes_evaluate_together_what_one_evaluates(trained, tiny, tmp_path):
    checkpoint = trained[0]
    options = ["--source", str(tiny), "--resamples", "20", "--quiet"]
    alone = json.loads(run("evaluate", checkpoint, *options, "--out", tmp_path / "one", "--json").stdout)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command = [
        *launch,
        str(ROOT / "train" / "evaluation.py"),
        str(checkpoint),
        *options,
        "--out",
        str(tmp_path / "two"),
    ]
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, cwd=ROOT, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    (printed,) = done.stdout.strip().splitlines()  # the main process alone prints
    assert json.loads(printed)["metrics"] == alone["metrics"]
    refused = subprocess.run(
        [*command, "--processes", "2"], capture_output=True, text=True, cwd=ROOT, timeout=300, check=False
    )
    assert "processes must be 1 where accelerate starts them" in refused.stderr


def test_quickstart_makes_everything_and_touches_nothing_else(tmp_path):
    done = run("quickstart", "--out", tmp_path / "q", "--json")
    made = json.loads(done.stdout)
    assert made["test_map"] >= 0.9
    assert "[6/6]" in done.stderr
    for path in made["paths"].values():
        assert Path(path).exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("")
    assert "folder is in use" in run("quickstart", "--out", tmp_path / "mine", code=1).stderr
