"""What a recipe can ask of a run besides its model and data."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from hf_inatsounds.errors import RecipeError
from hf_inatsounds.evaluation import split_info
from hf_inatsounds.models.classifier import load_classifier
from hf_inatsounds.training.arguments import recipe_yaml
from hf_inatsounds.training.dry_run import dry_run
from hf_inatsounds.training.run import train
from hf_inatsounds.training.setup import set_up
from hf_inatsounds.training.trainer import CropTrainer
from hf_inatsounds.training.validation import CentralWindow, Validator
from tests.helpers.hub_server import hub_server
from tests.helpers.hub_storage import TOKEN
from tests.helpers.training import small_recipe, weights

ROOT = Path(__file__).parents[2]
VALIDATED = {"validation_split": "validation"}


def test_cheap_validation_looks_at_one_window_of_some_recordings_and_the_end_at_all(tiny, tmp_path, capsys):
    cheap = {"validation": "cheap", "validation_recordings": 4}
    run = train(small_recipe(tiny, tmp_path, num_train_epochs=2, **VALIDATED, **cheap))
    during = {"split": "validation", "windows": "cheap", "recordings": 4, "of": 6, "dtype": "float32"}
    assert run["validation"] == during
    assert run["final_validation"] == {**during, "windows": "full", "recordings": 6}
    lines = capsys.readouterr().err.splitlines()
    each = [line.endswith("; validation split (the central window of 4 of 6 recordings)") for line in lines]
    announced = lines.index("final validation of the saved weights: validation split (all windows of all 6 recordings)")
    assert sum(each[:announced]) == 2
    setup = set_up(small_recipe(tiny, tmp_path / "full", model=str(tmp_path), config={}, **VALIDATED))
    setup.classifier = load_classifier(tmp_path)
    assert setup.validator()() == pytest.approx(run["final"])  # all windows of all recordings, the saved weights


def test_the_central_window_is_in_the_middle():
    assert CentralWindow(3.0, 1.5).spans(100, 10) == [(35, 65)]
    assert CentralWindow(3.0, 1.5).spans(20, 10) == [(0, 20)]


def test_streamed_and_prepared_validation_choose_the_same_recordings(tiny, tmp_path):
    asked = {"validation_recordings": 3, **VALIDATED}
    found = []
    for streaming in (False, True):
        setup = set_up(small_recipe(tiny, tmp_path, streaming=streaming, **asked))
        validator = Validator(setup.recipe, setup.classifier, split_info(str(tiny), "all", "validation"), setup.state)
        validator()  # prepares what is not streamed
        found.append([row["recording_id"] for row in validator._rows(validator._chosen(full=False))])
    assert len(found[0]) == 3
    assert found[0] == found[1]


def metrics(value):
    return {"map": value, "f1_max": 0.0, "roc_auc": 0.5, "top1": 0.0}


def test_training_stops_when_the_map_gets_no_better(tiny, tmp_path, monkeypatch):
    values = iter([0.2, 0.5, 0.4, 0.5, 0.9])
    monkeypatch.setattr(Validator, "__call__", lambda self, full=False: metrics(next(values)))
    run = train(small_recipe(tiny, tmp_path, num_train_epochs=5, early_stopping_patience=2, **VALIDATED), quiet=True)
    assert [entry["map"] for entry in run["history"]] == [0.2, 0.5, 0.4, 0.5]
    assert run["stopped_early"]
    assert run["best"]["epoch"] == 2


def test_averaged_weights_are_what_is_validated_and_saved(tiny, tmp_path, monkeypatch):
    seen, original = [], CropTrainer.evaluate

    def noting(self, *arguments, **options):
        seen.append({name: tensor.clone() for name, tensor in self.model.state_dict().items()})
        return original(self, *arguments, **options)

    validated = []
    monkeypatch.setattr(CropTrainer, "evaluate", noting)
    monkeypatch.setattr(
        Validator,
        "__call__",
        lambda self, full=False: (
            validated.append({n: t.clone() for n, t in self.classifier.model.state_dict().items()}) or metrics(0.5)
        ),
    )
    train(small_recipe(tiny, tmp_path, num_train_epochs=1, ema_decay=0.5, **VALIDATED), quiet=True)
    saved = load_classifier(tmp_path).model.state_dict()
    assert all(torch.equal(saved[name], tensor) for name, tensor in validated[0].items())
    assert any(not torch.equal(saved[name], tensor) for name, tensor in seen[0].items())


def test_sgd_follows_the_papers_schedule(tiny, tmp_path, monkeypatch):
    rates, original = [], CropTrainer.log

    def noting(self, logs, *arguments, **options):
        rates.extend([logs["learning_rate"]] if "learning_rate" in logs else [])
        return original(self, logs, *arguments, **options)

    monkeypatch.setattr(CropTrainer, "log", noting)
    paper = {
        "optim": "sgd", "learning_rate": 0.05, "weight_decay": 1e-5, "warmup_steps": 0.1, "max_grad_norm": 100.0,
        "warmup_start_share": 0.1, "min_learning_rate_share": 0.1, "per_device_train_batch_size": 12,
        "num_train_epochs": 20,
    }  # fmt: skip
    train(small_recipe(tiny, tmp_path, **paper), quiet=True)
    assert rates[0] == pytest.approx(0.005)
    assert rates[2] == max(rates) == pytest.approx(0.05)
    assert 0.005 < rates[-1] < 0.006


@pytest.mark.parametrize("option", ["bf16", "fp16", "gradient_checkpointing"])
def test_precision_and_checkpointing_train(tiny, tmp_path, option):
    run = train(small_recipe(tiny, tmp_path, num_train_epochs=1, **{option: True}), quiet=True)
    assert run["losses"]


def test_gradient_checkpointing_changes_no_weight(tiny, tmp_path):
    for on in (False, True):
        train(small_recipe(tiny, tmp_path / str(on), num_train_epochs=2, gradient_checkpointing=on), quiet=True)
    for name, tensor in weights(tmp_path / "False").items():
        torch.testing.assert_close(weights(tmp_path / "True")[name], tensor)


def test_tensorboard_gets_its_folder_in_the_run(tiny, tmp_path):
    train(small_recipe(tiny, tmp_path, num_train_epochs=1, report_to="tensorboard"), quiet=True)
    assert list((tmp_path / "tensorboard").glob("events*"))


def test_the_run_folder_says_which_dataset_it_was(tiny, tmp_path):
    train(small_recipe(tiny, tmp_path, num_train_epochs=1), quiet=True)
    origin = json.loads((tmp_path / "origin.json").read_text())
    split = origin["dataset"]["splits"]["train"]
    assert split["annotations_sha256"] == split_info(str(tiny), "all", "train").revision
    assert split["annotations_sha256"] != split_info(str(tiny), "all", "test").revision
    assert split["size_bytes"]["train.tar.gz"] == (tiny / "train.tar.gz").stat().st_size
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_a_dry_run_tells_sizes_and_writes_nothing(tiny, tmp_path):
    found = dry_run(
        small_recipe(
            tiny,
            tmp_path / "run",
            per_device_train_batch_size=5,
            gradient_accumulation_steps=2,
            num_train_epochs=4,
            resample_on="host",
        )
    )
    assert (found["steps"], found["steps_an_epoch"], found["examples_a_step"]) == (8, 2, 10)
    assert found["first_batch"]["logits"] == [5, 3]
    assert found["first_batch"]["waveforms"] == [5, 16_000]
    assert found["label_space"] == {"classes": 3, "with_training_recordings": 3, "evaluated": 2, "validated": 0}
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_refuses_the_folder_that_the_run_would(tiny, tmp_path):
    (tmp_path / "train.json").write_text("{}")
    with pytest.raises(RecipeError, match="holds a finished run"):
        dry_run(small_recipe(tiny, tmp_path))
    with pytest.raises(RecipeError, match="nothing to resume"):
        dry_run(small_recipe(tiny, tmp_path / "new"), resume=True)


SHARDED = """
import os
import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from hf_inatsounds.training.checkpoints import full_state, is_sharded, load_full_state
mesh = init_device_mesh("cpu", (2,))
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.LayerNorm(5))
before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
fully_shard(model, mesh=mesh)
assert is_sharded(model)
found = full_state(model)
assert found.keys() == before.keys() and all(torch.equal(found[name], before[name]) for name in before)
load_full_state(model, {name: tensor + 1 for name, tensor in before.items()})
assert all(torch.equal(tensor, before[name] + 1) for name, tensor in full_state(model).items())
torch.distributed.barrier()
# Not by sys.exit: gloo's threads outlive destroy_process_group, and one that lets go of a tensor while Python
# ends aborts the process (pytorch #179291, #190489). A run writes its report between the last tensor and its end.
os._exit(0)
"""


def test_divided_weights_are_gathered_and_handed_out(tmp_path):
    """FSDP's own part; accelerate starts it on GPUs only."""
    (tmp_path / "sharded.py").write_text(SHARDED)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    done = subprocess.run(
        [*command, tmp_path / "sharded.py"], capture_output=True, text=True, timeout=300, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]), "CUDA_VISIBLE_DEVICES": ""},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_a_run_goes_to_the_hub_private_with_its_card(tiny, tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(recipe_yaml(small_recipe(tiny, tmp_path / "run", num_train_epochs=1, **VALIDATED)))
    with hub_server(tmp_path / "hub") as hub:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), **hub.environment(tmp_path / "home", token=True)}
        command = [
            sys.executable,
            "-m",
            "hf_inatsounds.cli.main",
            "train",
            path,
            "--push-to-hub",
            "--hub_model_id",
            "me/model",
        ]
        command += ["--json"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=200, env=environment, check=False)
        assert done.returncode == 0, done.stderr
        assert TOKEN not in done.stdout + done.stderr
        assert "me/model" in json.loads(done.stdout)["pushed"]
        repo = hub.repo("me/model", "model")
        assert repo.private
        assert {"README.md", "model.safetensors", "config.json", "label_space.json", "recipe.yaml"} <= set(repo.files)
        assert not [name for name in repo.files if name.endswith(".parquet") or "checkpoint-" in name]
        card = hub.content("me/model", "README.md", "model").decode()
        assert "model-index" in card
        assert "library_name: transformers" in card
