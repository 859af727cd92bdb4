import json
import shutil

import numpy as np
import pytest
import torch
from transformers import AutoModelForAudioClassification

from hf_inatsounds.audio import read_window
from hf_inatsounds.data.rows import ArrowRows
from hf_inatsounds.errors import AudioError, CheckpointError, RecipeError, SourceError
from hf_inatsounds.evaluation import split_info
from hf_inatsounds.models.classifier import load_classifier
from hf_inatsounds.training.arguments import make_recipe
from hf_inatsounds.training.crops import RecordingList, RecordingStream
from hf_inatsounds.training.run import train
from hf_inatsounds.training.trainer import CropTrainer
from tests.helpers.archive import write_source

AST = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
WAV2VEC2 = {
    "hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24,
    "conv_dim": [16, 16, 16, 24], "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2,
    "classifier_proj_size": 24,
}  # fmt: skip
FAST = {
    "window_s": 1.0, "stride_s": 0.5, "num_train_epochs": 3, "per_device_train_batch_size": 4, "learning_rate": 3e-3,
    "warmup_steps": 0.0,
    "frequency_masks": 1, "frequency_mask_bins": 2, "mixup": 0.5, "noise": 0.5, "gain_db": 3.0,
}  # fmt: skip


def recipe(source, out, **changes):
    base = {**FAST, "source": str(source), "output_dir": str(out), "config": AST, **changes}
    return make_recipe(base, where="test")


@pytest.mark.parametrize(("model", "objective"), [("ast-tiny", "multilabel"), ("wav2vec2-tiny", "multiclass")])
def test_models_of_other_sizes_learn_augmented_and_reload_natively(tiny, tmp_path, model, objective):
    config = AST if model == "ast-tiny" else WAV2VEC2
    run = train(recipe(tiny, tmp_path, model=model, config=config, objective=objective, num_train_epochs=8), quiet=True)
    losses = [entry["loss"] for entry in run["history"]]
    assert losses[-1] < losses[0]
    classifier = load_classifier(tmp_path)
    native = AutoModelForAudioClassification.from_pretrained(tmp_path).eval()
    row = next(iter(split_info(str(tiny), "all", "test").rows()))
    waveform = read_window(row["audio"], 0.0, 1.0, 16_000)
    inputs = classifier.feature_extractor(waveform, sampling_rate=16_000, return_tensors="pt")
    with torch.inference_mode():
        expected = native(**inputs).logits.numpy()
    np.testing.assert_allclose(classifier.logits([waveform]), expected, atol=1e-4)
    assert native.config.id2label == {0: "Rana una", 1: "Turdus duo", 2: "Turdus tres"}
    assert classifier.objective.name == objective


def test_the_run_folder_tells_all(tiny, tmp_path):
    train(recipe(tiny, tmp_path, seed=5), quiet=True)
    assert {path.name for path in tmp_path.iterdir()} == {
        "config.json", "model.safetensors", "preprocessor_config.json", "label_space.json", "inatsounds.json",
        "recipe.yaml", "train.json", "report.md", "origin.json", "curves.png", "digests.parquet",
        ".lock",
    }  # fmt: skip
    run = json.loads((tmp_path / "train.json").read_text())
    assert (run["seed"], run["recordings"], run["steps"]) == (5, 12, 9)
    assert "torch" in run["environment"]
    assert "seed: 5" in (tmp_path / "recipe.yaml").read_text()


