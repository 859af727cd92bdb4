"""Every recipe from a checkpoint in the layout of its Hub repository, fetched by its Hub id from a Hub on loopback.

One process trains each, is cut off, resumes, evaluates and pushes. Two processes train each, are cut off and resume.
Transformers alone loads what was pushed. All recipes share three launches, because a start of torch and transformers
costs more than a run of four steps.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from hf_inatsounds.evaluation import split_info
from hf_inatsounds.models.classifier import build_classifier
from hf_inatsounds.objectives import Multiclass
from hf_inatsounds.training.arguments import read_recipe
from tests.helpers.hub_layouts import BIN, LAYOUTS, SAFETENSORS, write_layout
from tests.helpers.hub_server import hub_server
from tests.helpers.hub_storage import Hub

ROOT = Path(__file__).parents[2]
RECIPES = {path.stem: path for path in sorted((ROOT / "train" / "recipes").glob("*.yaml"))}
MODELS = {name: read_recipe(path).model.model for name, path in RECIPES.items()}
STARTS = sorted({model for model in MODELS.values() if "/" in model})
CLASSIFIERS = [name for name, path in RECIPES.items() if read_recipe(path).objective.objective != "contrastive"]
PLAIN = ROOT / "tests" / "environments" / "plain_classifiers.py"
TWO = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
LIMIT_S = 900
pytestmark = pytest.mark.timeout(1800)  # the fixture runs all recipes, perhaps beside other tests on two cores


def test_every_repository_that_a_recipe_starts_from_has_a_layout():
    assert set(STARTS) <= set(LAYOUTS)


def test_the_documentation_lists_every_layout():
    text = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
    for repo_id, layout in LAYOUTS.items():
        (row,) = re.findall(rf"^\| `{re.escape(repo_id)}` \|.*$", text, re.MULTILINE)
        assert f"`{layout.weights}`" in row
        assert layout.architecture in row


@pytest.fixture(scope="module")
def layouts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("layouts")
    return {repo_id: write_layout(one, folder / repo_id.replace("/", "--")) for repo_id, one in LAYOUTS.items()}


def body(model: Any) -> dict[str, torch.Tensor]:
    """Weights and buffers by the names that they have in the encoder."""
    names = tuple({"model.", f"{model.base_model_prefix}."})
    return {re.sub(rf"^({'|'.join(map(re.escape, names))})", "", name): one for name, one in model.state_dict().items()}


@pytest.mark.parametrize("repo_id", STARTS)
def test_a_layout_is_whole_and_its_weights_are_where_training_starts(layouts, tiny, repo_id):
    layout, folder = LAYOUTS[repo_id], layouts[repo_id]
    assert {BIN, SAFETENSORS} & {path.name for path in folder.iterdir()} >= {layout.weights}
    published, info = getattr(transformers, layout.architecture).from_pretrained(folder, output_loading_info=True)
    assert not any(info.values())
    recipe = next(read_recipe(path) for name, path in RECIPES.items() if MODELS[name] == repo_id)
    space, window = split_info(str(tiny), "all", "train").label_space, recipe.window
    classifier = build_classifier(str(folder), space, Multiclass(), window=window)
    assert classifier.model.config.num_labels == len(space)
    expected, found = body(published), body(classifier.model)
    new = {name for name in found if name not in expected or found[name].shape != expected[name].shape}
    fitted = {"encoder.embed_positions.weight"} if layout.architecture.startswith("Whisper") else set()
    assert {name for name in new - fitted if not re.match(r"(classifier|projector)\b", name)} == set()
    for name in found.keys() - new:
        if not name.startswith("classifier"):
            torch.testing.assert_close(found[name], expected[name], rtol=0, atol=0)


@dataclass
class Runs:
    """What came of the recipes, by name."""

    hub: Hub
    alone: Path
    together: Path
    plain: dict[str, Any]

    def outcome(self, folder: Path, name: str) -> dict[str, Any]:
        failed = "\n".join(path.read_text() for path in sorted(folder.glob(f"{name}.failed-*")))
        assert not failed, failed
        found: dict[str, Any] = json.loads((folder / f"{name}.json").read_text())
        return found


def start(words: tuple[str, ...], hub: Hub, folder: Path, *, package: bool = True) -> subprocess.Popen[bytes]:
    """A Python in a session of its own that talks to the Hub alone. What it fetches and prints is in ``folder``."""
    environment = {**os.environ, **hub.environment(folder / "home"), "OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = str(ROOT) if package else ""
    with open(folder / "stdout", "wb") as out, open(folder / "stderr", "wb") as err:
        return subprocess.Popen(
            [sys.executable, *words], stdout=out, stderr=err, env=environment, cwd=ROOT if package else folder,
            start_new_session=True,
        )  # fmt: skip


def end(process: subprocess.Popen[bytes]) -> int:
    """Its exit code; whatever it started is gone too."""
    try:
        return process.wait(LIMIT_S)
    finally:
        kill(process)


def kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def job(folder: Path, names: list[str], source: Path) -> str:
    path, out = folder / "job.json", folder / "out"
    out.mkdir(exist_ok=True, parents=True)
    recipes = [str(RECIPES[name]) for name in names]
    path.write_text(json.dumps({"recipes": recipes, "source": str(source), "output_dir": str(out)}))
    return str(path)


def start_job(launcher: tuple[str, ...], hub: Hub, folder: Path, names: list[str], source: Path) -> Any:
    return start((*launcher, "-m", "tests.helpers.recipe_runs", job(folder, names, source)), hub, folder)


def finish(process: Any, launcher: tuple[str, ...], hub: Hub, folder: Path, names: list[str], source: Path) -> None:
    """Wait for a launch; where a recipe ended it, start it again with those that come after."""
    while True:
        if end(process) == 0:
            return
        said = (folder / "stderr").read_text(errors="replace")
        begun = [name for name in names if (folder / "out" / f"{name}.begun").exists()]
        assert begun, said
        (folder / "out" / f"{begun[-1]}.failed-launch").write_text(said[-5000:])  # an aborted rank tells it here alone
        names = names[len(begun) :]
        if not names:
            return
        process = start_job(launcher, hub, folder, names, source)


@pytest.fixture(scope="module")
def runs(layouts, tiny, tmp_path_factory) -> Iterator[Runs]:
    folder, names = tmp_path_factory.mktemp("runs"), list(RECIPES)
    with hub_server(folder / "hub") as hub:
        for repo_id, files in layouts.items():
            hub.put(repo_id, files)
        jobs = {"alone": (), "together": TWO}
        (folder / "plain").mkdir()
        started = {name: start_job(words, hub, folder / name, names, tiny) for name, words in jobs.items()}
        try:
            for name, words in jobs.items():
                finish(started[name], words, hub, folder / name, names, tiny)
        finally:
            for process in started.values():
                if process.poll() is None:
                    kill(process)
        alone = folder / "alone" / "out"
        pushed = [f"me/{name}" for name in CLASSIFIERS if (alone / f"{name}.npz").exists()]
        code = end(start((str(PLAIN), str(alone), *pushed), hub, folder / "plain", package=False))
        assert code == 0, (folder / "plain" / "stderr").read_text()
        plain = json.loads((folder / "plain" / "stdout").read_text())
        yield Runs(hub, alone, folder / "together" / "out", plain)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_trains_in_one_process_and_resumes_exactly(runs, name):
    found = runs.outcome(runs.alone, name)
    assert (found["model"], found["steps"]) == (MODELS[name], 4)
    assert found["resumed_exactly"]
    assert np.isfinite([loss for _, loss in found["losses"]]).all()


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_trains_and_resumes_in_two_processes(runs, name):
    found = runs.outcome(runs.together, name)
    assert (found["model"], found["steps"], found["processes"]) == (MODELS[name], 4, 2)
    assert len(set(found["weights"])) == 1


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_what_was_trained_is_evaluated_pushed_and_loaded_by_transformers_alone(runs, name):
    found = runs.outcome(runs.alone, name)
    assert found["evaluated"] == 0
    files = set(runs.hub.repo(f"me/{name}", "model").files)
    assert {"config.json", SAFETENSORS, "preprocessor_config.json", "README.md", "recipe.yaml"} <= files
    assert not [file for file in files if file.startswith("checkpoints/") or file.endswith((".bin", ".pt"))]
    plain = runs.plain[f"me/{name}"]
    assert "error" not in plain, plain["error"]
    assert plain["labels"] == found["species"] == ["Rana una", "Turdus duo", "Turdus tres"]
    assert plain["not_loaded"] == {}
    assert plain["class"].startswith("transformers.models.")
    expected = np.load(runs.alone / f"{name}.npz")["logits"]
    np.testing.assert_allclose(plain["logits"], expected, atol=1e-4)


def test_nothing_is_fetched_that_is_not_read(runs):
    fetched: dict[str, set[str]] = {}
    for method, path, _ in runs.hub.requests:
        asked = re.fullmatch(r"/([^/]+/[^/]+)/resolve/[^/]+/([^?]+).*", path)
        if method == "GET" and asked and asked[1] in LAYOUTS:
            fetched.setdefault(asked[1], set()).add(asked[2])
    assert sorted(fetched) == STARTS
    for repo_id, names in fetched.items():
        assert {"config.json", LAYOUTS[repo_id].weights} <= names
        assert not names & set(LAYOUTS[repo_id].beside)
