"""Image classifiers as the Hub has them: ImageNet's classes, another image processor, TensorFlow's batch norms."""

import json

import numpy as np
import pytest
import torch
import transformers

from hf_inatsounds.audio.windows import WindowSpec
from hf_inatsounds.models.classifier import load_classifier
from hf_inatsounds.models.heads import classification_head
from tests.unit.test_backbones import build, noise

SIZE = {"height": 224, "width": 224}
COMMON = {
    "do_normalize": True, "do_resize": True, "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225],
}  # fmt: skip
CONVNEXT = {
    **COMMON,
    "crop_pct": 0.875,
    "feature_extractor_type": "ConvNextFeatureExtractor",
    "resample": 3,
    "size": 224,
}
SMALL = {"hidden_sizes": [8, 8, 8, 8], "depths": [1, 1, 1, 1]}
LAYOUTS = {
    # Hub id: classes, head's size, config with less width and depth, preprocessor_config.json
    "microsoft/resnet-18": ("ResNet", 1000, {**SMALL, "embedding_size": 8, "layer_type": "basic"}, CONVNEXT),
    "google/vit-base-patch16-224": (
        "ViT", 1000, {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16},
        {"do_normalize": True, "do_resize": True, "image_mean": [0.5] * 3, "image_std": [0.5] * 3, "size": 224},
    ),
    "google/efficientnet-b0": (
        "EfficientNet", 1000,
        {"width_coefficient": 0.25, "depth_coefficient": 0.25, "hidden_dim": 320, "image_size": 224},
        {**COMMON, "image_processor_type": "EfficientNetImageProcessor", "include_top": True, "size": SIZE},
    ),
    "google/mobilenet_v2_1.0_224": (
        "MobileNetV2", 1001, {"depth_multiplier": 0.35, "finegrained_output": False, "tf_padding": True},
        {**COMMON, "crop_size": SIZE, "do_center_crop": True, "image_processor_type": "MobileNetV2ImageProcessor",
         "size": {"shortest_edge": 256}},
    ),
    "facebook/convnext-tiny-224": ("ConvNext", 1000, SMALL, CONVNEXT),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_hub_image_classifier_keeps_its_body_and_gets_our_images_and_head(name, tmp_path):
    kind, classes, values, processor = LAYOUTS[name]
    names = {i: f"imagenet {i}" for i in range(classes)}
    config = getattr(transformers, f"{kind}Config")(
        **values, id2label=names, label2id={label: i for i, label in names.items()}
    )
    original = getattr(transformers, f"{kind}ForImageClassification")(config)
    original.save_pretrained(tmp_path / "hub")
    (tmp_path / "hub" / "preprocessor_config.json").write_text(json.dumps(processor))
    classifier = build(tmp_path / "hub", window=WindowSpec(3.0, 1.5))
    assert classification_head(classifier.model).out_features == classifier.model.config.num_labels == 3
    body = classifier.model.base_model.state_dict()
    for key, weights in original.base_model.state_dict().items():
        assert torch.equal(body[key], weights), key
    settings = classifier.feature_extractor
    assert (settings.n_frames, settings.size, settings.variant) == (512, (224, 224), "raw")
    norms = [module for module in classifier.model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert all(module.momentum <= 0.1 for module in norms)
    windows = [noise(classifier.sampling_rate), noise(0)]
    classifier.save(tmp_path / "ours")
    again = load_classifier(tmp_path / "ours", device="cpu")
    np.testing.assert_allclose(again.logits(windows), classifier.logits(windows), atol=1e-5)
    written = json.loads((tmp_path / "ours" / "preprocessor_config.json").read_text())
    assert written["image_processor_type"] == "ViTImageProcessor"
    assert written["image_mean"] == [0.6569] * 3  # of spectrograms, no longer ImageNet's
