"""Shipped recipes by name, and what a missing extra says."""

import json
import subprocess
import sys

import pytest

from hf_inatsounds.cli.main import main
from hf_inatsounds.errors import RecipeError
from hf_inatsounds.runtime.installing import MODEL_PACKAGES, recipe_path, scripts_folder, shipped_recipes
from hf_inatsounds.training.arguments import read_recipe


@pytest.mark.parametrize("text", ["ast-tiny.yaml", "ast-tiny", "train/recipes/ast-tiny.yaml"])
def test_a_shipped_recipe_is_found_by_name(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert recipe_path(text) == shipped_recipes()["ast-tiny.yaml"]
    assert read_recipe(text).model.model == "ast-tiny"


def test_a_file_of_ones_own_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ast-tiny.yaml").write_text("seed: 5\n")
    assert read_recipe("ast-tiny.yaml").training.seed == 5


def test_a_name_that_is_neither_says_the_nearest(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RecipeError, match=r"ast-tyni\.yaml: found No such file.*expected 'ast-tiny\.yaml'\?"):
        read_recipe("ast-tyni.yaml")
    with pytest.raises(RecipeError, match=r"elsewhere/r\.yaml: found No such file"):
        read_recipe("elsewhere/r.yaml")


def test_recipes_are_listed_and_copied(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["recipes", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert set(told["recipes"]) == set(shipped_recipes())
    assert all(len(said) > 20 for said in told["recipes"].values())
    assert main(["recipes", "--copy", "resnet-18"]) == 0
    assert main(["recipes", "--copy", "resnet-18", "--out", "mine.yaml"]) == 0
    original = (scripts_folder() / "recipes" / "resnet-18.yaml").read_bytes()
    assert (tmp_path / "resnet-18.yaml").read_bytes() == (tmp_path / "mine.yaml").read_bytes() == original
    assert main(["recipes", "--copy", "resnet-18", "--out", "mine.yaml"]) == 2
    assert "there already" in capsys.readouterr().err


@pytest.mark.parametrize("package", ["accelerate", "torch", "transformers"])
def test_a_command_says_which_extra_it_needs(package, tmp_path):
    """As where the data part alone is installed: that package cannot be found."""
    code = (
        "import sys\n"
        "class Absent:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.partition('.')[0] == {package!r}: raise ModuleNotFoundError(name, name=name)\n"
        "sys.meta_path.insert(0, Absent())\n"
        "from hf_inatsounds.cli.main import main\n"
        "sys.exit(main(['train', 'ast-tiny.yaml', '--source', 'nowhere']))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    said = f"needs {package}, which is not installed: pip install 'hf-inatsounds[models]'"
    assert package in MODEL_PACKAGES
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert f"hf-inatsounds train: train {said}" in done.stderr
    assert "Traceback" not in done.stderr
