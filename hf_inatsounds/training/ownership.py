"""A run owns its folder: what may begin in it, what may go on there, and a lock while it does.

Two things tell that somebody is at work. ``.lock`` is held through the system and let go by it when the process dies.
``.owner.json`` says who holds it, and is written anew every few seconds: on a disk that several machines share, and on
one that has no locks, an owner whose record stands still is dead.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from hf_inatsounds.errors import RecipeError, TrainingError
from hf_inatsounds.evaluation import TRAIN_FILE
from hf_inatsounds.files import write_json
from hf_inatsounds.fingerprints import new_run, read_record, weight_files
from hf_inatsounds.progress import note
from hf_inatsounds.training.checkpoints import CHECKPOINTS, RUN_FILE, checkpoints, last_checkpoint

LOCK_FILE, OWNER_FILE, ORIGIN_FILE = ".lock", ".owner.json", "origin.json"
BEAT_S = 15.0
"""Between two signs of life."""
STILL_S = 75.0
"""An owner on another machine who gives no sign for so long is dead: four beats missed, and a file system's delay."""
WORKERS_END_S = 30.0
"""Loader workers of a killed run hold its lock until they notice: 5 s, on a busy machine more."""

Resume = Literal["auto"] | bool
_BEGUN = (ORIGIN_FILE, CHECKPOINTS, "tensorboard")
_MADE = ("report.md", "curves.png", "config.json", "preprocessor_config.json", "label_space.json", "inatsounds.json",
         ".model.partial", "results.json", "scores.json")  # fmt: skip


@dataclass(frozen=True)
class Start:
    """How a run starts.

    Attributes:
        run: its identity, which every file that it writes is known by.
        checkpoint: where it goes on from; None for a new run.
    """

    run: str
    checkpoint: Path | None


def plan_start(out: Path, resume: Resume) -> Start:
    """What may be done in a run folder; it is only looked at.

    Args:
        out: the run folder.
        resume: whether to go on from its last checkpoint; "auto" begins a run where there is none.

    Raises:
        RecipeError: a finished run, what another run left, nothing to resume, or checkpoints of several runs.
    """
    if (out / TRAIN_FILE).exists():
        raise RecipeError(
            "the run folder holds a finished run", where=out, fix="Choose another output_dir, or delete it."
        )
    run = read_record(out / ORIGIN_FILE).get("run")
    last = last_checkpoint(out)
    if resume and last is not None:
        for path in checkpoints(out):
            found = read_record(path / RUN_FILE).get("run")
            if run is None or found != run:
                raise RecipeError(
                    "a checkpoint of another run", where=path, found=f"run {found}",
                    expected=f"run {run}, as {ORIGIN_FILE} says", fix="Move it away, or choose another output_dir.",
                )  # fmt: skip
        return Start(str(run), last)
    if resume is True:
        raise RecipeError(
            "nothing to resume", where=out / CHECKPOINTS, expected="a checkpoint",
            fix="Train without --resume, or with --resume auto, which begins where there is nothing.",
        )  # fmt: skip
    left = leftovers(out)
    if resume == "auto":  # of a run that was stopped before its first checkpoint
        left = [name for name in left if name not in _BEGUN]
    if left:
        ways = "Go on with that run by --resume, or choose another output_dir."
        if last is None:
            ways = "Choose another output_dir; --resume auto begins anew where a run had saved nothing."
        raise RecipeError("the run folder holds what another run left", where=out, found=", ".join(left), fix=ways)
    return Start(new_run(), None)


def leftovers(out: Path) -> list[str]:
    """Names of what runs and evaluations leave in a folder."""
    found = [name for name in (*_BEGUN, *_MADE) if (out / name).exists()]
    found += [path.name for path in weight_files(out)]
    found += [str(path.parent.relative_to(out)) for path in sorted(out.glob("*/scores.json"))]
    return [name for name in found if name != CHECKPOINTS or any((out / name).iterdir())]


