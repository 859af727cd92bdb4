"""Requests in flight at the same time: a server that is far away answers several as soon as one."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any


def side_by_side(*calls: Callable[[], Any], far: bool = True) -> list[Any]:
    """What each of a few calls returns, all of them made at once; one after the other where nothing is far away.

    Raises:
        What the first of them that fails, in the order given, raises.

    >>> side_by_side(lambda: 1, lambda: 2)
    [1, 2]
    """
    if not far:
        return [call() for call in calls]
    with ThreadPoolExecutor(len(calls)) as pool:
        return [future.result() for future in [pool.submit(call) for call in calls]]
