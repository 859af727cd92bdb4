"""Commands that take several things: the odd one is named, the others go on, and the exit code is 1."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sized

from hf_inatsounds.errors import ArgumentsError, EndedElsewhere, InatSoundsError, StoppedError, printable, storable


class OddOnes:
    """Those of a command's splits, runs, tasks … that failed, each told on stderr when it does.

    Args:
        command: whose they are.

    Attributes:
        reasons: name → what was wrong, JSON-ready.
    """

    def __init__(self, command: str) -> None:
        self.command = command
        self.reasons: dict[str, str] = {}

    @contextlib.contextmanager
    def named(self, name: str) -> Iterator[None]:
        """What fails in this block is ``name``, and no more than that. Wrong arguments end the command all the same."""
        try:
            yield
        except (ArgumentsError, EndedElsewhere, StoppedError):
            raise
        except InatSoundsError as error:
            self.add(name, error)

    def add(self, name: str, why: InatSoundsError | str) -> None:
        """One more that failed."""
        reason = self.reasons[storable(name)] = str(why)
        line = reason if printable(name) in reason else f"{printable(name)}: {reason}"
        print(f"hf-inatsounds {self.command}: {line}", file=sys.stderr, flush=True)

    def require_others(self, others: Sized, least: int = 1) -> None:
        """Go on only where enough are left.

        Raises:
            EndedElsewhere: if they are not; why has been told.
        """
        if len(others) < least:
            raise EndedElsewhere(f"{len(self.reasons)} failed, and at least {least} must not")

    def exit_code(self) -> int:
        """0 where none failed, else 1."""
        return 1 if self.reasons else 0
