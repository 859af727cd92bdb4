"""Supervised contrastive pre-training: an encoder without scores, from which fine-tuning starts."""

import json

import numpy as np
import pytest
import torch
from transformers import AutoModel

from hf_inatsounds.errors import CheckpointError, RecipeError, ScoresError
from hf_inatsounds.models.classifier import load_classifier
from hf_inatsounds.objectives import Contrastive
from hf_inatsounds.training.run import train
from hf_inatsounds.training.setup import set_up
from hf_inatsounds.training.validation import neighbour_metrics
from tests.helpers.training import equal, small_recipe, weights

PRETRAINING = {
    "objective": "contrastive", "crops_per_recording": 2, "num_train_epochs": 6, "validation_split": "validation",
    "projection_size": 16,
}  # fmt: skip
FAMILIES = {
    "ast-tiny": "classifier.dense", "wav2vec2-tiny": "classifier", "whisper-tiny": "classifier",
    "resnet-tiny": "classifier.1",
}  # fmt: skip


@pytest.fixture(scope="module")
def encoder(tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("encoder") / "run"
    run = train(small_recipe(tiny, folder, **PRETRAINING), quiet=True)
    return folder, run


def test_the_loss_falls_and_the_neighbours_are_measured(encoder):
    losses = [loss for _, loss in encoder[1]["losses"]]
    assert np.mean(losses[-3:]) < np.mean(losses[:3])
    assert set(encoder[1]["best"]) == {"epoch", "step", "loss", "map", "top1"}
    assert encoder[1]["final"] == {"map": encoder[1]["best"]["map"], "top1": encoder[1]["best"]["top1"]}
    assert "nearest-neighbour mAP" in (encoder[0] / "report.md").read_text()


def test_what_is_saved_is_a_native_encoder_and_no_classifier(encoder):
    folder, _ = encoder
    assert not (folder / "label_space.json").exists()
    config = json.loads((folder / "config.json").read_text())
    assert not {"id2label", "label2id", "problem_type", "architectures"} & config.keys()
    assert not [name for name in weights(folder) if "dense.weight" in name and name.startswith("classifier")]
    model, report = AutoModel.from_pretrained(folder, output_loading_info=True)
    assert not report["missing_keys"]
    assert type(model).__name__ == "ASTModel"
    with pytest.raises(CheckpointError, match=r"an encoder without a classification head.*train RECIPE\.yaml --model"):
        load_classifier(folder)


def test_fine_tuning_starts_with_the_encoders_weights(encoder, tiny, tmp_path):
    folder, _ = encoder
    recipe = small_recipe(tiny, tmp_path, model=str(folder), config={}, num_train_epochs=1, freeze="encoder")
    started = set_up(recipe).classifier.model
    pretrained = AutoModel.from_pretrained(folder).state_dict()
    for name, tensor in started.base_model.state_dict().items():
        assert torch.equal(tensor, pretrained[name]), name
    train(recipe, quiet=True)
    assert load_classifier(tmp_path).model.config.id2label == {0: "Rana una", 1: "Turdus duo", 2: "Turdus tres"}


@pytest.mark.parametrize("model", FAMILIES)
def test_all_but_the_head_is_kept_in_every_family(tiny, tmp_path, model):
    changes = {"model": model, "config": {}, "validation_split": "none"}
    setup = set_up(small_recipe(tiny, tmp_path, **{**PRETRAINING, **changes}))
    before = {name: tensor.clone() for name, tensor in setup.classifier.model.state_dict().items()}
    setup.classifier.save(tmp_path)
    after = set_up(small_recipe(tiny, tmp_path, **{**changes, "model": str(tmp_path)})).classifier.model.state_dict()
    new = {name for name in after if name.startswith(FAMILIES[model] + ".")}
    assert len(new) == 2
    assert {name for name in before if not name.startswith(FAMILIES[model] + ".")} == after.keys() - new
    assert all(torch.equal(after[name], before[name]) for name in after.keys() - new)


def test_a_run_goes_on_to_the_same_encoder(encoder, tiny, tmp_path, monkeypatch):
    from hf_inatsounds.training.trainer import CropTrainer

    passes, original = [], CropTrainer.compute_loss

    def interrupted(self, *arguments, **options):
        passes.append(1)
        if len(passes) == 8:
            raise KeyboardInterrupt
        return original(self, *arguments, **options)

    recipe = small_recipe(tiny, tmp_path, **PRETRAINING)
    monkeypatch.setattr(CropTrainer, "compute_loss", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(recipe, quiet=True)
    monkeypatch.setattr(CropTrainer, "compute_loss", original)
    train(recipe, resume=True, quiet=True)
    assert equal(encoder[0], tmp_path)


def test_recordings_that_do_not_count_are_nobodys_neighbours():
    objective, generator = Contrastive(0.2), torch.Generator().manual_seed(0)
    features = torch.nn.functional.normalize(torch.randn(6, 4, generator=generator), dim=1).requires_grad_()
    targets = objective.targets(torch.tensor([0, 0, 1, 1, 0, 1]), 2)
    some = objective.loss(features, targets, torch.tensor([1.0, 1.0, 1.0, 1.0, 0.0, 0.0]))
    torch.testing.assert_close(some, objective.loss(features[:4], targets[:4], torch.ones(4)))
    some.backward()
    assert torch.equal(features.grad[4:], torch.zeros(2, 4))
    nothing = objective.loss(features, targets, torch.zeros(6))
    assert nothing.item() == 0.0
    assert nothing.requires_grad
    with pytest.raises(CheckpointError, match="no scores"):
        objective.scores(features)


def test_neighbours_are_what_sklearn_finds():
    from sklearn.metrics import average_precision_score
    from sklearn.neighbors import KNeighborsClassifier

    generator = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2, 5], [20, 30, 15, 1])
    embeddings = generator.normal(size=(66, 5)) + np.eye(6)[labels][:, :5]
    found = neighbour_metrics(embeddings, labels)
    right, scores = [], np.empty((66, 3))
    for i in range(66):
        others = np.arange(66) != i
        nearest = KNeighborsClassifier(1, metric="cosine").fit(embeddings[others], labels[others])
        right.append(nearest.predict(embeddings[i : i + 1])[0] == labels[i])
        unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
        scores[i] = [(unit[others & (labels == c)] @ unit[i]).max() for c in range(3)]
    assert found["top1"] == pytest.approx(np.mean(right[:65]))
    expected = np.mean([average_precision_score(labels == c, scores[:, c]) for c in range(3)])
    assert found["map"] == pytest.approx(expected, abs=1e-6)
    with pytest.raises(ScoresError, match="no class with two recordings"):
        neighbour_metrics(embeddings[:3], np.array([4, 2, 0]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"crops_per_recording": 1}, "at least 2 with objective: contrastive"),
        ({"mixup": 0.5}, r"mixup: found 0\.5; expected 0\.0 with objective: contrastive"),
        ({"hierarchy": {"genus": 1.0}}, "hierarchy"),
        ({"push_to_hub": True, "hub_model_id": "me/model"}, "push_to_hub"),
        ({"objective": "multiclass"}, "projection_size: found 16; expected 128 with objective: multiclass"),
    ],
)
def test_contradictions_are_named(tiny, tmp_path, changes, message):
    with pytest.raises(RecipeError, match=message):
        small_recipe(tiny, tmp_path, **{**PRETRAINING, **changes})
