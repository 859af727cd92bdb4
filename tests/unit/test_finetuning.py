"""Freezing, layer-wise rates and LoRA, for every family."""

import numpy as np
import pytest
import torch

from hf_inatsounds.errors import RecipeError
from hf_inatsounds.models.classifier import load_classifier
from hf_inatsounds.models.finetuning import (
    add_lora,
    body_layers,
    freeze,
    has_lora,
    merge_lora,
    parameter_depths,
    parameter_groups,
)
from hf_inatsounds.models.heads import classification_head
from tests.unit.test_backbones import TINY, build, noise

LAYERS = {
    "ast-tiny": 4, "wav2vec2-tiny": 2, "hubert-tiny": 2, "wavlm-tiny": 2, "data2vec-tiny": 2, "wav2vec2-bert-tiny": 2,
    "unispeech-tiny": 2, "unispeech-sat-tiny": 2, "sew-tiny": 2, "sew-d-tiny": 2, "wav2vec2-conformer-tiny": 2,
    "whisper-tiny": 2, "resnet-tiny": 4, "vit-tiny": 4, "efficientnet-tiny": 6, "convnext-tiny": 4,
    "mobilenet-tiny": 16,
}  # fmt: skip
CONVOLUTIONAL = ("resnet-tiny", "efficientnet-tiny", "mobilenet-tiny")
TRANSFORMERS = [name for name in TINY if name not in CONVOLUTIONAL]


def step(classifier):
    """One step of plain descent; weights and running statistics before and after."""
    model = classifier.model.train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    samples = torch.from_numpy(np.stack([noise(classifier.sampling_rate) for _ in range(4)]))
    inputs = classifier.frontend.model_inputs(samples, torch.full((4,), classifier.sampling_rate))
    torch.nn.functional.cross_entropy(model(**inputs).logits, torch.tensor([0, 1, 2, 0])).backward()
    with torch.no_grad():
        for weights in model.parameters():
            if weights.grad is not None:
                weights -= 0.5 * weights.grad
    return {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}


@pytest.mark.parametrize("preset", TINY)
def test_the_layers_of_each_family_are_found(preset):
    model = build(preset).model
    assert len(body_layers(model)) == LAYERS[preset]
    depths = parameter_depths(model)
    assert set(depths.values()) == set(range(LAYERS[preset] + 2))
    head = {id(weights) for weights in classification_head(model).parameters()}
    assert {depths[name] for name, weights in model.named_parameters() if id(weights) in head} == {LAYERS[preset] + 1}


@pytest.mark.parametrize("preset", TINY)
def test_a_frozen_encoder_does_not_change_and_the_head_does(preset):
    classifier = build(preset)
    head = {id(weights) for weights in classification_head(classifier.model).parameters()}
    names = {name for name, weights in classifier.model.named_parameters() if id(weights) in head}
    assert freeze(classifier.model, "encoder") > 0
    changed = step(classifier)
    assert names & changed  # a convolutional body from random weights, in evaluation, gives nearly nothing: bias alone
    assert not any("running" in name or "num_batches" in name for name in changed)
    depths = parameter_depths(classifier.model)
    assert {depths[name] for name in changed} == {LAYERS[preset] + 1}


@pytest.mark.parametrize("preset", ["ast-tiny", "whisper-tiny", "resnet-tiny"])
def test_the_first_layers_are_frozen_by_number(preset):
    classifier = build(preset)
    freeze(classifier.model, "1")
    depths = parameter_depths(classifier.model)
    found = {depths[name] for name, weights in classifier.model.named_parameters() if not weights.requires_grad}
    assert found == {0, 1}
    assert min(depths[name] for name in step(classifier) if name in depths) == 2


def test_what_cannot_be_frozen_is_named():
    model = build("resnet-tiny").model
    assert freeze(model, "none") == 0
    for what in ("5", "head", "-1"):
        with pytest.raises(RecipeError, match="number of layers up to 4"):
            freeze(model, what)


def test_rates_fall_with_depth_and_vectors_do_not_decay():
    model = build("ast-tiny").model
    freeze(model, "1")
    groups = parameter_groups(model, learning_rate=1.0, weight_decay=0.1, layer_decay=0.5)
    depths, names = parameter_depths(model), {id(w): name for name, w in model.named_parameters()}
    seen = []
    for group in groups:
        for weights in group["params"]:
            name = names[id(weights)]
            seen.append(name)
            assert group["lr"] == 0.5 ** (5 - depths[name])
            assert group["weight_decay"] == (0.1 if weights.ndim > 1 else 0.0)
    assert sorted(seen) == sorted(name for name, w in model.named_parameters() if w.requires_grad)
    torch.optim.AdamW(groups)


@pytest.mark.parametrize("preset", TRANSFORMERS)
def test_lora_learns_little_and_merges_into_a_native_checkpoint(preset, tmp_path):
    classifier = build(preset)
    whole = sum(weights.numel() for weights in classifier.model.parameters())
    keys = set(classifier.model.state_dict())
    windows = [noise(classifier.sampling_rate)]
    before = classifier.logits(windows)
    assert 0 < add_lora(classifier.model, 2) < whole / 2
    np.testing.assert_allclose(classifier.logits(windows), before, atol=1e-6)
    step(classifier), step(classifier)  # the first moves only B, which starts at 0
    learned = classifier.logits(windows)
    assert np.abs(learned - before).max() > 1e-4
    classifier.save(tmp_path)
    assert has_lora(classifier.model)  # and may go on learning
    np.testing.assert_allclose(classifier.logits(windows), learned, rtol=1e-5)
    np.testing.assert_allclose(load_classifier(tmp_path, device="cpu").logits(windows), learned, rtol=1e-4, atol=1e-4)
    merge_lora(classifier.model)
    assert not has_lora(classifier.model)
    assert set(classifier.model.state_dict()) == keys


@pytest.mark.parametrize("preset", CONVOLUTIONAL)
def test_lora_is_refused_where_there_is_nothing_to_change(preset):
    with pytest.raises(RecipeError, match="LoRA is for transformers"):
        add_lora(build(preset).model, 2)
