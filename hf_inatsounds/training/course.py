"""The course of a run: when it validates, what is shown of it, and its history."""

from __future__ import annotations

import math
from typing import Any

from transformers import TrainerCallback
from typing_extensions import override

from hf_inatsounds.progress import Bar


class Course(TrainerCallback):
    """Validation every so many epochs and at the end, one line each; a bar on stderr in between.

    Args:
        every: epochs from one validation to the next.
        quiet: whether nothing is shown.
    """

    def __init__(self, every: int, *, quiet: bool) -> None:
        self.every = every
        self.bar = Bar("training", quiet=quiet)
        self.loss = math.nan
        self.history: list[dict[str, float]] = []

    @override
    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.bar.start(state.max_steps, state.global_step)

    @override
    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.bar.update(state.global_step, f"loss {self.loss:.3f}")

    @override
    def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        epoch = round(state.epoch or 0)
        due = epoch % self.every == 0 or state.global_step >= state.max_steps
        control.should_evaluate = control.should_evaluate and due
        control.should_save = control.should_save and due

    @override
    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        self.loss = (logs or {}).get("loss", self.loss)

    @override
    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: dict[str, float], **_: Any) -> None:
        entry = {"epoch": round(state.epoch or 0, 2), "step": state.global_step, "loss": self.loss}
        self.history.append(entry | {key.removeprefix("eval_"): value for key, value in metrics.items()})
        self.bar.say(
            f"epoch {entry['epoch']:g}: loss {self.loss:.3f}, validation mAP {metrics['eval_map']:.3f}, "
            f"top-1 {metrics['eval_top1']:.3f}"
        )

    @override
    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.bar.close()
