import json
from pathlib import Path

import pytest
import yaml

from hf_inatsounds.cli.train import split_flags
from hf_inatsounds.errors import FlagError, RecipeError
from hf_inatsounds.training.arguments import KEYS, Recipe, make_recipe, read_recipe, recipe_yaml
from hf_inatsounds.training.keys import GROUPS, explanations, keys_text

RECIPES = sorted((Path(__file__).parents[2] / "train" / "recipes").glob("*.yaml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_of_the_repository_is_valid(path):
    assert read_recipe(path).model


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_says_what_the_other_objective_asks_for(path):
    said = "With --objective multilabel set --label_smoothing 0." in " ".join(
        path.read_text().replace("\n#", " ").split()
    )
    recipe = read_recipe(path)
    if recipe.objective == "contrastive" or path.stem.startswith("esc10"):  # of one objective
        assert not said
        return
    assert said == bool(recipe.label_smoothing)
    flags = {"objective": "multilabel", **({"label_smoothing": "0"} if said else {})}
    assert read_recipe(path, flags).objective == "multilabel"
    if said:
        with pytest.raises(RecipeError, match=r"label_smoothing.*0 with multilabel"):
            read_recipe(path, {"objective": "multilabel"})


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
        ("epochs: 3\nepochs: 4", "'epochs' stands there twice"),
        ("config: {a: 1, a: 2}", "'a' stands there twice"),
        ("config: {a: 2026-99-99}", "not YAML"),
        ("config: {a: .nan}", "config: found .*finite"),
        ("config: " + "[" * 3000, "not YAML"),
        ("window_s: 1", r"stride_s \(its default\): found 1\.5; expected at most window_s = 1"),
        ("lerning_rate: 1e-3", "'learning_rate'"),
        ("zzz: 1", "one of model, revision"),
        ("epochs: many", r"epochs: found 'many'; expected a whole number"),
        ("epochs: 0", "epochs: found 0; expected at least 1"),
        ("epochs: true", "expected a whole number"),
        ("stride_s: 9", r"stride_s: found 9\.0; expected at most window_s = 3"),
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


def test_every_key_is_explained_and_in_one_group_of_the_help():
    assert list(explanations()) == list(KEYS)
    grouped = [key for keys in GROUPS.values() for key in keys]
    assert sorted(grouped) == sorted(KEYS)
    text = keys_text()
    assert all(f"  --{key}" in text for key in KEYS)


WORDS = [
    (["epochs"], "not a flag"), (["--epochs"], "no value"), (["--epochs", "--seed", "1"], "no value"),
    (["--"], "not a flag"), (["--=3"], "no name"), (["--config.", "3"], "no name"), (["--config.x", "["], "not YAML"),
    (["--config", "{}", "--config.x", "1"], "given whole and in part"),
    (["--config.x", "1", "--config", "{}"], "given whole and in part"),
    (["--config.x", "1", "--config.x.y", "1"], "given whole and in part"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "message"), WORDS)
def test_flags_that_say_nothing_are_named(words, message):
    with pytest.raises(FlagError, match=message):
        split_flags(words)


def test_dotted_flags_are_merged_into_the_recipes_mappings(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text("config: {hidden_size: 16, rope: {type: a, theta: 1.0e+4}}\nfeature_extractor: {variant: raw}\n")
    words = ["--config.hidden-size", "32", "--config.rope.theta=1e5", "--feature_extractor.image_size", "[64, 256]"]
    recipe = read_recipe(path, split_flags(words)[1])
    assert recipe.config == {"hidden_size": 32, "rope": {"type": "a", "theta": 1e5}}
    assert recipe.feature_extractor == {"variant": "raw", "image_size": [64, 256]}
    assert read_recipe(path, split_flags(["--config", "{a: 1e-3}"])[1]).config == {"a": 1e-3}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_one_dotted_flag_changes_one_value_of_a_shipped_recipe(path):
    before = read_recipe(path)
    for key in ("config", "feature_extractor", "asymmetry", "hierarchy"):
        for inner, value in getattr(before, key).items():
            after = read_recipe(path, split_flags([f"--{key}.{inner}", json.dumps(value)])[1])
            assert after == before


FLAGS = [
    (["--epochs", "0"], FlagError, r"^bad value: --epochs: found 0"),
    (["--epochs", "many"], FlagError, r"^wrong type: --epochs: found 'many'; expected a whole number"),
    (["--epochs.x", "1"], FlagError, r"^wrong type: --epochs: found \{'x': 1\}"),
    (["--epcohs", "1"], FlagError, r"^unknown flag: found '--epcohs'; expected 'epochs'\?"),
    (["--asymmetry.margin", "2"], FlagError, r"^bad value: --asymmetry\.margin: found 2"),
    (["--asymmetry.gamma_negative", "2"], RecipeError, r"r\.yaml, asymmetry\.margin: found 3"),
    (["--window_s", "1"], RecipeError, r"r\.yaml, stride_s \(its default\)"),
    (["--objective", "multiclass"], RecipeError, r"r\.yaml, loss: found 'asymmetric'"),
]


@pytest.mark.parametrize(("words", "kind", "message"), FLAGS)
def test_an_error_says_whether_flag_or_file_is_to_blame(tmp_path, words, kind, message):
    path = tmp_path / "r.yaml"
    margin = 3 if words[0] == "--asymmetry.gamma_negative" else 0.1
    path.write_text(f"objective: multilabel\nloss: asymmetric\nasymmetry: {{margin: {margin}}}\n")
    with pytest.raises(RecipeError, match=message) as caught:
        read_recipe(path, split_flags(words)[1])
    assert type(caught.value) is kind
    assert caught.value.exit_code == (2 if kind is FlagError else 1)


def test_every_key_is_in_the_documentation():
    text = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text(encoding="utf-8")
    defaults = vars(Recipe())
    assert [name for name in KEYS if f"| `{name}` | {defaults[name]} |" not in text] == []
