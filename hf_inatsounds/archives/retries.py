"""Trying again: how often, and how patiently."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass

HOW_ON = (
    "Try again when the server answers: an index build goes on where it stopped, and a stream from its state_dict()."
)


@dataclass(frozen=True)
class RetryPolicy:
    """How often and how patiently a request is tried again.

    Attributes:
        attempts: tries without a byte's progress before giving up.
        first_wait_s: before the second try; doubles from try to try, with up to a quarter of jitter.
        longest_wait_s: bound of the wait.
        timeout_s: for the connection, and between two chunks of a body.
    """

    attempts: int = 7
    first_wait_s: float = 0.25
    longest_wait_s: float = 8.0
    timeout_s: float = 30.0

    def wait(self, failures: int) -> None:
        """Sleep before the next try."""
        pause = min(self.first_wait_s * 2 ** (failures - 1), self.longest_wait_s)
        time.sleep(pause * (1 + random.random() / 4))  # noqa: S311 - spreads clients, keeps no secret


RETRY = RetryPolicy()
