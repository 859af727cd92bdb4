"""What of the Trainer lets a run stop anywhere and go on: checkpoints, position, and ending in time.

It stands in for inner functions of the Trainer: checked with transformers 5.18 to 5.23.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer, set_seed
from transformers.trainer_utils import rotate_checkpoints

from hf_inatsounds.errors import CheckpointError
from hf_inatsounds.files import write_json
from hf_inatsounds.models.classifier import Classifier
from hf_inatsounds.runtime.launched import Launched
from hf_inatsounds.training.averaging import WeightAverage
from hf_inatsounds.training.batches import GlobalBatches
from hf_inatsounds.training.checkpoints import (
    STATE_FILE,
    Position,
    full_state,
    load_full_state,
    load_weights,
    save_weights,
    whole,
)
from hf_inatsounds.training.course import Course
from hf_inatsounds.training.interruption import Interruption


class ResumableTrainer(Trainer):
    """A Trainer whose checkpoints are whole, are known to be its own, and hold a position in recordings.

    Attributes:
        classifier: what is trained.
        whole: what is scored and saved: the same, or a whole copy of a model that FSDP divides.
        average: the moving average of the weights, where there is one.
        batches: which recordings, when.
        processes: that train together.
        course: shows the run, and ends it.
        run: the run's identity, which its checkpoints carry.
        check_folder: raises where the run folder is not the run's any more.
        interruption: what may end the run on its way.
    """

    control: Any  # set by the base class
    classifier: Classifier
    whole: Classifier
    average: WeightAverage | None
    batches: GlobalBatches
    processes: Launched
    course: Course
    run = ""
    _saved = 0  # the step of the newest checkpoint

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.check_folder: Callable[[], None] = lambda: None
        self.interruption = Interruption(quiet=True)

    def _run_epoch(self, *arguments: Any, **options: Any) -> None:
        """An epoch's steps; after a validation that the run was stopped before."""
        self._validate_if_owed()
        if not self.control.should_training_stop:
            with self.interruption.deferred():
                super()._run_epoch(*arguments, **options)

    def _finalize_training(self, *arguments: Any, **options: Any) -> Any:
        self._validate_if_owed()
        self.agree_to_end()
        self.interruption.end_if_free()
        return super()._finalize_training(*arguments, **options)

    def _validate_if_owed(self) -> None:
        if self.control.should_evaluate:
            self._maybe_log_save_evaluate(self._tr_loss, None, self.model, None, self.state.epoch, None, time.time())
            self.control.should_evaluate = self.control.should_save = False

    def agree_to_end(self) -> None:
        """All processes together: a signal to one of them is one to all."""
        told = torch.tensor(float(self.interruption.number > 0))
        if self.processes.total(told, "whether the run is told to end") > 0:
            self.interruption.agree()

    @contextlib.contextmanager
    def ends_at_once(self) -> Iterator[None]:
        """Within the block, which takes no step, a signal ends the run at once if its last step is saved."""
        self.agree_to_end()
        with self.interruption.deferred(self.state.global_step != self._saved):
            yield

    def averaged(self) -> contextlib.AbstractContextManager[None]:
        """The model with the weights that are validated and saved: the moving average's, where there is one."""
        return self.average.applied() if self.average else contextlib.nullcontext()

    def use_average(self) -> None:
        """Give the model the average's weights for good."""
        if self.average:
            self._load({**self.classifier.model.state_dict(), **self.average.average})

    def _init_training_state(self, *arguments: Any, **options: Any) -> Any:
        """The Trainer's, with the best checkpoint where this run has it, wherever the run folder was moved to."""
        found = super()._init_training_state(*arguments, **options)
        self._saved = self.state.global_step
        if self.state.best_global_step:
            best = self._checkpoint(self.state.best_global_step)
            if not (best / STATE_FILE).exists():
                raise CheckpointError(
                    "the best checkpoint is gone", where=best, fix="Begin another run with another output_dir."
                )
            self.state.best_model_checkpoint = str(best)
        return found

    def _checkpoint(self, step: int) -> Path:
        return Path(self.args.output_dir) / f"checkpoint-{step}"

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """A usable classifier and all that a run needs to go on, whole or not at all."""
        final = self._checkpoint(self.state.global_step)
        if self.state.best_global_step:
            self.state.best_model_checkpoint = str(self._checkpoint(self.state.best_global_step))
        main = self.args.should_save
        wait = functools.partial(self.processes.wait, f"the checkpoint of step {self.state.global_step}")
        if main:
            self.check_folder()
        if self._saved == self.state.global_step:  # before the validation, whose outcome is all that is new
            wait()
            if main:
                self._write_state(final)
            return
        with whole(final, main=main, wait=wait) as partial:
            self.gather()
            if main:
                with self.averaged():
                    self.whole.save(partial)
                average = self.average.average if self.average else None
                save_weights(partial, self.whole.model.state_dict(), average)
            self._save_optimizer_and_scheduler(str(partial))
            self._save_scaler(str(partial))
            self._save_rng_state(str(partial))
            if main:
                self._position().save(partial)
                self._write_state(partial)
        self._saved = self.state.global_step
        if main:
            best = self.state.best_model_checkpoint
            rotate_checkpoints(str(final.parent), self.args.save_total_limit, best, use_mtime=False)

    def _position(self) -> Position:
        return Position.after(
            self.state.global_step,
            run=self.run,
            per_step=self.batches.part.step_items,
            per_epoch=self.batches.n_recordings,
            processes=self.args.world_size,
        )

    def _write_state(self, folder: Path) -> None:
        state = dataclasses.asdict(self.state) | {"best_model_checkpoint": None}  # found by its step: folders move
        write_json(folder / STATE_FILE, state)

    def _load_rng_state(self, checkpoint: str | None) -> None:
        """The Trainer's; what a run draws of which that many processes have written no state is new from here on."""
        if checkpoint and Position.load(Path(checkpoint)).processes != self.args.world_size:
            set_seed((self.args.seed + 1_000_003 * self.args.process_index + self.state.global_step) % 2**32)
        else:
            super()._load_rng_state(checkpoint)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        own, average = load_weights(resume_from_checkpoint)
        self._load(own)
        if self.average:
            if not average:
                raise CheckpointError(
                    "no moving average to go on from", where=resume_from_checkpoint, fix="Resume with ema_decay 0."
                )
            self.average.load(average, int(Path(resume_from_checkpoint).name.rsplit("-", 1)[1]))

    def _load_best_model(self) -> None:
        own, average = load_weights(str(self.state.best_model_checkpoint))
        self._load({**own, **average})

    def _load(self, state: dict[str, torch.Tensor]) -> None:
        load_full_state(self.classifier.model, state)
        self.gather()

    def gather(self) -> None:
        """Bring the whole copy of a divided model up to date; all processes together."""
        if self.whole is not self.classifier:
            self.whole.model.load_state_dict(full_state(self.classifier.model))
