"""The course of a run: when it validates, saves and stops, and what is shown of it."""

from __future__ import annotations

import math
from typing import Any

from transformers import TrainerCallback
from typing_extensions import override

from hf_inatsounds.progress import Bar
from hf_inatsounds.training.arguments import Recipe
from hf_inatsounds.training.averaging import WeightAverage
from hf_inatsounds.training.batches import GlobalBatches

_PREFIX = "eval_"


class Course(TrainerCallback):
    """Validation every so many epochs and at the end, one line each; a bar on stderr in between.

    Args:
        recipe: says how often.
        batches: are told which epoch begins, and where in it.
        average: is told of each step; None where weights are not averaged.
        quiet: whether nothing is shown.
    """

    def __init__(self, recipe: Recipe, batches: GlobalBatches, average: WeightAverage | None, *, quiet: bool) -> None:
        self.recipe, self.batches, self.average = recipe, batches, average
        self.bar = Bar("training", quiet=quiet)
        self.loss = math.nan
        self.history: list[dict[str, float]] = []
        self.stopped_early = False
        self._epoch = 0
        self._passed = 0
        self._steps_an_epoch = -(-len(batches) // recipe.gradient_accumulation_steps)

    @override
    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._epoch, steps = divmod(state.global_step, self._steps_an_epoch)
        self._passed = steps * self.recipe.gradient_accumulation_steps
        for entry in state.log_history:  # of the run that is resumed
            self.loss = entry.get("loss", self.loss)
            if f"{_PREFIX}map" in entry:
                self._remember(entry)
        self.bar.start(state.max_steps, state.global_step)

    @override
    def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.batches.set_epoch(self._epoch, self._passed)
        self._epoch, self._passed = self._epoch + 1, 0

    @override
    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.average:
            self.average.update()
        every, step = self.recipe.save_every_steps, state.global_step
        # after an epoch's last step the checkpoint waits for the validation, which a resumed run would not make up for
        if every and step % every == 0 and not (step % self._steps_an_epoch == 0 and self._is_due(state)):
            control.should_save = True
        self.bar.update(state.global_step, "" if math.isnan(self.loss) else f"loss {self.loss:.3f}")  # none logged yet

    @override
    def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        control.should_evaluate = control.should_evaluate and self._is_due(state)
        control.should_save = control.should_save and self._is_due(state)

    def _is_due(self, state: Any) -> bool:
        """Whether there is a validation at the end of this epoch."""
        return self._epoch % self.recipe.evaluate_every_epochs == 0 or state.global_step >= state.max_steps

    @override
    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        self.loss = (logs or {}).get("loss", self.loss)

    @override
    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: dict[str, float], **_: Any) -> None:
        entry = self._remember({"epoch": round(state.epoch or 0, 2), "step": state.global_step, **metrics})
        self.bar.say(
            f"epoch {entry['epoch']:g}: loss {self.loss:.3f}, validation "
            f"{self.recipe.validated_by} {entry['map']:.3f}, "
            f"top-1 {entry['top1']:.3f}"
        )
        if self.recipe.patience and self.validations_since_best >= self.recipe.patience:
            self.bar.say(f"no better mAP in {self.recipe.patience} validations: stopping")
            self.stopped_early = control.should_training_stop = True

    @property
    def validations_since_best(self) -> int:
        """How many validations there were after the best one."""
        values = [entry["map"] for entry in self.history]
        return len(values) - 1 - values.index(max(values)) if values else 0

    def _remember(self, entry: dict[str, float]) -> dict[str, float]:
        found = {key.removeprefix(_PREFIX): value for key, value in entry.items()}
        found = {"epoch": found.pop("epoch"), "step": found.pop("step"), "loss": self.loss, **found}
        self.history.append({**found, "epoch": round(found["epoch"], 2)})
        return found

    @override
    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.bar.close()
