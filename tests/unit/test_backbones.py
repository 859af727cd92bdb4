"""Every preset, from waveforms to logits; and checkpoints that are fitted to another window."""

import re

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from transformers import (
    ASTConfig,
    ASTFeatureExtractor,
    ASTForAudioClassification,
    AutoImageProcessor,
    AutoModelForAudioClassification,
    AutoModelForImageClassification,
    ResNetConfig,
    ResNetForImageClassification,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForAudioClassification,
)

from hf_inatsounds.audio.windows import WindowSpec
from hf_inatsounds.data.labels import LabelSpace, Taxon
from hf_inatsounds.errors import CheckpointError, RecipeError
from hf_inatsounds.models.classifier import build_classifier, load_classifier
from hf_inatsounds.models.from_preset import PRESETS
from hf_inatsounds.models.heads import classification_head
from hf_inatsounds.objectives import Multiclass, Multilabel

SPACE = LabelSpace(tuple(Taxon(f"Rana {i}", "", "Amphibia", ("a",) * 7, True) for i in range(3)))
WINDOW = WindowSpec(1.0, 0.5)
TINY = [name for name in PRESETS if name.endswith("-tiny")]
AST = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
GENERATOR = np.random.default_rng(0)


def build(preset, objective=None, window=WINDOW, **options):
    return build_classifier(str(preset), SPACE, objective or Multiclass(), window=window, **options)


def noise(n):
    return (0.1 * GENERATOR.standard_normal(n)).astype(np.float32)


@pytest.mark.parametrize("preset", TINY)
def test_a_preset_scores_windows_one_by_one_as_together_and_reloads_natively(preset, tmp_path):
    classifier = build(preset)
    windows = [noise(n) for n in (classifier.sampling_rate, 9_000, 300, 0)]
    logits, embeddings = classifier.logits(windows), classifier.features(windows)
    for i, window in enumerate(windows):
        np.testing.assert_allclose(classifier.logits([window]), logits[i : i + 1], atol=1e-5)
        np.testing.assert_allclose(classifier.features([window]), embeddings[i : i + 1], atol=1e-4)
    classifier.save(tmp_path)
    again = load_classifier(tmp_path, device="cpu")
    np.testing.assert_allclose(again.logits(windows), logits, atol=1e-5)
    image = "pixel_values" in classifier.frontend.layout.name
    auto = AutoModelForImageClassification if image else AutoModelForAudioClassification
    native = auto.from_pretrained(tmp_path).eval()
    lengths = torch.tensor([classifier.sampling_rate])
    with torch.inference_mode():
        inputs = again.frontend.model_inputs(torch.from_numpy(windows[0])[None], lengths)
        np.testing.assert_allclose(native(**inputs).logits.numpy(), logits[:1], atol=1e-5)
    assert native.config.id2label == {0: "Rana 0", 1: "Rana 1", 2: "Rana 2"}


@pytest.mark.parametrize("preset", TINY)
def test_a_new_multilabel_head_begins_at_one_label_a_recording(preset):
    bias = classification_head(build(preset, Multilabel()).model).bias.detach()
    np.testing.assert_allclose(bias.sigmoid(), 1 / 3, rtol=1e-6)
    assert not np.allclose(classification_head(build(preset).model).bias.detach().sigmoid(), 1 / 3)


def test_a_head_of_the_same_classes_is_kept_and_one_of_others_begins_anew(tmp_path):
    classifier = build("ast-tiny", Multilabel(), config=AST)
    head = classification_head(classifier.model)
    torch.nn.init.constant_(head.bias, 0.5)
    classifier.save(tmp_path)
    kept = build(tmp_path, Multilabel())
    assert torch.equal(classification_head(kept.model).bias, head.bias)
    assert torch.equal(classification_head(kept.model).weight, head.weight)
    others = LabelSpace(tuple(Taxon(f"Hyla {i}", "", "Amphibia", ("b",) * 7, True) for i in range(3)))
    started = build_classifier(str(tmp_path), others, Multilabel(), window=WINDOW)
    np.testing.assert_allclose(classification_head(started.model).bias.detach().sigmoid(), 1 / 3, rtol=1e-6)


