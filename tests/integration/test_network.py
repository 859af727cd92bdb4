"""What a server can do to a stream: rows are right or there is one line that says why not, within few tries."""

import email.utils
import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import hf_inatsounds
from hf_inatsounds.archives import retries
from hf_inatsounds.archives.fetch import Source
from hf_inatsounds.archives.indexing import IndexBuild
from hf_inatsounds.archives.ranges import open_ranges
from hf_inatsounds.archives.seek_index import file_names
from hf_inatsounds.cli.main import main
from hf_inatsounds.data.annotations import read_annotations
from hf_inatsounds.errors import SourceError
from tests.helpers.archive_server import archive_server
from tests.helpers.noise import write_noise

N = 60
ROOT = Path(__file__).parents[2]
WAYS = ("forward", "by index", "mixed")


@pytest.fixture(autouse=True)
def by_blocks(monkeypatch):
    """Streams are shuffled as those of large archives are; tests/integration/test_sources.py has the small ones."""
    monkeypatch.setattr("hf_inatsounds.data.indexed_rows.WHOLE_BYTES", 0)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    policy = retries.RetryPolicy(first_wait_s=0.005, longest_wait_s=0.02, timeout_s=30, longest_asked_s=20)
    monkeypatch.setattr(retries, "RETRY", policy)


@pytest.fixture(scope="module")
def noise(tmp_path_factory):
    return written(tmp_path_factory.mktemp("noise"), samples=(20_000, 120_000))


@pytest.fixture(scope="module")
def others(tmp_path_factory):
    """The same names, other recordings."""
    return written(tmp_path_factory.mktemp("others"), samples=(20_001, 120_001))


@pytest.fixture
def copied(noise, tmp_path):
    """A folder that a test may change."""
    return Path(shutil.copytree(noise, tmp_path / "copied"))


def written(folder, samples):
    write_noise(folder, "train", N, samples=samples)
    (folder / "index").mkdir()
    IndexBuild(Source.parse(folder), "train", folder / "index", spacing=1 << 19).run()
    return folder


def stream(source, way, index=None):
    index = None if way == "forward" else index or f"{source}/index"
    loaded = hf_inatsounds.load_dataset("all", "train", source=source, index=index)
    return loaded.shuffle(seed=1) if way == "mixed" else loaded


def archive_requests(server, method="GET"):
    return [one for one in server.log.requests if one[:2] == (method, "train.tar.gz")]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "validators",
    [{"etag", "if-range"}, {"etag"}, {"modified"}, set()],
    ids=lambda given: "+".join(sorted(given)) or "none",
)
def test_a_file_that_is_replaced_in_mid_stream_gives_no_mixture(copied, others, way, validators):
    old = list(stream(copied, way))
    with archive_server(copied) as server:
        server.validators = validators
        server.always = ("GET", "short")  # so that a whole pass takes many requests

        once = threading.Lock()

        def replace(method, name, n):
            if len(archive_requests(server)) >= 25 and once.acquire(blocking=False):
                os.replace(shutil.copy(others / "train.tar.gz", copied / "new"), copied / "train.tar.gz")

        server.before = replace
        found = []
        replaced = pytest.raises(SourceError, match=r"replaced at the server while it was read: http.* → ")
        with replaced as caught:
            for row in stream(server.url, way):
                found.append(row)  # noqa: PERF402
        assert len(archive_requests(server)) <= 45  # those under way, no tries more
    assert found == old[: len(found)]
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("code", ["401", "403", "405", "501"])
@pytest.mark.parametrize("way", WAYS)
def test_a_server_that_answers_no_head_is_read(noise, way, code):
    with archive_server(noise) as server:
        server.always = ("HEAD", code)
        assert list(stream(server.url, way)) == list(stream(noise, way))


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("ignored-range", "does not give the range .*status 200 without the range"),
        ("no-content-range", "does not give the range .*status 206 without the range"),
        ("other-range", "does not give the range .*another range"),
        ("redirect-loop", "redirects without end"),
        ("401", "not allowed: .*status 401"),
        ("403", "not allowed: .*status 403"),
        ("404", "no such file: .*status 404"),
        ("410", "no such file: .*status 410"),
        ("400", "cannot read a file of the source: .*status 400"),
        ("501", "cannot read a file of the source: .*status 501"),
    ],
)
def test_what_another_try_cannot_mend_is_told_at_once(noise, kind, message):
    with archive_server(noise) as server:
        server.always = ("", kind)
        with pytest.raises(SourceError, match=message) as caught:
            open_ranges(f"{server.url}/train.tar.gz").read(1_000_000, 1_000_100)
        asked = len(server.log.requests)
    assert "tries" not in str(caught.value)
    assert "Try again" not in str(caught.value)
    assert asked <= (40 if kind == "redirect-loop" else 2)


