"""Whatever a recipe's key is set to: refused in one line, or trained with; and a dry run says the same as a run."""

import math
import re

import pytest
import torch
from transformers.trainer_utils import SchedulerType

from hf_inatsounds.cli.train import split_flags
from hf_inatsounds.errors import InatSoundsError, RecipeError
from hf_inatsounds.objectives import LOSSES, SAMPLINGS
from hf_inatsounds.training.arguments import make_recipe
from hf_inatsounds.training.dry_run import dry_run
from hf_inatsounds.training.interruption import refusals_named
from hf_inatsounds.training.recipe import KEYS
from hf_inatsounds.training.run import train
from hf_inatsounds.training.run_arguments import HONOURED
from hf_inatsounds.training.setup import set_up
from tests.helpers.training import SETTINGS, SMALL

HUGE = 10**30
ANYTHING = [0, 1, -1, 0.5, math.nan, math.inf, -math.inf, HUGE, 1e30, 2**32, "", " ", "x", "a\0b", True, None, [], [1],
            [{"name": 1}], {}, {"x": 1}, {1: 2}, {"x": {"y": [1]}}, "2026-99-99", "[", "é" * 10]  # fmt: skip
MORE = {
    "seed": [2**32 - 1],
    "asymmetry": [{"margin": one} for one in (0.1, 1, -1, math.nan, "x", True, None, [1])],
    "hierarchy": [{"genus": one} for one in (0.5, 0, math.nan, math.inf, "x", True)] + [{"species": 1}, {"x": 1}],
    "waveform_augmentation": [
        ["Nothing"], [None], ["Shift"], [{"name": "Gain", "parameters": {"p": "x"}}], [{"parameters": {}}],
        [{"name": "Gain", "parameters": {1: 2}}], [{"name": "AddBackgroundNoise", "parameters": {"sounds_path": 5}}],
        [{"name": "Gain", "parameters": [1]}],
    ],
    "config": [
        {"hidden_size": one} for one in (0, -1, 15, "x", None, math.nan, [1])
    ] + [{"num_attention_heads": 3}, {"num_attention_heads": 0}, {"hidden_act": "x"}, {"num_mel_bins": 1},
         {"hidden_dropout_prob": 2.0}, {"layer_norm_eps": "x"}, {"patch_size": 0}, {"max_length": 1}, {"id2label": 5}],
    "feature_extractor": [
        {"max_length": 5}, {"max_length": 0}, {"max_length": "x"}, {"num_mel_bins": 64}, {"num_mel_bins": 0},
        {"num_mel_bins": "x"}, {"sampling_rate": 0}, {"sampling_rate": "x"}, {"mean": "x"}, {"std": 0},
    ],
    "lr_scheduler_kwargs": [{"x": 1}, {"num_cycles": "x"}, {"num_cycles": 2}, {"num_cycles": math.nan}],
    "freeze": ["none", "encoder", "1", "2", "99999999", "²"],
    "report_to": ["tensorboard", "tensorboard,", "clearml"],
    "hub_model_id": ["me/model", "model", "me/my model", "a/b/c"],
    "optim": ["sgd", "adamw_torch", "adafactor", "rmsprop", "adagrad", "galore_adamw"],
    "save_steps": [1.5, 2], "logging_steps": [1.5, 2], "warmup_steps": [1.5, 2],
    "gradient_checkpointing_kwargs": [{"use_reentrant": True}],
    "model": ["resnet-tiny", "no/such", "./nowhere"],
}  # fmt: skip
BESIDE = {
    "momentum": {"optim": "sgd"},
    "focal_gamma": {"loss": "focal"},
    "asymmetry": {"objective": "multilabel", "loss": "asymmetric"},
    "negative_weight": {"objective": "multilabel"},
    "temperature": {"objective": "contrastive", "crops_per_recording": 2},
    "projection_size": {"objective": "contrastive", "crops_per_recording": 2},
    "sampling_beta": {"sampling": "class-balanced"},
    "mixup_alpha": {"mixup": 1.0},
    "frequency_masks": {"frequency_mask_bins": 4},
    "frequency_mask_bins": {"frequency_masks": 2},
    "time_masks": {"time_mask_frames": 4},
    "time_mask_frames": {"time_masks": 2},
    "early_stopping_patience": {"validation_split": "validation"},
    "validation_recordings": {"validation_split": "validation"},
    "push_to_hub": {"validation_split": "validation", "hub_model_id": "me/model"},
    "gradient_checkpointing_kwargs": {"gradient_checkpointing": True},
}
"""What makes a key count."""

