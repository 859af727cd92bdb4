"""Checkpoints fetched from a Hub on loopback: only what is needed, at the revision asked for, and refusals named."""

import shutil

import pytest
import torch

from hf_inatsounds.errors import CheckpointError
from hf_inatsounds.inference.embedding import load_embedder
from hf_inatsounds.models.classifier import load_classifier
from hf_inatsounds.models.heads import classification_head
from hf_inatsounds.models.hub_checkpoints import checkpoint_folder
from tests.helpers.checkpoints import as_the_example_leaves_it, pretrained, trapped
from tests.helpers.hub_in_process import talk_to
from tests.helpers.hub_server import hub_server
from tests.helpers.hub_storage import TOKEN
from tests.unit.test_backbones import SPACE, build

NAMES = SPACE.species
BESIDE = ("README.md", "tf_model.h5", "flax_model.msgpack", "vocab.json", "tokenizer_config.json", ".gitattributes",
          "special_tokens_map.json", "onnx/model.onnx")  # fmt: skip


@pytest.fixture
def hub(tmp_path, monkeypatch):
    with hub_server(tmp_path / "hub") as server:
        talk_to(server, tmp_path / "home", monkeypatch)
        yield server


@pytest.fixture
def base(tmp_path):
    """The files of a self-supervised base model on the Hub: a pickle, and what other frameworks read."""
    folder = tmp_path / "base"
    pretrained(folder)
    for name in BESIDE:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"others read this")
    return folder


@pytest.fixture
def trained(tmp_path):
    as_the_example_leaves_it(tmp_path / "trained", NAMES)
    return tmp_path / "trained"


def refused(message, *words, read=load_classifier, **options):
    with pytest.raises(CheckpointError, match=message) as error:
        read(*words, **options)
    assert "\n" not in str(error.value)
    assert TOKEN not in str(error.value)


def test_of_a_base_model_the_settings_and_the_pickle_are_fetched(hub, base):
    repo = hub.put("they/base", base)
    classifier = build("they/base")
    assert classifier.start.head == "new"
    assert classifier.start.commit == repo.sha
    assert hub.fetched() == {"config.json", "preprocessor_config.json", "pytorch_model.bin"}
    load_embedder("they/base")


@pytest.mark.parametrize("layout", ["safetensors", "safetensors-shards", "bin-shards"])
def test_of_several_kinds_of_weights_one_is_fetched(hub, base, tmp_path, layout):
    trapped(base / "pytorch_model.bin", tmp_path / "ran")
    if layout == "bin-shards":
        (base / "pytorch_model.bin").unlink()
    pretrained(base, layout=layout)
    hub.put("they/base", base)
    build("they/base")
    stem = "pytorch_model" if layout.startswith("bin") else "model"
    weights = {path.name for path in base.glob(f"{stem}*") if path.name != "pytorch_model.bin"}
    assert len(weights) == (3 if layout.endswith("shards") else 1)
    assert hub.fetched() == {"config.json", "preprocessor_config.json", *weights}


def test_a_classifier_is_had_by_revision_and_subfolder(hub, trained, tmp_path):
    hub.put("they/frogs", trained)
    other = tmp_path / "other"
    shutil.copytree(trained, other)
    classifier = load_classifier(trained, device="cpu")
    torch.nn.init.ones_(classification_head(classifier.model).weight)
    classifier.save(other)
    repo = hub.put("they/frogs", other, branch="v2")
    hub.put("they/frogs", other, under="nested/frogs/")

    def head(**where):
        return classification_head(load_classifier("they/frogs", device="cpu", **where).model).weight

    assert not (head() == 1).all()
    for where in ({"revision": "v2"}, {"revision": repo.sha_of("v2")}, {"subfolder": "nested/frogs"}):
        assert (head(**where) == 1).all(), where
    assert not any("checkpoint-5" in name or name.endswith("training_args.bin") for name in hub.fetched())
    assert build("they/frogs", revision="v2").start.commit == repo.sha_of("v2")
    load_embedder("they/frogs", revision="v2", subfolder="")
    refused("no such revision: they/frogs: found 'v3'", "they/frogs", revision="v3")
    refused("Give they/frogs and the revision v2 by itself", "they/frogs@v2")
    refused("not a checkpoint: they/frogs/nowhere: found no config", "they/frogs", subfolder="nowhere")


def test_a_gated_repository_says_how_to_be_let_in(hub, trained, monkeypatch):
    repo = hub.put("they/frogs", trained, gated=True)
    message = r"the repository is gated: they/frogs: .*Accept its terms at http.*they/frogs, .*hf auth login"
    refused(message, "they/frogs")  # without a login
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    refused(message, "they/frogs")  # with one that has not accepted
    repo.readers = (TOKEN,)
    assert load_classifier("they/frogs").species == NAMES


def test_a_private_repository_is_had_by_its_owner(hub, trained, monkeypatch):
    hub.put("me/frogs", trained).private = True
    refused(r"no such repository on the Hub: me/frogs\. Log in with hf auth login if it is a private one", "me/frogs")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert load_classifier("me/frogs").species == NAMES
    refused("no such repository on the Hub: me/toads", "me/toads")


def test_a_hub_out_of_reach_is_told_and_what_was_fetched_serves(hub, trained, monkeypatch):
    hub.put("they/frogs", trained)
    load_classifier("they/frogs")
    hub.refuse = lambda method, path: 503
    assert load_classifier("they/frogs").species == NAMES
    refused("nothing of it in the Hub's cache: they/toads: found http.* cannot be reached", "they/toads")
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    hub.refuse = lambda method, path: pytest.fail(f"asked for {path}")
    assert load_classifier("they/frogs").species == NAMES
    refused("found HF_HUB_OFFLINE is set", "they/toads")


def test_what_was_fetched_in_part_is_named_without_a_connection(hub, trained):
    hub.put("they/frogs", trained)
    (checkpoint_folder("they/frogs") / "model.safetensors").unlink()
    hub.refuse = lambda method, path: 503
    refused("no weights", "they/frogs")


def test_a_repository_without_weights_or_settings_says_what_it_has(hub, base, trained):
    (base / "pytorch_model.bin").unlink()
    hub.put("they/base", base)
    refused(r"no weights: they/base: found flax_model\.msgpack, onnx/model\.onnx, tf_model\.h5; expected", "they/base")
    assert not hub.fetched()
    hub.put("they/nested", trained, under="inner/")
    refused("not a checkpoint: they/nested: .*It has one in inner, inner/checkpoint-5: .*subfolder", "they/nested")
    (base / "config.json").unlink()
    (base / "adapter_config.json").write_text("{}")
    hub.put("they/adapter", base)
    refused("not a checkpoint: they/adapter: found a PEFT adapter", "they/adapter")


def test_a_token_that_is_refused_is_not_printed(hub, trained, monkeypatch):
    hub.put("they/frogs", trained)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    hub.refuse = lambda method, path: 403
    refused("not to be had from the Hub: they/frogs: found the Hub answers 403.*token that was sent", "they/frogs")
