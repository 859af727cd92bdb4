"""Runs on a Hub on loopback: who may push is asked before training, and plain transformers loads what is there."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hf_inatsounds.cli.main import main
from hf_inatsounds.errors import PublishError
from hf_inatsounds.models.classifier import load_classifier
from hf_inatsounds.publishing.model_hub import open_repository
from hf_inatsounds.training.arguments import recipe_yaml
from hf_inatsounds.training.run import train
from tests.helpers.hub_server import hub_server
from tests.helpers.hub_storage import TOKEN
from tests.helpers.training import small_recipe

ROOT = Path(__file__).parents[2]
IMAGES = {
    "model": "resnet-tiny", "config": {"hidden_sizes": [8, 8], "depths": [1, 1], "embedding_size": 8},
    "feature_extractor": {"image_size": 32},
}  # fmt: skip

# the command line again and again in one process, since libraries take seconds to start
COMMANDS = """
import contextlib, io, json, os, sys
from hf_inatsounds.cli.main import main
for words, token in json.load(sys.stdin):
    os.environ["HF_TOKEN"] = token
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        code = main(words)
    print(json.dumps([code, said.getvalue()]), file=sys.stderr)
"""

# the checkpoints' only user here is transformers: this package cannot be imported
PLAIN = """
import json, sys
sys.modules["hf_inatsounds"] = None
import numpy as np
from PIL import Image
from transformers import pipeline
answers = {}
for repo, kind in zip(sys.argv[1::2], sys.argv[2::2]):
    classify = pipeline(model=repo, top_k=None)  # of the task that the card names
    sound = {"raw": np.zeros(16000, np.float32), "sampling_rate": 16000}
    image = Image.fromarray(np.arange(128 * 168, dtype=np.uint8).reshape(128, 168))
    scores = {one["label"]: one["score"] for one in classify(image if kind == "image" else sound)}
    answers[repo] = [classify.task, scores]