def test_the_saved_model_is_the_best_and_not_the_last(tiny, tmp_path, monkeypatch):
    """transformers' own loading of the best AST checkpoint loads next to nothing (its issue 48805)."""
    weights, values = [], iter([0.2, 0.9, 0.1])

    def evaluate(self, *_, metric_key_prefix="eval", **__):
        weights.append({name: tensor.clone() for name, tensor in self.classifier.model.state_dict().items()})
        metrics = {"eval_map": next(values), "eval_f1_max": 0.0, "eval_roc_auc": 0.0, "eval_top1": 0.0}
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    monkeypatch.setattr(CropTrainer, "evaluate", evaluate)
    run = train(recipe(tiny, tmp_path), quiet=True)
    assert run["best"]["map"] == 0.9
    saved = load_classifier(tmp_path).model.state_dict()
    for name, tensor in weights[1].items():
        torch.testing.assert_close(saved[name], tensor)
    assert any(not torch.equal(saved[name], tensor) for name, tensor in weights[2].items())


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(tiny, tmp_path):
    found = []
    for i, seed in enumerate((1, 1, 2)):
        train(recipe(tiny, tmp_path / str(i), seed=seed, num_train_epochs=1), quiet=True)
        found.append(load_classifier(tmp_path / str(i)).model.state_dict())
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])
    assert not all(torch.equal(found[0][name], found[2][name]) for name in found[0])


def test_training_streams(tiny, tmp_path):
    run = train(recipe(tiny, tmp_path, streaming=True), quiet=True)
    assert (run["steps"], run["epochs"]) == (9, 3.0)
    assert run["defects"]["recordings"] == 12


def test_workers_give_the_crops_that_the_main_process_gives(tiny, tmp_path):
    found = []
    for workers in (0, 2):
        train(recipe(tiny, tmp_path / str(workers), dataloader_num_workers=workers, num_train_epochs=1), quiet=True)
        found.append(load_classifier(tmp_path / str(workers)).model.state_dict())
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


def test_each_epoch_has_its_own_crops_and_order(tiny):
    info = split_info(str(tiny), "all", "train")
    rows = RecordingList(ArrowRows(info.rows(streaming=False)))
    rows.set_epoch(3)
    assert rows[0]["epoch"] == 3
    stream = RecordingStream(info.rows(), 12, shuffle_buffer=100, seed=0)
    orders = []
    for epoch in (0, 1, 0):
        stream.set_epoch(epoch)
        orders.append([row["recording_id"] for row in stream])
    assert sorted(orders[0]) == list(range(12))
    assert orders[0] != orders[1]
    assert orders[0] == orders[2]


def plant(stem, document, files):
    """An empty file, a truncated one and a duplicate in train; an empty one in validation."""
    names = [audio["file_name"] for audio in document["audio"]]
    files[names[0]] = b""
    if stem == "train":
        files[names[1]] = files[names[1]][:20_000]
        files[names[3]] = files[names[2]]


def test_defective_recordings_are_counted_and_named_and_nothing_crashes(tmp_path):
    (tmp_path / "source").mkdir()
    source = write_source(tmp_path / "source", change=plant)
    run = train(recipe(source, tmp_path / "run", max_unusable_share=0.5), quiet=True)
    named = {kind: [row["recording_id"] for row in rows] for kind, rows in run["defects"]["defects"].items()}
    assert named == {"empty": [0], "truncated": [1], "duplicate": [3]}
    assert "12 recordings, 1 empty, 1 truncated, 1 duplicate" in (tmp_path / "run" / "report.md").read_text()


def test_too_many_unusable_recordings_fail_the_run(tmp_path, monkeypatch):
    def spoil(stem, document, files):
        for name in list(files)[::2]:
            files[name] = b""

    monkeypatch.setattr("hf_inatsounds.training.trainer.ENOUGH", 6)
    with pytest.raises(AudioError, match="too many recordings cannot be decoded"):
        train(recipe(write_source(tmp_path, change=spoil), tmp_path / "run"), quiet=True)
    assert not (tmp_path / "run" / "train.json").exists()