SCHEDULES = {
    "warmup_stable_decay": [{}, {"num_decay_steps": 1}, {"num_decay_steps": "x"}, {"num_decay_steps": -1}],
    "reduce_lr_on_plateau": [{}, {"patience": 1}, {"patience": "x"}, {"factor": 2}, {"mode": "x"}],
    "greedy": [{}, {"patience": "x"}, {"x": 1}],
    "polynomial": [{}, {"lr_end": 1e-5}, {"lr_end": 9}, {"lr_end": -1.0}, {"power": "x"}],
    "inverse_sqrt": [{}, {"timescale": 10}, {"timescale": 0}, {"timescale": "x"}],
    "cosine_with_min_lr": [{}, {"min_lr_rate": 0.1}, {"min_lr": "x"}],
    "cosine_warmup_with_min_lr": [{}, {"min_lr_rate": 0.1}, {"min_lr": "x"}],
}
NEED_OPTIONS = ("warmup_stable_decay", "cosine_with_min_lr", "cosine_warmup_with_min_lr")


@pytest.fixture(autouse=True)
def nothing_is_prepared_twice(monkeypatch, tiny):
    """Annotations are read once: a thousand recipes share them."""
    from hf_inatsounds.evaluation import split_info
    from hf_inatsounds.training import setup

    found = {}

    def once(source, name, split, index="", select=None):
        key = (source, name, split, index, repr(select))
        if key not in found:
            found[key] = split_info(source, name, split, index, select)
        return found[key]

    monkeypatch.setattr(setup, "split_info", once)


def a_step(recipe):
    """All that comes before a run's first step, and that step."""
    with refusals_named():
        setup = set_up(recipe)
        trainer = setup.trainer()
        trainer.create_optimizer_and_scheduler(setup.steps)
        batch = next(iter(trainer.get_train_dataloader()))
    trainer.training_step(trainer.model, batch)
    trainer.optimizer.step()
    assert all(torch.isfinite(weights).all() for weights in trainer.model.parameters())


def outcome(act):
    try:
        act()
    except InatSoundsError as error:
        return one_line(error)
    return "accepted"


def one_line(error):
    assert "\n" not in str(error)
    return str(error)


def judge(**changes):
    """What a run says and what a dry run says."""
    try:
        recipe = make_recipe({**SETTINGS, **changes}, where="test")
    except RecipeError as error:
        return one_line(error)
    said = [outcome(lambda: a_step(recipe)), outcome(lambda: dry_run(recipe))]
    assert said[0].split(": ")[0] == said[1].split(": ")[0], f"{changes}: a run says {said[0]}; a dry run {said[1]}"
    return said[0]


def different(values):
    return list({repr(value): value for value in values}.values())


def values_of(key):
    chosen, numbers = KEYS[key].choices, KEYS[key].range
    edges = [numbers.low, numbers.high] if numbers and float in KEYS[key].kinds else []
    edges = (
        [] if key in ("window_s", "stride_s", "learning_rate", "num_train_epochs") else edges
    )  # 600 s of windows are some work
    return different([*ANYTHING, *chosen, *edges, *MORE.get(key, [])])


