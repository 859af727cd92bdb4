"""A set of files on the Hub is seen whole or as it was, at every moment, and what others put there stays."""

import copy
import hashlib
import json
import os
import shutil
import sys

import datasets
import pytest
from huggingface_hub import HfApi

from hf_inatsounds.data.loading import open_dataset
from hf_inatsounds.data.mirror import open_mirror
from hf_inatsounds.errors import PublishError, SourceError
from hf_inatsounds.evaluation import split_info
from hf_inatsounds.publishing import hub as hub_module
from hf_inatsounds.publishing import model_hub
from hf_inatsounds.publishing.hub import HubTarget
from hf_inatsounds.publishing.mirror import MirrorBuilder
from hf_inatsounds.publishing.model_hub import open_repository, push_model
from hf_inatsounds.publishing.parts import Share
from hf_inatsounds.publishing.plan import MirrorSettings
from hf_inatsounds.publishing.shards import file_record
from hf_inatsounds.schema import SPLITS
from tests.helpers.hub_in_process import talk_to
from tests.helpers.hub_server import hub_server
from tests.helpers.hub_storage import TOKEN
from tests.helpers.interruptions import interruptions, is_interrupted, only_commits
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
    """Mirrors of one source, with other settings each."""
    found = {}
    for name, settings in (("first", FIRST), ("again", AGAIN), ("birds", BIRDS)):
        found[name] = tmp_path_factory.mktemp(name)
        builder(tiny, found[name], settings).build()
    found["flat"] = flat(found["first"], tmp_path_factory.mktemp("flat") / "mirror")
    return found


def flat(mirror, folder):
    """The mirror as it was made before each set had a folder of its own."""
    shutil.copytree(mirror, folder)
    of_set = f"{next((folder / 'data').iterdir()).name}/"
    for path in list(folder.glob("data/*/*")):
        path.rename(folder / "data" / path.name)
    (folder / "README.md").write_text((folder / "README.md").read_text().replace(of_set, ""))
    manifest = json.loads((folder / "manifest.json").read_text().replace(of_set, ""))
    card = file_record(folder / "README.md", "README.md")
    manifest["files"] = [card if one["path"] == "README.md" else one for one in manifest["files"]]
    del manifest["configs"]
    (folder / "manifest.json").write_text(json.dumps(manifest | {"fingerprint": "0" * 32}))
    return folder


def builder(source, folder, settings, **more):
    made = MirrorSettings(splits=SPLITS, **settings)
    return MirrorBuilder(str(source), folder, made, quiet=True, workers=1, **more)


def publish(folder, **more):
    target = HubTarget(REPO, quiet=True, **more)
    target.open()
    return target.upload(folder, json.loads((folder / "manifest.json").read_text()))


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
    [(None, "first", 11), ("first", "again", 100), ("flat", "again", 10), ("again", "birds", 10)],
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
        old, expected, seen = view(read), view(read, folders[then]), []
        for finished in interruptions(hub, REPO, lambda: publish(folders[then])):
            if finished:
                manifest = json.loads(hub.content(REPO, "manifest.json"))
                names = {one["path"] for one in manifest["files"]} | {"manifest.json", ".gitattributes"}
                assert set(hub.repo(REPO).files) == names  # nothing is left behind
                continue
            now = view(read)
            seen.append("new" if now == expected else "old")
            if seen[-1] == "old":
                assert now == old if before else all(isinstance(one, str) for one in now.values()), now
        assert view(read) == expected
        assert seen == sorted(seen, reverse=True)  # first the old ones, then the new ones
        assert len(seen) == 1 if operations == 100 else len(seen) > 2
        assert all(ids(one) for one in expected.values() if not isinstance(one, str))


THEIRS = (
    {"README.md": b"---\nlicense: mit\n---\nMy data.", "train.parquet": b"PAR1 of somebody else"},
    {"manifest.json": b'{"name": "a page", "files": []}', "data/train-00000-of-00001.parquet": b"PAR1"},
    {"README.md": b"---\nlicense: mit\n---\nHere will be my data."},
    {"parts/note.json": b"[]"},
)


