"""One training run, from a recipe to a run folder: what ``train`` and ``train/finetune.py`` start."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers.trainer_callback import PrinterCallback, ProgressCallback

from hf_inatsounds.audio.digests import write_digests
from hf_inatsounds.errors import InatSoundsError, InterruptedRunError, StoppedError
from hf_inatsounds.evaluation import environment
from hf_inatsounds.files import defined
from hf_inatsounds.progress import note
from hf_inatsounds.reports import setting_text
from hf_inatsounds.training.checkpoints import Position, last_checkpoint
from hf_inatsounds.training.course import Course, best_of
from hf_inatsounds.training.interruption import Interruption, Stop, failures_named, refusals_named
from hf_inatsounds.training.learning import precision_name, start_of
from hf_inatsounds.training.ownership import Resume, RunFolder, plan_start
from hf_inatsounds.training.recipe import Recipe
from hf_inatsounds.training.records import check_resumable, check_same_data, check_trackers, write_end, write_start
from hf_inatsounds.training.setup import Setup, set_up, summary
from hf_inatsounds.training.trainer import CropTrainer
from hf_inatsounds.training.validation import Validator


@dataclass(frozen=True)
class Begun:
    """A run that has its folder.

    Attributes:
        run: its identity, which every file that it writes is known by.
        checkpoint: path of the checkpoint that it goes on from; None for a new run.
        check: raises where the folder is not the run's any more.
    """

    run: str
    checkpoint: str | None
    check: Callable[[], None]


def train(recipe: Recipe, *, resume: Resume = False, quiet: bool = False) -> dict[str, Any]:
    """Train what ``recipe`` says, into its ``output_dir``: a native checkpoint with its reports.

    Works in one process and, started by ``accelerate launch`` or torchrun, in many. ``train/finetune.py`` goes through
    the same steps in the open.

    Args:
        recipe: the run.
        resume: go on from the run folder's last checkpoint; "auto" does where there is one, and begins a run where
            there is nothing to go on from.
        quiet: no progress.

    Returns:
        What ``train.json`` holds.

    Raises:
        InatSoundsError: for whatever is wrong with the recipe, the source or the checkpoint, and for what stops
            the run on its way.
        StoppedError: after SIGTERM or SIGINT, with a checkpoint of the last step.
    """
    check_start(recipe, resume)  # before anything is read; decided on below, under the lock
    setup = set_up(recipe)
    with own_folder(setup, resume) as start:
        trainer = make_trainer(setup, start, quiet=quiet)
        with ends_named(setup, trainer):
            trainer.train(resume_from_checkpoint=start.checkpoint)
            return finish(setup, trainer, start)


def check_start(recipe: Recipe, resume: Resume) -> None:
    """Look whether a run may begin, or go on, in its folder and with its trackers.

    Raises:
        RecipeError: if it may not.
    """
    check_trackers(recipe)
    if plan_start(recipe.out, resume).checkpoint:
        check_resumable(recipe)


@contextlib.contextmanager
def own_folder(setup: Setup, resume: Resume) -> Iterator[Begun]:
    """The run folder as this run's own: the main process locks it and decides, and all hear what.

    Raises:
        RecipeError: if another process is at work there, or the run may not begin or go on there.
    """
    out = setup.recipe.out
    with contextlib.ExitStack() as stack:
        said: Any = None
        folder = None
        if setup.state.is_main_process:
            try:
                folder = RunFolder(out)
                stack.callback(folder.release)
                said = plan_start(out, resume)
                if not said.checkpoint:
                    folder.clear()
            except (InatSoundsError, OSError) as error:
                said = error
        start = setup.state.gather(said, "the run folder")[0]
        if isinstance(start, Exception):
            raise start
        if start.checkpoint:
            check_resumable(setup.recipe)
            check_same_data(out, setup.splits)
            setup.step_recordings = Position.load(start.checkpoint).recordings_per_step
        yield Begun(
            start.run, str(start.checkpoint) if start.checkpoint else None, folder.check if folder else _nothing
        )


def make_trainer(setup: Setup, start: Begun, *, quiet: bool = False) -> CropTrainer:
    """The Trainer of a run, with what documents its beginning written.

    Args:
        setup: model, data and arguments.
        start: where the run begins, of :func:`own_folder`.
        quiet: no progress.

    Raises:
        RecipeError: if transformers refuses the recipe.
    """
    recipe, main = setup.recipe, setup.state.is_main_process
    interruption = Interruption(quiet=quiet or not main)
    with refusals_named(), _tensorboard_in(recipe.out):
        trainer = setup.trainer()
    trainer.run, trainer.check_folder, trainer.interruption = start.run, start.check, interruption
    validated = ""
    if isinstance(trainer.validate, Validator):
        trainer.validate.classifier = trainer.whole
        validated = setting_text(trainer.validate.setting(full=False))
    trainer.remove_callback(ProgressCallback)
    trainer.remove_callback(PrinterCallback)
    trainer.course = Course(
        recipe, trainer.batches, trainer.average, interruption, validated=validated, quiet=quiet or not main
    )
    trainer.add_callback(trainer.course)
    if main:
        if told := start_of(setup.classifier):
            note(f"{recipe.model.model}: {told['told']}", quiet=quiet)
        write_start(recipe, setup.splits, setup.state.num_processes, run=start.run)
    return trainer


@contextlib.contextmanager
def ends_named(setup: Setup, trainer: CropTrainer) -> Iterator[None]:
    """Within the block a signal saves a checkpoint, and what ends the run is told in one line.

    Raises:
        StoppedError: after SIGTERM.
        InterruptedRunError: after SIGINT.
        TrainingError: for what stops a run from outside.
    """
    out, workers = setup.recipe.out, setup.recipe.training.dataloader_num_workers
    with _stops_named(out), failures_named(out, workers=workers, state=setup.state), trainer.interruption.watched():
        yield


def finish(setup: Setup, trainer: CropTrainer, start: Begun) -> dict[str, Any]:
    """Score the saved weights, and write the checkpoint, its reports and ``train.json``; all processes together.

    Returns:
        What ``train.json`` holds, and whether this is the main process.
    """
    main, course, out = setup.state.is_main_process, trainer.course, setup.recipe.out
    if trainer.average and setup.validation is None:
        trainer.use_average()
    trainer.gather()
    if course.history and not best_of(course.history):
        note("the validations' mAP is undefined: the last weights are kept", quiet=course.quiet)
    final = _final(trainer, course)
    for seen in setup.state.gather(list(trainer.defects.seen.values()), "what was wrong with recordings"):
        trainer.defects.add(seen)
    run = {"run": start.run, **_outcome(setup, trainer, course), "final": final}
    run["seconds"] = round(time.monotonic() - setup.began, 1)
    if main:
        start.check()
        run["digests_sha256"] = write_digests(out, trainer.defects)
        run = write_end(out, trainer.whole, run, trainer.state.log_history)
    setup.state.wait("the first process to write the run")
    return {**defined(run), "main_process": main}


def _nothing() -> None:
    """What other processes than the main one have to check."""


@contextlib.contextmanager
def _stops_named(out: Path) -> Iterator[None]:
    """A run that was told to end says how to go on; of many processes one prints it."""
    try:
        yield
    except Stop as stop:
        last = last_checkpoint(out)
        kind = InterruptedRunError if stop.number == signal.SIGINT else StoppedError
        raise kind(
            f"stopped by {signal.Signals(stop.number).name}", where=out,
            fix=f"Go on from {last} with --resume." if last else "Nothing was saved yet.",
        ) from None  # fmt: skip


def _final(trainer: CropTrainer, course: Course) -> dict[str, float] | None:
    """The saved weights' metrics on the full setting: the best validation's, where that was it."""
    if not isinstance(trainer.validate, Validator):
        return None
    if trainer.validate.is_full and course.history:
        entry = best_of(course.history) or course.history[-1]
        return {key: value for key, value in entry.items() if key not in ("epoch", "step", "loss")}
    setting = setting_text(trainer.validate.setting(full=True))
    note(f"final validation of the saved weights: {setting}", quiet=course.quiet)
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
    during, at_last = None, None
    if isinstance(trainer.validate, Validator):
        during, at_last = (
            {**trainer.validate.setting(full=full), "dtype": precision_name(setup.recipe)} for full in (False, True)
        )
    return {
        **summary(setup),
        "epochs": round(trainer.state.epoch or 0, 2),
        "steps": trainer.state.global_step,
        "recordings_per_step": setup.part.step_items,
        "stopped_early": course.stopped_early,
        "validation": during,
        "final_validation": at_last,
        "best": best_of(course.history),
        "history": course.history,
        "losses": [[one["step"], one["loss"]] for one in trainer.state.log_history if "loss" in one],
        "seconds_waiting_for_data": round(trainer.waited_s, 2),
        "defects": trainer.defects.report(),
        "environment": environment(),
    }
