"""Processes that work for this one, and that end when it does, however it ends."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.connection import Connection
from typing import Any


@contextlib.contextmanager
def processes(count: int, begin: Callable[..., None] | None = None, *shared: Any) -> Iterator[ProcessPoolExecutor]:
    """A pool of new interpreters: a forked torch may hang, and the threads of fsspec and Arrow do not survive a fork.

    Each holds the reading end of a pipe, and this process the only writing end. When it is closed, by what is raised
    inside (an interrupt too) or by the system because this process was killed, they end at once, whatever they are
    doing: importing torch, or a forward pass. Without an error all jobs are finished first.

    Args:
        count: processes.
        begin: called first in each, with ``shared``.
        shared: values, arrays and locks of the spawn context among them.
    """
    context = multiprocessing.get_context("spawn")
    reader, writer = context.Pipe(duplex=False)
    with reader, writer:
        first: tuple[Any, ...] = (_Leash(reader), begin, shared)
        pool = ProcessPoolExecutor(count, mp_context=context, initializer=_begin, initargs=first)
        try:
            yield pool
        except BaseException:
            writer.close()
            pool.shutdown(cancel_futures=True)
            raise
        pool.shutdown()


class _Leash:
    """What ends a process of the pool; it works from when it is unpickled there, before the imports of what follows."""

    def __init__(self, reader: Connection) -> None:
        self.reader = reader

    def __reduce__(self) -> tuple[Callable[[Connection], None], tuple[Connection]]:
        return _leashed, (self.reader,)


def _leashed(reader: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all: it is the main process's business
    threading.Thread(target=_end_when_closed, args=(reader,), daemon=True).start()


def _end_when_closed(reader: Connection) -> None:
    with contextlib.suppress(OSError):
        reader.poll(None)  # nothing is ever sent: it returns at the end of the pipe
    os._exit(1)


def _begin(_: object, begin: Callable[..., None] | None, shared: tuple[Any, ...]) -> None:
    if begin is not None:
        begin(*shared)
