"""Fine-tune by a recipe; every key of the recipe is a flag too, and flags win.

Examples:
  hf-inatsounds train train/recipes/ast-tiny.yaml --source path/to/archives --out runs/ast
  hf-inatsounds train train/recipes/ast-tiny.yaml --objective multilabel --label_smoothing 0 --out runs/ast-multilabel
  hf-inatsounds train train/recipes/ast.yaml --source path/to/archives --name aves --out runs/aves
  accelerate launch --config_file train/accelerate/two-cpu-processes.yaml train/finetune.py \\
      train/recipes/ast-tiny.yaml --source path/to/archives --out runs/two
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from hf_inatsounds.cli.output import hush_libraries, show
from hf_inatsounds.errors import RecipeError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("recipe", help="YAML file; train/recipes has some")
    parser.add_argument("--resume", action="store_true", help="go on from the run folder's last checkpoint")
    parser.add_argument(
        "keys",
        nargs=argparse.REMAINDER,
        metavar="--KEY VALUE",
        help="keys of the recipe (source, out, epochs, batch_size, config.hidden_size …); docs/recipes.md lists them",
    )


def run(arguments: argparse.Namespace) -> None:
    """Train, and print where the run is."""
    from hf_inatsounds.training.arguments import read_recipe

    flags, keys = split_flags(arguments.keys)
    recipe = read_recipe(arguments.recipe, keys)
    hush_libraries()
    from hf_inatsounds.reports import summarise
    from hf_inatsounds.training.run import train

    found = train(recipe, resume=arguments.resume or "resume" in flags, quiet=arguments.quiet or "quiet" in flags)
    best = found["best"]
    reached = f"best validation mAP {best['map']:.3f} after epoch {best['epoch']:g}" if best else "no validation"
    lines = [
        f"{recipe.out}: {reached}; {found['steps']} steps in {found['seconds']:.0f} s",
        f"recordings: {summarise(found['defects'])} (named in {Path(recipe.out) / 'report.md'})",
        f"next: hf-inatsounds evaluate {recipe.out} --source {recipe.source} --split {recipe.validation_split}",
    ]
    if found["main_process"]:
        show({"out": recipe.out, **found}, "\n".join(lines), as_json=arguments.json or "json" in flags)


def split_flags(words: list[str]) -> tuple[set[str], dict[str, Any]]:
    """Flags without a value (json, quiet, resume) and recipe keys with one.

    >>> split_flags(["--epochs", "3", "--json", "--config.hidden_size=64"])
    ({'json'}, {'epochs': '3', 'config': {'hidden_size': 64}})

    Raises:
        RecipeError: a word that is no flag, or a key without a value.
    """
    import yaml

    flags: set[str] = set()
    keys: dict[str, Any] = {}
    waiting = list(words)
    while waiting:
        word = waiting.pop(0)
        if not word.startswith("--"):
            raise RecipeError("not a flag", where="command line", found=repr(word), expected="--key value")
        key, given, value = word[2:].partition("=")
        if key in ("json", "quiet", "resume") and not given:
            flags.add(key)
            continue
        if not given:
            if not waiting or waiting[0].startswith("--"):
                raise RecipeError("no value", where=f"--{key}", expected=f"--{key} VALUE")
            value = waiting.pop(0)
        outer, dot, inner = key.replace("-", "_").partition(".")
        if dot:
            keys.setdefault(outer, {})[inner] = yaml.safe_load(value)
        else:
            keys[outer] = value
    return flags, keys
