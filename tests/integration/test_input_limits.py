"""The longest window, in every command; and settings that training refuses, in a dry run too."""

import pytest
import soundfile as sf

from hf_inatsounds.audio.windows import WindowSpec
from hf_inatsounds.cli.main import main
from hf_inatsounds.errors import InatSoundsError
from hf_inatsounds.evaluation import split_info
from hf_inatsounds.models.classifier import build_classifier
from hf_inatsounds.objectives import Multiclass
from hf_inatsounds.training.dry_run import dry_run
from hf_inatsounds.training.run import train
from tests.helpers import suites as make
from tests.helpers.training import small_recipe
from tests.unit.test_backbones import noise

LIMITED = ("ast-tiny", "whisper-tiny", "resnet-tiny", "vit-tiny", "convnext-tiny")


@pytest.fixture(scope="module")
def work(tiny, tmp_path_factory):
    """A checkpoint of each family that hears one second, a recording of four, and a suite."""
    folder, space = tmp_path_factory.mktemp("limits"), split_info(str(tiny), "all", "train").label_space
    for preset in LIMITED:
        build_classifier(preset, space, Multiclass(), window=WindowSpec(1.0, 0.5)).save(folder / preset)
    sf.write(folder / "long.wav", noise(4 * 22_050), 22_050)
    make.esc10(folder / "suite")
    return folder


def commands(work, tiny, model, out, *window):
    folder, wav = str(work / model), str(work / "long.wav")
    return {
        "predict": ["predict", folder, wav, "--out", str(out / "x.csv"), *window],
        "embed": ["embed", folder, wav, "--out", str(out / "x.parquet"), *window],
        "evaluate": ["evaluate", folder, "--source", str(tiny), "--out", str(out / "e"), "--no-report", *window],
        "benchmark": ["benchmark", folder, "--suite", "esc10", "--data", str(work / "suite"), "--out", str(out / "b"),
                      "--cache", str(out / "cache"), *window],
    }  # fmt: skip


@pytest.mark.parametrize("model", LIMITED)
def test_every_command_refuses_a_window_longer_than_the_input_in_one_line(work, tiny, tmp_path, capsys, model):
    for name, words in commands(work, tiny, model, tmp_path, "--window", "3").items():
        assert main([*words, "--quiet"]) == 1
        said = capsys.readouterr().err.strip()
        assert said.startswith(f"hf-inatsounds {name}: --window must be at most 1"), said
        assert said.endswith("s, the length of the model's input, got 3 s")
        assert "\n" not in said
    assert not list(tmp_path.glob("x.*"))


@pytest.mark.parametrize("model", LIMITED)
def test_the_window_of_training_is_taken(work, tiny, tmp_path, model):
    words = commands(work, tiny, model, tmp_path, "--window", "1")
    assert main([*words["predict"], "--quiet"]) == main([*words["embed"], "--quiet"]) == 0


@pytest.mark.parametrize(
    ("model", "chosen", "message"),
    [
        ("ast-tiny", {"max_length": 5}, "must give at least 32 frames, one patch, got 5"),
        ("ast-tiny", {"max_length": 40}, "window_s must be at most 0.424 s"),
        ("ast-tiny", {"num_mel_bins": 64}, "feature_extractor.num_mel_bins must be 32"),
        ("vit-tiny", {"image_size": "large"}, "feature_extractor.image_size must be one or two integers"),
        ("whisper-tiny", {"chunk_length": 0}, "feature_extractor.chunk_length must be an integer"),
        ("wav2vec2-tiny", {"bins": 3}, "unknown key: feature_extractor.bins"),
    ],
)
def test_a_dry_run_refuses_what_the_run_refuses(tiny, tmp_path, model, chosen, message):
    recipe = small_recipe(tiny, tmp_path / "run", model=model, config={}, feature_extractor=chosen, num_train_epochs=1)
    said = []
    for function in (dry_run, lambda recipe: train(recipe, quiet=True)):
        with pytest.raises(InatSoundsError) as caught:
            function(recipe)
        said.append(str(caught.value))
    assert said[0] == said[1]
    assert message in said[0]
    assert not (tmp_path / "run").exists()
