"""Several processes of one command on this machine, and which of them says why they end.

A launcher of a line a failure: torchrun and ``accelerate launch`` print a traceback of their own for each.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence

from hf_inatsounds.errors import InatSoundsError

TOLD = "hf_inatsounds/told"
"""Key of the group's store: whether a process has said why all of them end."""

OWN_LAUNCHER = "HF_INATSOUNDS_LAUNCHER"
"""In the environment of processes that :func:`run_processes` started, its pid: it says which of them was killed."""

ORPHAN_S = 6.0
"""Time for a checkpoint that a process has whose launcher is gone."""

GRACE_S = 30.0
"""Between the request to end and kill -9, as torchrun has it: a checkpoint may be on its way."""

WORDLESS_S = 5.0
"""How long a process without a group to ask leaves the first one time to say the same and have the others ended."""


def beside() -> int:
    """How many processes a launcher started beside this one; 0 where it is alone."""
    try:
        return max(int(os.environ.get("WORLD_SIZE", "1")) - 1, 0) if "RANK" in os.environ else 0
    except ValueError:
        return 0


def is_first_to_tell() -> bool:
    """Whether this process is the one that prints why all of them end; of several that fail alike, one does.

    Before the processes have met, those after the first wait some seconds: the launcher ends them when the first has
    failed.
    """
    if not beside():
        return True
    distributed = getattr(sys.modules.get("torch"), "distributed", None)
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        try:
            return bool(distributed.distributed_c10d._get_default_store().add(TOLD, 1) == 1)
        except (RuntimeError, ValueError):
            return True  # the store's process is gone: nobody else can say it
    rank = int(os.environ.get("RANK", "0"))
    if rank:
        time.sleep(WORDLESS_S + rank)
    return True


def end_with_launcher() -> None:
    """Have this process end when the one that started it as one of several is gone; called once, as it begins.

    It is told by SIGTERM, upon which a run writes a checkpoint, and ended some seconds later.
    """
    launcher = os.environ.get(OWN_LAUNCHER, "")
    if launcher.isdecimal():
        threading.Thread(target=_watch, args=(int(launcher),), daemon=True).start()


def _watch(launcher: int) -> None:
    while os.getppid() == launcher:
        time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(ORPHAN_S)
    os._exit(128 + signal.SIGTERM)


def leave(code: int) -> None:
    """End a process that failed as a member of a group at once: the group's threads would abort an orderly end."""
    distributed = getattr(sys.modules.get("torch"), "distributed", None)
    if code and distributed is not None and distributed.is_available() and distributed.is_initialized():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def run_processes(words: Sequence[str], count: int) -> int:
    """Run ``hf-inatsounds WORDS`` in ``count`` processes of this machine that form a group.

    SIGINT and SIGTERM are passed on, once.

    Args:
        words: the command line without the program.
        count: processes.

    Returns:
        The exit code: 0 when all have ended well, else that of one that failed and has said why.

    Raises:
        InatSoundsError: if one was killed, with its number and the signal.
        KeyboardInterrupt: on SIGINT, when all have ended.
    """
    told: list[int] = []
    before = {one: signal.signal(one, lambda number, _: told.append(number)) for one in (signal.SIGINT, signal.SIGTERM)}
    processes = _start(words, count)
    try:
        while (failed := _first_failure(processes)) is None and not told:
            if all(one.poll() == 0 for one in processes):
                return 0
            time.sleep(0.1)
        _end(processes, told[0] if told else signal.SIGTERM)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if told:
        if told[0] == signal.SIGINT:
            raise KeyboardInterrupt
        return 128 + told[0]
    rank, code = failed or (0, 1)
    if code > 0:
        return code
    raise InatSoundsError(
        f"process {rank} of {count} was killed by {signal.Signals(-code).name} (signal {-code})", where="--processes",
        fix="The others were ended. Was memory short? A run goes on from its last checkpoint with --resume.",
    )  # fmt: skip


def _start(words: Sequence[str], count: int) -> list[subprocess.Popen[bytes]]:
    """The processes, each told its number and where all meet; a terminal's Ctrl-C reaches the launcher alone."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    threads = str(max((os.cpu_count() or 1) // count, 1))
    shared = {"OMP_NUM_THREADS": threads, **os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    shared |= {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count), OWN_LAUNCHER: str(os.getpid())}
    command = [sys.executable, "-m", "hf_inatsounds.cli.main", *words]
    return [
        subprocess.Popen(  # noqa: S603  # our own command line
            command, env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)}, start_new_session=True
        )
        for rank in range(count)
    ]


def _first_failure(processes: Sequence[subprocess.Popen[bytes]]) -> tuple[int, int] | None:
    """Number and code of a process that failed: one that was killed rather than one that failed because of it."""
    failed = [(rank, code) for rank, one in enumerate(processes) if (code := one.poll())]
    return min(failed, key=lambda one: one[1]) if failed else None


def _end(processes: Sequence[subprocess.Popen[bytes]], how: int) -> None:
    """Ask those that still run to end, and end them when they do not."""
    for one in processes:
        if one.poll() is None:
            one.send_signal(how)
    until = time.monotonic() + GRACE_S
    for one in processes:
        try:
            one.wait(max(until - time.monotonic(), 0.1))
        except subprocess.TimeoutExpired:
            one.kill()
            one.wait()
