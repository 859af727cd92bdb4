"""Every small preset learns with both objectives, and its checkpoint is a native one."""

import numpy as np
import pytest
import torch
from transformers import AutoModelForAudioClassification, AutoModelForImageClassification

from hf_inatsounds.audio import read_window
from hf_inatsounds.errors import RecipeError
from hf_inatsounds.evaluation import split_info
from hf_inatsounds.models.classifier import load_classifier
from hf_inatsounds.models.from_preset import PRESETS
from hf_inatsounds.training.arguments import make_recipe
from hf_inatsounds.training.run import train

TINY = [name for name in PRESETS if name.endswith("-tiny")]
FAST = {
    "window_s": 0.6, "stride_s": 0.6, "num_train_epochs": 12, "per_device_train_batch_size": 4,
    "learning_rate": 2e-3, "warmup_steps": 0.1,
    "evaluate_every_epochs": 4, "validation": "cheap",
}  # fmt: skip


def run_of(source, out, **changes):
    return train(
        make_recipe({**FAST, "source": str(source), "output_dir": str(out), **changes}, where="test"), quiet=True
    )


def check_native(folder, source):
    """What we score, transformers scores with nothing of ours but the input."""
    classifier = load_classifier(folder, device="cpu")
    image = classifier.frontend.layout.name == "pixel_values"
    auto = AutoModelForImageClassification if image else AutoModelForAudioClassification
    native = auto.from_pretrained(folder).eval()
    row = next(iter(split_info(str(source), "all", "test").rows()))
    waveform = read_window(row["audio"], 0.0, 0.6, classifier.sampling_rate)
    with torch.inference_mode():
        if image:
            inputs = classifier.frontend.model_inputs(torch.from_numpy(waveform)[None], torch.tensor([len(waveform)]))
        else:
            inputs = classifier.feature_extractor(waveform, sampling_rate=classifier.sampling_rate, return_tensors="pt")
        expected = native(**inputs).logits.numpy()
    np.testing.assert_allclose(classifier.logits([waveform]), expected, atol=1e-5 if image else 1e-4)
    return classifier


@pytest.mark.parametrize("objective", ["multiclass", "multilabel"])
@pytest.mark.parametrize("model", TINY)
def test_a_backbone_learns_and_reloads_natively(tiny, tmp_path, model, objective):
    # with dropout and batch norms on four recordings, EfficientNet's loss swings before it settles
    epochs = 24 if model.startswith("efficientnet") else FAST["num_train_epochs"]
    run = run_of(tiny, tmp_path, model=model, objective=objective, num_train_epochs=epochs)
    losses = [entry["loss"] for entry in run["history"]]
    assert losses[-1] < losses[0]
    assert check_native(tmp_path, tiny).objective.name == objective


def test_a_recipe_with_rates_by_layer_freezing_and_a_hierarchy_learns(tiny, tmp_path):
    options = {"layer_decay": 0.7, "freeze": 1, "hierarchy": {"genus": 0.5}, "logit_adjustment": 1.0, "loss": "focal"}
    run = run_of(tiny, tmp_path, model="vit-tiny", **options)
    losses = [entry["loss"] for entry in run["history"]]
    assert losses[-1] < losses[0]
    check_native(tmp_path, tiny)


def test_a_run_with_lora_ends_in_a_native_checkpoint(tiny, tmp_path):
    run = run_of(tiny, tmp_path, model="ast-tiny", lora_rank=4, objective="multilabel", loss="asymmetric")
    losses = [entry["loss"] for entry in run["history"]]
    assert losses[-1] < losses[0]
    check_native(tmp_path, tiny)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"freeze": "9"}, "number of layers up to 4"),
        ({"freeze": "head"}, "none, encoder, or a number"),
        ({"freeze": "encoder", "lora_rank": 4}, "lora_rank"),
        ({"freeze": "encoder", "layer_decay": 0.5}, "layer_decay"),
        ({"layer_decay": 0.0}, r"in \(0, 1\]"),
        ({"loss": "asymmetric"}, "plain or focal with multiclass"),
        ({"hierarchy": {"tribe": 1.0}}, "unknown key.*hierarchy.tribe.*genus"),
        ({"model": "resnet-tiny", "lora_rank": 4}, "LoRA is for transformers"),
    ],
)
def test_contradictions_are_named_before_anything_is_trained(tiny, tmp_path, changes, message):
    with pytest.raises(RecipeError, match=message):
        run_of(tiny, tmp_path, **changes)
    assert not list(tmp_path.iterdir())
