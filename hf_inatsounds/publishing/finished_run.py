"""Runs from Python, and finished ones on the Hub: evaluated if need be, with their cards."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from hf_inatsounds.data.selection_values import without_draw
from hf_inatsounds.errors import ScoresError
from hf_inatsounds.evaluation import evaluate, split_info
from hf_inatsounds.models.classifier import load_classifier
from hf_inatsounds.progress import note
from hf_inatsounds.publishing.model_hub import open_repository, push_model
from hf_inatsounds.reports.model_card import read_results
from hf_inatsounds.training.arguments import changed, make_recipe, read_recipe
from hf_inatsounds.training.ownership import Resume
from hf_inatsounds.training.recipe import Recipe
from hf_inatsounds.training.run import train as train_run


def train(
    recipe: str | Path | Recipe | None = None, *, resume: Resume = False, quiet: bool = False, **keys: Any
) -> dict[str, Any]:
    """Fine-tune by a recipe, into its ``output_dir``; push the run where the recipe says so.

    Args:
        recipe: YAML file, or the name of a shipped one ("ast-tiny.yaml"); None for defaults.
        resume: go on from the run folder's last checkpoint; "auto" does where there is one.
        quiet: no progress.
        keys: keys of the recipe, which win over the file: ``model="ast-tiny", source="path/to/archives",
            output_dir="runs/ast", num_train_epochs=3``. docs/recipes.md lists all of them.

    Returns:
        What ``train.json`` holds; with ``pushed``, the commit's address, where it was pushed.

    Raises:
        RecipeError: naming a key that is unknown, or a value that it cannot have.
        InatSoundsError: for whatever is wrong with source or checkpoint, and for what stops the run on its way.
    """
    if isinstance(recipe, Recipe):
        run = changed(recipe, **keys)
    elif recipe is None:
        run = make_recipe(keys, where="train()")
    else:
        run = read_recipe(recipe, keys)
    if run.training.push_to_hub:
        open_for(run, create=True)
    found = train_run(run, resume=resume, quiet=quiet)
    if run.training.push_to_hub and found["main_process"]:
        found["pushed"] = push_finished(run, quiet=quiet)
    return found


def open_for(recipe: Recipe, *, create: bool) -> None:
    """Look whether a run may be pushed where its recipe says, before it begins; one of many processes asks.

    Raises:
        InatSoundsError: if it may not.
    """
    if os.environ.get("RANK", "0") == "0":
        run = recipe.training
        open_repository(run.hub_model_id, public=not run.hub_private_repo, create=create)


def push_finished(recipe: Recipe, *, quiet: bool = False) -> str:
    """Evaluate a finished run for its card, and push it to ``hub_model_id``.

    Returns:
        The commit's address.
    """
    run = recipe.training
    evaluate_for_card(recipe.out, recipe, quiet=quiet)
    return push_model(recipe.out, run.hub_model_id, public=not run.hub_private_repo)


def evaluate_for_card(folder: Path, recipe: Recipe, split: str | None = None, *, quiet: bool) -> None:
    """Evaluate a run, unless it holds an evaluation: of ``split``, where that is given.

    Args:
        folder: the run.
        recipe: its recipe; its source may have moved.
        split: None for the one that the recipe validates on, or the test split where there is none.
        quiet: no progress.
    """
    try:
        there = {results["dataset"]["split"] for results in read_results(folder)}
    except ScoresError:
        there = set()
    if split in there or (split is None and there):
        return
    split = split or (recipe.data.validation_split if recipe.is_validated else "test")
    note(f"evaluating the {split} split for the card", quiet=quiet)
    classifier = load_classifier(folder)
    info = split_info(recipe.data.source, recipe.data.name, split, recipe.data.index, without_draw(recipe.data.select))
    evaluate(
        classifier, info, folder / f"evaluation-{split}", window=classifier.window, checkpoint=str(folder),
        batch_size=recipe.training.per_device_eval_batch_size, quiet=quiet,
    )  # fmt: skip