@pytest.mark.parametrize("preset", TINY)
def test_embeddings_are_what_the_head_makes_logits_of(preset):
    classifier = build(preset, Multilabel())
    windows = [noise(classifier.sampling_rate)]
    embeddings = classifier.features(windows)
    assert embeddings.shape == (1, classification_head(classifier.model).in_features)
    with torch.inference_mode():
        found = classification_head(classifier.model)(torch.from_numpy(embeddings)).numpy()
    np.testing.assert_allclose(found, classifier.logits(windows), atol=1e-5)


@pytest.mark.parametrize(
    ("preset", "millions"),
    [("resnet-18", 11.2), ("resnet-50", 23.5), ("resnet-101", 42.5), ("vit-b16", 85.8), ("efficientnet-b0", 4.0),
     ("efficientnet-b1", 6.5), ("mobilenet-v2", 2.2)],
)  # fmt: skip
def test_presets_of_the_usual_size_have_the_published_number_of_weights(preset, millions):
    with torch.device("meta"):
        model = build(preset).model
    head = sum(p.numel() for p in classification_head(model).parameters())
    body = sum(p.numel() for p in model.parameters()) - head
    assert body / 1e6 == pytest.approx(millions, abs=0.05)


@pytest.mark.parametrize("preset", TINY)
def test_a_small_preset_is_as_large_as_it_says(preset):
    said = re.search(r"of (0\.\d) M parameters", PRESETS[preset].about)
    with torch.device("meta"):
        weights = sum(p.numel() for p in build(preset, window=WindowSpec(3.0, 1.5)).model.parameters())
    assert weights / 1e6 == pytest.approx(float(said[1]), abs=0.06)


def test_an_image_processor_of_transformers_makes_the_same_pixels(tmp_path):
    classifier = build("vit-tiny", feature_extractor={"variant": "scaled"})
    classifier.save(tmp_path)
    waveform = noise(22_050)
    image = classifier.frontend.spectrogram(waveform)
    frames = classifier.frontend.settings.n_frames
    grey = np.zeros((128, frames), np.uint8)
    first = (frames - image[:, :frames].shape[1]) // 2
    grey[:, first : first + image.shape[1]] = image[:, :frames]
    processor = AutoImageProcessor.from_pretrained(tmp_path, use_fast=False)
    expected = processor(np.stack([grey] * 3, -1), return_tensors="pt")["pixel_values"]
    found = classifier.frontend(torch.from_numpy(waveform)[None], torch.tensor([22_050]))
    # it resizes whole numbers: half a level, and one that the FFTs differ by
    assert (found - expected).abs().max() < 1.6 / 255 / 0.1529


def test_an_image_checkpoint_from_elsewhere_gets_a_new_head_and_keeps_the_rest(tmp_path):
    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 8, 8, 8], depths=[1, 1, 1, 1], layer_type="basic")
    original = ResNetForImageClassification(config)
    original.save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="no spectrogram settings"):
        load_classifier(tmp_path)
    classifier = build(tmp_path, feature_extractor={"image_size": 64})
    assert classifier.model.config.num_labels == 3
    for name, weights in original.resnet.state_dict().items():
        assert torch.equal(classifier.model.resnet.state_dict()[name], weights)


def saved_ast(folder, max_length=1024):
    config = ASTConfig(**AST, max_length=max_length)
    model = ASTForAudioClassification(config)
    torch.nn.init.normal_(model.audio_spectrogram_transformer.embeddings.position_embeddings)
    model.save_pretrained(folder)
    ASTFeatureExtractor(max_length=max_length).save_pretrained(folder)
    return model.audio_spectrogram_transformer.embeddings.position_embeddings.detach()[0]


def positions(classifier):
    return classifier.model.audio_spectrogram_transformer.embeddings.position_embeddings.detach()[0]


def test_an_ast_keeps_its_input_where_the_window_has_as_many_patches(tmp_path):
    known = saved_ast(tmp_path)
    classifier = build(tmp_path, window=WindowSpec(10.24, 5.12))
    assert classifier.model.config.max_length == classifier.feature_extractor.max_length == 1024
    assert torch.equal(positions(classifier), known)


