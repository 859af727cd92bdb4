"""What a run folder holds besides the model: recipe, environment, dataset revision, course."""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path
from typing import Any

from hf_inatsounds.archives.fetch import Source, is_hub_id, public_place
from hf_inatsounds.errors import RecipeError
from hf_inatsounds.evaluation import TRAIN_FILE, SplitInfo, environment
from hf_inatsounds.files import defined, write_json, write_text
from hf_inatsounds.fingerprints import (
    changed_facts,
    checkpoint_digest,
    code_fingerprint,
    file_digest,
    fingerprint,
    read_record,
    weight_files,
)
from hf_inatsounds.models.classifier import Classifier
from hf_inatsounds.progress import note
from hf_inatsounds.reports import setting_text, training_report
from hf_inatsounds.runtime.devices import choose_device, device_name
from hf_inatsounds.schema import OFFICIAL_FILES, STEMS
from hf_inatsounds.training.arguments import PLACES, read_recipe, recipe_yaml
from hf_inatsounds.training.checkpoints import CHECKPOINTS
from hf_inatsounds.training.course import CURVES_FILE, draw_curves
from hf_inatsounds.training.learning import reads_by_number
from hf_inatsounds.training.ownership import ORIGIN_FILE
from hf_inatsounds.training.recipe import Recipe

RECIPE_FILE, REPORT_FILE = "recipe.yaml", "report.md"

MAY_CHANGE = frozenset({
    "source", "index", "evaluate_every_epochs", "early_stopping_patience", "save_steps", "save_total_limit",
    "logging_steps", "logging_strategy", "logging_first_step", "log_on_each_node", "log_level", "log_level_replica",
    "run_name", "project", "per_device_eval_batch_size", "dataloader_num_workers", "dataloader_pin_memory",
    "dataloader_prefetch_factor", "dataloader_multiprocessing_context",
    "max_unusable_share", "report_to", "device", "ddp_timeout", "ddp_bucket_cap_mb", "ddp_find_unused_parameters",
    "torch_empty_cache_steps", "skip_memory_metrics", "debug", "push_to_hub", "hub_model_id", "hub_private_repo",
    "output_dir", "per_device_train_batch_size", "gradient_accumulation_steps",
})  # fmt: skip
"""Keys that a resumed run may have other values of: neither the steps that are taken nor the choice of the best
checkpoint depend on them. The last two may share out a step's recordings in another way; their product stays."""


def write_start(recipe: Recipe, splits: list[SplitInfo], n_processes: int, *, run: str) -> None:
    """What is known before the first step, so that a killed run is documented too; first of all whose folder it is.

    A run that goes on with other files or other code than before says so, and its record keeps what it had before.
    """
    out = recipe.out
    made = {"run": run, **origin(recipe, splits, n_processes)}
    before = read_record(out / ORIGIN_FILE)
    earlier = before.pop("earlier", []) if before.get("run") == run else []
    if before.get("run") == run and (changed := _changed(before, made)):
        earlier = [*earlier, before]
        note(f"{out} goes on with another {', '.join(changed)} than before: {ORIGIN_FILE} names both")
    write_json(out / ORIGIN_FILE, {**made, "earlier": earlier})
    write_text(out / RECIPE_FILE, recipe_yaml(recipe))


