"""What a run's weights must not depend on: how a batch is cut up, who reads it, and a kill on its way."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from hf_inatsounds.archives.fetch import Source
from hf_inatsounds.archives.indexing import IndexBuild
from hf_inatsounds.errors import RecipeError
from hf_inatsounds.publishing.mirror import MirrorBuilder
from hf_inatsounds.publishing.plan import MirrorSettings
from hf_inatsounds.training.arguments import recipe_yaml
from hf_inatsounds.training.dry_run import dry_run
from hf_inatsounds.training.run import train
from hf_inatsounds.training.trainer import CropTrainer
from tests.helpers.archive_server import archive_server
from tests.helpers.training import equal, small_recipe, weights

ROOT = Path(__file__).parents[2]

KILLED = """
import os, signal, sys
from hf_inatsounds.training.arguments import read_recipe
from hf_inatsounds.training.run import train
from hf_inatsounds.training.trainer import CropTrainer
passes, original = [], CropTrainer.compute_loss
def killed(self, *arguments, **options):
    passes.append(1)
    if len(passes) > int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
    return original(self, *arguments, **options)
CropTrainer.compute_loss = killed
train(read_recipe(sys.argv[1]), quiet=True)
"""


@pytest.fixture(scope="module")
def index(tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("index")
    for stem in ("train", "val"):
        IndexBuild(Source.parse(tiny), stem, folder).run()
    return folder


def kill_at(recipe, steps, tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(recipe_yaml(recipe))
    done = subprocess.run(
        [sys.executable, "-c", KILLED, path, str(steps)], capture_output=True, text=True, cwd=ROOT, timeout=300,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False,
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL, done.stderr


def test_accumulated_batches_give_what_one_large_batch_gives(tiny, tmp_path):
    whole = train(small_recipe(tiny, tmp_path / "whole", num_train_epochs=3, per_device_train_batch_size=8), quiet=True)
    parts = small_recipe(
        tiny, tmp_path / "parts", num_train_epochs=3, per_device_train_batch_size=4, gradient_accumulation_steps=2
    )
    halves = train(parts, quiet=True)
    assert whole["steps"] == halves["steps"] == 6  # twelve recordings: the second step of an epoch has four
    np.testing.assert_allclose([loss for _, loss in halves["losses"]], [loss for _, loss in whole["losses"]], atol=1e-5)
    for name, tensor in weights(tmp_path / "whole").items():
        torch.testing.assert_close(weights(tmp_path / "parts")[name], tensor, atol=1e-5, rtol=1e-4)


def test_two_processes_give_what_one_gives_at_the_same_global_batch(tiny, tmp_path):
    settings = {"num_train_epochs": 3, "validation_split": "validation", "evaluate_every_epochs": 3}
    alone = train(small_recipe(tiny, tmp_path / "one", per_device_train_batch_size=10, **settings), quiet=True)
    two = small_recipe(tiny, tmp_path / "two", per_device_train_batch_size=5, **settings)
    path = tmp_path / "recipe.yaml"
    path.write_text(recipe_yaml(two))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    done = subprocess.run(
        [*command, "train/finetune.py", path, "--quiet"], capture_output=True, text=True, cwd=ROOT, timeout=300,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "two" / "train.json").read_text())
    assert (found["processes"], found["steps"]) == (2, alone["steps"])
    np.testing.assert_allclose([loss for _, loss in found["losses"]], [loss for _, loss in alone["losses"]], atol=1e-4)
    assert found["best"]["map"] == pytest.approx(alone["best"]["map"], abs=1e-6)
    assert found["final"]["roc_auc"] == pytest.approx(alone["final"]["roc_auc"], abs=1e-6)


@pytest.mark.parametrize(
    "changes",
    [
        {
            "ema_decay": 0.9,
            "mixup": 0.5,
            "frequency_masks": 1,
            "frequency_mask_bins": 4,
            "sampling": "uniform",
        },
        {"streaming": True},
    ],
    ids=["drawn by number, averaged weights", "streamed"],
)
def test_a_killed_run_goes_on_to_the_very_same_weights(tiny, tmp_path, changes):
    settings = {
        "per_device_train_batch_size": 3, "num_train_epochs": 5, "save_steps": 5, "config": {}, **changes,
         # with dropout
    }  # fmt: skip
    whole = train(small_recipe(tiny, tmp_path / "whole", **settings), quiet=True)
    assert whole["steps"] == 20
    cut = tmp_path / "cut"
    kill_at(small_recipe(tiny, cut, **settings), 13, tmp_path)
    assert {path.name for path in (cut / "checkpoints").iterdir()} >= {"checkpoint-10"}
    assert (cut / "recipe.yaml").exists()  # a killed run is documented
    assert (cut / "origin.json").exists()
    resumed = train(small_recipe(tiny, cut, **{**settings, "dataloader_num_workers": 2}), resume=True, quiet=True)
    assert resumed["steps"] == 20
    assert equal(tmp_path / "whole", cut)
    assert resumed["losses"] == whole["losses"]


def test_streaming_by_index_from_afar_trains_on_what_local_files_give(tiny, tmp_path, index):
    with archive_server(tiny) as server:
        for name, source in (("local", tiny), ("streamed", server.url)):
            recipe = small_recipe(source, tmp_path / name, num_train_epochs=2, index=str(index), streaming=True)
            train(recipe, quiet=True)
    assert equal(tmp_path / "local", tmp_path / "streamed")


def test_a_mirror_in_a_folder_trains_and_goes_on(tiny, tmp_path):
    MirrorBuilder(str(tiny), tmp_path / "mirror", MirrorSettings(), quiet=True).build()
    for name, workers in (("one", 0), ("two", 2)):
        recipe = small_recipe(tmp_path / "mirror", tmp_path / name, num_train_epochs=2, dataloader_num_workers=workers)
        train(recipe, quiet=True)
    assert equal(tmp_path / "one", tmp_path / "two")


def test_a_stream_cannot_be_drawn_from_and_an_index_can(tiny, tmp_path, index):
    drawn = {"streaming": True, "sampling": "square-root"}
    with pytest.raises(RecipeError, match=r"a stream gives each recording once.*sampling: found square-root"):
        dry_run(small_recipe(tiny, tmp_path / "no", **drawn))
    with pytest.raises(RecipeError, match="give the index"):
        train(small_recipe(tiny, tmp_path / "no", **drawn), quiet=True)
    assert not (tmp_path / "no").exists()
    train(small_recipe(tiny, tmp_path / "indexed", num_train_epochs=2, index=str(index), **drawn), quiet=True)
    train(small_recipe(tiny, tmp_path / "local", num_train_epochs=2, **{**drawn, "streaming": False}), quiet=True)
    assert equal(tmp_path / "local", tmp_path / "indexed")


def test_a_stream_gives_the_same_batches_to_any_number_of_workers(tiny, tmp_path):
    for workers in (0, 3):
        train(
            small_recipe(
                tiny, tmp_path / str(workers), num_train_epochs=2, streaming=True, dataloader_num_workers=workers
            ),
            quiet=True,
        )
    assert equal(tmp_path / "0", tmp_path / "3")


def test_another_recipe_is_not_resumed(tiny, tmp_path, monkeypatch):
    settings = {"num_train_epochs": 2, "save_steps": 1}
    calls, original = [], CropTrainer.compute_loss

    def second(self, *arguments, **options):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return original(self, *arguments, **options)

    monkeypatch.setattr(CropTrainer, "compute_loss", second)
    with pytest.raises(KeyboardInterrupt):
        train(small_recipe(tiny, tmp_path, **settings), quiet=True)
    for changes, key in (
        ({"learning_rate": 0.1}, r"learning_rate: found 0\.1; expected 0\.003"),
        (
            {"per_device_train_batch_size": 4},
            r"per_device_train_batch_size × gradient_accumulation_steps: found 4; expected 8",
        ),
        ({"validation_split": "validation"}, "validation_split"),
    ):
        with pytest.raises(RecipeError, match="the recipe that it began with: " + key):
            train(small_recipe(tiny, tmp_path, **{**settings, **changes}), resume=True, quiet=True)
