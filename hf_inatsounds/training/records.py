"""What a run folder holds besides the model: recipe, environment, dataset revision, course."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import shutil
from pathlib import Path
from typing import Any

import yaml

from hf_inatsounds.archives.fetch import Source, is_hub_id
from hf_inatsounds.devices import choose_device, device_name
from hf_inatsounds.errors import RecipeError
from hf_inatsounds.evaluation import TRAIN_FILE, SplitInfo, environment
from hf_inatsounds.files import write_json, write_text
from hf_inatsounds.models import Classifier
from hf_inatsounds.reports import training_report
from hf_inatsounds.schema import OFFICIAL_FILES, STEMS
from hf_inatsounds.training.arguments import Recipe, make_recipe, recipe_yaml
from hf_inatsounds.training.checkpoints import CHECKPOINTS
from hf_inatsounds.training.curves import CURVES_FILE, draw_curves

RECIPE_FILE, REPORT_FILE, ORIGIN_FILE = "recipe.yaml", "report.md", "origin.json"

MAY_CHANGE = frozenset({
    "source", "index", "validation_split", "validation", "validation_recordings", "evaluate_every_epochs", "patience",
    "save_every_steps", "log_every_steps", "eval_batch_size", "workers", "max_unusable_share", "report_to",
    "device", "ddp_timeout", "push_to_hub", "hub_public", "out",
})  # fmt: skip
"""Keys that a resumed run may have other values of: the steps that are taken do not depend on them."""


def write_start(recipe: Recipe, splits: list[SplitInfo], n_processes: int) -> None:
    """What is known before the first step, so that a killed run is documented too."""
    out = Path(recipe.out)
    write_text(out / RECIPE_FILE, recipe_yaml(recipe))
    write_json(out / ORIGIN_FILE, origin(recipe, splits, n_processes))


def origin(recipe: Recipe, splits: list[SplitInfo], n_processes: int) -> dict[str, Any]:
    """Where a run's numbers come from: versions, device, and which recordings."""
    device = device_name(choose_device(recipe.device))
    return {
        "environment": {**environment(), "device": device, "processes": n_processes},
        "dataset": {
            "source": recipe.source,
            "index": recipe.index,
            "name": recipe.name,
            "splits": {info.split: _revision(recipe, info) for info in splits},
        },
    }


def _revision(recipe: Recipe, info: SplitInfo) -> dict[str, Any]:
    """A split's annotations, as SHA-256 of ids, labels and file names, and its files as far as they are known."""
    found: dict[str, Any] = {"recordings": len(info.labels), "annotations_sha256": info.revision}
    names = (f"{STEMS[info.split]}.tar.gz", f"{STEMS[info.split]}.json.tar.gz")
    if recipe.source == "official":
        found["md5"] = {one.name: one.md5 for one in OFFICIAL_FILES if one.name in names}
    elif not is_hub_id(recipe.source) and "://" not in recipe.source:
        source = Source.parse(recipe.source)
        found["size_bytes"] = {
            name: Path(source.path(name)).stat().st_size for name in names if Path(source.path(name)).is_file()
        }
    return found


def check_resumable(recipe: Recipe) -> None:
    """Compare with the recipe that the run began with.

    Raises:
        RecipeError: if a key differs that the steps depend on.
    """
    path = Path(recipe.out) / RECIPE_FILE
    if not path.exists():
        return
    before = make_recipe(yaml.safe_load(path.read_text(encoding="utf-8")), where=str(path))
    for one in dataclasses.fields(Recipe):
        old, new = getattr(before, one.name), getattr(recipe, one.name)
        if one.name not in MAY_CHANGE and old != new:
            raise RecipeError(
                "a resumed run must have the recipe that it began with", where=one.name, found=repr(new),
                expected=repr(old), fix="Leave it as it was, or begin another run with --model and --out.",
            )  # fmt: skip


def check_trackers(recipe: Recipe) -> None:
    """Whether the trackers are installed.

    Raises:
        RecipeError: naming the extra that has what is missing.
    """
    for name in recipe.trackers:
        if importlib.util.find_spec(name) is None:
            raise RecipeError(
                "the tracker is not installed", where="report_to", found=name,
                fix=f"pip install 'hf-inatsounds[{'trackers' if name == 'tensorboard' else name}]'",
            )  # fmt: skip


def write_end(out: Path, classifier: Classifier, run: dict[str, Any], log: list[dict[str, Any]]) -> None:
    """The finished run; ``train.json``, which tells that it is whole, is written last."""
    partial = out / ".model.partial"  # on the same disk, so that what follows is renaming
    try:
        classifier.save(partial)
        for path in sorted(partial.iterdir()):
            os.replace(path, out / path.name)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    draw_curves(log, out / CURVES_FILE, title=f"{run['model']}, {run['objective']}, seed {run['seed']}")
    write_text(out / REPORT_FILE, training_report(run))
    write_json(out / TRAIN_FILE, run)
    shutil.rmtree(out / CHECKPOINTS, ignore_errors=True)
