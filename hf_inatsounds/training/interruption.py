"""How a run ends before its end: told to by a signal, or stopped from outside; and what is said of it."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from torch import distributed

from hf_inatsounds.errors import InatSoundsError, RecipeError, TrainingError
from hf_inatsounds.runtime.launched import Launched
from hf_inatsounds.training.checkpoints import last_checkpoint

SIGNALS = (signal.SIGTERM, signal.SIGINT)
ECHO_S = 3.0
"""A launcher passes on to its processes what the terminal has sent to them already: within so long it is the same."""
GRACE_S = 60
"""What a loader's worker that is told to end gives the main process to save."""


class Stop(BaseException):
    """Ends a run whose last checkpoint holds all of it; no ``except Exception`` on the way swallows it.

    Args:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Interruption:
    """SIGTERM and SIGINT while a run is under way.

    Within :meth:`deferred`, while steps are taken, a signal is kept until the step's end; the Trainer saves then, and
    :class:`Stop` is raised. Anywhere else nothing would be lost, and it is raised at once. A second signal ends the
    process at once.

    Args:
        quiet: whether nothing is shown.
    """

    def __init__(self, *, quiet: bool) -> None:
        self.quiet = quiet
        self.number = 0
        self.agreed = False  # by all processes: the step that is being taken is the last
        self._deferred = False
        self._at = 0.0
        self._process = os.getpid()

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Handle the signals within the block; elsewhere than in the main thread Python cannot."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._receive) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextlib.contextmanager
    def deferred(self, wait: bool = True) -> Iterator[None]:
        """Whether a signal waits for the step's end within the block."""
        before, self._deferred = self._deferred, wait
        try:
            self.end_if_free()
            yield
        finally:
            self._deferred = before

    def end_if_free(self) -> None:
        """Raise what has been waiting, where nothing would be lost."""
        if self.number and not self._deferred:
            raise Stop(self.number)

    def agree(self) -> None:
        """All processes have heard of a signal to one of them: the step that comes is their last."""
        self.number = self.number or signal.SIGTERM
        self.agreed = True

    def _receive(self, number: int, frame: Any) -> None:
        if os.getpid() != self._process:
            return  # a worker that was forked: the main process decides
        if self.number:
            launched = int(os.environ.get("WORLD_SIZE", "1")) > 1
            if not launched or time.monotonic() - self._at > ECHO_S:
                signal.signal(number, signal.SIG_DFL)
                os.kill(os.getpid(), number)
            return
        self.number, self._at = number, time.monotonic()
        self.end_if_free()
        if not self.quiet:
            name = signal.Signals(number).name
            print(f"{name}: saving after this step; once more ends at once", file=sys.stderr, flush=True)


def leave_to_the_main_process(_: int) -> None:
    """For a loader's worker: one that a signal to all processes ends would take the step with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(GRACE_S))
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()


def _end_with(parent: int) -> None:
    """End at once when the main process is gone: nobody waits for the batch."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


_KILLED = re.compile(r"DataLoader worker \(pid\(?s?\)?:? ?[\d, ]+\)")
_IN_WORKER = re.compile(r"Caught (\w+) in DataLoader worker process")


REFUSALS = (
    ValueError, TypeError, ImportError, RuntimeError, ArithmeticError, LookupError, AttributeError, AssertionError,
    StrictDataclassError,
)  # fmt: skip
"""What libraries raise at a config that they cannot make anything of."""


@contextlib.contextmanager
def refusals_named() -> Iterator[None]:
    """What transformers refuses while a run is set up (a schedule, a config) is a recipe's mistake."""
    try:
        yield
    except (torch.OutOfMemoryError, distributed.DistError):
        raise  # no recipe's fault
    except REFUSALS as error:
        raise RecipeError("transformers refuses the recipe", found=f"{type(error).__name__}: {error}") from error


@contextlib.contextmanager
def failures_named(out: str | Path, *, workers: int, state: Launched | None = None) -> Iterator[None]:
    """What stops a run between its steps, with the checkpoint that it can go on from.

    Args:
        out: the run folder.
        workers: processes that decode crops.
        state: the processes of the run.

    Raises:
        TrainingError: for a killed worker or process, a device's full memory, or an error of the system.
        InatSoundsError: raised in a worker, without the worker's traceback.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise _stopped(
            out, "the device's memory is full", str(error).splitlines()[0],
            "Lower per_device_train_batch_size and raise gradient_accumulation_steps, or set gradient_checkpointing.",
        ) from error  # fmt: skip
    except InatSoundsError as error:
        if _IN_WORKER.search(str(error)):
            raise type(error)(_last_line(str(error))) from error
        raise
    except (RuntimeError, ConnectionError, EOFError) as error:
        if isinstance(error, RuntimeError) and state is not None and (lost := state.failure(error)):
            raise lost from error
        if not workers or (isinstance(error, RuntimeError) and not _KILLED.search(str(error))):
            raise
        _end_loader(error)
        advice = "Was memory short? Fewer workers need less."
        raise _stopped(out, "a worker process was killed", str(error) or type(error).__name__, advice) from error
    except (OSError, SafetensorError) as error:
        raise _stopped(out, "the run cannot go on", _last_line(str(error)), "") from error


def _end_loader(error: BaseException) -> None:
    """Let go of the loader that the traceback holds: at each worker's death its handler raises wherever we are."""
    if threading.current_thread() is not threading.main_thread():
        return  # only there signals are handled
    handler = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    traceback.clear_frames(error.__traceback__)
    signal.signal(signal.SIGCHLD, handler)


def _stopped(out: str | Path, what: str, found: object, advice: str) -> TrainingError:
    last = last_checkpoint(out)
    go_on = f"Go on from {last} with --resume." if last else "There is no checkpoint yet."
    return TrainingError(what, where=out, found=found, fix=f"{advice} {go_on}".strip())


def _last_line(text: str) -> str:
    r"""What was raised, of a text that ends with a traceback.

    >>> _last_line("Caught OSError in DataLoader worker process 0. Original Traceback: x.errors.SourceError: gone: x")
    'gone: x'
    """
    return re.split(r"\b[\w.]*(?:Error|Exception): ", text)[-1] if "Traceback" in text else text
