"""Checkpoints as others leave them are read whole, run nothing, and begin with no weight that is random unnoticed."""

import json
import shutil

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from hf_inatsounds.audio.windows import WindowSpec
from hf_inatsounds.data.labels import LabelSpace, Taxon
from hf_inatsounds.errors import CheckpointError, RecipeError
from hf_inatsounds.inference.embedding import load_embedder
from hf_inatsounds.models.classifier import build_classifier, load_classifier
from hf_inatsounds.models.heads import classification_head
from hf_inatsounds.objectives import Multiclass, Multilabel
from tests.helpers.checkpoints import (
    KINDS,
    LAYOUTS,
    SPEECH,
    as_the_example_leaves_it,
    pretrained,
    trapped,
    write_config,
    write_weights,
)
from tests.unit.test_backbones import AST, SPACE, WINDOW, build, noise

NAMES = SPACE.species


def body_of(classifier):
    """Weights of the pre-trained part, under the old names."""
    names = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
    found = {}
    for name, tensor in classifier.model.base_model.state_dict().items():
        for new, old in names.items():
            name = name.replace(new, old)
        found[name] = tensor
    return found


def one_line(error):
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 900


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_base_checkpoint_loads_whatever_its_weights_lie_in(tmp_path, kind, layout):
    weights = pretrained(tmp_path, kind, layout)
    classifier = build(tmp_path)
    prefix = "wav2vec2." if kind == "wav2vec2" else ""
    found = body_of(classifier)
    assert found.keys() <= {name.removeprefix(prefix) for name in weights}
    assert all(torch.equal(tensor, weights[prefix + name]) for name, tensor in found.items())
    start = classifier.start
    assert (start.head, start.commit) == ("new", None)
    assert start.drawn_anew == ("classifier.bias", "classifier.weight", "projector.bias", "projector.weight")
    assert start.unused == len(weights) - len(found)
    assert str(start).startswith("new head; drawn anew: classifier.bias, classifier.weight, projector.bias")
    assert np.isfinite(load_embedder(str(tmp_path)).embed([noise(16_000)])).all()
    with pytest.raises(CheckpointError, match="an encoder without a classification head") as error:
        load_classifier(tmp_path)
    one_line(error)


@pytest.mark.parametrize("kind", ["SEWD", "Hubert"])
def test_a_mask_embedding_that_the_checkpoint_lacks_is_drawn_and_not_what_was_in_memory(tmp_path, kind):
    names = ("Config", "ForSequenceClassification")
    config, model = (getattr(transformers, f"{kind}{name}") for name in names)
    size = {key: value for key, value in SPEECH.items() if not key.startswith(("num_code", "codev", "proj_code"))}
    more = {"conv_kernel": [10, 3, 3, 3, 3, 2, 2], "conv_stride": [5, 2, 2, 2, 2, 2, 2]} if kind == "SEWD" else {}
    one = model(config(**size, **more))
    transformers.Wav2Vec2FeatureExtractor(return_attention_mask=True).save_pretrained(tmp_path)
    write_config(tmp_path, one.config, [type(one).__name__])
    left = {name: tensor for name, tensor in one.state_dict().items() if not name.endswith("masked_spec_embed")}
    write_weights(tmp_path, left, "bin")
    for _ in range(3):
        classifier = build(tmp_path)
        mask = classifier.model.base_model.masked_spec_embed.detach()
        assert ((mask >= 0) & (mask <= 1)).all()
        assert mask.std() > 0.1
        assert any(name.endswith("masked_spec_embed") for name in classifier.start.drawn_anew)


def test_safetensors_come_first_and_the_pickle_beside_them_is_not_touched(tmp_path):
    pretrained(tmp_path, layout="safetensors")
    trapped(tmp_path / "pytorch_model.bin", tmp_path / "ran")
    build(tmp_path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("read", [build, load_classifier, lambda folder: load_embedder(str(folder))])
def test_a_pickle_that_would_run_code_is_refused_in_one_line_and_nothing_runs(tmp_path, read):
    pretrained(tmp_path)
    trapped(tmp_path / "pytorch_model.bin", tmp_path / "ran")
    with pytest.raises(CheckpointError, match=r"refused: .*could run code.*Nothing of it was run") as error:
        read(tmp_path)
    one_line(error)
    assert not (tmp_path / "ran").exists()
    torch.load(tmp_path / "pytorch_model.bin", weights_only=False)  # so the trap works
    assert (tmp_path / "ran").exists()


def cut(folder):
    path = folder / "pytorch_model.bin"
    path.write_bytes(path.read_bytes()[:5000])


def pointer(folder):
    (folder / "pytorch_model.bin").write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 380267417\n"
    )


