"""``verify`` against sources with planted defects: what was planted is found, and nothing else."""

import gzip
import hashlib
import io
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import tarfile
import tracemalloc

import numpy as np
import pytest

from hf_inatsounds import schema
from hf_inatsounds.errors import SourceError
from hf_inatsounds.reports.source_reports import verification_text
from hf_inatsounds.verification import verify
from hf_inatsounds.verification.split import check_split
from tests.helpers.archive import RATE, document, pack, tone, wav, write_source
from tests.helpers.server import serving


def md5(path):
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def plant(stem, document, files):
    """One recording of each kind in train; val repeats one of train's."""
    names = [audio["file_name"] for audio in document["audio"]]
    if stem == "val":
        files[names[1]] = wav(tone(500.0, 1.5, 1))  # train's recording 1
    if stem != "train":
        return
    good = files[names[1]]
    flac = wav(tone(900.0, 2.4, 5), form="FLAC")
    files[names[0]] = b""
    files[names[2]] = good[: len(good) // 2]
    files[names[3]] = wav(np.zeros(1_000))
    files[names[4]] = good
    files[names[5]] = wav(tone(900.0, 0.6, 5)[:9_600], 16_000)
    files[names[6]] = b"RIFF, or so it says" * 9
    files[names[7]] = wav(tone(900.0, 5.0, 5))
    files[names[8]] = flac[: len(flac) // 2] + bytes(200)  # its first half can be heard; only decoding finds it
    document["audio"][4]["duration"] = 1.5
    document["audio"][3]["duration"] = 0.05


@pytest.fixture
def planted(tmp_path):
    return write_source(tmp_path, change=plant)


def named(check):
    return {kind: [row["recording_id"] for row in rows] for kind, rows in check["defects"].items()}


def test_a_good_source_is_whole(tiny):
    report = verify(tiny, quiet=True)
    assert report["ok"]
    assert report["problems"] == report["duplicates_across_splits"] == []
    for split, check in report["splits"].items():
        stem = schema.STEMS[split]
        assert check["archive"]["md5"] == md5(tiny / f"{stem}.tar.gz")
        assert check["annotations"]["md5"] == md5(tiny / f"{stem}.json.tar.gz")
        assert check["archive"]["bytes"] == (tiny / f"{stem}.tar.gz").stat().st_size
        assert check["archive"]["official_md5"] is None
        assert check["defects"] == {}
    train = report["splits"]["train"]
    assert (train["annotated"], train["found"], train["shorter_than_window"]) == (12, 12, 12)
    assert train["hours"] == pytest.approx(16.2 / 3600)
    assert "whole: every archive was read" in verification_text(report)


def test_recordings_shorter_than_the_window_are_counted(tiny):
    assert verify(tiny, splits=["train"], window_s=1.0, quiet=True)["splits"]["train"]["shorter_than_window"] == 5


def test_every_planted_defect_is_listed_under_its_kind_and_the_source_is_whole(planted):
    report = verify(planted, quiet=True)
    assert named(report["splits"]["train"]) == {
        "empty": [0], "unreadable": [6], "truncated": [2, 8], "near-empty": [3], "wrong-format": [5],
        "duplicate": [4], "wrong-length": [7],
    }  # fmt: skip
    longer = report["splits"]["train"]["defects"]["wrong-length"][0]
    assert (longer["duration_s"], longer["annotated_s"]) == (5.0, 2.4)
    across = report["duplicates_across_splits"]
    assert [(row["recording_id"], row["repeats_split"], row["repeats_recording_id"]) for row in across] == [
        (13, "train", 1)
    ]
    assert report["ok"]
    text = verification_text(report)
    for kind in ("empty", "unreadable", "truncated", "near-empty", "wrong-format", "duplicate", "wrong-length"):
        assert f"train, {kind} (" in text
    json.dumps(report, allow_nan=False)


def test_files_and_annotations_that_do_not_match_are_problems(tmp_path):
    def spoil(stem, document, files):
        if stem == "test":
            files["test/stray.wav"] = files.pop(document["audio"][0]["file_name"])

    report = verify(write_source(tmp_path, change=spoil), quiet=True)
    assert not report["ok"]
    first, second = report["problems"]
    assert first.startswith("test.tar.gz: 1 annotated recordings without file, the first is test/00000_")
    assert second == "test.tar.gz: 1 files without annotation, the first is test/stray.wav"
    assert report["splits"]["test"]["strays"] == {"count": 1, "names": ["test/stray.wav"]}


def test_odd_members_and_repeated_ones_are_listed(tmp_path):
    write_source(tmp_path)
    with tarfile.open(tmp_path / "train.tar.gz") as tar:
        files = {member.name: tar.extractfile(member).read() for member in tar}
    name = next(iter(files))
    with tarfile.open(tmp_path / "train.tar.gz", "w:gz") as tar:
        for each in [*files, name]:
            info = tarfile.TarInfo(each)
            info.size = len(files[each])
            tar.addfile(info, io.BytesIO(files[each]))
        for odd, kind in (("/etc/passwd", b"0"), ("train/link.wav", tarfile.SYMTYPE)):
            info = tarfile.TarInfo(odd)
            info.type, info.linkname = kind, "/etc/passwd"
            tar.addfile(info)
    with open(tmp_path / "train.tar.gz", "ab") as archive:
        archive.write(b"garbage")
    report = verify(tmp_path, splits=["train"], quiet=True)
    check = report["splits"]["train"]
    assert report["ok"]
    assert check["repeated"] == {"count": 1, "names": [name]}
    assert {kind: found["count"] for kind, found in check["archive"]["odd_members"].items()} == {
        "unsafe name": 1, "symbolic link": 1,
    }  # fmt: skip
    assert check["archive"]["trailing_bytes"] == 7
    assert check["archive"]["md5"] == md5(tmp_path / "train.tar.gz")
    for text in ("twice in the archive: 1", "symbolic link, passed over: 1", "7 bytes behind the gzip stream"):
        assert text in verification_text(report)


def test_a_damaged_archive_is_a_problem_and_its_md5_is_still_of_all_its_bytes(tmp_path):
    path = write_source(tmp_path) / "val.tar.gz"
    whole = path.read_bytes()
    path.write_bytes(whole[:30_000] + b"damage" + whole[30_006:])
    report = verify(tmp_path, quiet=True)
    assert [line for line in report["problems"] if "damaged archive" in line and "val.tar.gz" in line]
    assert report["splits"]["validation"]["archive"]["md5"] == md5(path)
    assert report["splits"]["train"]["archive"]["damage"] is None
    assert "DAMAGED" in verification_text(report)


def test_an_md5_that_is_not_the_official_one_is_a_problem(tiny, tmp_path, monkeypatch):
    size = (tiny / "val.tar.gz").stat().st_size
    assert size > 50_000
    for right in (True, False):
        digest = md5(tiny / "val.tar.gz") if right else "0" * 32
        official = schema.OfficialFile("val.tar.gz", f"{size / 1e6:.2f} MB", digest)
        monkeypatch.setattr("hf_inatsounds.verification.split.OFFICIAL_FILES", (official,))
        report = verify(tiny, splits=["validation"], quiet=True)
        assert report["ok"] is right
        assert report["splits"]["validation"]["archive"]["official_md5"] == digest
    assert f"found {md5(tiny / 'val.tar.gz')}; expected {'0' * 32}" in report["problems"][0]


def test_what_is_missing_is_a_problem(tmp_path):
    write_source(tmp_path)
    (tmp_path / "train.tar.gz").unlink()
    (tmp_path / "val.json.tar.gz").unlink()
    pack(tmp_path / "test.json.tar.gz", {"test.json": b"{"})
    report = verify(tmp_path, quiet=True)
    lines = " | ".join(report["problems"])
    assert len(report["problems"]) == 3
    for text in (f"missing: {tmp_path}/train.tar.gz", f"missing: {tmp_path}/val.json.tar.gz", "not JSON"):
        assert text in lines
    assert report["splits"]["validation"]["archive"]["members"] == 6  # read all the same
    with pytest.raises(SourceError, match="nothing of iNatSounds here"):
        verify(tmp_path / "..", quiet=True)
    with pytest.raises(SourceError, match="unknown split"):
        verify(tmp_path, splits=["dev"], quiet=True)


def test_a_connection_that_breaks_is_a_problem_and_is_not_kept(tiny, tmp_path, monkeypatch):
    class Breaking(io.BytesIO):
        def read(self, size=-1):
            if self.tell() > 40_000:
                raise ConnectionResetError("connection reset by peer")
            return super().read(min(size, 10_000))

    content = (tiny / "train.tar.gz").read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr("hf_inatsounds.archives.fetch.Source.open", lambda self, name: Breaking(content))
        report = verify(tiny, splits=["train"], quiet=True, cache=tmp_path)
    assert len(report["problems"]) == 1
    assert "connection reset by peer" in report["problems"][0]
    assert report["splits"]["train"]["archive"]["md5"] is None
    assert verify(tiny, splits=["train"], quiet=True, cache=tmp_path)["ok"]


def test_what_a_terminal_would_obey_is_not_printed(tmp_path):
    def spoil(stem, document, files):
        files[f"{stem}/\x1b[2J.wav"] = b""
        audio = document["audio"][0]
        name = f"{stem}/a\x1b]0;b.wav"
        files.pop(audio["file_name"])
        files[name], audio["file_name"] = b"", name

    report = verify(write_source(tmp_path, change=spoil), quiet=True)
    text = verification_text(report)
    assert "\\x1b[2J.wav" in text
    assert "a\\x1b]0;b.wav" in text
    assert "\x1b" not in text


def comparable(report):
    text = json.dumps(report["splits"], sort_keys=True).replace('"from_cache": true', '"from_cache": false')
    return text, report["problems"], report["duplicates_across_splits"]


def test_a_url_and_several_processes_give_the_same_report(planted):
    expected = comparable(verify(planted, quiet=True, jobs=1))
    assert comparable(verify(planted, quiet=True, jobs=3)) == expected
    with serving(planted) as url:
        assert comparable(verify(url, quiet=True, jobs=1)) == expected


def test_an_unpacked_tree_is_read_as_its_archive_would_be(tmp_path, planted):
    (tmp_path / "tree").mkdir()
    tree = write_source(tmp_path / "tree", change=plant, unpacked=True)
    (tree / "train" / "link.wav").symlink_to("/etc/passwd")
    expected, found = verify(planted, quiet=True)["splits"], verify(tree, quiet=True)["splits"]
    for split in expected:
        assert found[split]["defects"] == expected[split]["defects"]
        assert found[split]["hours"] == pytest.approx(expected[split]["hours"])
    assert found["train"]["archive"]["odd_members"]["symbolic link"]["count"] == 1


def test_finished_archives_are_not_read_again_until_they_change(planted, tmp_path, monkeypatch):
    passes, interrupts = [], ["test"]

    def counting(source, split, **more):
        passes.append(split)
        if split in interrupts:
            interrupts.remove(split)
            raise KeyboardInterrupt
        return check_split(source, split, **more)

    monkeypatch.setattr("hf_inatsounds.verification.job.check_split", counting)
    cache = tmp_path / "cache"
    with pytest.raises(KeyboardInterrupt):
        verify(planted, cache=cache, quiet=True)
    found = verify(planted, cache=cache, quiet=True)
    assert passes == ["train", "validation", "test", "test"]
    assert [check["from_cache"] for check in found["splits"].values()] == [True, True, False]
    assert comparable(found) == comparable(verify(planted, quiet=True))
    passes.clear()
    os.utime(planted / "val.tar.gz")
    verify(planted, cache=cache, quiet=True)
    assert passes == ["validation"]
    for entry in cache.iterdir():
        entry.write_text("{")
    assert comparable(verify(planted, cache=cache, quiet=True)) == comparable(found)
    passes.clear()
    verify(planted, cache=cache, quiet=True, window_s=1.0)
    assert passes == ["train", "validation", "test"]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupt_or_a_kill_ends_all_processes_within_seconds(tmp_path, how):
    """The archives are pipes that never end, so that every process is in the middle of one."""
    context = multiprocessing.get_context("fork")
    feeding = []
    for stem in ("train", "val"):
        made, _ = document(stem)
        pack(tmp_path / f"{stem}.json.tar.gz", {f"{stem}.json": json.dumps(made).encode()})
        os.mkfifo(tmp_path / f"{stem}.tar.gz")
        begun = context.Event()
        process = context.Process(target=feed, args=(tmp_path / f"{stem}.tar.gz", begun), daemon=True)
        process.start()
        feeding.append((process, begun))
    words = [sys.executable, "-m", "hf_inatsounds.cli.main", "verify", str(tmp_path), "--jobs", "2"]
    running = subprocess.Popen(
        words, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a job in the background has it ignored
    )  # fmt: skip
    for _, begun in feeding:
        assert begun.wait(300)
    if how == signal.SIGINT:
        os.killpg(running.pid, how)  # as a terminal does
    else:
        running.kill()
    out, err = running.communicate(timeout=300)
    assert out == ""
    assert "Traceback" not in err
    if how == signal.SIGINT:
        assert running.returncode == 130, err
        assert "interrupted" in err
    for process, _ in feeding:
        process.join(120)  # the pipe broke: nobody reads any more
        assert not process.is_alive()


def feed(path, begun):
    """A tar of recordings without an end."""
    content = wav(np.random.default_rng(0).integers(-3_000, 3_000, RATE * 5).astype(np.int16))
    try:
        with open(path, "wb", buffering=0) as pipe, gzip.GzipFile(fileobj=pipe, mode="wb", compresslevel=0) as packed:
            for number in range(1_000_000):
                info = tarfile.TarInfo(f"train/{number}.wav")
                info.size = len(content)
                packed.write(info.tobuf() + content + bytes(-len(content) % 512))
                if number == 20:
                    begun.set()
    except BrokenPipeError:
        os._exit(0)


def test_memory_does_not_grow_with_the_archive(tmp_path):
    content = wav(np.zeros(RATE * 60))

    def grow(stem, document, files):
        for audio in document["audio"]:
            files[audio["file_name"]] = content

    write_source(tmp_path, change=grow)
    verify(tmp_path, quiet=True, splits=["test"])  # what imports and caches take is not meant
    tracemalloc.start()
    try:
        verify(tmp_path, quiet=True, splits=["train"])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 5 * len(content) < 12 * len(content)
