from pathlib import Path

import pytest
import yaml

from hf_inatsounds.cli.train import split_flags
from hf_inatsounds.errors import RecipeError
from hf_inatsounds.training.arguments import KEYS, Recipe, make_recipe, read_recipe, recipe_yaml

RECIPES = sorted((Path(__file__).parents[2] / "train" / "recipes").glob("*.yaml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_of_the_repository_is_valid(path):
    assert read_recipe(path).model


def test_there_are_recipes():
    assert len(RECIPES) >= 4


def test_flags_win_and_are_typed(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text("epochs: 3\nlearning_rate: 1e-3\nobjective: multiclass\n")
    recipe = read_recipe(path, {"epochs": "7", "bf16": "true", "config": {"hidden_size": 64}, "learning_rate": "2e-4"})
    assert (recipe.epochs, recipe.bf16, recipe.learning_rate) == (7, True, 2e-4)
    assert recipe.config == {"hidden_size": 64}


def test_a_resolved_recipe_reads_back_the_same():
    recipe = Recipe(epochs=3, config={"hidden_size": 64})
    assert make_recipe(yaml.safe_load(recipe_yaml(recipe)), where="x") == recipe


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epoch: 3", r"r\.yaml: found 'epoch'; expected 'epochs'\?"),
        ("lerning_rate: 1e-3", "'learning_rate'"),
        ("zzz: 1", "one of model, revision"),
        ("epochs: many", r"epochs: found 'many'; expected int"),
        ("epochs: 0", "epochs: found 0; expected at least 1"),
        ("epochs: true", "expected int"),
        ("stride_s: 9", r"stride_s: found 9\.0; expected in \(0, window_s = 3\.0\]"),
        ("objective: both", "multiclass, multilabel or contrastive"),
        ("sampling: sometimes", "natural, square-root, class-balanced or uniform"),
        ("sampling_beta: 1", r"sampling_beta: found 1\.0; expected in \[0, 1\)"),
        ("mixup: 2", "mixup"),
        ("- a\n- b", "found list; expected keys and values"),
        ("a: [", "not YAML"),
        ("objective: multilabel\nlabel_smoothing: 0.1", "label_smoothing.*0 with multilabel"),
    ],
)
def test_mistakes_name_file_and_key(tmp_path, text, message):
    path = tmp_path / "r.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError, match=message) as caught:
        read_recipe(path)
    assert "\n" not in str(caught.value)
    assert "r.yaml" in str(caught.value)


def test_a_missing_recipe_is_named():
    with pytest.raises(RecipeError, match=r"nothing\.yaml.*No such file"):
        read_recipe("nothing.yaml")


def test_every_key_is_explained():
    documented = Recipe.__doc__ or ""
    assert [name for name in KEYS if f"        {name}: " not in documented] == []


@pytest.mark.parametrize(
    ("words", "message"),
    [(["epochs"], "not a flag"), (["--epochs"], "no value"), (["--epochs", "--seed", "1"], "no value")],
)
def test_flags_without_values_are_named(words, message):
    with pytest.raises(RecipeError, match=message):
        split_flags(words)


def test_every_key_is_in_the_documentation():
    text = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text(encoding="utf-8")
    defaults = vars(Recipe())
    assert [name for name in KEYS if f"| `{name}` | {defaults[name]} |" not in text] == []