def test_what_may_not_be_read_is_not_called_missing(noise):
    with archive_server(noise) as server:
        server.always = ("", "403")
        with pytest.raises(SourceError, match=r"not allowed: .*train\.json\.tar\.gz.*status 403"):
            stream(server.url, "forward")


def test_a_storage_that_denies_what_is_not_there_is_read(noise, capsys):
    """As S3 answers who may read and not list: 403 for the splits that are not there."""
    with archive_server(noise) as server:
        server.missing = 403
        assert set(hf_inatsounds.load_dataset("all", source=server.url)) == {"train"}
        assert main(["annotations", server.url, "--quiet"]) == 0
        assert main(["annotations", server.url, "--split", "test", "--quiet"]) == 1
    assert "not allowed" in capsys.readouterr().err


def test_a_query_goes_with_every_file_and_is_never_printed(noise):
    with archive_server(noise) as server:
        server.query = "sig=abc%2F1&se=2"
        for way in WAYS:
            index = f"{server.url}/index?{server.query}"
            assert list(stream(f"{server.url}/?{server.query}", way, index)) == list(stream(noise, way))
        with pytest.raises(SourceError, match="not allowed") as caught:
            stream(f"{server.url}?sig=wrong", "forward")
    assert "wrong" not in str(caught.value)
    assert "?…" in str(caught.value)


@pytest.mark.parametrize("way", WAYS)
def test_progress_within_a_piece_is_kept(noise, way):
    """Every body ends after 200 kB: more often than there are tries, and no byte is sent twice."""
    with archive_server(noise) as server:
        server.always = ("GET", "short")
        assert list(stream(server.url, way)) == list(stream(noise, way))
        assert server.log.faults["short"] > 20
        if way == "forward":
            assert server.log.sent_bytes["train.tar.gz"] == (noise / "train.tar.gz").stat().st_size


@pytest.mark.parametrize("way", WAYS)
def test_a_byte_that_flips_on_the_way_is_fetched_again(noise, way, capfd):
    with archive_server(noise) as server:
        rows = stream(server.url, way)  # opened before the byte flips
        server.flips = 1
        expected = list(stream(noise, way))
        if way == "forward":  # the first rows are handed out before anybody can know
            try:
                assert list(rows) == expected
            except SourceError as error:
                assert "was damaged on the way" in str(error)  # noqa: PT017
        else:
            assert list(rows) == expected
        assert server.flips == 0
    assert "again" in capfd.readouterr().err


@pytest.mark.parametrize("way", WAYS)
def test_bytes_that_flip_each_time_end_the_stream_after_the_second(noise, way):
    with archive_server(noise) as server:
        rows = stream(server.url, way)
        server.log.clear()
        server.flips = 1_000_000
        with pytest.raises(SourceError, match=r"not as it was indexed|damaged|does not fit"):
            list(rows)
        assert len(archive_requests(server)) <= (2 if way == "forward" else 60)


@pytest.mark.parametrize(
    "ending", ["members.parquet", "points.parquet", "windows.bin", "index.json", "train.json.tar.gz"]
)
def test_an_index_or_annotations_that_are_damaged_on_the_way_are_fetched_again(noise, ending):
    with archive_server(noise) as server:
        server.flips, server.flipped = 1, ending
        assert list(stream(server.url, "mixed")) == list(stream(noise, "mixed"))
        assert server.flips == 0


def test_an_index_is_built_although_a_byte_flips(noise, tmp_path, capfd):
    with archive_server(noise) as server:
        build = IndexBuild(Source.parse(server.url), "train", tmp_path, spacing=1 << 19)
        server.flips = 1
        build.run()
    assert "again" in capfd.readouterr().err
    for name in file_names("train").values():
        assert (tmp_path / name).read_bytes() == (noise / "index" / name).read_bytes()


