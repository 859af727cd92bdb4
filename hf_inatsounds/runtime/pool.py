"""Processes that work for this one, and that end when it does, however it ends."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any


@contextlib.contextmanager
def processes(count: int, begin: Callable[..., None] | None = None, *shared: Any) -> Iterator[ProcessPoolExecutor]:
    """A pool of new interpreters: a forked torch may hang, and the threads of fsspec and Arrow do not survive a fork.

    What is raised inside drops the jobs that have not begun, and ends the processes; an interrupt is this process's
    business alone. If this process is killed, they end within a moment, in the midst of whatever they do.

    Args:
        count: processes.
        begin: called first in each, with ``shared``.
        shared: values, arrays and locks of the spawn context among them.
    """
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(count, mp_context=context, initializer=_begin, initargs=(begin, shared))
    try:
        with pool:
            yield pool
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        raise


def _begin(begin: Callable[..., None] | None, shared: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if begin is not None:
        begin(*shared)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