print(json.dumps(answers))
"""


@pytest.fixture
def hub(tmp_path):
    with hub_server(tmp_path / "hub") as server:
        yield server


@pytest.fixture(scope="module")
def runs(tiny, tmp_path_factory):
    """Two finished runs, neither of them evaluated: a model of sounds, and one of images."""
    folder = tmp_path_factory.mktemp("runs")
    for name, changes in (("ast", {}), ("resnet", IMAGES)):
        train(
            small_recipe(tiny, folder / name, num_train_epochs=1, validation_split="validation", **changes), quiet=True
        )
    return folder


def call(hub, tmp_path, *words, given=None):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **hub.environment(tmp_path / "home")}
    done = subprocess.run(
        [sys.executable, *map(str, words)], capture_output=True, text=True, env=environment, check=False, timeout=400,
        input=given,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert TOKEN not in done.stdout + done.stderr
    return done


def commands(hub, tmp_path, *asked):
    """Exit code and stderr of each; one is a list of words, and a token where it is not the right one."""
    cases = [
        [list(map(str, one[0])), one[1]] if isinstance(one, tuple) else [list(map(str, one)), TOKEN] for one in asked
    ]
    done = call(hub, tmp_path, "-c", COMMANDS, given=json.dumps(cases))
    found = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("[")]
    assert len(found) == len(asked), done.stderr
    return found, done.stdout


def test_finished_runs_are_evaluated_pushed_and_loaded_by_plain_transformers(hub, tmp_path, runs):
    shutil.copytree(runs / "ast", tmp_path / "shards")
    load_classifier(runs / "ast").model.save_pretrained(tmp_path / "shards", max_shard_size="10KB")
    (tmp_path / "shards" / "model.safetensors").unlink()
    ends, printed = commands(
        hub, tmp_path, ["push", runs / "ast", "me/ast", "--quiet"], ["push", runs / "ast", "me/shards", "--quiet"],
        ["push", runs / "resnet", "me/resnet", "--public", "--quiet"],
        ["push", tmp_path / "shards", "me/shards", "--quiet"],
    )  # fmt: skip
    assert [code for code, _ in ends] == [0] * 4, ends
    assert "/me/ast/commit/" in printed.splitlines()[0]
    for name, private in (("ast", True), ("resnet", False), ("shards", True)):
        repo = hub.repo(f"me/{name}", "model")
        files = set(repo.files)
        assert repo.private == private
        assert {"README.md", "config.json", "preprocessor_config.json", "label_space.json", "pushed.json"} <= files
        assert ("recipe.yaml" in files) == (name != "shards")  # the recipe is of the weights of the push before
        assert "evaluation-validation/results.json" in files
        assert not [one for one in files if one.endswith(".parquet") or "checkpoint-" in one]
    # one file of weights, of the push before, would be what transformers reads
    assert "model.safetensors.index.json" in files
    assert len([one for one in files if re.fullmatch(r"model-\d+-of-\d+\.safetensors", one)]) > 1
    assert "model.safetensors" not in files

    done = call(hub, tmp_path, "-c", PLAIN, "me/ast", "sound", "me/shards", "sound", "me/resnet", "image")
    answers = json.loads(done.stdout)
    assert [answers[name][0] for name in answers] == ["audio-classification"] * 2 + ["image-classification"]
    assert all(set(scores) == {"Rana una", "Turdus duo", "Turdus tres"} for _, scores in answers.values())
    assert answers["me/ast"] == answers["me/shards"]
    card = hub.content("me/resnet", "README.md", "model").decode()
    assert "\n- audio-classification\n" in card.split("---")[1]
    assert 'pipeline("image-classification", model="me/resnet")' in card


def test_who_may_not_push_is_told_before_training(hub, tmp_path, tiny):
    path = tmp_path / "recipe.yaml"
    path.write_text(recipe_yaml(small_recipe(tiny, tmp_path / "run", validation_split="validation")))

    def asked(repo, *more):
        return ["train", path, "--push-to-hub", "--hub_model_id", repo, *more]

    hub.refuse = lambda method, path: 403 if path.endswith("me/foreign/auth-check/write") else None
    cases = {
        "not logged in to the Hub: me/model. Log in": (asked("me/model"), ""),
        "the Hub refused: me/model: found Invalid user token": (asked("me/model"), "hf_of_nobody"),
        "the Hub refused: others/model: found .*403.*hf auth login": asked("others/model"),
        "the token may not write there: me/foreign. Log in": asked("me/foreign"),
        "the repository is private: me/foreign: expected a public one": asked(
            "me/foreign", "--hub_private_repo", "false"
        ),
    }
    cases |= {
        "the Hub refused: me/dry: found Invalid user token": (asked("me/dry", "--dry-run"), "hf_of_nobody"),
        "unknown dataset name: name: found 'reptilia'": asked("me/dry", "--dry-run", "--name", "reptilia"),
    }
    ends, _ = commands(hub, tmp_path, *cases.values())
    for (code, said), message in zip(ends, cases, strict=True):
        assert code == 1
        assert len(said.splitlines()) == 1
        assert re.search(message, said), said
    assert not (tmp_path / "run").exists()
    assert [repo for _, repo in hub.repos] == ["me/foreign"]  # made for the run, before it


def test_a_hub_that_is_away_is_told(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with pytest.raises(PublishError, match="the Hub is not reachable: me/model") as caught:
        open_repository("me/model")
    assert TOKEN not in str(caught.value)


def test_what_cannot_be_pushed_is_told(tmp_path, runs, capsys):
    cases = [
        ((tmp_path, "me/model"), 1, "no finished run"),
        ((runs / "ast",), 2, "no repository to push to: REPO_ID: found ''; expected owner/name"),
    ]
    for words, code, part in cases:
        assert main(["push", *map(str, words)]) == code
        assert part in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        main(["push", str(runs / "ast"), "not a name"])
    assert "must be owner/name" in capsys.readouterr().err