def put(hub, files, repo=REPO, kind="dataset"):
    for path, content in files.items():
        oid = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        entry = {"sha256": hub.keep(content), "oid": oid, "size": len(content), "lfs": False}
        hub.repo(repo, kind).files[path] = entry
    hub.repo(repo, kind).commits += 1


@pytest.mark.parametrize("theirs", THEIRS)
def test_a_repository_that_is_not_ours_stays_as_it_was(hub, folders, theirs):
    HubTarget(REPO, quiet=True).open()
    put(hub, theirs)
    before, commits = contents(hub), hub.repo(REPO).commits
    with pytest.raises(PublishError, match="the repository holds something else than a mirror of ours: me/sounds"):
        publish(folders["first"])
    assert contents(hub) == before
    assert hub.repo(REPO).commits == commits
    assert not [path for method, path, _ in hub.requests if "preupload" in path or "/lfs/" in path]


def test_what_others_put_into_a_mirror_stays(hub, folders):
    publish(folders["first"])
    old = next(path for path in hub.repo(REPO).files if path.startswith("data/")).rsplit("/", 1)[0]
    theirs = {
        "extra.parquet": b"PAR1", "notes.txt": b"mine", "data/mine.parquet": b"PAR1", f"{old}/notes.txt": b"here too",
        "annotations/corrected.csv": b"a,b", "index/readme": b"?", "parts/plan.json": b"[]",
    }  # fmt: skip
    put(hub, theirs)
    for then in ("again", "birds"):
        publish(folders[then])
        now = contents(hub)
        assert {path: now[path] for path in theirs} == theirs
        manifest = json.loads(now["manifest.json"])
        assert set(now) - set(theirs) - {".gitattributes", "manifest.json"} == {
            one["path"] for one in manifest["files"]
        }


def test_a_card_changed_by_hand_is_kept_unless_asked(hub, folders):
    publish(folders["first"])
    edited = hub.content(REPO, "README.md") + b"\nUsed in our course.\n"
    put(hub, {"README.md": edited})
    before = contents(hub)
    with pytest.raises(PublishError, match=r"the card was changed by hand: me/sounds: .*--replace-card"):
        publish(folders["again"])
    assert contents(hub) == before
    assert open_mirror(REPO).manifest["recordings"] == 24  # it can still be read
    publish(folders["again"], replace_card=True)
    assert hub.content(REPO, "README.md") == (folders["again"] / "README.md").read_bytes()
    put(hub, {"label_space.json": b"{}"})
    before = contents(hub)
    with pytest.raises(PublishError, match=r"a file of somebody else is where one of the mirror.*label_space\.json"):
        publish(folders["first"], replace_card=True)
    assert contents(hub) == before


def test_who_publishes_at_the_same_time_is_told(hub, tmp_path, folders):
    publish(folders["first"])
    others = iter([lambda: publish(folders["birds"]), lambda: put(hub, {"notes.txt": b"mine"})])

    def between(method, path):
        if method == "POST" and "/commit/" in path:
            hub.refuse = lambda method, path: None
            next(others)()

    hub.refuse = between
    with pytest.raises(PublishError, match="somebody else published to the repository in the meantime: me/sounds"):
        publish(folders["again"])
    assert hub.content(REPO, "manifest.json") == (folders["birds"] / "manifest.json").read_bytes()
    hub.refuse = between  # another commit comes in between, but it is not a mirror's
    publish(folders["again"])
    assert hub.content(REPO, "manifest.json") == (folders["again"] / "manifest.json").read_bytes()
    assert hub.content(REPO, "notes.txt") == b"mine"


