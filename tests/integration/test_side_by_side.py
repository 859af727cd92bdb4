"""Every family on two processes: equal to one, and to the end with what the Hub's configs drop."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hf_inatsounds.models.families import FAMILIES
from hf_inatsounds.models.from_preset import PRESETS
from hf_inatsounds.training.arguments import changed
from hf_inatsounds.training.run import train
from tests.helpers.training import small_recipe

ROOT = Path(__file__).parents[2]
TINY = [name for name in PRESETS if name.endswith("-tiny")]
STEPS = 3
UNPADDED = {"window_s": 0.5, "stride_s": 0.25}
"""Shorter than every recording: the Conformer's batch norms count padding, of which each process has its own."""


def own_config(name):
    """All values of a preset's config, as plain JSON."""
    import transformers

    return getattr(transformers, FAMILIES[PRESETS[name].family].config)(**PRESETS[name].config).to_dict()


def undropped(name):
    """A preset's config without anything that is drawn in training."""
    drawn = {
        key: 0.0
        for key, value in own_config(name).items()
        if ("drop" in key or ("mask_" in key and key.endswith("_prob"))) and isinstance(value, float) and value > 0
    }
    if (
        name == "mobilenet-tiny"
    ):  # over 52 norms and ReLU6's kinks a rounding error is .7 % of the gradient, so no kinks
        drawn["hidden_act"] = "silu"
    return {**drawn, **({"apply_spec_augment": False} if "apply_spec_augment" in own_config(name) else {})}


def as_on_the_hub(name):
    """What the config class itself drops and masks, layers far more often: in three steps of two layers some are."""
    import transformers

    config = getattr(transformers, FAMILIES[PRESETS[name].family].config)().to_dict()
    keys = [key for key in config if "drop" in key or key in ("mask_time_prob", "apply_spec_augment")]
    dropped = {key: config[key] for key in keys if isinstance(config[key], (int, float, bool))}
    return {key: 0.5 if "layerdrop" in key else value for key, value in dropped.items()}


def recipes(tiny, folder):
    """One a family as it is compared, one a family with what it drops, and what else can leave parameters out."""
    exact = {
        f"exact-{name}": small_recipe(
            tiny,
            folder / f"exact-{name}",
            model=name,
            config=undropped(name),
            per_device_train_batch_size=4,
            num_train_epochs=2,
            max_steps=STEPS,
            learning_rate=5e-4,
            **(UNPADDED if "conformer" in name else {}),
        )
        for name in TINY
    }
    dropping = {"config": as_on_the_hub("hubert-tiny"), "model": "hubert-tiny"}
    changes = {
        **{f"hub-{name}": {"model": name, "config": as_on_the_hub(name)} for name in TINY},
        "head-alone": {**dropping, "freeze": "encoder"},
        "upper-layer": {**dropping, "freeze": "1"},
        "lora": {**dropping, "lora_rank": 2},
        "accumulated": {**dropping, "gradient_accumulation_steps": 2},
        "checkpointed": {**dropping, "gradient_checkpointing": True},
        "never-masked": {
            "model": "wav2vec2-bert-tiny",
            "config": {"mask_time_prob": 0.05, "apply_spec_augment": False},
        },
        "head-of-images": {"model": "resnet-tiny", "config": {}, "freeze": "encoder"},
    }
    others = {
        name: small_recipe(
            tiny, folder / name, per_device_train_batch_size=4, num_train_epochs=1, learning_rate=5e-4, **change
        )
        for name, change in changes.items()
    }
    return exact, others


def test_two_processes_equal_one_in_every_family_and_end_with_what_the_hub_drops(tiny, tmp_path):
    exact, others = recipes(tiny, tmp_path)
    listed = tmp_path / "recipes.json"
    listed.write_text(json.dumps([one.values() for one in (*exact.values(), *others.values())]))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    done = subprocess.run(
        [*command, "-m", "tests.helpers.train_many", listed], capture_output=True, text=True, cwd=ROOT, timeout=900,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-6000:]
    for name, recipe in exact.items():
        found = json.loads((tmp_path / name / "train.json").read_text())
        assert (found["processes"], found["steps"]) == (2, STEPS), name
        alone = train(
            changed(
                recipe,
                per_device_train_batch_size=2 * recipe.training.per_device_train_batch_size,
                output_dir=str(tmp_path / f"alone-{name}"),
            ),
            quiet=True,
        )
        losses = np.array([found["losses"], alone["losses"]])[:, :, 1]
        assert losses[0] == pytest.approx(losses[1], abs=1e-4), name
    for name in others:
        assert (tmp_path / name / "train.json").exists(), name
