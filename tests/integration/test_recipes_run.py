"""The recipes at real scale, all their keys but the size: one step from a small checkpoint of the same family."""

import json
from pathlib import Path

import pytest

from hf_inatsounds.audio.windows import WindowSpec
from hf_inatsounds.evaluation import split_info
from hf_inatsounds.models.classifier import build_classifier
from hf_inatsounds.objectives import Multiclass
from hf_inatsounds.training.arguments import read_recipe
from hf_inatsounds.training.run import train

RECIPES = Path(__file__).parents[2] / "train" / "recipes"
PRESET = {
    "ast": "ast-tiny", "wav2vec2": "wav2vec2-tiny", "hubert": "hubert-tiny", "wavlm": "wavlm-tiny",
    "data2vec-audio": "data2vec-tiny", "wav2vec2-bert": "wav2vec2-bert-tiny", "whisper": "whisper-tiny",
    "resnet-18": "resnet-tiny", "resnet-50": "resnet-tiny", "resnet-101": "resnet-tiny", "vit-b16": "vit-tiny",
    "efficientnet-b0": "efficientnet-tiny", "mobilenet-v2": "mobilenet-tiny", "convnext": "convnext-tiny",
    "unispeech-sat": "unispeech-sat-tiny", "sew": "sew-tiny", "wav2vec2-conformer": "wav2vec2-conformer-tiny",
}  # fmt: skip
HERE = {"dataloader_num_workers": "0", "max_steps": "1"}  # what a machine has, and how long it takes


def test_every_pre_trained_recipe_is_run():
    assert {path.stem for path in RECIPES.glob("*.yaml") if "/" in read_recipe(path).model.model} == set(PRESET)


@pytest.fixture(scope="module")
def pretrained(tiny, tmp_path_factory):
    """A checkpoint of each family, on windows of 6 s: its input is fitted to the recipe's."""
    folder, space = tmp_path_factory.mktemp("pretrained"), split_info(str(tiny), "all", "train").label_space
    for preset in set(PRESET.values()):
        build_classifier(preset, space, Multiclass(), window=WindowSpec(6.0, 3.0)).save(folder / preset)
    return folder


@pytest.mark.parametrize("name", PRESET)
def test_a_recipe_trains_validates_and_saves(tiny, pretrained, tmp_path, name):
    path = RECIPES / f"{name}.yaml"
    flags = {**HERE, "model": str(pretrained / PRESET[name]), "source": str(tiny), "output_dir": str(tmp_path / "run")}
    asked = read_recipe(path)
    run = train(read_recipe(path, flags), quiet=True)
    assert run["steps"] == 1
    assert run["final"]["map"] > 0
    settings = json.loads((tmp_path / "run" / "inatsounds.json").read_text())
    assert settings == {
        "window_s": asked.data.window_s,
        "stride_s": asked.data.stride_s,
        "objective": asked.objective.objective,
    }
