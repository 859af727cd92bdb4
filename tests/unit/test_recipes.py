import dataclasses
import json
from pathlib import Path

import pytest
import yaml
from transformers import HfArgumentParser, TrainingArguments

from hf_inatsounds.cli.train import split_flags
from hf_inatsounds.errors import FlagError, RecipeError
from hf_inatsounds.training import key_table
from hf_inatsounds.training.arguments import FORMER, make_recipe, read_recipe, recipe_yaml
from hf_inatsounds.training.recipe import KEYS, PARTS
from hf_inatsounds.training.run_arguments import HONOURED, REFUSED, RunArguments

RECIPES = sorted((Path(__file__).parents[2] / "train" / "recipes").glob("*.yaml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_of_the_repository_is_valid(path):
    assert read_recipe(path).model.model


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_says_what_the_other_objective_asks_for(path):
    said = "With --objective multilabel set --label_smoothing_factor 0." in " ".join(
        path.read_text().replace("\n#", " ").split()
    )
    recipe = read_recipe(path)
    if recipe.objective.objective == "contrastive" or path.stem.startswith("esc10"):  # of one objective
        assert not said
        return
    assert said == bool(recipe.training.label_smoothing_factor)
    flags = {"objective": "multilabel", **({"label_smoothing_factor": "0"} if said else {})}
    assert read_recipe(path, flags).objective.objective == "multilabel"
    if said:
        with pytest.raises(RecipeError, match=r"label_smoothing_factor.*0 with multilabel"):
            read_recipe(path, {"objective": "multilabel"})


def test_there_are_recipes():
    assert len(RECIPES) >= 4


def test_flags_win_and_are_typed(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text("num_train_epochs: 3\nlearning_rate: 1e-3\nobjective: multiclass\n")
    recipe = read_recipe(
        path, {"num_train_epochs": "7", "bf16": "true", "config": {"hidden_size": 64}, "learning_rate": "2e-4"}
    )
    assert (recipe.training.num_train_epochs, recipe.training.bf16, recipe.training.learning_rate) == (7, True, 2e-4)
    assert recipe.model.config == {"hidden_size": 64}


def test_a_resolved_recipe_reads_back_the_same():
    recipe = make_recipe({"num_train_epochs": 3, "config": {"hidden_size": 64}, "fsdp": "full_shard"}, where="x")
    assert make_recipe(yaml.safe_load(recipe_yaml(recipe)), where="x") == recipe


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("num_train_epoch: 3", r"r\.yaml: found 'num_train_epoch'; expected 'num_train_epochs'\?"),
        ("seed: 3\nseed: 4", "'seed' stands there twice"),
        ("config: {a: 1, a: 2}", "'a' stands there twice"),
        ("config: {a: 2026-99-99}", "not YAML"),
        ("config: {a: .nan}", "config: found .*finite"),
        ("config: " + "[" * 3000, "not YAML"),
        ("window_s: 1", r"stride_s \(its default\): found 1\.5; expected at most window_s = 1"),
        ("lerning_rate: 1e-3", "'learning_rate'"),
        ("zzz: 1", "one of source, index"),
        ("seed: many", r"seed: found 'many'; expected a whole number"),
        ("num_train_epochs: 0", "num_train_epochs: found 0.0; expected more than 0"),
        ("epochs: 3", "a former key.*found 'epochs'; expected 'num_train_epochs', as transformers"),
        ("hub_public: true", "hub_private_repo.*false for a public model"),
        ("push_to_hub: me/x", "push_to_hub: found 'me/x'; expected true or false"),
        ("deepspeed: ds.json", "a run does not take.*found 'deepspeed'. Leave it out: .*ZeRO"),
        ("push_to_hub: true", "hub_model_id .*expected owner/name"),
        ("seed: true", "expected a whole number"),
        ("stride_s: 9", r"stride_s: found 9\.0; expected at most window_s = 3"),
        ("objective: both", "multiclass, multilabel or contrastive"),
        ("sampling: sometimes", "natural, square-root, class-balanced or uniform"),
        ("sampling_beta: 1", r"sampling_beta: found 1\.0; expected in \[0, 1\)"),
        ("mixup: 2", "mixup"),
        ("- a\n- b", "found list; expected keys and values"),
        ("a: [", "not YAML"),
        ("objective: multilabel\nlabel_smoothing_factor: 0.1", "label_smoothing_factor.*0 with multilabel"),
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


def test_the_help_lists_every_key_and_is_up_to_date():
    assert key_table.read_table() == key_table.make_table(), "run python -m hf_inatsounds.training.key_table"
    assert [key["name"] for key in key_table.read_table() if not key["help"]] == []
    text = key_table.help_text()
    assert [key for key in KEYS if f"  --{key}" not in text] == []


def test_every_argument_of_transformers_is_honoured_or_refused_with_a_reason():
    """Those of the installed version; what another version brings is an unknown key there, not ignored."""
    theirs = {one.name for one in dataclasses.fields(TrainingArguments)}
    assert theirs - set(KEYS) - set(REFUSED) == set()
    assert set(KEYS) & set(REFUSED) == set()
    assert set(HONOURED) <= theirs
    for name in sorted(theirs & set(REFUSED)):
        with pytest.raises(RecipeError, match=f"does not take: r.yaml: found '{name}'. Leave it out: ") as caught:
            make_recipe({name: 1}, where="r.yaml")
        assert REFUSED[name] in str(caught.value)


def test_former_names_are_told_by_their_new_ones():
    assert set(FORMER) & set(KEYS) == set()
    for former, name in FORMER.items():
        with pytest.raises(RecipeError, match=f"found '{former}'; expected '{name}'"):
            make_recipe({former: 1}, where="r.yaml")


def test_transformers_own_parser_reads_the_parts_of_a_recipe():
    """As its users' scripts do: one parser of four dataclasses."""
    parser = HfArgumentParser(list(PARTS.values()))
    data, model, objective, run = parser.parse_args_into_dataclasses(
        ["--source", "here", "--model", "resnet-18", "--objective", "multilabel", "--num_train_epochs", "3", "--bf16"]
    )
    assert (data.source, model.model, objective.objective, run.num_train_epochs, run.bf16) == (
        "here", "resnet-18", "multilabel", 3.0, True,
    )  # fmt: skip
    assert isinstance(run, TrainingArguments)
    assert isinstance(run, RunArguments)


WORDS = [
    (["epochs"], "not a flag"), (["--num_train_epochs"], "no value"), (["--num_train_epochs", "--seed", "1"],
    "no value"),
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
    assert recipe.model.config == {"hidden_size": 32, "rope": {"type": "a", "theta": 1e5}}
    assert recipe.model.feature_extractor == {"variant": "raw", "image_size": [64, 256]}
    assert read_recipe(path, split_flags(["--config", "{a: 1e-3}"])[1]).model.config == {"a": 1e-3}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_one_dotted_flag_changes_one_value_of_a_shipped_recipe(path):
    before = read_recipe(path)
    for key in ("config", "feature_extractor", "asymmetry", "hierarchy"):
        for inner, value in getattr(
            before.objective if key in ("asymmetry", "hierarchy") else before.model, key
        ).items():
            after = read_recipe(path, split_flags([f"--{key}.{inner}", json.dumps(value)])[1])
            assert after == before


FLAGS = [
    (["--num_train_epochs", "0"], FlagError, r"^bad value: --num_train_epochs: found 0"),
    (["--num_train_epochs", "many"], FlagError, r"^wrong type: --num_train_epochs: found 'many'; expected a number"),
    (["--num_train_epochs.x", "1"], FlagError, r"^wrong type: --num_train_epochs: found \{'x': 1\}"),
    (["--sede", "1"], FlagError, r"^unknown flag: found '--sede'; expected 'seed'\?"),
    (["--epochs", "1"], FlagError, r"^a former flag: found '--epochs'; expected 'num_train_epochs'"),
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
    between = text.partition(key_table.BEGIN)[2].partition(key_table.END)[0]
    assert between.strip() == key_table.markdown().strip(), "run python -m hf_inatsounds.training.key_table"