@pytest.mark.parametrize(("every", "share"), [(1, 0.05), (1, 0.9), (12, 0.05)])
def test_the_share_of_few_recordings_is_looked_at_when_an_epoch_ends(tmp_path, every, share):
    def spoil(stem, document, files):
        for name in list(files)[::every]:
            files[name] = b""

    (tmp_path / "source").mkdir()
    source = write_source(tmp_path / "source", change=spoil)
    expected = f"found {12 // every} of the first 12; expected at most {share:.0%}"
    with pytest.raises(AudioError, match=expected):
        train(
            recipe(source, tmp_path / "run", max_unusable_share=share, validation_split="none", num_train_epochs=1),
            quiet=True,
        )
    assert not (tmp_path / "run" / "train.json").exists()


@pytest.mark.parametrize("accumulation", [1, 2])
def test_a_run_cut_off_in_an_epoch_resumes_to_the_same_weights(tiny, tmp_path, monkeypatch, accumulation):
    settings = {
        "validation_split": "none",
        "gradient_accumulation_steps": accumulation,
        "per_device_train_batch_size": 3,
        "num_train_epochs": 4,
    }
    whole = train(recipe(tiny, tmp_path / "whole", **settings), quiet=True)
    calls = []
    original = CropTrainer.compute_loss

    def interrupted(self, *arguments, **options):
        calls.append(1)
        if len(calls) == 11:  # four forward passes an epoch: in the third
            raise KeyboardInterrupt
        return original(self, *arguments, **options)

    monkeypatch.setattr(CropTrainer, "compute_loss", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(recipe(tiny, tmp_path / "cut", **settings), quiet=True)
    monkeypatch.undo()
    assert not (tmp_path / "cut" / "train.json").exists()
    resumed = train(recipe(tiny, tmp_path / "cut", **settings), resume=True, quiet=True)
    assert resumed["steps"] == whole["steps"]
    first, second = (load_classifier(tmp_path / name).model.state_dict() for name in ("whole", "cut"))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_finished_run_is_not_overwritten_and_nothing_is_resumed_from_nothing(tiny, tmp_path):
    train(recipe(tiny, tmp_path, num_train_epochs=1), quiet=True)
    with pytest.raises(RecipeError, match="finished run"):
        train(recipe(tiny, tmp_path, num_train_epochs=1), quiet=True)
    with pytest.raises(RecipeError, match="nothing to resume"):
        train(recipe(tiny, tmp_path / "new", num_train_epochs=1), resume=True, quiet=True)


def test_training_starts_from_a_checkpoint_with_a_new_head(tiny, archives, tmp_path):
    train(recipe(tiny, tmp_path / "first", num_train_epochs=1), quiet=True)
    train(recipe(archives, tmp_path / "second", model=str(tmp_path / "first"), config={}, max_steps=2), quiet=True)
    classifier = load_classifier(tmp_path / "second")
    assert classifier.model.config.num_labels == 12
    assert classifier.model.config.hidden_size == 32


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"model": "ast-huge"}, CheckpointError, "no such checkpoint: ast-huge"),
        ({"config": {"hiden_size": 3}}, RecipeError, "config.hiden_size"),
        ({"validation_split": "dev"}, RecipeError, "validation_split: found 'dev'"),
        ({"name": "reptilia"}, SourceError, "unknown dataset name"),
        ({"lr_scheduler_type": "cosign"}, RecipeError, "lr_scheduler_type: found 'cosign'"),
        ({"config": {**AST, "hidden_size": "wide"}}, RecipeError, "transformers refuses such a model.*hidden_size"),
    ],
)
def test_mistakes_are_named_before_anything_is_trained(tiny, tmp_path, changes, error, message):
    with pytest.raises(error, match=message):
        train(recipe(tiny, tmp_path / "run", **changes), quiet=True)
    assert not (tmp_path / "run").exists()


def test_a_run_without_validation_keeps_the_last_weights(tiny, tmp_path):
    shutil.copytree(tiny, tmp_path / "source")
    for path in (tmp_path / "source").glob("val*"):
        path.unlink()
    run = train(recipe(tmp_path / "source", tmp_path / "run", validation_split="none", num_train_epochs=1), quiet=True)
    assert run["best"] is None
    assert load_classifier(tmp_path / "run").label_space is not None
