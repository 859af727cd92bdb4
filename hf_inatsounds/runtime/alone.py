"""One at a time in a folder, counting the processes that each starts: who comes later waits a moment, or is refused."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import time
from collections.abc import Iterator
from multiprocessing import reduction
from pathlib import Path

from hf_inatsounds.errors import InatSoundsError
from hf_inatsounds.progress import note

if sys.platform != "win32":
    import fcntl

LOCK_FILE = ".in-use"
WAIT_S = 10.0
"""Processes whose main process was killed notice it within a second; ten on a busy machine."""


class Hold:
    """A folder's lock. A process of the spawn context that is given it holds it too, until the last of them has ended.

    ``flock`` belongs to an open file, which is inherited, and not to a process: it is let go when nobody has the file
    open any more, however they ended.

    Args:
        number: the open file's; None where the system or the disk has no such lock.
    """

    def __init__(self, number: int | None) -> None:
        self.number = number

    def __reduce__(self) -> tuple[type[Hold], tuple[int | None]]:
        if self.number is not None:
            reduction.DupFd(self.number)  # has it open in the process that is being started, by the same number
        return Hold, (self.number,)


@contextlib.contextmanager
def alone_in(folder: Path, wait_s: float = WAIT_S) -> Iterator[Hold]:
    """Hold the lock of a folder within the block; the folder is made if need be, the lock's file removed afterwards.

    Args:
        folder: what nobody else may write into that asks in the same way.
        wait_s: how long others are waited for, in seconds.

    Raises:
        InatSoundsError: if they are still at work then.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / LOCK_FILE
    number = _locked(path, time.monotonic() + wait_s)
    if number is None:
        note(f"{folder}: its disk has no locks; let one process at a time write there")
    try:
        yield Hold(number)
    finally:
        path.unlink(missing_ok=True)  # before it is let go: who has waited sees that the path leads elsewhere
        if number is not None:
            os.close(number)


def _locked(path: Path, until: float) -> int | None:
    """An open file that is locked and that the path leads to; None where there are no locks."""
    while True:
        number = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if not _lock(number):
                os.close(number)
                return None
            if _leads_to(path, number):
                os.ftruncate(number, 0)
                os.write(number, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
                return number
        except BlockingIOError as error:
            if time.monotonic() > until:
                owner = path.read_text(encoding="utf-8", errors="replace").strip() if path.exists() else ""
                os.close(number)
                raise InatSoundsError(
                    "another process is at work in this folder", where=path.parent,
                    found=f"what {owner or 'a process that gave no name'} began",
                    fix="Wait until it has ended, or choose another folder.",
                ) from error  # fmt: skip
            time.sleep(0.1)
        os.close(number)


def _lock(number: int) -> bool:
    """Lock an open file; whether there are locks.

    Raises:
        BlockingIOError: if another one holds it.
    """
    if sys.platform == "win32":
        return False
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:
        return False
    return True


def _leads_to(path: Path, number: int) -> bool:
    """Whether the path still leads to the open file: who held the lock removes it at the end."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(number))
    except FileNotFoundError:
        return False