def no_weights(folder):
    (folder / "pytorch_model.bin").rename(folder / "tf_model.h5")


def a_list(folder):
    torch.save([torch.zeros(2)], folder / "pytorch_model.bin")


def nested(folder):
    torch.save({"model": {"a": torch.zeros(2)}, "epoch": 3}, folder / "pytorch_model.bin")


def a_shard_less(folder):
    write_weights(folder, torch.load(folder / "pytorch_model.bin", weights_only=True), "bin-shards")
    (folder / "pytorch_model.bin").unlink()
    (folder / "pytorch_model-00002-of-00002.bin").unlink()


def index_elsewhere(folder):
    shutil.move(folder / "pytorch_model.bin", folder.parent / "outside.bin")
    index = {"weight_map": {"a": "../outside.bin"}}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))


def other_model(folder):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "model_type": "hubert"}))


def layers_less(folder):
    path = folder / "pytorch_model.bin"
    weights = torch.load(path, weights_only=True)
    torch.save({name: tensor for name, tensor in weights.items() if ".layers.1." not in name}, path)


def config_of_another(folder):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "intermediate_size": 32}))


def quantised(folder):
    path = folder / "config.json"
    found = {
        **json.loads(path.read_text()),
        "quantization_config": {"quant_method": "bitsandbytes", "load_in_8bit": True},
    }
    path.write_text(json.dumps(found))


def bad_config(folder):
    (folder / "config.json").write_text("{")


def no_extractor(folder):
    (folder / "preprocessor_config.json").unlink()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (cut, r"damaged weights: .*pytorch_model\.bin"),
        (pointer, r"a Git LFS pointer instead of weights: .*git lfs pull"),
        (no_weights, r"no weights: .*found tf_model\.h5; expected model\.safetensors or pytorch_model\.bin"),
        (a_list, "no plain list of weights: .*found list"),
        (nested, "no plain list of weights: .*found model, epoch"),
        (a_shard_less, r"a part of the weights is missing: .*00002-of-00002\.bin: found 1 of 2"),
        (index_elsewhere, r"malformed index of the weights: .*outside\.bin"),
        (other_model, "its weights are not the model's"),
        (layers_less, r"its weights are not the model's: .*found no .*encoder\.layers\.1\..* and 15 more"),
        (config_of_another, r"its weights are not the model's: .*of shape \(16,\).*expected shape \(32,\)"),
        (quantised, "a quantised checkpoint"),
        (bad_config, "malformed config"),
        (no_extractor, r"no feature extractor: .*found no preprocessor_config\.json"),
    ],
)
def test_a_spoilt_checkpoint_is_named_in_one_line(tmp_path, spoil, message):
    folder = tmp_path / "checkpoint"
    pretrained(folder)
    spoil(folder)
    for read in (build, lambda path: load_embedder(str(path))):
        with pytest.raises(CheckpointError, match=message) as error:
            read(folder)
        one_line(error)


def test_the_folder_of_a_killed_run_names_its_checkpoints(tmp_path):
    pretrained(tmp_path / "checkpoint-500")
    with pytest.raises(CheckpointError, match="It holds checkpoint-500: name one of them"):
        build(tmp_path)
    assert build(tmp_path, subfolder="checkpoint-500").start.head == "new"


def test_an_adapter_and_a_folder_with_a_revision_are_named(tmp_path):
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"found a PEFT adapter.*merge_and_unload"):
        build(tmp_path)
    pretrained(tmp_path / "whole")
    with pytest.raises(CheckpointError, match="a folder has no revisions"):
        build(tmp_path / "whole", revision="v1")
    with pytest.raises(RecipeError, match="a preset has none"):
        build("ast-tiny", revision="v1")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_checkpoint_in_half_precision_is_read_and_saved_in_float32(tmp_path, dtype):
    as_the_example_leaves_it(tmp_path / "half", NAMES)
    model = transformers.Wav2Vec2ForSequenceClassification.from_pretrained(tmp_path / "half")
    model.to(dtype).save_pretrained(tmp_path / "half")
    assert json.loads((tmp_path / "half" / "config.json").read_text())["dtype"] in ("float16", "bfloat16")
    for classifier in (build(tmp_path / "half"), load_classifier(tmp_path / "half", device="cpu")):
        assert {weights.dtype for weights in classifier.model.parameters()} == {torch.float32}
        assert np.isfinite(classifier.logits([noise(16_000)])).all()
        classifier.save(tmp_path / "saved")
        saved = load_file(tmp_path / "saved" / "model.safetensors")
        assert {weights.dtype for weights in saved.values()} == {torch.float32}
        assert json.loads((tmp_path / "saved" / "config.json").read_text())["dtype"] == "float32"
    assert load_embedder(str(tmp_path / "half")).embed([noise(16_000)]).dtype == np.float32


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_named(tmp_path, value):
    as_the_example_leaves_it(tmp_path, NAMES)
    path = tmp_path / "model.safetensors"
    weights = load_file(path)
    weights["projector.weight"][0, 0] = value
    save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"found 1 of 128 values of projector\.weight") as error:
        load_classifier(tmp_path)
    one_line(error)


