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
from pathlib import Path
from typing import TYPE_CHECKING

from hf_inatsounds.cli import arguments as given
from hf_inatsounds.cli.output import hush_libraries, show
from hf_inatsounds.errors import CheckpointError, FlagError
from hf_inatsounds.schema import SPLITS

if TYPE_CHECKING:
    pass


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("run_dir", type=given.name, metavar="RUN", help="folder of a finished run")
    parser.add_argument(
        "repo_id",
        type=given.repository,
        metavar="REPO_ID",
        nargs="?",
        help="owner/name (default: the recipe's hub_model_id)",
    )
    parser.add_argument("--public", action="store_true", help="a public repository (default: a private one)")
    parser.add_argument("--replace-card", action="store_true", help="write over a README.md that was changed by hand")
    parser.add_argument("--split", choices=SPLITS, help="evaluate on this split for the card, if that is still to do")
    parser.add_argument("--source", type=given.name, help="where the recordings are (default: the recipe's source)")


def run(arguments: argparse.Namespace) -> None:
    """Evaluate if need be, push, and print the commit's address."""
    from hf_inatsounds.archives.fetch import is_repo_id
    from hf_inatsounds.publishing.finished_run import evaluate_for_card
    from hf_inatsounds.publishing.model_hub import open_repository, push_model
    from hf_inatsounds.training.arguments import changed, read_recipe

    folder = Path(arguments.run_dir)
    for name in ("train.json", "recipe.yaml"):
        if not (folder / name).is_file():
            raise CheckpointError(
                "no finished run", where=folder, found=f"no {name}", expected="what train wrote",
                fix="Finish it with: hf-inatsounds train RECIPE.yaml --out FOLDER --resume",
            )  # fmt: skip
    recipe = read_recipe(folder / "recipe.yaml")
    repo_id = arguments.repo_id or recipe.training.hub_model_id
    if not is_repo_id(repo_id):
        raise FlagError("no repository to push to", where="REPO_ID", found=repr(repo_id), expected="owner/name")
    is_own = repo_id == recipe.training.hub_model_id
    public = arguments.public or (is_own and not recipe.training.hub_private_repo)
    open_repository(repo_id, public=public, replace_card=arguments.replace_card)
    recipe = changed(recipe, source=arguments.source or recipe.data.source)
    hush_libraries()
    evaluate_for_card(folder, recipe, arguments.split, quiet=arguments.quiet)
    pushed = push_model(folder, repo_id, public=public, replace_card=arguments.replace_card)
    show({"pushed": pushed, "repo_id": repo_id, "public": public}, pushed, as_json=arguments.json)