def test_parts_are_not_seen_before_all_are_there(hub, tmp_path, tiny, folders):
    settings = {"shard_bytes": 100_000}
    publish(folders["first"])
    with plain_reader(sys.executable, hub.environment(tmp_path / "home")) as read:
        old = view(read)
        parts = [builder(tiny, tmp_path / str(rank), settings, part=Share(rank, 2, 0.0)) for rank in (0, 1)]
        fingerprint = parts[0].plan.fingerprint
        assert parts[1].build() is None
        words = (parts[1].path_of, f"{fingerprint}-1-of-2", parts[1].own_records())
        commits = only_commits(hub, 0)
        with pytest.raises(PublishError, match="the Hub refused"):
            HubTarget(REPO, quiet=True).upload_part(*words)
        only_commits(hub, 99)
        HubTarget(REPO, quiet=True).upload_part(*words)
        assert view(read) == old
        target = HubTarget(REPO, quiet=True)
        target.open()
        manifest = parts[0].build(lambda: target.part_records(fingerprint))
        target.upload(parts[0].folder, manifest)
        builder(tiny, tmp_path / "whole", settings).build()
        assert view(read) == view(read, tmp_path / "whole")
        commits = only_commits(hub, 99)
        HubTarget(REPO, quiet=True).upload_part(*words)  # comes late: all is there
        assert not commits
    assert not [path for path in hub.repo(REPO).files if path.startswith("parts/")]