# ---- code of its own ----------------------------------------------------------------------------------------------


def with_code(folder, *, file="config.json", **changes):
    """Name classes of the checkpoint's own; the module leaves a mark where it is imported."""
    code = f"import os\nos.mkdir({str(folder / 'ran')!r})\n"
    (folder / "theirs.py").write_text(code)
    path = folder / file
    auto = {"AutoConfig": "theirs.Config", "AutoFeatureExtractor": "theirs.Extractor"}
    models = ("AutoModel", "AutoModelForAudioClassification", "AutoModelForImageClassification")
    auto |= dict.fromkeys(models, "theirs.Model")
    path.write_text(json.dumps({**json.loads(path.read_text()), "auto_map": auto, **changes}))


@pytest.fixture
def yes(monkeypatch):
    """Whoever asks is answered yes, and it is counted."""
    asked = []
    monkeypatch.setattr("builtins.input", lambda *words: asked.append(words) or "y")
    return asked


@pytest.mark.parametrize(
    ("file", "changes"),
    [("config.json", {"model_type": "theirs"}), ("preprocessor_config.json", {"feature_extractor_type": "Theirs"})],
)
def test_a_checkpoint_that_needs_its_own_code_is_refused(tmp_path, yes, file, changes):
    as_the_example_leaves_it(tmp_path, NAMES)
    with_code(tmp_path, file=file, **changes)
    for read in (build, load_classifier, lambda folder: load_embedder(str(folder))):
        with pytest.raises(CheckpointError, match=f"needs code of its own, which is never run: .*{file}") as error:
            read(tmp_path)
        one_line(error)
    assert not yes
    assert not (tmp_path / "ran").exists()


def test_of_a_type_that_transformers_knows_its_own_class_is_taken(tmp_path, yes):
    as_the_example_leaves_it(tmp_path, NAMES)
    expected = load_classifier(tmp_path, device="cpu").logits([noise(16_000)]).shape
    with_code(tmp_path)
    with_code(tmp_path, file="preprocessor_config.json")
    for classifier in (load_classifier(tmp_path, device="cpu"), build(tmp_path)):
        assert type(classifier.model).__module__.startswith("transformers.")
        assert classifier.logits([noise(16_000)]).shape == expected
        classifier.save(tmp_path / "saved")
        assert "auto_map" not in (tmp_path / "saved" / "config.json").read_text()
    load_embedder(str(tmp_path))
    assert not yes
    assert not (tmp_path / "ran").exists()


# ---- the head -----------------------------------------------------------------------------------------------------


def space_of(names):
    return LabelSpace(tuple(Taxon(name, "", "Amphibia", ("a",) * 7, True) for name in names))


def tuned(folder, names, objective=None):
    return build_classifier(str(folder), space_of(names), objective or Multiclass(), window=WINDOW)


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["ast-tiny", "wav2vec2-tiny", "whisper-tiny", "resnet-tiny", "mobilenet-tiny"])
@pytest.mark.parametrize("objective", [Multiclass(), Multilabel()])
def test_a_head_is_kept_by_its_classes_names_and_by_nothing_else(tmp_path, preset, objective):
    made = build(preset, objective)
    with torch.no_grad():
        classification_head(made.model).bias.copy_(torch.tensor([0.5, 0.25, -0.5]))
    made.save(tmp_path)
    head = classification_head(made.model)
    windows = [noise(made.sampling_rate)]
    logits = made.logits(windows)

    kept = tuned(tmp_path, NAMES, objective)
    assert kept.start.head == "kept"
    assert not kept.start.drawn_anew
    np.testing.assert_allclose(kept.logits(windows), logits, atol=1e-5)

    turned = tuned(tmp_path, NAMES[::-1], objective)
    assert turned.start.head == "reordered"
    assert turned.species == NAMES[::-1]
    np.testing.assert_allclose(turned.logits(windows), logits[:, ::-1], atol=1e-5)

    for others in (["Hyla x", "Hyla y", "Hyla z"], [*NAMES[:2], "Hyla z"], NAMES[:2], [*NAMES, "Hyla z"]):
        new = tuned(tmp_path, others, objective)
        its = classification_head(new.model)
        assert new.start.head == "new"
        assert {name.rpartition(".")[2] for name in new.start.drawn_anew} == {"weight", "bias"}
        assert not (its.weight[:, None] == head.weight[None]).all(-1).any(), "a row of the old head is in the new one"
        assert its.weight.std() > 0
        if isinstance(objective, Multilabel):
            np.testing.assert_allclose(its.bias.detach().sigmoid(), 1 / len(others), rtol=1e-5)
        for name, tensor in new.model.base_model.state_dict().items():
            assert torch.equal(tensor, made.model.base_model.state_dict()[name]) or "classifier" in name


