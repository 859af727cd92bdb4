"""What ends a run from outside, as one line: a killed worker, a full memory, a full disk."""

from __future__ import annotations

import contextlib
import re
import signal
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from torch import distributed

from hf_inatsounds.errors import InatSoundsError, RecipeError, TrainingError
from hf_inatsounds.runtime.launched import Launched
from hf_inatsounds.training.checkpoints import last_checkpoint

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
