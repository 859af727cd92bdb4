"""Trying again: how often, and how patiently."""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass

from hf_inatsounds.errors import SourceError
from hf_inatsounds.progress import note

HOW_ON = (
    "Try again when the server answers: an index build goes on where it stopped, and a stream from its state_dict()."
)

_WORTH_A_WORD_S = 1.0


class Passing(Exception):
    """A failure that another try may mend.

    Args:
        what: what happened.
        asked_s: how long the server asks to wait, in seconds; None where it does not say.
    """

    def __init__(self, what: str, asked_s: float | None = None) -> None:
        super().__init__(what)
        self.asked_s = asked_s


@dataclass(frozen=True)
class RetryPolicy:
    """How often and how patiently a request is tried again.

    Attributes:
        attempts: tries without a byte's progress before giving up.
        first_wait_s: before the second try; doubles from try to try, with up to a quarter of jitter.
        longest_wait_s: bound of the wait.
        timeout_s: for the connection, and between two chunks of a body.
        longest_asked_s: bound of a wait that the server asks for. The Hub counts requests over five minutes.
    """

    attempts: int = 7
    first_wait_s: float = 0.25
    longest_wait_s: float = 8.0
    timeout_s: float = 30.0
    longest_asked_s: float = 330.0

    def wait(self, failures: int, error: BaseException | None = None, where: str = "") -> None:
        """Sleep before the next try, as long as ``error`` says that the server asks for.

        Raises:
            SourceError: if it asks for longer than ``longest_asked_s``.
        """
        pause = min(self.first_wait_s * 2 ** (failures - 1), self.longest_wait_s)
        pause *= 1 + random.random() / 4  # noqa: S311 - spreads clients, keeps no secret
        asked_s = error.asked_s if isinstance(error, Passing) else None
        if asked_s is not None:
            if asked_s > self.longest_asked_s:
                raise SourceError(
                    "the server asks for a long wait", where=where, found=f"{error}, {asked_s:,.0f} s",
                    expected=f"at most {self.longest_asked_s:,.0f} s", fix="Try again later.",
                )  # fmt: skip
            pause = max(pause, asked_s)
            _tell(f"{where}: {error}; waiting {asked_s:,.0f} s, as the server asks", pause)
        time.sleep(pause)


RETRY = RetryPolicy()

_told_until = 0.0
_lock = threading.Lock()


def _tell(line: str, pause_s: float) -> None:
    """A line on stderr of a wait that is worth it; once for all threads that wait at the same time."""
    global _told_until
    with _lock:
        now = time.monotonic()
        if pause_s < _WORTH_A_WORD_S or now < _told_until:
            return
        _told_until = now + pause_s
    note(line)