def test_a_new_head_is_the_same_for_the_same_seed(tmp_path):
    build("ast-tiny", config=AST).save(tmp_path)
    heads = []
    for _ in range(2):
        torch.manual_seed(5)
        heads.append(classification_head(tuned(tmp_path, ["Hyla x", "Hyla y", "Hyla z"]).model).weight)
    assert torch.equal(*heads)


def test_names_are_matched_whatever_their_case_spaces_and_folder_names():
    taxa = [
        Taxon(
            "Rana una", "", "Amphibia", ("Animalia", "Chordata", "Amphibia", "Anura", "Ranidae", "Rana", "una"), True
        ),
        Taxon("Turdus duo", "", "Aves", ("Animalia", "Chordata", "Aves", "Passeri", "Turdidae", "Turdus", "duo"), True),
    ]
    space = LabelSpace(tuple(taxa))
    assert space.columns(["turdus_duo", "RANA UNA"]) == [1, 0]
    assert space.columns(["00000_Animalia_Chordata_Amphibia_Anura_Ranidae_Rana_una", "noise"]) == [0, None]
    assert space.columns(["Animalia_Chordata_Aves_Passeri_Turdidae_Turdus_duo"]) == [None, 0]
    assert space.columns(["Rana", "LABEL_0", "0"]) == [None, None]
    with pytest.raises(CheckpointError, match="two classes of the checkpoint are one species: Rana una"):
        space.columns(["Rana una", "rana_una"])


# ---- values of the user's -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"config": {"num_hidden_layers": 4}},
            r"do not fit the checkpoint's weights: .*found no wav2vec2\.encoder\.layers",
        ),
        ({"config": {"hidden_size": 32}}, r"do not fit the checkpoint's weights: .*of shape .*expected shape"),
        ({"config": {"intermediate_size": 8}}, "What does not fit would be random"),
        ({"config": {"hiden_size": 32}}, r"config\.hiden_size: expected a key of Wav2Vec2Config, such as hidden_size"),
        ({"config": {"layer_drop": 0.1}}, "such as layerdrop"),
        ({"config": {"num_labels": 3}}, r"config\.num_labels"),
        ({"config": {"torch_dtype": "float16"}}, r"config\.torch_dtype.*bf16 and fp16"),
        ({"config": {"hidden_size": "wide"}}, "transformers refuses these values: config"),
        ({"feature_extractor": {"sampling_rat": 8000}}, r"feature_extractor\.sampling_rat: .*such as sampling_rate"),
    ],
)
def test_values_that_nothing_reads_or_that_do_not_fit_are_refused(tmp_path, options, message):
    pretrained(tmp_path)
    with pytest.raises(RecipeError, match=message) as error:
        build(tmp_path, **options)
    one_line(error)


def test_a_preset_refuses_the_same_keys():
    for options in ({"config": {"hiden_size": 3}}, {"feature_extractor": {"max_lenght": 3}}):
        with pytest.raises(RecipeError, match=r"such as (hidden_size|max_length)"):
            build("ast-tiny", **options)
    with pytest.raises(RecipeError, match="such as n_frames"):
        build("resnet-tiny", feature_extractor={"n_frame": 3})


def test_values_that_do_fit_are_taken_and_what_is_left_over_is_counted(tmp_path):
    weights = pretrained(tmp_path)
    classifier = build(tmp_path, config={"num_hidden_layers": 1, "layerdrop": 0.0, "mask_time_prob": 0.0})
    assert classifier.model.config.num_hidden_layers == 1
    second = [name for name in weights if ".layers.1." in name]
    assert classifier.start.unused >= len(second) == 16
    assert f"{classifier.start.unused} weights of the checkpoint are not used" in str(classifier.start)


def test_an_image_checkpoints_settings_are_checked_too(tmp_path):
    build("resnet-tiny").save(tmp_path)
    with pytest.raises(RecipeError, match=r"feature_extractor\.image_siz: expected .*such as image_size"):
        build(tmp_path, feature_extractor={"image_siz": 64})


def test_an_overridden_length_of_an_ast_is_still_fitted(tmp_path):
    build("ast-tiny", config=AST).save(tmp_path)
    classifier = build(tmp_path, config={"max_length": 60}, window=WindowSpec(0.6, 0.3))
    assert classifier.model.config.max_length == classifier.feature_extractor.max_length == 60
