"""Checkpoints of a run: whole or not there, with the weights under their own names."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from hf_inatsounds.errors import CheckpointError, RecipeError, TrainingError

CHECKPOINTS = "checkpoints"
STATE_FILE = "trainer_state.json"
WEIGHTS_FILE = "training.safetensors"
_NAME = re.compile(r"checkpoint-(\d+)")
ROOM_BYTES = 16 << 20
"""With less than this left, what could not be written had no room."""

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def last_checkpoint(out: str | Path) -> Path | None:
    """The run folder's newest checkpoint; what a killed run left half-written has another name."""
    found = {}
    for path in (Path(out) / CHECKPOINTS).glob("checkpoint-*"):
        number = _NAME.fullmatch(path.name)
        if number and (path / STATE_FILE).exists():
            found[int(number[1])] = path
    return found[max(found)] if found else None


def checkpoint_to_resume(out: str | Path) -> str:
    """Where to go on from.

    Raises:
        RecipeError: if there is no checkpoint.
    """
    last = last_checkpoint(out)
    if last is None:
        raise RecipeError(
            "nothing to resume", where=Path(out) / CHECKPOINTS, expected="a checkpoint", fix="Train without --resume."
        )
    return str(last)


@contextlib.contextmanager
def whole(final: Path, *, main: bool, wait: Callable[[], None]) -> Iterator[Path]:
    """A folder that all processes write into and that takes its name ``final`` when all are done.

    Args:
        final: the checkpoint.
        main: whether this is the process that renames.
        wait: for all processes.

    Raises:
        TrainingError: if it cannot be written; the half that was is removed, and earlier checkpoints stay.
    """
    partial = final.with_name(f".{final.name}.partial")
    try:
        if main:
            shutil.rmtree(partial, ignore_errors=True)
        wait()
        partial.mkdir(parents=True, exist_ok=True)
        yield partial
        wait()
        if main:
            os.replace(partial, final)
        wait()
    except (OSError, SafetensorError, RuntimeError) as error:
        failure = _unwritten(final, error)
        shutil.rmtree(partial, ignore_errors=True)
        raise failure from error


def _unwritten(final: Path, error: Exception) -> TrainingError:
    """Torch and safetensors hide the system's error number: what is left on the disk says more."""
    text = str(error)
    full = getattr(error, "errno", None) in _FULL or any(f"os error {number})" in text for number in _FULL)
    full = full or shutil.disk_usage(final.parent).free < ROOM_BYTES
    last = last_checkpoint(final.parent.parent)
    return TrainingError(
        "the disk is full" if full else "cannot write the checkpoint",
        where=final,
        found=text,
        fix=f"Last good checkpoint: {last or 'none'}; make room and go on with --resume.",
    )


def save_weights(folder: Path, state: Mapping[str, torch.Tensor], average: Mapping[str, torch.Tensor] | None) -> None:
    """Weights, and their moving average, under the names of ``state_dict``.

    ``save_pretrained`` writes them under the Hub's older names, and what loads those is not what the Trainer
    calls (transformers #48805); a run that goes on needs the very tensors.
    """
    tensors = {f"model.{name}": tensor for name, tensor in state.items()}
    tensors |= {f"average.{name}": tensor for name, tensor in (average or {}).items()}
    copies = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}  # none shared
    save_file(copies, folder / WEIGHTS_FILE)


def load_weights(folder: str | Path) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """What :func:`save_weights` wrote: weights, and their average, empty where there was none.

    Raises:
        CheckpointError: if it is missing or malformed.
    """
    path = Path(folder) / WEIGHTS_FILE
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError("no weights to go on from", where=path, found=error) from error
    parts: dict[str, dict[str, Any]] = {"model": {}, "average": {}}
    for name, tensor in tensors.items():
        kind, _, rest = name.partition(".")
        parts[kind][rest] = tensor
    return parts["model"], parts["average"]
