"""Progress on stderr, for whatever runs longer than some seconds."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from hf_inatsounds.errors import printable, without_secrets

T = TypeVar("T")


def note(text: str, *, quiet: bool = False) -> None:
    """One line on stderr."""
    if not quiet:
        print(printable(without_secrets(text), lines=True), file=sys.stderr, flush=True)


def track(items: Iterable[T], what: str, *, total: int | None = None, quiet: bool = False) -> Iterator[T]:
    """Yield ``items`` with a bar on stderr."""
    yield from _bar(what, total, quiet, iterable=items)


class Bar:
    """A bar that is told where it stands, and can print lines above itself."""

    def __init__(self, what: str, *, quiet: bool = False, in_bytes: bool = False) -> None:
        self.what, self.quiet = what, quiet
        self._unit: dict[str, Any] = {"unit": "B", "unit_scale": True} if in_bytes else {}
        self._tqdm: Any = None

    def start(self, total: int, done: int = 0) -> None:
        """Show the bar, at ``done`` of ``total``."""
        self._tqdm = _bar(self.what, total, self.quiet, initial=done, **self._unit)

    def update(self, done: int, note: str = "") -> None:
        """Move to ``done``, with a note behind the bar."""
        if self._tqdm is not None:
            self._tqdm.set_postfix_str(printable(note), refresh=False)
            self._tqdm.update(done - self._tqdm.n)

    def advance(self, n: int = 1) -> None:
        """Move on by ``n``."""
        if self._tqdm is not None:
            self._tqdm.update(n)

    def say(self, line: str) -> None:
        """Print a line on stderr."""
        if not self.quiet:
            from tqdm import tqdm

            tqdm.write(printable(without_secrets(line), lines=True), file=sys.stderr)

    def close(self) -> None:
        """Remove the bar."""
        if self._tqdm is not None:
            self._tqdm.close()


def _bar(what: str, total: int | None, quiet: bool, **more: Any) -> Any:
    from tqdm import tqdm

    # in a log rather than a terminal a line now and then is enough
    interval = 0.2 if sys.stderr.isatty() else 30.0
    return tqdm(
        desc=printable(what), total=total, disable=quiet, leave=False, file=sys.stderr, mininterval=interval, **more
    )