class RunFolder:
    """The folder of a run that is under way, in the process that writes into it.

    Args:
        out: the folder; made if need be.

    Raises:
        RecipeError: if another process is at work there.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self._there = out.exists()
        self._me = {"host": socket.gethostname(), "boot": _boot(), "pid": os.getpid(), "token": new_run()}
        out.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(out / LOCK_FILE, thread_local=False)
        self._acquire()
        self._lost = False
        self._ended = threading.Event()
        self._write(0)
        self._thread = threading.Thread(target=self._beat, name="run folder", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Called before something of weight is written.

        Raises:
            TrainingError: if another process took the folder over, because this one had stood still for long.
        """
        if self._lost:
            raise TrainingError("another process took over the run folder", where=self.out, found=_who(self._owner()))

    def clear(self) -> None:
        """Remove what a run left that was stopped before its first checkpoint."""
        for name in (CHECKPOINTS, "tensorboard"):
            shutil.rmtree(self.out / name, ignore_errors=True)
        (self.out / ORIGIN_FILE).unlink(missing_ok=True)

    def release(self) -> None:
        """Let the folder go; one that was made for a run that did not begin is removed."""
        self._ended.set()
        self._thread.join()
        if not self._lost:
            (self.out / OWNER_FILE).unlink(missing_ok=True)
        self._lock.release()
        if not self._there and not (self.out / ORIGIN_FILE).exists():
            (self.out / LOCK_FILE).unlink(missing_ok=True)
            for folder in (self.out / CHECKPOINTS, self.out):
                with contextlib.suppress(OSError):  # it holds something after all
                    folder.rmdir()

    def _acquire(self) -> None:
        """Take the lock, of a dead owner too."""
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            self._outlast(self._owner())
        owner = self._owner()  # one whom the lock did not keep out, on a disk that hands locks to each machine
        if owner and owner.get("boot") != self._me["boot"] and not self._stands_still(owner):
            self._lock.release()
            raise self._taken(owner)

    def _outlast(self, owner: dict[str, Any]) -> None:
        """Take the lock of an owner who may be dead."""
        if not owner or (owner.get("boot") == self._me["boot"] and _is_alive(owner.get("pid"))):
            raise self._taken(owner)
        if owner.get("boot") != self._me["boot"]:
            if not self._stands_still(owner):
                raise self._taken(owner)
            (self.out / LOCK_FILE).unlink(missing_ok=True)  # the dead machine's, where nobody lets it go
        try:
            self._lock.acquire(timeout=WORKERS_END_S)
        except Timeout as error:
            raise self._taken(owner) from error

    def _stands_still(self, owner: dict[str, Any]) -> bool:
        """Whether an owner elsewhere gives no sign of life: the record is watched, since clocks differ."""
        note(f"{self.out}: {_who(owner)} was here last; waiting {STILL_S:g} s for a sign of life")
        until = time.monotonic() + STILL_S
        while time.monotonic() < until:
            time.sleep(min(1.0, STILL_S / 10))
            if self._owner() != owner:
                return not self._owner()
        return True

    def _taken(self, owner: dict[str, Any]) -> RecipeError:
        return RecipeError(
            "another process is at work in the run folder", where=self.out, found=_who(owner),
            fix="Wait until it has ended, or choose another output_dir.",
        )  # fmt: skip

    def _owner(self) -> dict[str, Any]:
        return read_record(self.out / OWNER_FILE)

    def _write(self, beat: int) -> None:
        write_json(self.out / OWNER_FILE, {**self._me, "beat": beat})

    def _beat(self) -> None:
        beat = 0
        while not self._ended.wait(BEAT_S):
            owner = self._owner()
            if owner and owner.get("token") != self._me["token"]:
                self._lost = True
                return
            beat += 1
            try:
                self._write(beat)
            except OSError:
                continue  # a full disk: what the run writes next says so


def _who(owner: dict[str, Any]) -> str:
    return f"process {owner['pid']} on {owner['host']}" if owner.get("pid") else "a process that gave no name"


def _boot() -> str:
    """One name for a machine from its start to its end; two machines may have the same host name."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return socket.gethostname()


def _is_alive(pid: Any) -> bool:
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except (OSError, TypeError, ValueError):
        return True  # somebody else's, or not to be told
    return True
