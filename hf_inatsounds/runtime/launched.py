"""The processes that ``accelerate launch``, torchrun or ``--processes`` started together: how they wait for each other.

Gradients go through the group of the devices (NCCL, gloo), whose time-out ends a run in which something hangs. All else
that one process may keep the others waiting for (a source that retries, a validation of an hour, a slow disk) goes
through a second group, of gloo, that has no such limit: who dies closes its connections, and the others notice at once.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from torch import distributed

from hf_inatsounds.errors import EndedElsewhere, InatSoundsError, TrainingError
from hf_inatsounds.runtime.devices import choose_device
from hf_inatsounds.runtime.launching import OWN_LAUNCHER, TOLD, beside

PATIENCE = timedelta(days=7)
"""Time-out of what may take long; a death is noticed without it."""

ENDS_S = 3.0
"""How long a process whose connections are closed is given to be seen as ended."""

_GROUP = re.compile(r"gloo|NCCL|XCCL|ProcessGroup|peer|Timed out waiting|collective|TCPStore|Socket Timeout", re.I)
_TIME_OUT = re.compile(r"time-?d? ?out", re.I)


class Launched:
    """A process and those that were started with it; alone where nobody started others.

    Args:
        device: as ``choose_device`` takes it.
        timeout_s: time-out of the group of the devices, in seconds; None for torch's own.

    Raises:
        InatSoundsError: if the device is not there.
    """

    _control: tuple[Any, Any, list[tuple[str, int]]] | None = None  # of the default group that it was made beside

    def __init__(self, device: str | torch.device | None = None, timeout_s: float | None = None) -> None:
        self.device = choose_device(device)
        if beside() and (self.device.type == "mps" or not _has_backend(self.device.type)):
            self.device = torch.device(
                "cpu"
            )  # no backend joins several processes there; accelerate would leave each alone
        limit = {} if timeout_s is None or not beside() else {"timeout": timedelta(seconds=timeout_s)}
        state = PartialState(cpu=self.device.type == "cpu", **limit)
        self.process_index, self.num_processes = state.process_index, state.num_processes
        self.waits_for = "the other processes"
        self._group: Any = None
        self._places: list[tuple[str, int]] = []
        if self.num_processes > 1:
            self._group, self._places = self._join()

    @property
    def is_main_process(self) -> bool:
        """Whether this is the one that writes and prints."""
        return self.process_index == 0

    def wait(self, what: str) -> None:
        """Wait until all processes have come here, however long that takes.

        Args:
            what: what is waited for, as an error names it.

        Raises:
            TrainingError: if a process is gone.
        """
        if self._group is not None:
            with self.waiting_for(what):
                distributed.barrier(group=self._group)

    def gather(self, value: Any, what: str) -> list[Any]:
        """``value`` of each process, in their order; all processes get all, however long one takes."""
        if self._group is None:
            return [value]
        found: list[Any] = [None] * self.num_processes
        with self.waiting_for(what):
            distributed.all_gather_object(found, value, group=self._group)
        return found

    def collect(self, value: Any, what: str) -> list[Any]:
        """``value`` of each process, in their order, for the main one; the others get nothing."""
        if self._group is None:
            return [value]
        found: list[Any] | None = [None] * self.num_processes if self.is_main_process else None
        with self.waiting_for(what):
            distributed.gather_object(value, found, group=self._group, dst=0)
        return found or []

    def total(self, value: torch.Tensor, what: str) -> torch.Tensor:
        """The sum of a tensor on the CPU over all processes."""
        if self._group is not None:
            with self.waiting_for(what):
                distributed.all_reduce(value, group=self._group)
        return value

    @contextlib.contextmanager
    def waiting_for(self, what: str) -> Iterator[None]:
        """Name what is waited for inside, for the error of a process that does not come.

        Raises:
            TrainingError: with the process that is gone, or with what was waited for.
            EndedElsewhere: if another process failed, and has said so.
        """
        before, self.waits_for = self.waits_for, what
        try:
            yield
        except RuntimeError as error:
            failure = self.failure(error)
            if failure is None:
                raise
            raise failure from error
        finally:
            self.waits_for = before

    def failure(self, error: RuntimeError) -> InatSoundsError | None:
        """What a group's error means; None for an error of another kind."""
        if self.num_processes < 2 or not (isinstance(error, distributed.DistError) or _GROUP.search(str(error))):
            return None
        if _told():
            return EndedElsewhere("another process ended the run")
        told = f"{type(error).__name__}: {str(error).strip().splitlines()[0]}" if str(error) else type(error).__name__
        gone = self._gone()
        if gone and OWN_LAUNCHER in os.environ:
            return EndedElsewhere("the launcher says who is gone")
        if gone:
            host, pid = self._places[gone[0]]
            return TrainingError(
                f"process {gone[0]} of {self.num_processes} is gone (pid {pid} on {host})",
                where=f"the others waited for {self.waits_for}", found=told,
                fix="If it printed no line, it was killed: by kill -9, or by the system for want of memory.",
            )  # fmt: skip
        what = "a process did not come in time" if _TIME_OUT.search(str(error)) else "the processes lost each other"
        return TrainingError(
            what, where=f"process {self.process_index} of {self.num_processes} waited for {self.waits_for}", found=told,
            fix="Look at what the other processes were doing; ddp_timeout is how long gradients are waited for.",
        )  # fmt: skip

    def _gone(self) -> list[int]:
        """Processes that have ended; its connections may be closed a moment before the system says so of a process."""
        until = time.monotonic() + ENDS_S
        while True:
            gone = [rank for rank, place in enumerate(self._places) if _is_gone(*place)]
            if gone or time.monotonic() > until:
                return gone
            time.sleep(0.05)

    @classmethod
    def _join(cls) -> tuple[Any, list[tuple[str, int]]]:
        """The second group, made once beside the first, and where each process is."""
        default = distributed.group.WORLD
        if cls._control is None or cls._control[0] is not default:
            group = distributed.new_group(backend="gloo", timeout=PATIENCE)
            places: list[Any] = [None] * distributed.get_world_size()
            distributed.all_gather_object(places, (socket.gethostname(), os.getpid()), group=group)
            cls._control = (default, group, places)
        return cls._control[1], cls._control[2]


def _has_backend(kind: str) -> bool:
    """Whether torch has what joins processes on a kind of device."""
    if kind == "cuda":
        return distributed.is_nccl_available()
    has_xccl = getattr(distributed, "is_xccl_available", None)  # since torch 2.7
    return kind == "cpu" or (kind == "xpu" and has_xccl is not None and has_xccl())


def _is_gone(host: str, pid: int) -> bool:
    """Whether a process of this machine has ended; unknown, so no, of another machine's."""
    if host != socket.gethostname():
        return False
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] in "ZX"
    except FileNotFoundError:
        return Path("/proc/self").exists() or not _answers(pid)
    except OSError:
        return True  # it ended while its file was read


def _answers(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _told() -> bool:
    """Whether a process has said why all end."""
    try:
        return distributed.distributed_c10d._get_default_store().add(TOLD, 0) > 0
    except (RuntimeError, ValueError):
        return False  # the store went with its process