def test_an_ast_at_a_shorter_window_keeps_the_middle_of_its_position_embeddings(tmp_path):
    known = saved_ast(tmp_path / "long")
    classifier = build(tmp_path / "long", window=WindowSpec(3.0, 1.5))
    assert classifier.model.config.max_length == classifier.feature_extractor.max_length == 298
    found = positions(classifier)
    assert torch.equal(found[:2], known[:2])
    grid, expected = found[2:].reshape(12, 29, -1), known[2:].reshape(12, 101, -1)
    assert torch.equal(grid, expected[:, 36:65])
    classifier.save(tmp_path / "short")
    again = load_classifier(tmp_path / "short", device="cpu")
    windows = [noise(48_000)]
    np.testing.assert_allclose(again.logits(windows), classifier.logits(windows), atol=1e-6)


def test_an_ast_at_a_longer_window_has_interpolated_position_embeddings(tmp_path):
    known = saved_ast(tmp_path, 298)[2:].reshape(12, 29, -1)
    found = positions(build(tmp_path, window=WindowSpec(6.0, 3.0)))[2:].reshape(12, 59, -1)
    places = np.clip((np.arange(59) + 0.5) * 29 / 59 - 0.5, 0, 28)
    expected = np.stack([[np.interp(places, np.arange(29), row[:, d]) for d in range(16)] for row in known.numpy()])
    np.testing.assert_allclose(found.numpy(), expected.transpose(0, 2, 1), atol=1e-5)


def test_a_whisper_is_cut_to_the_window_and_scores_what_is_left_as_before(tmp_path):
    config = WhisperConfig(
        d_model=16, encoder_layers=1, encoder_attention_heads=2, encoder_ffn_dim=16, num_mel_bins=80,
        classifier_proj_size=8, decoder_layers=1, decoder_attention_heads=1, decoder_ffn_dim=8, num_labels=3,
    )  # fmt: skip
    model = WhisperForAudioClassification(config).eval()
    model.save_pretrained(tmp_path / "long")
    WhisperFeatureExtractor().save_pretrained(tmp_path / "long")
    classifier = build(tmp_path / "long", window=WindowSpec(3.0, 1.5))
    assert classifier.model.config.max_source_positions == 150
    table = model.encoder.embed_positions.weight
    assert torch.equal(classifier.model.encoder.embed_positions.weight, table[:150])
    classifier.save(tmp_path / "short")
    again = load_classifier(tmp_path / "short", device="cpu")
    windows = [noise(48_000), noise(100)]
    np.testing.assert_allclose(again.logits(windows), classifier.logits(windows), atol=1e-6)
    with pytest.raises(RecipeError, match="longer than this Whisper hears"):
        build(tmp_path / "short", window=WindowSpec(9.0, 3.0))


def test_mistakes_are_named(tmp_path):
    with pytest.raises(RecipeError, match=r"config\.hidden.*expected a key of ViTConfig"):
        build("vit-tiny", config={"hidden": 3})
    with pytest.raises(RecipeError, match=r"feature_extractor\.bins"):
        build("resnet-tiny", feature_extractor={"bins": 3})
    with pytest.raises(RecipeError, match="unknown variant"):
        build("resnet-tiny", feature_extractor={"variant": "loud"})
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(CheckpointError, match=r"no classifier.*bert"):
        build(tmp_path)


def test_timm_is_asked_for_where_it_is_missing(tmp_path):
    try:
        import timm  # noqa: F401
    except (ImportError, RuntimeError):
        pass
    else:
        pytest.skip("timm is installed")
    (tmp_path / "config.json").write_text(
        '{"model_type": "timm_wrapper", "architecture": "resnet18", "num_classes": 2}'
    )
    save_file({"weights": torch.zeros(1)}, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"hf-inatsounds\[timm\]"):
        build(tmp_path)


@pytest.mark.parametrize("preset", ["efficientnet-tiny", "mobilenet-tiny", "resnet-tiny"])
def test_running_statistics_remember_more_than_the_last_batch(preset):
    norms = [module for module in build(preset).model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert norms
    assert all(module.momentum <= 0.1 for module in norms)


@pytest.mark.parametrize("preset", ["efficientnet-tiny", "mobilenet-tiny", "resnet-tiny"])
def test_an_image_backbone_from_random_weights_tells_two_sounds_apart(preset):
    classifier = build(preset)
    classifier.model.train()
    waveforms = torch.from_numpy(np.stack([noise(22_050), np.zeros(22_050, np.float32)]))
    inputs = classifier.frontend.model_inputs(waveforms, torch.tensor([22_050, 22_050]))
    embeddings = classifier.model.base_model(**inputs).pooler_output.flatten(1)
    assert embeddings.std(0).mean() > 1e-3
