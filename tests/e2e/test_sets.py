"""A set of files on the Hub is seen whole or as it was, at every moment, and what others put there stays."""

import copy
import json
import sys

import pytest

from hf_inatsounds.errors import PublishError
from hf_inatsounds.publishing import hub as hub_module
from hf_inatsounds.publishing.hub import HubTarget
from hf_inatsounds.publishing.mirror import MirrorBuilder
from hf_inatsounds.publishing.plan import MirrorSettings
from hf_inatsounds.schema import SPLITS
from tests.helpers.hub_in_process import talk_to
from tests.helpers.hub_server import hub_server
from tests.helpers.hub_storage import TOKEN
from tests.helpers.plain_reader import plain_reader

REPO = "me/sounds"
FIRST = {"audio_format": "wav", "shard_bytes": 400_000}
AGAIN = {"audio_format": "flac", "shard_bytes": 60_000}  # audio paths end in .flac: which set a row is of is seen
BIRDS = {"configs": ("aves",), "seed": 1}
ASKED = ("all:train:streaming", "all:validation:prepared", "evaluation:test:streaming", "aves:train:streaming",
         "annotations:train:streaming")  # fmt: skip


@pytest.fixture
def hub(tmp_path, monkeypatch):
    with hub_server(tmp_path / "hub") as server:
        talk_to(server, tmp_path / "home", monkeypatch)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setattr("time.sleep", lambda seconds: None)
        yield server


@pytest.fixture(scope="module")
def folders(tiny, tmp_path_factory):
    """Three mirrors of one source, with other settings each."""
    found = {}
    for name, settings in (("first", FIRST), ("again", AGAIN), ("birds", BIRDS)):
        found[name] = tmp_path_factory.mktemp(name)
        builder(tiny, found[name], settings).build()
    return found


def builder(source, folder, settings, **more):
    made = MirrorSettings(splits=SPLITS, **settings)
    return MirrorBuilder(str(source), folder, made, quiet=True, workers=1, **more)


def publish(folder, **more):
    target = HubTarget(REPO, quiet=True, **more)
    target.open()
    return target.upload(folder, json.loads((folder / "manifest.json").read_text()))


def interrupted(folder):
    """Whether publishing ended before its end, and was told."""
    try:
        publish(folder)
    except PublishError as error:
        return "the Hub refused" in str(error)
    return False


def only_commits(hub, n):
    """Let so many commits through, and refuse those after; returns the list that counts them."""
    seen = []

    def refuse(method, path):
        if method == "POST" and "/commit/" in path:
            seen.append(path)
            return 400 if len(seen) > n else None
        return None

    hub.refuse = refuse
    return seen


def contents(hub, repo=REPO, kind="dataset"):
    return {path: hub.content(repo, path, kind) for path in hub.repo(repo, kind).files}


def view(read, place=REPO):
    return {asked: read(place, asked) for asked in ASKED}


def ids(answer):
    found = [one[0] for one in answer]
    assert len(set(found)) == len(found), "a recording came twice"
    return found


@pytest.mark.parametrize(
    ("before", "then", "operations"),
    [(None, "first", 8), ("first", "again", 100), ("first", "again", 10), ("again", "birds", 10)],
)
def test_at_every_moment_of_publishing_again_each_recording_is_there_once(
    hub, tmp_path, folders, monkeypatch, before, then, operations
):
    monkeypatch.setattr(hub_module, "OPERATIONS_A_COMMIT", operations)
    with plain_reader(sys.executable, hub.environment(tmp_path / "home")) as read:
        if before is not None:
            publish(folders[before])
        else:
            HubTarget(REPO, quiet=True).open()
        start, old = copy.deepcopy(hub.repo(REPO)), view(read)
        expected = view(read, folders[then])
        kinds = []
        for n in range(30):
            hub.repos["dataset", REPO] = copy.deepcopy(start)
            commits = only_commits(hub, n)
            if interrupted(folders[then]):
                now = view(read)
                kinds.append("new" if now == expected else "old")
                if kinds[-1] == "old":
                    same = [now[asked] == old[asked] for asked in ASKED]
                    nothing = [isinstance(now[asked], str) for asked in ASKED]
                    assert all(nothing if before is None else same), now
                only_commits(hub, 99)
                publish(folders[then])  # the run that was interrupted goes on
            manifest = json.loads(hub.content(REPO, "manifest.json"))
            names = {one["path"] for one in manifest["files"]} | {"manifest.json", ".gitattributes"}
            assert set(hub.repo(REPO).files) == names  # nothing is left behind
            if len(commits) <= n:
                break
        assert view(read) == expected
        assert len(kinds) == len(commits)
        assert kinds == sorted(kinds, reverse=True)  # first the old ones, then the new ones
        assert len(commits) == 1 if operations == 100 else len(commits) > 1
        assert [ids(one) for one in expected.values() if not isinstance(one, str)]
