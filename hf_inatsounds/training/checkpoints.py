"""Checkpoints of a run: whole or not there, with the weights under their own names."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict, set_model_state_dict
from torch.distributed.tensor import DTensor

from hf_inatsounds.errors import CheckpointError, TrainingError
from hf_inatsounds.files import write_json
from hf_inatsounds.fingerprints import read_record

CHECKPOINTS = "checkpoints"
STATE_FILE = "trainer_state.json"
RUN_FILE = "run.json"
WEIGHTS_FILE = "training.safetensors"
_NAME = re.compile(r"checkpoint-(\d+)")
ROOM_BYTES = 16 << 20
"""With less than this left, what could not be written had no room."""

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True)
class Position:
    """Whose a checkpoint is, and where in its recordings the run was.

    Attributes:
        run: the run's identity.
        step: optimiser steps that are done.
        epoch: epochs that are done.
        recordings_of_epoch: recordings of the next epoch that are done, in its order.
        recordings: that are done in all.
        recordings_per_step: of all processes; a run's own from its beginning, however many processes go on with it.
        recordings_per_epoch: recordings of the training split.
        processes: that wrote the checkpoint.
    """

    run: str
    step: int
    epoch: int
    recordings_of_epoch: int
    recordings: int
    recordings_per_step: int
    recordings_per_epoch: int
    processes: int

    @classmethod
    def after(cls, step: int, *, run: str, per_step: int, per_epoch: int, processes: int) -> Position:
        """Where a run is after so many steps; the last step of an epoch takes what is left of it.

        >>> place = Position.after(5, run="a", per_step=4, per_epoch=10, processes=1)
        >>> place.epoch, place.recordings_of_epoch, place.recordings
        (1, 8, 18)
        """
        epoch, steps = divmod(step, -(-per_epoch // per_step))
        done = steps * per_step
        return cls(run, step, epoch, done, epoch * per_epoch + done, per_step, per_epoch, processes)

    def save(self, folder: Path) -> None:
        """Write it into a checkpoint."""
        write_json(folder / RUN_FILE, dataclasses.asdict(self))

    @classmethod
    def load(cls, folder: Path) -> Position:
        """The counterpart of :meth:`save`.

        Raises:
            CheckpointError: if it is missing or malformed.
        """
        found = read_record(folder / RUN_FILE)
        names = [one.name for one in dataclasses.fields(cls)]
        numbers = [found.get(name) for name in names[1:]]
        if not isinstance(found.get("run"), str) or not all(isinstance(n, int) and n >= 0 for n in numbers):
            raise CheckpointError("no position to go on from", where=folder / RUN_FILE, found=found or "nothing")
        return cls(**{name: found[name] for name in names})


def checkpoints(out: str | Path) -> list[Path]:
    """The run folder's checkpoints, oldest first; what a killed run left half-written has another name."""
    found = {}
    for path in (Path(out) / CHECKPOINTS).glob("checkpoint-*"):
        number = _NAME.fullmatch(path.name)
        if number and (path / STATE_FILE).exists():
            found[int(number[1])] = path
    return [found[number] for number in sorted(found)]


def last_checkpoint(out: str | Path) -> Path | None:
    """The run folder's newest checkpoint."""
    return next(reversed(checkpoints(out)), None)


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


def is_sharded(model: torch.nn.Module) -> bool:
    """Whether each process holds a part of the weights only."""
    return any(isinstance(weights, DTensor) for weights in model.parameters())


def full_state(model: torch.nn.Module) -> dict[str, Any]:
    """All weights by name, in every process; of a sharded model all processes have to ask together."""
    if not is_sharded(model):
        return model.state_dict()
    return dict(get_model_state_dict(model, options=StateDictOptions(full_state_dict=True)))


def load_full_state(model: torch.nn.Module, state: Mapping[str, Any]) -> None:
    """Give a model, sharded or not, weights that :func:`full_state` gathered."""
    if is_sharded(model):
        set_model_state_dict(model, dict(state), options=StateDictOptions(full_state_dict=True))
    else:
        model.load_state_dict(state)
