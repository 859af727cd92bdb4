"""Requests in flight at the same time: a server that is far away answers several as soon as one."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any


class Pool:
    """Threads for what waits for a server.

    Nothing waits for them: an interrupt ends the process at once, while one of them is stuck in a request. (Those
    of ``concurrent.futures`` are joined when the interpreter ends, after all the tries of all their requests.)

    Args:
        threads: how many there are; they are started when they are first needed.
    """

    def __init__(self, threads: int) -> None:
        self._calls: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = queue.SimpleQueue()
        self._left, self._closed = threads, False

    def submit(self, call: Callable[[], Any]) -> Future[Any]:
        """Begin a call as soon as a thread is free."""
        if self._left:
            self._left -= 1
            threading.Thread(target=self._work, daemon=True).start()
        future: Future[Any] = Future()
        self._calls.put((future, call))
        return future

    def close(self) -> None:
        """Drop what has not begun; what has goes on to its end, unattended."""
        self._closed = True
        self._calls.put(None)

    def _work(self) -> None:
        while (item := self._calls.get()) is not None and not self._closed:
            future, call = item
            try:
                future.set_result(call())
            except BaseException as error:  # noqa: BLE001 - it is raised where the result is asked for
                future.set_exception(error)
            del item, future, call
        self._calls.put(None)  # for the next thread


def side_by_side(*calls: Callable[[], Any], far: bool = True) -> list[Any]:
    """What each of a few calls returns, all of them made at once; one after the other where nothing is far away.

    Raises:
        What the first of them that fails, in the order given, raises.

    >>> side_by_side(lambda: 1, lambda: 2)
    [1, 2]
    """
    if not far:
        return [call() for call in calls]
    pool = Pool(len(calls))
    try:
        return [future.result() for future in [pool.submit(call) for call in calls]]
    finally:
        pool.close()
