"""The course of a run: when it validates, saves and stops, and what is shown of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from transformers import TrainerCallback
from typing_extensions import override

from hf_inatsounds.progress import Bar
from hf_inatsounds.training.averaging import WeightAverage
from hf_inatsounds.training.batches import GlobalBatches
from hf_inatsounds.training.interruption import Interruption, Stop
from hf_inatsounds.training.recipe import Recipe

_PREFIX = "eval_"


def best_of(history: Sequence[dict[str, float]]) -> dict[str, float] | None:
    """The first validation with the highest mAP; None where it is undefined in all of them, or there is none.

    >>> best_of([{"map": float("nan"), "epoch": 1}, {"map": 0.5, "epoch": 2}])
    {'map': 0.5, 'epoch': 2}
    """
    return max((entry for entry in history if not math.isnan(entry["map"])), key=lambda one: one["map"], default=None)


class Course(TrainerCallback):
    """Validation every so many epochs and at the end, one line each; a bar on stderr in between.

    The checkpoint that a validation judges is written before it, so that a run stopped in the middle of a long
    validation goes on with that validation.

    Args:
        recipe: says how often.
        batches: are told which epoch begins, and where in it.
        average: is told of each step; None where weights are not averaged.
        interruption: ends the run after the checkpoint of the step in which it came.
        quiet: whether nothing is shown.
    """

    def __init__(
        self,
        recipe: Recipe,
        batches: GlobalBatches,
        average: WeightAverage | None,
        interruption: Interruption,
        *,
        quiet: bool,
    ) -> None:
        self.recipe, self.batches, self.average, self.interruption = recipe, batches, average, interruption
        self.quiet = quiet
        self.bar = Bar("training", quiet=quiet)
        self.loss = math.nan
        self.history: list[dict[str, float]] = []
        self.stopped_early = False
        self._epoch = 0
        self._passed = 0

    @override
    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._epoch, steps = divmod(state.global_step, self.batches.steps)
        self._passed = steps * self.batches.part.passes
        for entry in state.log_history:  # of the run that is resumed
            self.loss = _number(entry.get("loss", self.loss))
            if f"{_PREFIX}map" in entry:
                self._remember(entry)
        self.bar.start(state.max_steps, state.global_step)
        judged = self.history[-1]["step"] if self.history else 0
        if state.global_step > judged and self._validates_after(state):  # it was stopped before its validation
            control.should_evaluate = control.should_save = True
        self._stop_if_no_better(control)

    @override
    def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.batches.set_epoch(self._epoch, self._passed)
        self._epoch, self._passed = self._epoch + 1, 0

    @override
    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.average:
            self.average.update()
        if self.interruption.number and args.world_size == 1:
            self.interruption.agree()  # of many processes all have to know before the step
        every, step = self.recipe.training.saves_every(state.max_steps), state.global_step
        if (every and step % every == 0) or self.interruption.agreed or self._validates_after(state):
            control.should_save = True
        self.bar.update(state.global_step, "" if math.isnan(self.loss) else f"loss {self.loss:.3f}")  # none logged yet

    @override
    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.interruption.agreed:
            self.bar.close()
            raise Stop(self.interruption.number)

    @override
    def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        control.should_evaluate = control.should_evaluate and self._is_due(self._epoch, state)
        control.should_save = control.should_save and self._is_due(self._epoch, state)

    def _is_due(self, epoch: int, state: Any) -> bool:
        """Whether there is a validation at the end of this epoch."""
        return epoch % self.recipe.training.evaluate_every_epochs == 0 or state.global_step >= state.max_steps

    def _validates_after(self, state: Any) -> bool:
        """Whether a validation follows the step that was taken last."""
        epoch, rest = divmod(state.global_step, self.batches.steps)
        ended = not rest or state.global_step >= state.max_steps
        return ended and self.recipe.is_validated and self._is_due(epoch, state)

    @override
    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        self.loss = (logs or {}).get("loss", self.loss)

    @override
    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: dict[str, float], **_: Any) -> None:
        entry = self._remember({"epoch": round(state.epoch or 0, 2), "step": state.global_step, **metrics})
        told = [f"loss {self.loss:.3f}"] if not math.isnan(self.loss) else []
        names = {"map": f"validation {self.recipe.validated_by}", "top1": "top-1"}
        told += [f"{name} {shown(entry[key])}" for key, name in names.items()]
        self.bar.say(f"epoch {entry['epoch']:g}: {', '.join(told)}")
        self._stop_if_no_better(control)

    def _stop_if_no_better(self, control: Any) -> None:
        patience = self.recipe.training.early_stopping_patience
        if patience and self.validations_since_best >= patience:
            self.bar.say(f"no better mAP in {patience} validations: stopping")
            self.stopped_early = control.should_training_stop = True

    @property
    def validations_since_best(self) -> int:
        """How many validations there were after the best one; after the first where none has a defined mAP."""
        best = best_of(self.history)
        return len(self.history) - 1 - (self.history.index(best) if best else 0) if self.history else 0

    def _remember(self, entry: dict[str, float]) -> dict[str, float]:
        found = {key.removeprefix(_PREFIX): _number(value) for key, value in entry.items()}
        found = {"epoch": found.pop("epoch"), "step": int(found.pop("step")), "loss": self.loss, **found}
        self.history.append({**found, "epoch": round(found["epoch"], 2)})
        return found

    @override
    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.bar.close()


def shown(value: float | None) -> str:
    """A number for a person.

    >>> shown(0.25), shown(float("nan")), shown(None)
    ('0.250', 'undefined', 'undefined')
    """
    return "undefined" if value is None or math.isnan(value) else f"{value:.3f}"


def _number(value: float | None) -> float:
    """An undefined number is null in a file."""
    return math.nan if value is None else value
