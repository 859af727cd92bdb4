"""Publishing to a Hub on loopback, with the real clients in processes of their own."""

import hashlib
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import datasets
import pytest
import soundfile as sf

from hf_inatsounds.data.loading import open_dataset
from tests.helpers.archive import document, write_source
from tests.helpers.hub_server import hub_server
from tests.helpers.hub_storage import TOKEN

ROOT = Path(__file__).parents[2]

INFO = """
import json, sys
from hf_inatsounds.errors import SourceError
from hf_inatsounds.evaluation import split_info
for source in sys.argv[1:3]:
    for name in ("all", "aves"):
        info = split_info(source, name, "validation")
        ids = sorted(row["recording_id"] for row in info.rows())
        print(json.dumps([info.labels.tolist(), info.hours, info.title, info.label_space.ranks, ids]))
try:
    split_info("me/none", "all", "test")
except SourceError as error:
    print(error)
"""

MIRROR_ROWS = ROOT / "tests/environments/mirror_rows.py"  # plain datasets: this package cannot be imported there


@pytest.fixture
def hub(tmp_path):
    with hub_server(tmp_path / "hub") as server:
        yield server


def call(hub, tmp_path, *words, code=0, token=True, variables=None):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **hub.environment(tmp_path / "home", token=token)}
    environment |= variables or {}
    done = subprocess.run(
        list(map(str, words)), capture_output=True, text=True, env=environment, check=False, timeout=200
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert TOKEN not in done.stdout + done.stderr
    return done


def publish(hub, tmp_path, *words, **more):
    return call(hub, tmp_path, sys.executable, "-m", "hf_inatsounds.cli.main", "publish", *words, **more)


def load(hub, tmp_path, repo, *asked):
    lines = call(hub, tmp_path, sys.executable, MIRROR_ROWS, repo, *asked).stdout.splitlines()
    return [{row["recording_id"]: row for row in json.loads(line)} for line in lines]


def expected_rows(source, name, split):
    rows = open_dataset(name, split, source=source, streaming=True)
    if name != "annotations":
        rows = rows.cast_column("audio", datasets.Audio(decode=False))
    return {
        row["recording_id"]: row | ({"audio": audio_digests(row["audio"])} if "audio" in row else {}) for row in rows
    }


def audio_digests(audio):
    samples = sf.read(io.BytesIO(audio["bytes"]), dtype="int16")[0]
    return [audio["path"], *(hashlib.sha256(one).hexdigest() for one in (audio["bytes"], samples.tobytes()))]


def test_a_private_mirror_loads_with_plain_datasets(hub, tmp_path, tiny):
    done = publish(hub, tmp_path, tiny, "me/sounds", "--format", "wav", "--json")
    assert hub.repo("me/sounds").private
    assert json.loads(done.stdout)["recordings"] == 24
    asked = ("all:train:streaming", "all:train:prepared", "aves:test:prepared", "annotations:validation:streaming")
    found = load(hub, tmp_path, "me/sounds", *asked)
    assert found == [expected_rows(tiny, *one.split(":")[:2]) for one in asked]


def test_publishing_again_uploads_nothing(hub, tmp_path, tiny):
    first = json.loads(publish(hub, tmp_path, tiny, "me/sounds", "--json").stdout)
    before = dict(hub.repo("me/sounds").files)
    again = json.loads(publish(hub, tmp_path, tiny, "me/sounds", "--json").stdout)
    assert (again["uploaded"], again["already_there"]) == (0, first["uploaded"])
    assert hub.repo("me/sounds").files == before


def test_an_interrupted_upload_goes_on(hub, tmp_path, tiny):
    hub.refuse = lambda method, path: (
        403 if "/lfs/upload/" in path and len(list(hub.folder.glob("blobs/*"))) > 3 else None
    )
    done = publish(hub, tmp_path, tiny, "me/sounds", code=1)
    assert re.search(r"upload failed: me/sounds: .*403.*Run the command again", done.stderr)
    assert "manifest.json" not in hub.repo("me/sounds").files  # last of all
    hub.refuse = lambda method, path: None
    answer = json.loads(publish(hub, tmp_path, tiny, "me/sounds", "--json").stdout)
    manifest = json.loads(hub.content("me/sounds", "manifest.json"))
    assert {one["path"] for one in manifest["files"]} | {"manifest.json", ".gitattributes"} == set(
        hub.repo("me/sounds").files
    )
    assert answer["files"] == len(manifest["files"]) + 1


def test_a_new_mirror_takes_the_old_ones_place(hub, tmp_path, tiny):
    publish(hub, tmp_path, tiny, "me/sounds")
    publish(hub, tmp_path, tiny, "me/sounds", "--config", "aves", "--work-dir", tmp_path / "other")
    names = [name for name in hub.repo("me/sounds").files if name.startswith("data/")]
    assert names
    assert all("-aves-" in name for name in names)


def test_parts_from_machines_that_share_nothing_make_one_mirror(hub, tmp_path, tiny):
    def part(rank, **more):
        words = (tiny, "me/sounds", "--work-dir", tmp_path / f"machine-{rank}", "--wait", "0")
        return publish(hub, tmp_path, *words, variables={"RANK": str(rank), "WORLD_SIZE": "2"}, **more)

    assert "the mirror is not complete" in part(0, code=1).stderr
    part(1)
    part(0)
    publish(hub, tmp_path, tiny, "me/whole")
    parts, whole = (
        {
            name: file["sha256"]
            for name, file in hub.repo(repo).files.items()
            if name.startswith(("data", "annotations"))
        }
        for repo in ("me/sounds", "me/whole")
    )
    assert parts == whole
    assert not any(name.startswith("parts/") for name in hub.repo("me/sounds").files)


def test_evaluation_reads_a_mirror_as_it_reads_archives(hub, tmp_path, tiny):
    publish(hub, tmp_path, tiny, "me/sounds")
    lines = call(hub, tmp_path, sys.executable, "-c", INFO, "me/sounds", tiny).stdout.splitlines()
    assert lines[:2] == lines[2:4]
    assert lines[4].startswith("no such folder, and no mirror on the Hub that can be read: me/none, test: found")


def sample_runs(source_files):
    """All runs of 16 bytes of the recordings' samples, runs of one or two byte values aside."""
    runs = set()
    for content in source_files.values():
        samples = content[44:]
        runs.update(samples[i : i + 16] for i in range(len(samples) - 15))
    return {run for run in runs if len(set(run)) > 2}


def leaked(runs, received):
    return any(body[i : i + 16] in runs for body in received for i in range(len(body) - 15))


def test_public_alone_uploads_no_recording(hub, tmp_path):
    (tmp_path / "source").mkdir()
    source = write_source(tmp_path / "source")
    files = {}
    first = 0
    for stem in ("train", "val", "test"):
        made, recordings = document(stem, first)
        first += len(made["audio"])
        files |= recordings
    runs = sample_runs(files)
    index = tmp_path / "index"
    index.mkdir()
    (index / "train.index.json").write_text("{}")
    (index / "train.windows.bin").write_bytes(b"an index" * 100)
    done = publish(hub, tmp_path, source, "me/open", "--public", "--index", index)
    assert "You may not distribute the recordings" in done.stderr
    assert not hub.repo("me/open").private
    names = set(hub.repo("me/open").files)
    assert {"annotations/train.parquet", "index/train.windows.bin", "README.md", "manifest.json"} <= names
    assert not any(name.startswith("data/") for name in names)
    assert not leaked(runs, hub.received())
    assert load(hub, tmp_path, "me/open", "annotations:train:streaming") == [
        expected_rows(source, "annotations", "train")
    ]


def test_the_search_for_leaks_finds_one(hub, tmp_path, tiny):
    _, recordings = document("train")
    publish(hub, tmp_path, tiny, "me/open", "--public", "--acknowledge-terms", "--format", "wav")
    assert not hub.repo("me/open").private
    assert leaked(sample_runs(recordings), hub.received())


def test_audio_does_not_go_to_a_repository_that_is_public_already(hub, tmp_path, tiny):
    publish(hub, tmp_path, tiny, "me/open", "--public")
    n = len(hub.requests)
    done = publish(hub, tmp_path, tiny, "me/open", code=1)
    assert re.fullmatch(r"hf-inatsounds publish: the repository is public: me/open: .*\n", done.stderr)
    assert not [path for method, path, _ in hub.requests[n:] if "preupload" in path or "lfs" in path]
    publish(hub, tmp_path, tiny, "me/closed")
    done = publish(hub, tmp_path, tiny, "me/closed", "--public", code=1)
    assert "the repository is private: me/closed" in done.stderr


def test_who_is_not_logged_in_is_told(hub, tmp_path, tiny):
    done = publish(hub, tmp_path, tiny, "me/sounds", code=1, token=False)
    assert re.search(r"^hf-inatsounds publish: .*hf auth login", done.stderr)
    done = publish(hub, tmp_path, tiny, "not a name", code=2)
    assert "must be owner/name" in done.stderr


def test_the_hf_command_works_against_the_server(hub, tmp_path):
    hf = Path(sys.executable).with_name("hf")
    assert "me" in call(hub, tmp_path, hf, "auth", "whoami").stdout
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "config.json").write_text("{}")
    (tmp_path / "folder" / "model.safetensors").write_bytes(bytes(range(256)) * 10)
    call(hub, tmp_path, hf, "repos", "create", "me/model", "--private")
    call(hub, tmp_path, hf, "upload", "me/model", tmp_path / "folder", ".")
    call(hub, tmp_path, hf, "download", "me/model", "--local-dir", tmp_path / "back")
    assert (tmp_path / "back/model.safetensors").read_bytes() == bytes(range(256)) * 10
