"""A mirror made by several processes: who makes which shards, and how rank 0 learns that they are there."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_inatsounds.errors import PublishError
from hf_inatsounds.publishing.plan import Plan, Shard

Records = dict[str, dict[str, Any]]
"""Path of a shard → its record."""

_POLL_S, _POLL_ELSEWHERE_S = 0.5, 10.0


@dataclass(frozen=True)
class Share:
    """A process makes every ``count``-th shard from the ``rank``-th on; rank 0 completes the mirror.

    Args:
        rank: 0 … count - 1.
        count: processes.
        wait_s: how long rank 0 waits for the others while nothing new appears.
    """

    rank: int = 0
    count: int = 1
    wait_s: float = 3600.0

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.count:
            raise PublishError(
                "bad part",
                where="RANK, WORLD_SIZE",
                found=f"{self.rank}, {self.count}",
                expected="0 ≤ RANK < WORLD_SIZE",
            )

    def of(self, shards: tuple[Shard, ...]) -> tuple[Shard, ...]:
        """The shards that the process makes."""
        return shards[self.rank :: self.count]


def await_records(
    plan: Plan,
    part: Share,
    record: Callable[[Shard], dict[str, Any] | None],
    work: Path,
    elsewhere: Callable[[], Records] | None = None,
) -> list[dict[str, Any]]:
    """The records of all shards, in the plan's order, once they are there.

    Args:
        plan: which shards there are to be.
        part: rank 0's.
        record: a shard's record in the folder, None while there is none.
        work: folder in which the other processes work: while something changes there, they live.
        elsewhere: tells of shards that were made on other machines.

    Raises:
        PublishError: if some stay away, and nothing new appears for ``part.wait_s``.
    """
    seen, since = None, time.monotonic()
    while True:
        found = {shard.path: record(shard) for shard in plan.shards}
        missing = [path for path, one in found.items() if one is None]
        if missing and elsewhere is not None:
            found |= {path: one for path, one in elsewhere().items() if path in missing}
            missing = [path for path in missing if found[path] is None]
        if not missing:
            return [one for one in found.values() if one is not None]
        life = (len(missing), _newest(work))
        if life != seen:
            seen, since = life, time.monotonic()
        if time.monotonic() - since > part.wait_s:
            raise _incomplete(plan, part, missing)
        time.sleep(_POLL_S if elsewhere is None else _POLL_ELSEWHERE_S)


def _incomplete(plan: Plan, part: Share, missing: list[str]) -> PublishError:
    ranks = sorted({i % part.count for i, shard in enumerate(plan.shards) if shard.path in missing})
    return PublishError(
        "the mirror is not complete",
        where="rank 0",
        found=f"{len(missing)} of {len(plan.shards)} shards missing, the first {missing[0]}",
        expected=f"the parts of ranks {', '.join(map(str, ranks))} of {part.count}",
        fix="Run those ranks, then rank 0 again: what is finished is kept.",
    )


def _newest(folder: Path) -> float:
    """When something last changed below a folder."""
    times = [0.0]
    for path in folder.rglob("*"):
        try:
            times.append(path.stat().st_mtime)
        except OSError:
            continue
    return max(times)
