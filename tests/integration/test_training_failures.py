"""What stops a run: one clear error, the last good checkpoint named, and nothing half-written."""

import errno
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from hf_inatsounds.errors import InatSoundsError, RecipeError, SourceError, TrainingError
from hf_inatsounds.training import checkpoints
from hf_inatsounds.training.arguments import changed, recipe_yaml
from hf_inatsounds.training.run import train
from hf_inatsounds.training.trainer import CropTrainer
from tests.helpers.archive_server import archive_server
from tests.helpers.training import small_recipe

ROOT = Path(__file__).parents[2]


def names(folder):
    return {path.name for path in (folder / "checkpoints").iterdir()}


def test_a_loss_that_is_no_number_names_step_recordings_and_checkpoint(tiny, tmp_path, monkeypatch):
    original, passes = CropTrainer.compute_loss, []

    def spoilt(self, model, inputs, *arguments, **options):
        passes.append([one.file_name for one in inputs["inspections"]])
        if len(passes) == 6:
            inputs["waveforms"][1] = float("nan")
        return original(self, model, inputs, *arguments, **options)

    monkeypatch.setattr(CropTrainer, "compute_loss", spoilt)
    with pytest.raises(TrainingError, match=r"the loss is not finite: step 6, recordings .*: found nan\.? ?") as caught:
        train(small_recipe(tiny, tmp_path, per_device_train_batch_size=4, num_train_epochs=4, save_steps=2), quiet=True)
    assert all(name in str(caught.value) for name in passes[-1])
    assert f"Last good checkpoint: {tmp_path / 'checkpoints' / 'checkpoint-4'}" in str(caught.value)
    for path in (tmp_path / "checkpoints" / "checkpoint-4").glob("*.safetensors"):
        assert all(torch.isfinite(tensor).all() for tensor in load_file(path).values())
    assert not (tmp_path / "train.json").exists()


@pytest.mark.parametrize(
    "error",
    [OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), SafetensorError("I/O error: No space (os error 28)")],
    ids=["system", "safetensors"],
)
def test_a_full_disk_leaves_no_half_checkpoint_and_the_last_good_one(tiny, tmp_path, monkeypatch, error):
    original = CropTrainer._save_optimizer_and_scheduler

    def full(self, folder):
        if self.state.global_step >= 4:
            (Path(folder) / "optimizer.pt").write_bytes(b"half")
            raise error
        original(self, folder)

    monkeypatch.setattr(CropTrainer, "_save_optimizer_and_scheduler", full)
    recipe = small_recipe(tiny, tmp_path, per_device_train_batch_size=4, num_train_epochs=4, save_steps=2)
    with pytest.raises(TrainingError, match=r"the disk is full: .*checkpoint-4: .*good checkpoint: .*checkpoint-3;"):
        train(recipe, quiet=True)
    assert names(tmp_path) == {"checkpoint-2", "checkpoint-3"}
    monkeypatch.undo()
    assert train(recipe, resume=True, quiet=True)["steps"] == 12


def test_a_file_system_that_takes_no_more_ends_in_one_line(tiny, tmp_path):
    """A real limit: the kernel refuses to let a file grow."""
    recipe = small_recipe(tiny, tmp_path / "run", per_device_train_batch_size=4, num_train_epochs=2, save_steps=2)
    code = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "from hf_inatsounds.training.run import train; from hf_inatsounds.cli.main import main; "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)); sys.exit(main(sys.argv[1:]))"
    )
    said = command_line(code, recipe, tmp_path)
    assert re.search(r"train: (the disk is full|cannot write the checkpoint): .*checkpoint-2", said)
    assert not (tmp_path / "run" / "checkpoints").exists() or names(tmp_path / "run") == set()
    assert not (tmp_path / "run" / "train.json").exists()


KILLING = """
import multiprocessing, os, signal, sys
from hf_inatsounds.cli.main import main
from hf_inatsounds.training.trainer import CropTrainer
original = CropTrainer.compute_loss
def killing(self, *arguments, **options):
    if self.state.global_step == 5:
        for worker in multiprocessing.active_children():
            os.kill(worker.pid, signal.SIGKILL)
    return original(self, *arguments, **options)
CropTrainer.compute_loss = killing
sys.exit(main(sys.argv[1:]))
"""


def command_line(code, recipe, tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(recipe_yaml(recipe))
    command = [sys.executable, "-c", code, "train", path, "--quiet"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, env=environment, check=False)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def test_a_killed_worker_is_named_with_what_to_go_on_from(tiny, tmp_path):
    recipe = small_recipe(
        tiny,
        tmp_path / "run",
        per_device_train_batch_size=1,
        num_train_epochs=2,
        save_steps=4,
        dataloader_num_workers=1,
    )
    said = command_line(KILLING, recipe, tmp_path)
    assert re.search(r"train: a worker process was killed: .*Go on from .*checkpoint-4 with --resume", said)
    assert names(tmp_path / "run") == {"checkpoint-4"}


def test_a_source_that_goes_away_ends_the_run_with_a_checkpoint(tiny, tmp_path, monkeypatch):
    shutil.copytree(tiny, tmp_path / "served")
    with archive_server(tmp_path / "served", fail_share=0.0) as server:
        original = CropTrainer.compute_loss

        def leaving(self, *arguments, **options):
            if self.state.global_step == 4:
                for path in (tmp_path / "served").glob("*.tar.gz"):
                    path.unlink()
            return original(self, *arguments, **options)

        monkeypatch.setattr(CropTrainer, "compute_loss", leaving)
        recipe = small_recipe(
            tiny, tmp_path / "run", num_train_epochs=4, per_device_train_batch_size=3, streaming=True, save_steps=2
        )
        recipe = changed(recipe, source=server.url)
        with pytest.raises((SourceError, TrainingError)) as caught:
            train(recipe, quiet=True)
    assert "\n" not in str(caught.value)
    assert checkpoints.last_checkpoint(tmp_path / "run") is not None
    assert not [name for name in names(tmp_path / "run") if "partial" in name]


def test_a_missing_tracker_names_its_extra(tiny, tmp_path):
    with pytest.raises(RecipeError, match=r"report_to: found wandb\. pip install 'hf-inatsounds\[wandb\]'"):
        train(small_recipe(tiny, tmp_path, report_to="tensorboard, wandb"), quiet=True)


def test_an_error_in_a_worker_is_one_line_without_its_traceback(tmp_path):
    from hf_inatsounds.training.interruption import failures_named

    text = "Caught SourceError in DataLoader worker process 0. Original Traceback (most recent call last): … "
    with pytest.raises(InatSoundsError, match=r"^gone: train\.tar\.gz$"), failures_named(tmp_path, workers=1):
        raise SourceError(text + "hf_inatsounds.errors.SourceError: gone: train.tar.gz")
    assert checkpoints.last_checkpoint(tmp_path) is None
