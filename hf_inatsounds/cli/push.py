"""Push a finished run to the Hub: a private repository, with the model card of its evaluations.

A run without an evaluation is evaluated first, on the split that its recipe validates on.

Examples:
  hf-inatsounds push runs/ast me/ast-inatsounds
  hf-inatsounds push runs/ast me/ast-inatsounds --public
  hf-inatsounds push runs/ast                     # to push_to_hub of its recipe
  hf-inatsounds push runs/ast me/ast-inatsounds --split test --source path/to/archives
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from hf_inatsounds.cli import arguments as given
from hf_inatsounds.cli.output import hush_libraries, note, show
from hf_inatsounds.errors import CheckpointError, FlagError
from hf_inatsounds.schema import SPLITS

if TYPE_CHECKING:
    from hf_inatsounds.training.arguments import Recipe


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("run_dir", type=given.name, metavar="RUN", help="folder of a finished run")
    parser.add_argument(
        "repo_id",
        type=given.repository,
        metavar="REPO_ID",
        nargs="?",
        help="owner/name (default: the recipe's push_to_hub)",
    )
    parser.add_argument("--public", action="store_true", help="a public repository (default: a private one)")
    parser.add_argument("--replace-card", action="store_true", help="write over a README.md that was changed by hand")
    parser.add_argument("--split", choices=SPLITS, help="evaluate on this split for the card, if that is still to do")
    parser.add_argument("--source", type=given.name, help="where the recordings are (default: the recipe's source)")


def run(arguments: argparse.Namespace) -> None:
    """Evaluate if need be, push, and print the commit's address."""
    from hf_inatsounds.publishing.model_hub import open_repository, push_model
    from hf_inatsounds.training.arguments import read_recipe
    from hf_inatsounds.training.checks import is_repo_id

    folder = Path(arguments.run_dir)
    for name in ("train.json", "recipe.yaml"):
        if not (folder / name).is_file():
            raise CheckpointError(
                "no finished run", where=folder, found=f"no {name}", expected="what train wrote",
                fix="Finish it with: hf-inatsounds train RECIPE.yaml --out FOLDER --resume",
            )  # fmt: skip
    recipe = read_recipe(folder / "recipe.yaml")
    repo_id = arguments.repo_id or recipe.push_to_hub
    if not is_repo_id(repo_id):
        raise FlagError("no repository to push to", where="REPO_ID", found=repr(repo_id), expected="owner/name")
    public = arguments.public or (recipe.hub_public and repo_id == recipe.push_to_hub)
    open_repository(repo_id, public=public, replace_card=arguments.replace_card)
    recipe = dataclasses.replace(recipe, source=arguments.source or recipe.source)
    evaluate_for_card(folder, recipe, arguments.split, quiet=arguments.quiet)
    pushed = push_model(folder, repo_id, public=public, replace_card=arguments.replace_card)
    show({"pushed": pushed, "repo_id": repo_id, "public": public}, pushed, as_json=arguments.json)


def evaluate_for_card(folder: Path, recipe: Recipe, split: str | None = None, *, quiet: bool) -> None:
    """Evaluate a run, unless it holds an evaluation: of ``split``, where that is given.

    Args:
        folder: the run.
        recipe: its recipe; its source may have moved.
        split: None for the one that the recipe validates on, or the test split where there is none.
        quiet: no progress.
    """
    from hf_inatsounds.errors import ScoresError
    from hf_inatsounds.reports.model_card import read_results

    try:
        there = {results["dataset"]["split"] for results in read_results(folder)}
    except ScoresError:
        there = set()
    if split in there or (split is None and there):
        return
    hush_libraries()
    from hf_inatsounds.evaluation import evaluate, split_info
    from hf_inatsounds.models.classifier import load_classifier

    split = split or ("test" if recipe.validation_split == "none" else recipe.validation_split)
    note(f"evaluating the {split} split for the card", quiet=quiet)
    classifier = load_classifier(folder)
    info = split_info(recipe.source, recipe.name, split, recipe.index)
    evaluate(
        classifier, info, folder / f"evaluation-{split}", window=classifier.window, checkpoint=str(folder),
        batch_size=recipe.eval_batch_size, quiet=quiet,
    )  # fmt: skip