def test_a_mirror_that_is_not_whole_is_refused_in_a_line(hub, folders, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_ENDPOINT", hub.url)
    publish(folders["first"])
    whole = copy.deepcopy(hub.repo(REPO))
    shards = sorted(path for path in whole.files if path.startswith("data/") and "train" in path)

    def says(message, name="all", split="train"):
        hub.repo(REPO).commits += 10  # no revision twice
        for streaming in (True, False):
            with pytest.raises(SourceError, match=message) as caught:
                open_dataset(name, split, source=REPO, streaming=streaming)
            assert "\n" not in str(caught.value)

    rows = open_dataset("all", "train", source=REPO, streaming=True)
    assert len(list(rows.select_columns(["recording_id"]))) == 12
    says("unknown dataset name: me/sounds: found 'fungi'; expected all, ", name="fungi")

    del hub.repo(REPO).files[shards[0]]
    says(rf"the mirror is not whole: me/sounds: found 1 of \d+ files missing or changed, the first {shards[0]}")
    with pytest.raises(SourceError, match="the mirror is not whole: me/sounds, train"):
        split_info(REPO, "all", "train")
    hub.repo(REPO).files[shards[0]] = whole.files[shards[1]]
    says("the mirror is not whole")

    hub.repos["dataset", REPO] = copy.deepcopy(whole)  # as two mirrors under the same globs once were
    double = shards[0].replace("train-", "train-9")
    hub.repo(REPO).files[double] = whole.files[shards[0]]
    says(f"card and manifest are not of one set: me/sounds, all, train: found {double} besides")

    hub.repos["dataset", REPO] = copy.deepcopy(whole)
    put(hub, {"label_space.json": hub.content(REPO, "label_space.json").swapcase()})
    with pytest.raises(SourceError, match=r"the mirror is not whole: me/sounds, label_space\.json"):
        split_info(REPO, "all", "train")

    del hub.repo(REPO).files["manifest.json"]
    says(r"no mirror on the Hub that can be read: me/sounds: found no manifest\.json")


def test_the_first_mirror_of_a_repository_is_refused_until_it_is_whole(hub, tmp_path, folders, monkeypatch):
    monkeypatch.setattr(hub_module, "OPERATIONS_A_COMMIT", 8)
    only_commits(hub, 1)
    assert is_interrupted(lambda: publish(folders["first"]))
    assert [path for path in hub.repo(REPO).files if path.startswith("data/")]
    with pytest.raises(SourceError, match=r"no mirror on the Hub that can be read: me/sounds: found no manifest\.json"):
        open_dataset("all", "train", source=REPO, streaming=True)


def test_a_folder_is_seen_whole_or_not_at_all(tiny, tmp_path, monkeypatch):
    expected = None
    with plain_reader(sys.executable, {"HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"}) as read:
        builder(tiny, tmp_path / "whole", FIRST).build()
        expected = view(read, tmp_path / "whole")
        whole = local_files(tmp_path / "whole")
        seen = set()
        for n in range(200):
            folder = tmp_path / f"interrupted-{n}"
            with monkeypatch.context() as broken:
                fail_after(broken, n, folder)
                try:
                    builder(tiny, folder, FIRST).build()
                except OSError:
                    ended = False
                else:
                    ended = True
            found = view(read, folder)
            for asked, answer in found.items():
                assert isinstance(answer, str) or answer == expected[asked], (n, asked)
            seen.add(tuple(isinstance(answer, str) for answer in found.values()))
            if ended:
                break
            builder(tiny, folder, FIRST).build()
            assert local_files(folder) == whole
            shutil.rmtree(folder)
        assert ended
        assert {all(one) for one in seen} == {True, False}


def fail_after(patch, n, folder):
    """Have the n-th change of a name below a folder, and all after it, fail."""
    done = []

    def counted(change):
        def changed(old, new):
            if str(new).startswith(str(folder)):
                done.append(new)
                if len(done) > n:
                    raise OSError("no further")
            change(old, new)

        return changed

    patch.setattr("os.replace", counted(os.replace))
    patch.setattr("os.rename", counted(os.rename))


def local_files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("theirs", [*THEIRS, {"notes.txt": b"mine"}])
def test_a_folder_that_is_not_ours_stays_as_it_was(tiny, tmp_path, theirs):
    for path, content in theirs.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(content)
    with pytest.raises(PublishError, match="the folder holds something else than a mirror"):
        builder(tiny, tmp_path, FIRST)
    assert local_files(tmp_path) == theirs


def test_what_others_put_into_a_mirrors_folder_stays(tiny, tmp_path):
    builder(tiny, tmp_path, FIRST).build()
    theirs = {"extra.parquet": b"PAR1", "notes.txt": b"mine", "data/mine.parquet": b"PAR1"}
    for path, content in theirs.items():
        (tmp_path / path).write_bytes(content)
    builder(tiny, tmp_path, FIRST).build()
    assert theirs.items() <= local_files(tmp_path).items()
    card = (tmp_path / "README.md").read_bytes()
    (tmp_path / "README.md").write_bytes(card + b"mine")
    with pytest.raises(PublishError, match=r"the card was changed by hand: .*README\.md"):
        builder(tiny, tmp_path, FIRST)
    builder(tiny, tmp_path, FIRST, replace_card=True).build()
    assert (tmp_path / "README.md").read_bytes() == card


def test_a_push_takes_the_place_of_the_push_before_and_of_nothing_else(hub, tmp_path, monkeypatch):
    def write_card(folder, model_id):
        (folder / "README.md").write_text(f"A model of {len(list(folder.iterdir()))} files.")

    monkeypatch.setattr(model_hub, "write_card", write_card)
    sharded = ["model-1-of-2.safetensors", "model-2-of-2.safetensors"]
    for name, weights in (("one", ["model.safetensors"]), ("two", sharded)):
        (tmp_path / name).mkdir()
        for file in ("config.json", *weights):
            (tmp_path / name / file).write_text(f"{name} {file}")
    place = ("me/model", "model")
    HfApi(token=TOKEN).create_repo("me/model", private=True)
    theirs = {"README.md": b"my model", "config.json": b"{}", "model.safetensors": b"weights", "notes.md": b"mine"}
    put(hub, theirs, *place)
    before = contents(hub, *place)
    for ask in (lambda: push_model(tmp_path / "one", "me/model"), lambda: open_repository("me/model", create=False)):
        with pytest.raises(PublishError, match="the repository holds something else than a model of ours: me/model"):
            ask()
    assert contents(hub, *place) == before

    hub.repo(*place).files = {}
    push_model(tmp_path / "one", "me/model")
    put(hub, theirs := {"notes.md": b"mine", "examples/results.json": b"{}", "curves.png": b"mine too"}, *place)
    push_model(tmp_path / "two", "me/model")
    now = contents(hub, *place)
    assert set(now) - set(theirs) == {"README.md", "config.json", "pushed.json", *sharded}
    assert theirs.items() <= now.items()
    put(hub, {"README.md": b"our card"}, *place)
    with pytest.raises(PublishError, match="the card was changed by hand: me/model"):
        push_model(tmp_path / "one", "me/model")
    push_model(tmp_path / "one", "me/model", replace_card=True)
    assert "model-1-of-2.safetensors" not in hub.repo(*place).files
