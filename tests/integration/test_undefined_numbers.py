"""Numbers that are undefined end nothing: null in every document, a dash or a word for a person, never NaN."""

import json
import math
import re
import shutil

import pytest
import yaml
from huggingface_hub import ModelCard

from hf_inatsounds.cli.main import main
from hf_inatsounds.training.course import Course, best_of
from hf_inatsounds.training.validation import Validator
from tests.helpers.hub_in_process import talk_to
from tests.helpers.hub_server import hub_server
from tests.helpers.hub_storage import TOKEN
from tests.helpers.training import SETTINGS


def document(text):
    """JSON as any parser but Python's takes it."""
    return json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} in JSON"))


def said(capsys, *words, quiet=True):
    code = main([*words, *(["--quiet"] if quiet else [])])
    done = capsys.readouterr()
    assert code == 0, done.err
    assert not re.search(r"\bnan\b|\binf\b|None", done.out + done.err, re.IGNORECASE), done
    return done


def check_files(folder):
    """No file that the commands wrote holds an undefined number as such."""
    for path in folder.rglob("*"):
        if path.suffix == ".json":
            document(path.read_text())
        if path.suffix in (".md", ".html"):
            text = re.sub(r"<svg.*?</svg>", "", path.read_text(), flags=re.DOTALL)
            assert not re.search(r"\b(nan|NaN|None)\b", text), path


@pytest.fixture
def recipe(tiny, tmp_path):
    def made(**changes):
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump({**SETTINGS, "source": str(tiny), "per_device_train_batch_size": 4, **changes}))
        return str(path)

    return made


def test_a_dataset_of_one_class_goes_through_every_command(tiny, tmp_path, recipe, capsys):
    """ROC-AUC has no negative: undefined for each class, on every resample, with and without a range prior."""
    one = recipe(name="amphibia", num_train_epochs=2, validation_split="validation", logging_steps=100, save_steps=1)
    source, runs = ["--source", str(tiny), "--name", "amphibia"], []
    for seed in (0, 1):
        runs.append(str(tmp_path / f"run-{seed}"))
        done = said(capsys, "train", one, "--output_dir", runs[-1], "--seed", str(seed), "--json")
        told = document(done.out)
        assert [entry["roc_auc"] for entry in told["history"]] == [None, None]
        assert [entry["loss"] for entry in told["history"]] == [None, None]  # validated before the first is logged
        assert told["best"]["map"] == 1.0
    prior = str(tmp_path / "prior.safetensors")
    said(capsys, "geo-prior", str(tiny), "--out", prior)
    for run in runs:
        said(capsys, "evaluate", run, *source, "--geo-prior", prior, "--resamples", "1")
    results = document(said(capsys, "evaluate", runs[0], *source, "--geo-prior", prior, "--json").out)
    assert results["metrics"]["mean"]["roc_auc"] is None
    assert results["intervals"]["mean"]["roc_auc"] is None
    assert results["geo_prior"]["difference"]["roc_auc"] == {"value": None, "interval": None, "share_above_zero": None}
    text = said(capsys, "evaluate", runs[0], *source).out
    assert re.search(r"^ROC-AUC +– +–", text, re.MULTILINE)
    for extra in ([], ["--json"], ["--resamples", "1"]):
        found = said(capsys, "compare", *runs, "--out", str(tmp_path / "comparison.html"), *extra)
    card = said(capsys, "card", runs[0])
    assert "| ROC-AUC | – | – |" in (tmp_path / "run-0" / "README.md").read_text()
    assert card.out.strip().endswith("README.md")
    assert found.out
    check_files(tmp_path)


def test_a_run_on_a_dataset_of_one_class_is_pushed_with_its_card(tmp_path, recipe, capsys, monkeypatch):
    with hub_server(tmp_path / "hub") as hub:
        talk_to(hub, tmp_path / "home", monkeypatch)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        one = recipe(name="amphibia", num_train_epochs=1, validation_split="validation", logging_steps=100)
        said(capsys, "train", one, "--output_dir", str(tmp_path / "run"))
        said(capsys, "push", str(tmp_path / "run"), "me/one-class")
        card = ModelCard.load("me/one-class")
    check_files(tmp_path / "run")
    names = [one.metric_type for one in card.data.eval_results]
    assert "mean_average_precision" in names
    assert "roc_auc" not in names
    assert "| ROC-AUC | – | – |" in card.content


def test_one_validation_recording_is_enough(tmp_path, recipe, capsys):
    run = str(tmp_path / "run")
    done = said(
        capsys, "train", recipe(num_train_epochs=1, validation_split="validation", validation_recordings=1),
        "--output_dir", run,
        "--logging_steps", "100", quiet=False,
    )  # fmt: skip
    assert re.search(r"epoch 1: validation mAP 1\.000, top-1 [01]\.000", done.err)  # no loss is logged yet
    check_files(tmp_path)


def test_an_undefined_map_keeps_the_last_weights_and_says_so(tmp_path, recipe, capsys, monkeypatch):
    undefined = dict.fromkeys(("map", "f1_max", "roc_auc", "top1_class_average"), math.nan)
    monkeypatch.setattr(Validator, "__call__", lambda *_, **__: {**undefined, "top1": 0.5, "top5": 1.0})
    run = tmp_path / "run"
    words = [
        "train",
        recipe(num_train_epochs=2, validation_split="validation", early_stopping_patience=2),
        "--output_dir",
        str(run),
    ]
    done = said(capsys, *words, quiet=False)
    assert "the validations' mAP is undefined: the last weights are kept" in done.err
    assert "validation mAP undefined, the last weights kept" in done.out
    told = document((run / "train.json").read_text())
    assert (told["best"], told["final"]["map"], told["final"]["top1"]) == (None, None, 0.5)
    assert "The validation mAP is undefined; the checkpoint is the last one." in (run / "report.md").read_text()
    assert "| 2 |" in (run / "report.md").read_text()
    check_files(run)


def test_a_run_goes_on_from_undefined_numbers(tmp_path, recipe, capsys, monkeypatch):
    """What was null in the state that a killed run left is undefined again."""
    values = iter([math.nan, 0.4])

    def validated(*_, **__):
        return {"map": next(values), "roc_auc": math.nan, **dict.fromkeys(("f1_max", "top1", "top5"), 0.5)}

    monkeypatch.setattr(Validator, "__call__", validated)
    run = tmp_path / "run"
    words = [
        "train",
        recipe(num_train_epochs=2, validation_split="validation", logging_steps=100),
        "--output_dir",
        str(run),
    ]
    began = Course.on_epoch_begin

    def second(self, *arguments, **options):
        if self._epoch == 1 and not (tmp_path / "cut").exists():
            shutil.copytree(run, tmp_path / "cut")
            raise KeyboardInterrupt
        began(self, *arguments, **options)

    monkeypatch.setattr(Course, "on_epoch_begin", second)
    assert main(words) == 130
    states = list((run / "checkpoints").glob("*/trainer_state.json"))
    assert document(states[0].read_text())["log_history"][-1]["eval_map"] is None
    capsys.readouterr()
    told = document(said(capsys, *words, "--resume", "--json").out)
    assert [entry["map"] for entry in told["history"]] == [None, 0.4]
    assert told["best"]["epoch"] == 2


def test_the_best_of_undefined_validations_is_none():
    assert best_of([]) is None
    assert best_of([{"map": math.nan}, {"map": math.nan}]) is None
    assert best_of([{"map": math.nan}, {"map": 0.0}, {"map": 0.0, "later": 1}]) == {"map": 0.0}
