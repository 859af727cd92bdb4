"""One training run, from a recipe to a run folder: what ``train`` and ``train/finetune.py`` start."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from accelerate.utils import gather_object
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from hf_inatsounds.errors import RecipeError
from hf_inatsounds.evaluation import TRAIN_FILE, environment
from hf_inatsounds.progress import note
from hf_inatsounds.training.arguments import Recipe
from hf_inatsounds.training.checkpoints import checkpoint_to_resume
from hf_inatsounds.training.course import Course
from hf_inatsounds.training.failures import failures_named, refusals_named
from hf_inatsounds.training.records import check_resumable, check_trackers, write_end, write_start
from hf_inatsounds.training.setup import Setup, set_up, start_of, summary
from hf_inatsounds.training.trainer import CropTrainer
from hf_inatsounds.training.validation import Validator


def train(recipe: Recipe, *, resume: bool = False, quiet: bool = False) -> dict[str, Any]:
    """Train what ``recipe`` says, into ``recipe.out``: a native checkpoint with its reports.

    Works in one process and, started by ``accelerate launch`` or torchrun, in many.

    Args:
        recipe: the run.
        resume: go on from the run folder's last checkpoint.
        quiet: no progress.

    Returns:
        What ``train.json`` holds.

    Raises:
        InatSoundsError: for whatever is wrong with the recipe, the source or the checkpoint, and for what stops
            the run on its way.
    """
    out = Path(recipe.out)
    if (out / TRAIN_FILE).exists():
        raise RecipeError("the run folder holds a finished run", where=out, fix="Choose another --out, or delete it.")
    began = time.monotonic()
    check_trackers(recipe)
    checkpoint = checkpoint_to_resume(out) if resume else None
    if resume:
        check_resumable(recipe)
    setup = set_up(recipe)
    with refusals_named(), _tensorboard_in(out):
        trainer = setup.trainer()
    if isinstance(trainer.validate, Validator):
        trainer.validate.classifier = trainer.whole
    trainer.remove_callback(ProgressCallback)
    trainer.remove_callback(PrinterCallback)
    course = Course(recipe, trainer.batches, trainer.average, quiet=quiet or not setup.state.is_main_process)
    trainer.add_callback(course)
    told = start_of(setup.classifier)
    if setup.state.is_main_process:
        if told:
            note(f"{recipe.model}: {told['told']}", quiet=quiet)
        write_start(recipe, setup.splits, setup.state.num_processes)
    with failures_named(out, workers=recipe.workers):
        trainer.train(resume_from_checkpoint=checkpoint)
        if trainer.average and setup.validation is None:
            trainer.use_average()
        trainer.gather()
        final = _final(trainer, course)
        trainer.defects.add(gather_object(list(trainer.defects.seen.values())))
        run = _outcome(setup, trainer, course) | {"final": final, "seconds": round(time.monotonic() - began, 1)}
        if setup.state.is_main_process:
            write_end(out, trainer.whole, run, trainer.state.log_history)
        setup.state.wait_for_everyone()
    return {**run, "main_process": setup.state.is_main_process}


def _final(trainer: CropTrainer, course: Course) -> dict[str, float] | None:
    """The saved weights' metrics on the full setting: the best validation's, where that was it."""
    if not isinstance(trainer.validate, Validator):
        return None
    if trainer.validate.is_full:
        best = max(course.history, key=lambda entry: entry["map"])
        return {key: value for key, value in best.items() if key not in ("epoch", "step", "loss")}
    return trainer.validate(full=True)


@contextlib.contextmanager
def _tensorboard_in(out: Path) -> Iterator[None]:
    """Transformers' tensorboard writes where this variable says, and else into the folder of checkpoints."""
    name = "TENSORBOARD_LOGGING_DIR"
    before = os.environ.get(name)
    os.environ.setdefault(name, str(out / "tensorboard"))
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(name)


def _outcome(setup: Setup, trainer: CropTrainer, course: Course) -> dict[str, Any]:
    """What ``train.json`` holds, but for the time it took."""
    recipe = setup.recipe
    setting = {"windows": recipe.validation, "recordings": recipe.validation_recordings or "all"}
    return {
        **summary(setup),
        "epochs": round(trainer.state.epoch or 0, 2),
        "steps": trainer.state.global_step,
        "stopped_early": course.stopped_early,
        "validation": setting if setup.validation else None,
        "best": max(course.history, key=lambda entry: entry["map"], default=None),
        "history": course.history,
        "losses": [[one["step"], one["loss"]] for one in trainer.state.log_history if "loss" in one],
        "seconds_waiting_for_data": round(trainer.waited_s, 2),
        "defects": trainer.defects.report(),
        "environment": environment(),
    }