def _changed(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What a resumed run has other than before, of what its steps depend on."""
    then, today = ({"code": one.get("code"), **one.get("dataset", {}).get("splits", {})} for one in (before, now))
    return [name if name == "code" else f"{name} split" for name in changed_facts(then, today)]


def origin(recipe: Recipe, splits: list[SplitInfo], n_processes: int) -> dict[str, Any]:
    """Where a run's numbers come from: code, versions, device, and which recordings in which state."""
    device = device_name(choose_device(recipe.model.device))
    return {
        "code": code_fingerprint("hf_inatsounds.training.run"),
        "environment": {**environment(), "device": device, "processes": n_processes},
        "dataset": {
            "source": public_place(recipe.data.source),
            "index": public_place(recipe.data.index),
            "name": recipe.data.name,
            "select": recipe.data.select,
            "splits": {info.split: _revision(recipe, info) for info in splits},
        },
    }


def _revision(recipe: Recipe, info: SplitInfo) -> dict[str, Any]:
    """A split's annotations, as SHA-256 of ids, labels and file names and of all there is, and its files' state."""
    found = {**_fixed_facts(info), "all_annotations_sha256": info.annotations, "files": info.state}
    names = (f"{STEMS[info.split]}.tar.gz", f"{STEMS[info.split]}.json.tar.gz")
    if recipe.data.source == "official":
        found["md5"] = {one.name: one.md5 for one in OFFICIAL_FILES if one.name in names}
    elif not is_hub_id(recipe.data.source) and "://" not in recipe.data.source:
        source = Source.parse(recipe.data.source)
        found["size_bytes"] = {
            name: Path(source.path(name)).stat().st_size for name in names if Path(source.path(name)).is_file()
        }
    return found


def _fixed_facts(info: SplitInfo) -> dict[str, Any]:
    """What a resumed run must find as it was, wherever its source is now."""
    classes = fingerprint({"classes": info.label_space.species})
    return {"recordings": len(info.labels), "annotations_sha256": info.revision, "classes_sha256": classes}


def check_resumable(recipe: Recipe) -> None:
    """Compare with the recipe that the run began with.

    Raises:
        RecipeError: if a key differs that the steps depend on.
    """
    path = recipe.out / RECIPE_FILE
    if not path.exists():
        return
    before = read_recipe(path)
    then, now = (
        {**one.values(), **{key: public_place(one.values()[key]) for key in PLACES}} for one in (before, recipe)
    )
    fixed = {*then, *now} - MAY_CHANGE
    if not reads_by_number(before):
        fixed |= {"source", "index"}  # a stream's order is its source's
    pairs: dict[str, tuple[Any, Any]] = {name: (then.get(name), now.get(name)) for name in sorted(fixed)}
    shares = [one["per_device_train_batch_size"] * one["gradient_accumulation_steps"] for one in (then, now)]
    pairs["per_device_train_batch_size × gradient_accumulation_steps"] = (shares[0], shares[1])
    for name, (old, new) in pairs.items():
        if old != new:
            raise RecipeError(
                "a resumed run must have the recipe that it began with", where=name, found=repr(new),
                expected=repr(old), fix="Leave it as it was, or begin another run with --model and another output_dir.",
            )  # fmt: skip


def check_same_data(out: Path, splits: list[SplitInfo]) -> None:
    """Compare with the recordings and classes that the run began with, wherever its source is now.

    Raises:
        RecipeError: if they are others: labels would mean other species, and positions other recordings.
    """
    before = read_record(out / ORIGIN_FILE).get("dataset", {}).get("splits", {})
    for info in splits:
        now = _fixed_facts(info)
        old = {name: before.get(info.split, {}).get(name) for name in now}
        if changed := changed_facts(old, now):
            what = "classes" if "classes_sha256" in changed else "recordings"
            raise RecipeError(
                f"the {info.split} split has other {what} than the run began with", where=info.source,
                found=f"{len(info.labels):,} recordings of {len(info.label_space):,} classes",
                expected=f"the source as {ORIGIN_FILE} describes it",
                fix="Resume with the source as it was, or begin another run with another output_dir.",
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


def write_end(out: Path, classifier: Classifier, run: dict[str, Any], log: list[dict[str, Any]]) -> dict[str, Any]:
    """The finished run; ``train.json``, which tells that it is whole and which weights it is of, is written last.

    Returns:
        What ``train.json`` holds.
    """
    partial = out / ".model.partial"  # on the same disk, so that what follows is renaming
    shutil.rmtree(partial, ignore_errors=True)
    try:
        classifier.save(partial)
        own = {path.name for path in partial.iterdir()}
        for path in weight_files(out):
            if path.name not in own:
                path.unlink()  # somebody put it there: the model would be of both
        for name in sorted(own):
            os.replace(partial / name, out / name)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    title = f"{run['model']}, {run['objective']}, seed {run['seed']}"
    setting = setting_text(run["validation"]) if run["validation"] else ""
    draw_curves(log, out / CURVES_FILE, title=title, setting=setting)
    write_text(out / REPORT_FILE, training_report(defined(run)))
    records = (RECIPE_FILE, ORIGIN_FILE, REPORT_FILE, CURVES_FILE)
    digests = {name: file_digest(out / name) for name in records}
    run = defined({**run, "checkpoint_sha256": checkpoint_digest(out), "files": digests})
    write_json(out / TRAIN_FILE, run)
    shutil.rmtree(out / CHECKPOINTS, ignore_errors=True)
    return run