@pytest.mark.parametrize("key", [key for key in KEYS if key != "lr_scheduler_type"])
def test_any_value_of_a_key_is_refused_in_a_line_or_works(tiny, tmp_path, monkeypatch, key):
    monkeypatch.chdir(tmp_path)
    beside = {"source": str(tiny), "output_dir": str(tmp_path / "run"), "max_steps": 2, **BESIDE.get(key, {})}
    for value in values_of(key):
        try:
            judge(**{**beside, key: value})
        except Exception as error:
            raise AssertionError(f"{key}: {value!r}") from error


@pytest.mark.parametrize("kind", [kind.value for kind in SchedulerType])
def test_every_schedule_of_transformers_works_or_says_what_it_needs(tiny, tmp_path, kind):
    for options in [*SCHEDULES.get(kind, [{}]), {"nothing": 1}]:
        said = judge(
            source=str(tiny), output_dir=str(tmp_path / "run"), max_steps=4, lr_scheduler_type=kind,
            lr_scheduler_kwargs=options,
            validation_split="validation",
        )  # fmt: skip
        assert said == "accepted" or options or kind in NEED_OPTIONS
        assert "nothing" not in options or said != "accepted"


def test_every_number_has_a_range_and_the_choices_are_the_librarys():
    own = {name: key for name, key in KEYS.items() if name not in HONOURED}
    assert [name for name, key in own.items() if set(key.kinds) & {int, float} and not key.range] == []
    assert set(KEYS["lr_scheduler_type"].choices) == {kind.value for kind in SchedulerType}
    assert (KEYS["sampling"].choices, KEYS["loss"].choices) == (SAMPLINGS, LOSSES)


UNUSUAL = [
    {
        "lr_scheduler_type": "reduce_lr_on_plateau",
        "lr_scheduler_kwargs": {"patience": 0},
        "validation_split": "validation",
    },
    {"lr_scheduler_type": "greedy", "validation_split": "validation"},
    {"lr_scheduler_type": "warmup_stable_decay", "lr_scheduler_kwargs": {"num_decay_steps": 1}},
    {"optim": "sgd", "momentum": 0, "seed": 2**32 - 1},
]


@pytest.mark.parametrize("changes", UNUSUAL, ids=lambda one: next(iter(one.values())))
def test_what_tracebacks_ended_once_is_trained_to_the_end(tiny, tmp_path, changes):
    recipe = make_recipe(
        {**SETTINGS, "source": str(tiny), "output_dir": str(tmp_path), "num_train_epochs": 2, **changes}, where="test"
    )
    assert train(recipe, quiet=True)["steps"] == 4


MISFITS = [
    ("--feature_extractor.max_lenght", "5", "feature_extractor.max_lenght"),
    ("--feature_extractor.max_length", "5", r"feature_extractor.max_length must give at least|unknown key"),
    ("--feature_extractor.num_mel_bins", "64", r"feature_extractor.num_mel_bins must be|unknown key"),
    ("--config.hidden_siez", "5", "config.hidden_siez: expected a key of"),
    ("--config.id2label", "{'0': x}", "config.id2label"),
    ("--config.num_labels", "7", "config.num_labels"),
]


def test_flags_that_do_not_fit_the_model_are_refused_over_presets_and_checkpoints(tiny, tmp_path):
    base = {**SETTINGS, "source": str(tiny), "output_dir": str(tmp_path / "run"), "max_steps": 2}
    set_up(make_recipe(base, where="test")).classifier.save(tmp_path / "checkpoint")
    for model, config in (("ast-tiny", SMALL), (str(tmp_path / "checkpoint"), {}), ("resnet-tiny", {})):
        for flag, value, message in MISFITS:
            values = {**base, "model": model, "config": config}
            recipe = make_recipe(values, where="test", flags=split_flags([flag, value])[1])
            assert recipe.model.config.items() >= config.items()  # merged, not replaced
            assert re.search(message, outcome(lambda recipe=recipe: a_step(recipe))), (model, flag)
