"""What reading a source passes over: counted, and told in a line of each kind."""

from __future__ import annotations

import datasets

from hf_inatsounds.errors import printable

logger = datasets.logging.get_logger(__name__)


class PassedOver:
    """Counts what is passed over, keeping the first name of each kind: a hostile archive has millions of them."""

    def __init__(self) -> None:
        self.counts: dict[str, tuple[int, str]] = {}

    def add(self, what: str, name: str) -> None:
        """Count one of a kind."""
        count, first = self.counts.get(what, (0, name))
        self.counts[what] = (count + 1, first)

    def warn(self, where: str) -> None:
        """Tell of each kind."""
        for what, (count, first) in self.counts.items():
            warn(count, first, what, where)


def warn(count: int, first: str, what: str, where: str) -> None:
    """Tell of ``count`` that are passed over, if there are any."""
    if count:
        logger.warning(printable(f"{where}: {count} {what}, the first is {first}"))
