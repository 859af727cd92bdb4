"""Publishing to the Hub on loopback, ended before each of its commits in turn."""

import copy
from collections.abc import Callable, Iterator

from hf_inatsounds.errors import PublishError
from tests.helpers.hub_storage import Hub


def only_commits(hub: Hub, n: int) -> list[str]:
    """Let so many commits through, and refuse those after; returns the list that counts them."""
    seen: list[str] = []

    def refuse(method: str, path: str) -> int | None:
        if method == "POST" and "/commit/" in path:
            seen.append(path)
            return 400 if len(seen) > n else None
        return None

    hub.refuse = refuse
    return seen


def is_interrupted(publish: Callable[[], object]) -> bool:
    """Whether publishing ended before its end, and said so."""
    try:
        publish()
    except PublishError as error:
        return "the Hub refused" in str(error)
    return False


def interruptions(hub: Hub, repo_id: str, publish: Callable[[], object]) -> Iterator[bool]:
    """Publish again and again on the repository as it is, let through no commit, one, two … until it is finished.

    Yields:
        False where it was interrupted, then True when another run has finished it; at the end True for the run that
        needed no other.
    """
    start = copy.deepcopy(hub.repo(repo_id))
    for n in range(100):
        hub.repos["dataset", repo_id] = copy.deepcopy(start)
        only_commits(hub, n)
        if not is_interrupted(publish):
            only_commits(hub, 10**6)
            yield True
            return
        yield False
        only_commits(hub, 10**6)
        publish()
        yield True
    raise AssertionError("publishing does not end")
