"""Every argument of transformers that a recipe takes does what transformers says it does."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import TrainingArguments
from transformers.trainer_utils import set_seed

from hf_inatsounds.errors import RecipeError
from hf_inatsounds.training import batches
from hf_inatsounds.training.arguments import make_recipe
from hf_inatsounds.training.recipe import KEYS
from hf_inatsounds.training.run import train
from hf_inatsounds.training.run_arguments import HONOURED
from hf_inatsounds.training.setup import set_up
from tests.helpers.training import SETTINGS, equal, small_recipe

ROOT = Path(__file__).parents[2]


def trainer_of(tiny, folder, **changes):
    return set_up(small_recipe(tiny, folder, max_steps=2, **changes)).trainer()


SET = {
    "adam_beta1": 0.8, "adam_epsilon": 1e-6, "torch_empty_cache_steps": 1, "logging_strategy": "epoch",
    "logging_first_step": True, "log_on_each_node": False, "log_level": "error", "log_level_replica": "error",
    "run_name": "mine", "project": "calls", "dataloader_pin_memory": False, "ddp_bucket_cap_mb": 5,
    "ddp_find_unused_parameters": True, "ddp_broadcast_buffers": True, "ddp_static_graph": True,
    "skip_memory_metrics": False, "debug": "underflow_overflow", "torch_compile_backend": "inductor",
    "torch_compile_mode": "default", "tf32": False, "full_determinism": False, "fsdp_config": {"min_num_params": 5},
    "save_total_limit": 3, "adam_beta2": 0.9, "weight_decay": 0.2, "max_grad_norm": 2.0, "seed": 4,
}  # fmt: skip
"""What is handed to the Trainer as it is, which then acts on it."""
ELSEWHERE = {
    "optim_args": "the optimiser", "optim_target_modules": "the optimiser",
        "dataloader_prefetch_factor": "the loader", "dataloader_multiprocessing_context": "the loader", "fsdp": "FSDP",
}  # fmt: skip
"""What another test below is about."""


@pytest.mark.parametrize("key", SET)
def test_the_trainer_gets_what_a_recipe_says(tiny, tmp_path, key):
    if key not in KEYS:
        pytest.skip(f"this version of transformers has no {key}")
    beside = {"torch_compile": True} if key.startswith("torch_compile") else {}
    arguments = trainer_of(tiny, tmp_path, **{key: SET[key]}, **beside).args
    found = getattr(arguments, key)
    if key == "debug":
        found = next(option.value for option in found)
    if key == "fsdp_config":
        found = {name: value for name, value in found.items() if name in SET[key]}
    assert found == SET[key] == pytest.approx(SET[key])
    assert found != KEYS[key].default or key in ("tf32", "full_determinism")


def test_no_honoured_argument_is_left_out_here():
    assert set(HONOURED) <= set(SET) | set(ELSEWHERE)


OPTIMIZERS = {
    "adamw_torch": ("AdamW", {"betas": (0.9, 0.98)}),
    "adamw_torch_fused": ("AdamW", {"fused": True}),
    "adafactor": ("Adafactor", {}),
    "sgd": ("SGD", {"momentum": 0.9, "nesterov": True}),
    "adagrad": ("Adagrad", {}),
    "rmsprop": ("RMSprop", {}),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimiser_is_the_one_that_is_named(tiny, tmp_path, name):
    kind, options = OPTIMIZERS[name]
    optimizer = trainer_of(tiny, tmp_path, optim=name).create_optimizer()
    assert type(optimizer).__name__ == kind
    assert {key: optimizer.param_groups[0][key] for key in options} == options


def test_arguments_of_an_optimiser_reach_it_or_are_refused(tiny, tmp_path):
    optimizer = trainer_of(tiny, tmp_path, optim="rmsprop", optim_args="momentum=0.5").create_optimizer()
    assert optimizer.param_groups[0]["momentum"] == 0.5
    for changes in ({"optim_args": "x=1"}, {"optim_target_modules": ["attention"]}):
        with pytest.raises(RecipeError, match="expected nothing with"):
            make_recipe({**SETTINGS, **changes}, where="test")


def test_the_loaders_arguments_reach_it_and_change_no_weight(tiny, tmp_path, monkeypatch):
    """Two epochs with workers of every kind: the very weights of the default workers."""
    loaders = []
    made = batches.DataLoader

    def watched(*arguments, **options):
        loaders.append(options)
        return made(*arguments, **options)

    monkeypatch.setattr(batches, "DataLoader", watched)
    kinds = {
        "plain": {},
        "ahead": {"dataloader_prefetch_factor": 3},
        "spawned": {"dataloader_multiprocessing_context": "forkserver"},
    }
    for name, options in kinds.items():
        if set(options) <= set(KEYS):
            run = small_recipe(tiny, tmp_path / name, num_train_epochs=2, dataloader_num_workers=1, **options)
            train(run, quiet=True)
            assert equal(tmp_path / "plain", tmp_path / name)
    assert [one["prefetch_factor"] for one in loaders[:2]] == [None, 3]
    for options in ({"dataloader_prefetch_factor": 2}, {"dataloader_multiprocessing_context": "spawn"}):
        if set(options) <= set(KEYS):
            with pytest.raises(RecipeError, match="nothing without dataloader_num_workers"):
                make_recipe({**SETTINGS, **options}, where="test")


def test_full_determinism_is_turned_on(tiny, tmp_path):
    try:
        trainer_of(tiny, tmp_path, full_determinism=True)
        assert torch.are_deterministic_algorithms_enabled()
    finally:
        torch.use_deterministic_algorithms(False)
        set_seed(0)


def test_shares_of_steps_and_parts_of_epochs(tiny, tmp_path):
    """Three epochs of two steps, less a half: five steps; half of them, and a fifth of them."""
    recipe = small_recipe(tiny, tmp_path / "run", num_train_epochs=2.5, warmup_steps=0.4, save_steps=0.2)
    setup = set_up(recipe)
    assert setup.steps == 5
    assert (recipe.training.warmup_of(5), recipe.training.saves_every(5), recipe.training.saves_every(2)) == (2, 1, 1)
    assert setup.trainer().args.warmup_steps == 2
    assert small_recipe(tiny, tmp_path, warmup_steps=3).training.warmup_of(5) == 3
    assert train(recipe, quiet=True)["steps"] == 5


def test_a_recipe_divides_the_model_among_processes(tiny, tmp_path):
    path = tmp_path / "recipe.json"
    recipe = small_recipe(
        tiny, tmp_path / "run", fsdp="full_shard auto_wrap", per_device_train_batch_size=4, max_steps=2,
        fsdp_config={"version": 2, "transformer_layer_cls_to_wrap": ["ASTLayer"]}, device="cpu",
    )  # fmt: skip
    path.write_text(json.dumps(recipe.values()))
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "train/finetune.py",
         path, "--quiet", "--json"], capture_output=True, text=True, cwd=ROOT, timeout=300, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads((tmp_path / "run" / "train.json").read_text())["processes"] == 2


def test_a_recipe_is_transformers_arguments(tiny, tmp_path):
    """What a user of the Trainer would ask of ``args``."""
    arguments = trainer_of(tiny, tmp_path).args
    assert isinstance(arguments, TrainingArguments)
    assert json.loads(arguments.to_json_string())["learning_rate"] == SETTINGS["learning_rate"]
    assert {one.name for one in dataclasses.fields(TrainingArguments)} <= set(vars(arguments))
