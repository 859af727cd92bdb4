"""The course of a run: when it validates, saves and stops, what is shown of it, and its curves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import TrainerCallback
from typing_extensions import override

from hf_inatsounds.files import replacing
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
        validated: what its validations are of, in words; empty without one.
        quiet: whether nothing is shown.
    """

    def __init__(
        self,
        recipe: Recipe,
        batches: GlobalBatches,
        average: WeightAverage | None,
        interruption: Interruption,
        *,
        validated: str,
        quiet: bool,
    ) -> None:
        self.recipe, self.batches, self.average, self.interruption = recipe, batches, average, interruption
        self.validated, self.quiet = validated, quiet
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
        self.bar.say(f"epoch {entry['epoch']:g}: {', '.join(told)}; {self.validated}")
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


CURVES_FILE = "curves.png"
_LOSS, _RATE, _MAP, _BEST = "#3b6ea5", "#7a7a7a", "#2e7d4f", "#c0392b"


def draw_curves(log: Sequence[dict[str, Any]], path: str | Path, *, title: str, setting: str) -> None:
    """Loss with the learning rate, and the validation's metrics, over steps.

    Args:
        log: the Trainer's log history: entries with ``step`` and ``loss``, ``learning_rate``, ``eval_map`` …
        path: of the PNG, written whole or not at all.
        title: above both.
        setting: what the validation's metrics are of, in words; empty without a validation.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    validated = any("eval_map" in entry for entry in log)
    figure = Figure(figsize=(11 if validated else 5.8, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=11)
    panels = figure.subplots(1, 2 if validated else 1, squeeze=False)[0]
    _training(panels[0], log)
    if validated:
        _validation(panels[1], log)
        panels[1].set_title(setting, fontsize=8)
    for panel in panels:
        panel.set_xlabel("optimiser step")
        panel.set_xlim(0, 1.03 * max(entry["step"] for entry in log))
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        panel.grid(alpha=0.25)
        panel.spines[["top", "right"]].set_visible(False)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=150)


def _series(log: Sequence[dict[str, Any]], key: str) -> tuple[list[float], list[float]]:
    found = [(entry["step"], entry[key]) for entry in log if entry.get(key) is not None]
    found = [(step, value) for step, value in found if not math.isnan(value)]
    return [step for step, _ in found], [value for _, value in found]


def _training(panel: Any, log: Sequence[dict[str, Any]]) -> None:
    steps, losses = _series(log, "loss")
    marker = "o" if len(steps) < 30 else None
    panel.plot(steps, losses, color=_LOSS, marker=marker, markersize=3, label="training loss")
    panel.set_ylabel("training loss", color=_LOSS)
    panel.tick_params(axis="y", colors=_LOSS)
    if losses:
        panel.set_ylim(bottom=0)
    rate = panel.twinx()
    rate.plot(*_series(log, "learning_rate"), color=_RATE, linestyle=":", label="learning rate")
    rate.set_ylabel("learning rate", color=_RATE)
    rate.tick_params(axis="y", colors=_RATE)
    rate.set_ylim(bottom=0)
    rate.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3))
    rate.spines["top"].set_visible(False)


def _validation(panel: Any, log: Sequence[dict[str, Any]]) -> None:
    for key, name, style in (("eval_map", "mAP", "-"), ("eval_top1", "top-1", "--"), ("eval_roc_auc", "ROC-AUC", ":")):
        steps, values = _series(log, key)
        if not steps:
            continue
        shown = {"color": _MAP, "linewidth": 2.0} if key == "eval_map" else {"color": "#999999"}
        marker = "o" if len(steps) < 30 else None
        panel.plot(steps, values, linestyle=style, marker=marker, markersize=3, label=name, **shown)
    steps, values = _series(log, "eval_map")
    if values:
        best = max(range(len(values)), key=values.__getitem__)
        panel.plot(steps[best], values[best], "o", color=_BEST, markersize=7, label=f"best mAP {values[best]:.3f}")
    panel.set_ylim(0.0, 1.02)
    panel.set_ylabel("validation" if values else "validation (mAP undefined)")
    if panel.get_lines():
        panel.legend(loc="lower right", frameon=False)
