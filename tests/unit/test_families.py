"""Promises that hold for every family of models, those of transformers that have no preset yet included."""

import inspect
import math

import numpy as np
import pytest
import torch
import transformers
from transformers.models.auto.modeling_auto import MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING_NAMES

from hf_inatsounds.audio import Waveform
from hf_inatsounds.audio.windows import WindowSpec
from hf_inatsounds.errors import InatSoundsError, RecipeError
from hf_inatsounds.models.families import FAMILIES
from hf_inatsounds.models.finetuning import add_lora, body_layers, freeze, parameter_depths, unused_parameters
from hf_inatsounds.models.from_preset import PRESETS
from hf_inatsounds.models.heads import classification_head
from hf_inatsounds.models.input_length import minimum_samples
from hf_inatsounds.objectives import Multilabel
from tests.unit.test_backbones import TINY, build, noise
from tests.unit.test_finetuning import CONVOLUTIONAL

FAMILY = {preset: FAMILIES[PRESETS[preset].family] for preset in TINY}
CONFIG = {preset: getattr(transformers, family.config) for preset, family in FAMILY.items()}
MASKING = [preset for preset in TINY if hasattr(CONFIG[preset](), "mask_time_prob") and "whisper" not in preset]
WAVEFORMS = [preset for preset in TINY if hasattr(CONFIG[preset](), "conv_kernel")]
LIMITED = [preset for preset in TINY if preset not in MASKING]
HUB = {"mask_time_prob": 0.05, "mask_time_length": 10, "mask_feature_prob": 0.0, "apply_spec_augment": True}
"""SpecAugment as the Hub's configs have it; layers are dropped elsewhere."""
LENGTHS = (0, 1, 2, 10, 400, 401, 799, 850, 1_170, 3_280)


def known(preset, values):
    """Those of the values that the family's config has."""
    return {key: value for key, value in values.items() if hasattr(CONFIG[preset](), key)}


def inputs_of(classifier, lengths):
    waveforms = torch.zeros(len(lengths), max(lengths))
    for row, n in zip(waveforms, lengths, strict=True):
        row[:n] = torch.from_numpy(noise(n))
    return classifier.frontend.model_inputs(waveforms, torch.tensor(lengths))