def test_an_unfinished_index_is_not_gone_on_with_for_a_replaced_archive(copied, others, tmp_path):
    with archive_server(copied) as server:
        first = IndexBuild(Source.parse(server.url), "train", tmp_path, segment_bytes=1 << 19)
        first._segment()
        first._save()
        assert IndexBuild(Source.parse(server.url), "train", tmp_path, segment_bytes=1 << 19).resumed_at > 0
        os.utime(copied / "train.tar.gz", (1, 1))
        assert IndexBuild(Source.parse(server.url), "train", tmp_path, segment_bytes=1 << 19).resumed_at == 0


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_a_wait_that_the_server_asks_for_is_waited(noise, form, capfd, monkeypatch):
    slept = []
    monkeypatch.setattr(retries.time, "sleep", slept.append)
    monkeypatch.setattr(retries, "_told_until", 0.0)
    with archive_server(noise) as server:
        server.delay_s = 0
        server.waits = ["15"] if form == "seconds" else [email.utils.formatdate(time.time() + 16, usegmt=True)]
        read_annotations(Source.parse(server.url), "train")
    assert [pause for pause in slept if pause >= 10] == [pytest.approx(15, abs=6)]
    assert "status 429; waiting" in capfd.readouterr().err


def test_a_wait_beyond_all_patience_is_told_at_once(noise):
    with archive_server(noise) as server:
        server.waits = ["86400"]
        with pytest.raises(SourceError, match=r"asks for a long wait: .*status 429, [0-9,]+ s"):
            read_annotations(Source.parse(server.url), "train")


def test_an_unreadable_retry_after_is_none(noise):
    with archive_server(noise) as server:
        server.waits = ["soon", "-5", "Thu, maybe"]
        assert read_annotations(Source.parse(server.url), "train").table.num_rows == N


STREAMED = """
import sys
import hf_inatsounds
from tests.integration.test_network import stream
for row in stream(sys.argv[1], sys.argv[2]):
    pass
"""


@pytest.mark.parametrize("what", [*WAYS, "index", "verify"])
def test_an_interrupt_ends_a_stalled_stream(noise, tmp_path, what):
    """Far below the 30 s of one time-out, of which there were seven; a generous bound, since machines are busy."""
    with archive_server(noise) as server:
        server.hold.set()
        command = [sys.executable, "-c", STREAMED, server.url, what]
        if what not in WAYS:
            command = [sys.executable, "-m", "hf_inatsounds.cli.main", what, server.url, "--quiet"]
            command += ["--out", str(tmp_path)] * (what == "index")
        running = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
        assert server.held.wait(200)
        time.sleep(1)
        began = time.monotonic()
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=200)
        took_s = time.monotonic() - began
    assert running.returncode in (130, -signal.SIGINT)
    assert "KeyboardInterrupt" in said if what in WAYS else "interrupted" in said
    assert took_s < 25


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("far", [False, True], ids=["disk", "server"])
def test_an_iterator_that_was_carried_over_a_fork_goes_on(noise, way, far):
    expected = [row["recording_id"] for row in stream(noise, way)]
    with archive_server(noise) as server:
        iterator = iter(stream(server.url if far else noise, way))
        before = [next(iterator)["recording_id"] for _ in range(7)]
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            try:
                with os.fdopen(writer, "wb") as file:
                    pickle.dump([row["recording_id"] for row in iterator], file)
            finally:
                os._exit(0)
        os.close(writer)
        after = [row["recording_id"] for row in iterator]
        with os.fdopen(reader, "rb") as file:
            childs = pickle.load(file)
        os.waitpid(child, 0)
    assert before + after == expected
    assert before + childs == expected


def test_a_state_of_other_data_is_refused(copied, others):
    def opened(source=copied, name="all", seed=None):
        loaded = hf_inatsounds.load_dataset(name, "train", source=source, index=source / "index")
        return loaded if seed is None else loaded.shuffle(seed=seed)

    taken = opened(seed=1).map(lambda row: row)
    for _ in zip(range(5), taken, strict=False):
        pass
    state = taken.state_dict()
    same = opened(seed=1).map(lambda row: row)
    same.load_state_dict(state)
    assert sum(1 for _ in same) == N - 5
    for other in (opened(seed=2), opened(), opened(others, seed=1), opened(name="aves", seed=1)):
        with pytest.raises(SourceError, match="a state of another stream") as caught:
            other.map(lambda row: row).load_state_dict(state)
        assert "another source, split, selection or seed" in str(caught.value)
