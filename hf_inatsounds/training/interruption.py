"""A run that is told to end: it saves a checkpoint after the step that it is in, on all processes together."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

SIGNALS = (signal.SIGTERM, signal.SIGINT)
ECHO_S = 3.0
"""A launcher passes on to its processes what the terminal has sent to them already: within so long it is the same."""
GRACE_S = 60
"""What a loader's worker that is told to end gives the main process to save."""


class Stop(BaseException):
    """Ends a run whose last checkpoint holds all of it; no ``except Exception`` on the way swallows it.

    Args:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Interruption:
    """SIGTERM and SIGINT while a run is under way.

    Within :meth:`deferred`, while steps are taken, a signal is kept until the step's end; the Trainer saves then, and
    :class:`Stop` is raised. Anywhere else nothing would be lost, and it is raised at once. A second signal ends the
    process at once.

    Args:
        quiet: whether nothing is shown.
    """

    def __init__(self, *, quiet: bool) -> None:
        self.quiet = quiet
        self.number = 0
        self.agreed = False  # by all processes: the step that is being taken is the last
        self._deferred = False
        self._at = 0.0
        self._process = os.getpid()

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Handle the signals within the block; elsewhere than in the main thread Python cannot."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._receive) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextlib.contextmanager
    def deferred(self, wait: bool = True) -> Iterator[None]:
        """Whether a signal waits for the step's end within the block."""
        before, self._deferred = self._deferred, wait
        try:
            self.end_if_free()
            yield
        finally:
            self._deferred = before

    def end_if_free(self) -> None:
        """Raise what has been waiting, where nothing would be lost."""
        if self.number and not self._deferred:
            raise Stop(self.number)

    def agree(self) -> None:
        """All processes have heard of a signal to one of them: the step that comes is their last."""
        self.number = self.number or signal.SIGTERM
        self.agreed = True

    def _receive(self, number: int, frame: Any) -> None:
        if os.getpid() != self._process:
            return  # a worker that was forked: the main process decides
        if self.number:
            launched = int(os.environ.get("WORLD_SIZE", "1")) > 1
            if not launched or time.monotonic() - self._at > ECHO_S:
                signal.signal(number, signal.SIG_DFL)
                os.kill(os.getpid(), number)
            return
        self.number, self._at = number, time.monotonic()
        self.end_if_free()
        if not self.quiet:
            name = signal.Signals(number).name
            print(f"{name}: saving after this step; once more ends at once", file=sys.stderr, flush=True)


def leave_to_the_main_process(_: int) -> None:
    """For a loader's worker: one that a signal to all processes ends would take the step with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(GRACE_S))