def train_step(classifier, optimizer, seed=0):
    rate = classifier.sampling_rate
    loss = torch.nn.functional.cross_entropy(
        classifier.model(**inputs_of(classifier, [rate, rate, rate // 2, rate])).logits, torch.tensor([0, 1, 2, 0])
    )
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def test_every_audio_classifier_of_transformers_has_a_family_and_every_family_a_small_preset():
    assert {family.model for family in FAMILIES.values()} >= set(MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING_NAMES.values())
    assert {PRESETS[preset].family for preset in TINY} == set(FAMILIES)


@pytest.mark.parametrize("preset", TINY)
def test_windows_of_any_length_are_scored_alike_alone_and_together(preset):
    classifier = build(preset)
    windows: list[Waveform] = [noise(n) for n in LENGTHS]
    together, embedded = classifier.logits(windows), classifier.features(windows)
    assert np.isfinite(together).all()
    for i, window in enumerate(windows):
        np.testing.assert_allclose(classifier.logits([window]), together[i : i + 1], atol=2e-5)
        np.testing.assert_allclose(classifier.features([window]), embedded[i : i + 1], atol=1e-4)


@pytest.mark.parametrize("preset", WAVEFORMS)
def test_the_minimum_is_what_a_model_needs_and_no_sample_more(preset):
    classifier = build(preset)
    least = minimum_samples(classifier.model.config)
    assert torch.isfinite(classifier.model.eval()(**inputs_of(classifier, [least])).logits).all()
    with pytest.raises(RuntimeError):
        classifier.model(**inputs_of(classifier, [least - 1]))


@pytest.mark.parametrize("preset", LIMITED)
def test_a_window_longer_than_the_input_is_refused_and_the_training_window_is_not(preset):
    for size_s in (0.5, 1.0, 1.03, 2.999, 3.0):
        classifier = build(preset, window=WindowSpec(size_s, size_s))
        frontend, rate = classifier.frontend, classifier.sampling_rate
        frontend.check_window(classifier.window)
        classifier.logits([noise(WindowSpec(size_s, size_s).size_samples(rate))])
        longest = frontend.longest_samples
        assert longest is not None
        assert longest <= (math.ceil(size_s) if "whisper" in preset else size_s + 0.05) * rate
        with pytest.raises(InatSoundsError, match=r"--window must be at most [\d.]+ s, the length of the model's inp"):
            frontend.check_window(WindowSpec(size_s + 1.1, 1.0))
        for score in (classifier.logits, classifier.features):
            with pytest.raises(InatSoundsError, match=r"a window must be at most [\d.]+ s"):
                score([noise(10), noise(longest + rate // 500)])


@pytest.mark.parametrize("preset", [preset for preset in LIMITED if "whisper" not in preset])
def test_the_longest_window_is_heard_to_its_last_frame(preset):
    """What is added behind it is refused, and what is in its last 50 ms changes the input."""
    classifier = build(preset)
    longest = classifier.frontend.longest_samples
    one = noise(longest)
    other = one.copy()
    other[-classifier.sampling_rate // 20 :] *= 0.01
    lengths = torch.tensor([longest, longest])
    features = classifier.frontend(torch.from_numpy(np.stack([one, other])), lengths)
    assert not torch.equal(features[0], features[1])


@pytest.mark.parametrize("preset", MASKING)
def test_models_without_a_longest_input_take_any_window(preset):
    classifier = build(preset)
    assert classifier.frontend.longest_samples is None
    classifier.frontend.check_window(WindowSpec(100.0, 100.0))
    assert np.isfinite(classifier.logits([noise(4 * classifier.sampling_rate)])).all()


VARIANTS = {
    "as the preset": {},
    "as the Hub": HUB,
    "masks that are switched off": {**HUB, "apply_spec_augment": False},
    "masks of bands alone": {**HUB, "mask_time_prob": 0.0, "mask_feature_prob": 0.2},
    "a weighted sum of layers": {**HUB, "use_weighted_layer_sum": True},
}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("preset", TINY)
def test_the_parameters_that_get_no_gradient_are_those_that_are_named(preset, variant):
    config = known(preset, VARIANTS[variant])
    if VARIANTS[variant] and not config:
        pytest.skip("the family has none of these keys")
    classifier = build(preset, config=config)
    model = classifier.model.train()
    unused = set(unused_parameters(model))
    for weights in model.parameters():
        weights.requires_grad_(weights.is_floating_point())
    rate = classifier.sampling_rate
    model(**inputs_of(classifier, [rate, rate])).logits.square().sum().backward()
    without = {name for name, weights in model.named_parameters() if weights.grad is None}
    assert without == unused
    parameters = build(preset, config=config).model.named_parameters()
    frozen = {name for name, weights in parameters if not weights.requires_grad}
    fixed = {"encoder.embed_positions.weight"} if preset == "whisper-tiny" else set()
    assert frozen == unused | fixed


@pytest.mark.parametrize("preset", MASKING)
def test_specaugment_leaves_short_passes_alone_and_all_trained_parameters_get_a_gradient(preset):
    config = known(preset, {**HUB, "mask_feature_prob": 0.2})
    classifier = build(preset, config=config)
    model = classifier.model.train()
    for seconds in (0.0, 0.01, 0.1, 0.3, 1.0):
        least = max(int(seconds * classifier.sampling_rate), minimum_samples(model.config))
        model.zero_grad()
        logits = model(**inputs_of(classifier, [least, minimum_samples(model.config)])).logits
        logits.square().sum().backward()
        without = [name for name, w in model.named_parameters() if w.requires_grad and w.grad is None]
        assert without == []
        assert torch.isfinite(logits).all()
    assert model.config.mask_time_prob == 0.05  # put back: it is saved with the model


@pytest.mark.parametrize("preset", MASKING)
def test_specaugment_masks_passes_that_are_long_enough(preset):
    classifier = build(preset, config=known(preset, {**HUB, "mask_time_prob": 0.9}))
    model = classifier.model.train()
    inputs = inputs_of(classifier, [2 * classifier.sampling_rate] * 2)
    embed = dict(model.named_parameters())[f"{model.base_model_prefix}.masked_spec_embed"]
    model(**inputs).logits.square().sum().backward()
    assert embed.grad.abs().max() > 0


@pytest.mark.parametrize("how", ["encoder", "1", "lora"])
@pytest.mark.parametrize("preset", TINY)
def test_what_is_frozen_stays_bit_for_bit_and_the_rest_learns(preset, how):
    if how == "lora" and preset in CONVOLUTIONAL:
        pytest.skip("LoRA is refused there, which another test checks")
    config = known(preset, HUB)
    classifier = build(preset, config=config)
    model = classifier.model
    if how == "lora":
        add_lora(model, 2)
    else:
        freeze(model, how)
    model.train()
    trained = {name for name, weights in model.named_parameters() if weights.requires_grad}
    statistics = {
        f"{prefix}.{name}"
        for prefix, module in model.named_modules()
        if any(one.requires_grad for one in module.parameters(recurse=False))
        for name, _ in module.named_buffers(recurse=False)
    }
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    optimizer = torch.optim.AdamW([w for w in model.parameters() if w.requires_grad], lr=1e-2, weight_decay=0.1)
    for _ in range(3):
        train_step(classifier, optimizer)
    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed <= trained | statistics
    assert trained - changed <= {name for name in trained if name.endswith("masked_spec_embed")}
    model.eval().train()  # as the Trainer does around a validation
    held = [m for m in model.modules() if list(m.parameters()) and not any(w.requires_grad for w in m.parameters())]
    assert not any(module.training for module in held)


@pytest.mark.parametrize("preset", TINY)
def test_a_frozen_encoder_leaves_exactly_the_head(preset):
    model = build(preset, config=known(preset, {"use_weighted_layer_sum": True})).model
    freeze(model, "encoder")
    parts = {name: name.split(".")[0] for name, _ in model.named_parameters()}
    trained = {parts[name] for name, weights in model.named_parameters() if weights.requires_grad}
    assert trained == {"classifier", "projector", "layer_weights"} & set(parts.values())
    assert all(weights.requires_grad for weights in classification_head(model).parameters())


@pytest.mark.parametrize("preset", TINY)
def test_the_first_layers_are_frozen_with_all_that_runs_before_them(preset):
    classifier = build(preset)
    model, ran = classifier.model, []
    layers = body_layers(model)
    inside = {id(module) for layer in layers for module in layer.modules()}
    hooks = [
        module.register_forward_pre_hook(lambda _, __, name=name: ran.append(name))
        for name, module in model.named_modules()
        if id(module) not in inside and list(module.parameters(recurse=False))
    ]
    hooks.append(layers[0].register_forward_pre_hook(lambda *_: ran.append("first layer")))
    hooks.append(layers[-1].register_forward_hook(lambda *_: ran.append("last layer")))
    classifier.logits([noise(classifier.sampling_rate)])
    for hook in hooks:
        hook.remove()
    before, after = ran[: ran.index("first layer")], ran[ran.index("last layer") + 1 :]
    depths = parameter_depths(model)
    for modules, depth in ((before, 0), (after, len(layers) + 1)):
        for name in modules:
            own = [one for one, _ in model.get_submodule(name).named_parameters(recurse=False)]
            assert {depths[f"{name}.{one}"] for one in own if f"{name}.{one}" in depths} <= {depth}, name
    freeze(model, str(len(layers)))
    assert {depths[name] for name, weights in model.named_parameters() if weights.requires_grad} == {len(layers) + 1}


CHOICES = {
    "max_length": (0, -1, 1, 5, 17, 299, 2.5, "x", None, True, [3], 10**12),
    "num_mel_bins": (0, 1, 7, 64, 65.0, "x", None),
    "feature_size": (0, 7, 64, 2.5, "x"),
    "image_size": (0, 1, 8, 63, 64, [64], [64, 128], [64, 128, 3], [64, 0], [], "64", 2.5, None),
    "n_frames": (0, 1, 7, 8, 100, 2.5, "x"),
    "chunk_length": (0, 1, 2, 31, 2.5, "x"),
    "hop_length": (0, 1, 159, 480, "x"),
    "n_fft": (0, 1, 16, 401, "x"),
    "stride": (0, 1, 3, "x"),
    "sampling_rate": (0, 1, 30, 8_000, 16_000.5, "x"),
    "mean": ("x", None, math.nan, 3),
    "std": (0, -1.0, math.inf, "x", 2),
    "padding_value": ("x", math.nan, 1),
    "do_normalize": ("no", 1, None, False),
    "return_attention_mask": ("no", 1, False),
    "variant": ("loud", 3, "scaled"),
    "precision": ("float16", 3, "float64"),
    "mel_bins": (64,),
}


def refusal(checkpoint, chosen):
    """What is said against a choice; nothing of one that works."""
    try:
        classifier = build(checkpoint, window=WindowSpec(1.0, 0.5), feature_extractor=chosen)
    except InatSoundsError as error:
        return str(error)
    return "" if classifier.logits([noise(classifier.sampling_rate), noise(0)]).shape == (2, 3) else "other shapes"


@pytest.mark.slow
@pytest.mark.parametrize("preset", TINY)
def test_settings_of_a_feature_extractor_fit_or_are_refused_in_a_line(preset, tmp_path):
    build(preset).save(tmp_path)
    for key, values in CHOICES.items():
        asked = key in inspect.signature(FAMILY[preset].extractor).parameters
        for value in values if asked else values[:1]:
            for start in (preset, tmp_path):
                said = refusal(start, {key: value})
                assert "\n" not in said
                if repr(value) in ("0", "'x'", "2.5", "None") or key == "mel_bins":
                    assert f"feature_extractor.{key}" in said, (start, key, value, said)


def test_sizes_that_contradict_each_other_are_named_with_what_would_fit():
    for preset, chosen, message in (
        ("ast-tiny", {"num_mel_bins": 64}, r"feature_extractor\.num_mel_bins must be 32, as config\.num_mel_bins, got"),
        ("ast-tiny", {"max_length": 40}, r"window_s must be at most 0\.42\d s, the length of the model's input, got 1"),
        ("resnet-tiny", {"n_frames": 40}, r"window_s must be at most 0\.29\d s, the length of the model's input, got"),
        ("whisper-tiny", {"feature_size": 80}, r"feature_extractor\.feature_size must be 64, as config\.num_mel_bins"),
        ("wav2vec2-bert-tiny", {"stride": 0}, r"feature_extractor\.stride must be an integer of at least 1, got 0"),
    ):
        with pytest.raises(InatSoundsError, match=message):
            build(preset, feature_extractor=chosen)
    with pytest.raises(RecipeError, match=r"config\.mask_feature_length must be at least 1 and at most 96"):
        build("wav2vec2-tiny", config={"mask_feature_prob": 0.1, "mask_feature_length": 97})


def test_trying_a_model_on_silence_leaves_no_trace():
    torch.manual_seed(0)
    build("mobilenet-tiny", Multilabel())
    state = torch.get_rng_state()
    torch.manual_seed(0)
    first = build("mobilenet-tiny", Multilabel())
    assert torch.equal(torch.get_rng_state(), state)
    norms = [module for module in first.model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert all(int(module.num_batches_tracked) == 0 for module in norms)
