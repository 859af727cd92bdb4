import gzip
import io
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import tarfile
import time
import unicodedata
import zlib
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from datasets.distributed import split_dataset_by_node
from torch.utils.data import DataLoader

import hf_inatsounds
from hf_inatsounds.archives.fetch import Source
from hf_inatsounds.archives.indexing import IndexBuild
from hf_inatsounds.archives.seek_index import file_names, read_index
from hf_inatsounds.errors import InatSoundsError, SourceError
from tests.helpers.archive import document, pack, wav, write_source
from tests.helpers.archive_server import archive_server
from tests.helpers.noise import write_noise

N = 200
FILES = tuple(file_names("train").values())


def build(source, folder, stem="train", **options):
    folder.mkdir(parents=True, exist_ok=True)
    return IndexBuild(Source.parse(source), stem, folder, **options).run()


def ids(rows):
    return [row["recording_id"] for row in rows]


@pytest.fixture(autouse=True)
def by_blocks(monkeypatch):
    """Streams are shuffled as those of large archives are; tests/integration/test_sources.py has the small ones."""
    monkeypatch.setattr("hf_inatsounds.data.indexed_rows.WHOLE_BYTES", 0)


@pytest.fixture(scope="module")
def noise(tmp_path_factory):
    """45 MB of noise in 40 species, and its index."""
    folder = tmp_path_factory.mktemp("noise")
    write_noise(folder, "train", N, samples=(20_000, 300_000))
    build(folder, folder / "index")
    return folder


@pytest.fixture(scope="module")
def rows(noise):
    """What reading from front to back gives."""
    return list(hf_inatsounds.load_dataset("all", "train", source=noise))


@pytest.fixture
def stream(noise):
    return hf_inatsounds.load_dataset("all", "train", source=noise, index=noise / "index")


@pytest.mark.parametrize("name", ["all", "reptilia", "evaluation", "annotations"])
def test_rows_by_index_are_those_read_forward(noise, name):
    forward = list(hf_inatsounds.load_dataset(name, "train", source=noise))
    for streaming in (True, False):
        found = hf_inatsounds.load_dataset(name, "train", source=noise, index=noise / "index", streaming=streaming)
        assert list(found) == forward


def test_repeated_and_dotted_names_give_the_rows_that_reading_forward_gives(tmp_path):
    write_source(tmp_path)
    with tarfile.open(tmp_path / "train.tar.gz") as archive:
        files = [(member.name, archive.extractfile(member).read()) for member in archive]
    files = [(f"./{name}", content) for name, content in files]
    files.insert(5, (files[0][0], wav(np.zeros(1_000))))  # another recording under a name that was there before
    pack(tmp_path / "train.tar.gz", files)
    build(tmp_path, tmp_path / "index")
    forward = list(hf_inatsounds.load_dataset(split="train", source=tmp_path))
    assert ids(forward) == list(range(12))
    assert list(hf_inatsounds.load_dataset(split="train", source=tmp_path, index=tmp_path / "index")) == forward


def test_rows_of_real_recordings_by_index_are_those_read_forward(animals, tmp_path):
    build(animals, tmp_path)
    build(animals, tmp_path, "val")
    with archive_server(animals) as server:
        for split in ("train", "validation"):
            by_index = hf_inatsounds.load_dataset(split=split, source=server.url, index=tmp_path)
            assert list(by_index) == list(hf_inatsounds.load_dataset(split=split, source=animals))
    rows = hf_inatsounds.load_dataset(split="validation", source=animals)
    assert common_runs(b"".join(row["audio"]["bytes"][44:] for row in rows), tmp_path) == []


def test_workers_and_nodes_divide_the_stream(stream):
    assert stream.num_shards >= 8
    for made in (stream, stream.shuffle(seed=3)):
        small = made.select_columns(["recording_id"])
        nodes = [list(DataLoader(split_dataset_by_node(small, i, 2), batch_size=None, num_workers=2)) for i in (0, 1)]
        first, second = ([int(row["recording_id"]) for row in node] for node in nodes)
        assert sorted(first + second) == list(range(N))
        assert min(len(first), len(second)) > N / 4


def test_a_shuffled_order_depends_on_seed_and_epoch_alone(noise, stream, rows):
    shuffled = stream.shuffle(seed=1)
    order = ids(shuffled)
    assert sorted(order) == list(range(N))
    assert order != ids(rows)
    by_id = {row["recording_id"]: row for row in rows}
    assert all(row == by_id[row["recording_id"]] for row in shuffled)
    again = hf_inatsounds.load_dataset("all", "train", source=noise, index=noise / "index")
    assert ids(again.select_columns(["recording_id"]).shuffle(seed=1, buffer_size=3)) == order
    assert ids(stream.shuffle(seed=2)) != order
    shuffled.set_epoch(1)
    later = ids(shuffled)
    assert later != order
    assert ids(shuffled) == later
    shuffled.set_epoch(0)
    assert ids(shuffled) == order


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("epoch", [0, 2])
def test_a_stream_resumes_exactly_twice_in_a_row(noise, stream, shuffle, epoch):
    def make():
        made = hf_inatsounds.load_dataset("all", "train", source=noise, index=noise / "index")
        made = made.shuffle(seed=5) if shuffle else made
        made.set_epoch(epoch)
        return made

    order = ids(make())
    seen, state = [], None
    for stop in (37, 61, 1):
        made = make()
        if state is not None:
            made.load_state_dict(state)
        for row in itertools.islice(made, stop):
            seen.append(row["recording_id"])
            state = made.state_dict()
        assert seen == order[: len(seen)]
    made = make()
    made.load_state_dict(state)
    assert seen + ids(made) == order


@pytest.mark.parametrize("shuffle", [False, True])
def test_a_loader_with_workers_resumes_exactly_twice_in_a_row(stream, shuffle):
    loaders = pytest.importorskip("torchdata.stateful_dataloader")
    made = (stream.shuffle(seed=5) if shuffle else stream).select_columns(["recording_id"])

    def loader():
        return loaders.StatefulDataLoader(made, batch_size=7, num_workers=2)

    order = [batch["recording_id"].tolist() for batch in loader()]
    assert sorted(itertools.chain(*order)) == list(range(N))
    seen, state = [], None
    for stop in (5, 4):
        running = loader()
        if state is not None:
            running.load_state_dict(state)
        for batch in itertools.islice(running, stop):
            seen.append(batch["recording_id"].tolist())
            state = running.state_dict()
        del running
    last = loader()
    last.load_state_dict(state)
    assert seen + [batch["recording_id"].tolist() for batch in last] == order


def entropy_bits(labels):
    counts = np.bincount(labels)
    share = counts[counts > 0] / len(labels)
    return float(-(share * np.log2(share)).sum())


def test_batches_of_a_class_ordered_archive_are_mixed(stream, rows):
    def mean_entropy(labels):
        return np.mean([entropy_bits(labels[i : i + 64]) for i in range(0, len(labels) - 63, 64)])

    shuffled = [row["label"] for seed in range(2) for row in stream.shuffle(seed=seed)]
    labels = np.array([row["label"] for row in rows])
    perfect = mean_entropy(np.concatenate([np.random.default_rng(i).permutation(labels) for i in range(2)]))
    assert mean_entropy(labels) < 0.8 * perfect
    assert mean_entropy(np.array(shuffled)) > 0.88 * perfect  # twelve blocks in all; the unit test has thousands


def test_a_selection_fetches_little_more_than_its_own_bytes(noise):
    with archive_server(noise) as server:
        loaded = hf_inatsounds.load_dataset("reptilia", "train", source=server.url, index=server.url + "/index")
        server.log.clear()
        own = sum(len(row["audio"]["bytes"]) for row in loaded)
        assert server.log.sent_bytes["train.tar.gz"] < own + (4 << 20)  # own is more than its compressed size
        assert server.log.sent_bytes["train.tar.gz"] < (noise / "train.tar.gz").stat().st_size / 4


def test_a_whole_split_in_order_is_one_request(noise):
    with archive_server(noise) as server:
        loaded = hf_inatsounds.load_dataset("all", "train", source=server.url, index=noise / "index")
        server.log.clear()
        assert sum(1 for _ in loaded) == N
        asked = [(start, stop) for _, _, start, stop in server.log.requests]
        assert len(asked) <= 2  # the second, where the guess of the end fell short
        assert sum(stop - start for start, stop in asked) <= (noise / "train.tar.gz").stat().st_size


def common_runs(audio: bytes, folder: Path, run: int = 16) -> list[bytes]:
    """Runs of 16 bytes, silence aside, that audio and the files of an index share."""
    found = []
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        views = [np.frombuffer(content, np.uint64, (len(content) - i) // 8, i) for i in range(8) if len(content) >= 16]
        table = np.unique(np.concatenate(views))
        mask = np.zeros(1 << 24, bool)
        mask[table >> 40] = True
        for i in range(8):
            view = np.frombuffer(audio, np.uint64, (len(audio) - i) // 8, i)
            at = np.flatnonzero(mask[view >> 40])
            at = at[np.isin(view[at], table)]
            for j in at[np.isin(at + 1, at)]:
                piece = audio[i + 8 * int(j) : i + 8 * int(j) + run]
                if len(set(piece)) > 2 and piece in content:
                    found.append(piece)
    return found


def test_no_audio_is_in_the_index(noise, rows, tmp_path):
    audio = b"".join(row["audio"]["bytes"][44:] for row in rows)
    assert common_runs(audio, noise / "index") == []
    (tmp_path / "leak").write_bytes(b"x" * 5 + audio[1_000_003:1_000_030] + b"y" * 5)
    assert common_runs(audio, tmp_path) != []  # the search itself can find something
    index = read_index(Source.parse(noise / "index"), "train")
    for i in range(1, len(index.out)):
        for skip in (0, 12):
            with pytest.raises(zlib.error):
                zlib.decompress(index.sealed_window(i)[skip:])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content[:-1], "another archive: .*bytes; expected .*bytes"),
        (lambda content: b"\x1f\x8b\x08\x01" + content[4:], "another archive: .*a head with"),
        (lambda content: content[:-9] + b"x" + content[-8:], "another archive: .*a tail with"),
        (lambda content: content[:20_000_000] + bytes(40) + content[20_000_040:], "does not fit|not as it was indexed"),
    ],
)
def test_another_archive_is_refused(noise, tmp_path, change, message):
    (tmp_path / "train.tar.gz").write_bytes(change((noise / "train.tar.gz").read_bytes()))
    (tmp_path / "train.json.tar.gz").symlink_to(noise / "train.json.tar.gz")
    with pytest.raises(SourceError, match=message):
        list(hf_inatsounds.load_dataset("all", "train", source=tmp_path, index=noise / "index"))


@pytest.mark.parametrize("name", FILES)
def test_a_flipped_byte_in_the_index_is_an_error_and_never_wrong_audio(noise, tmp_path, rows, name):
    for other in FILES:
        (tmp_path / other).write_bytes((noise / "index" / other).read_bytes())
    content = (noise / "index" / name).read_bytes()
    for at in (0, len(content) // 3, len(content) - 3):
        (tmp_path / name).write_bytes(content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :])
        with pytest.raises(SourceError, match=r"damaged seek index|does not fit"):
            list(hf_inatsounds.load_dataset("all", "train", source=noise, index=tmp_path).shuffle(seed=0))


def test_a_missing_index_is_named(noise, tmp_path):
    with pytest.raises(SourceError, match=r"no seek index: .*train\.index\.json.*hf-inatsounds index"):
        hf_inatsounds.load_dataset("all", "train", source=noise, index=tmp_path)


BUILD = """
import sys; from pathlib import Path
from hf_inatsounds.archives.fetch import Source
from hf_inatsounds.archives.indexing import IndexBuild
build = IndexBuild(Source.parse(sys.argv[1]), "train", Path(sys.argv[2]), segment_bytes=6 << 20)
print(build.resumed_at, flush=True)
build.run()
"""


def test_a_killed_build_ends_in_the_same_bytes(noise, tmp_path):
    build(noise, tmp_path / "whole", segment_bytes=6 << 20)
    generator = random.Random(0)
    resumed = []
    for i in range(4):
        process = subprocess.Popen(
            [sys.executable, "-c", BUILD, str(noise), str(tmp_path / "killed")], stdout=subprocess.PIPE, text=True
        )
        resumed.append(int(process.stdout.readline()))
        if i < 3:
            time.sleep(generator.uniform(0.05, 0.5))
            os.kill(process.pid, signal.SIGKILL)
        process.wait()
        if (tmp_path / "killed" / FILES[0]).exists():
            break
    assert process.returncode in (0, -signal.SIGKILL)
    assert resumed == sorted(resumed)
    for name in FILES:
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert sorted(path.name for path in (tmp_path / "killed").iterdir()) == sorted(FILES)


def test_an_archive_of_several_gzip_members_is_indexed(noise, tmp_path, rows):
    plain = gzip.decompress((noise / "train.tar.gz").read_bytes())
    cut = len(plain) // 2
    parts = [zlib.compressobj(1, wbits=31) for _ in range(2)]
    content = b"".join(p.compress(x) + p.flush() for p, x in zip(parts, (plain[:cut], plain[cut:]), strict=True))
    (tmp_path / "train.tar.gz").write_bytes(content)
    (tmp_path / "train.json.tar.gz").symlink_to(noise / "train.json.tar.gz")
    build(tmp_path, tmp_path / "index", segment_bytes=6 << 20)
    assert read_index(Source.parse(tmp_path / "index"), "train").points.num_rows > 8
    loaded = hf_inatsounds.load_dataset("all", "train", source=tmp_path, index=tmp_path / "index")
    assert list(loaded) == rows
    assert sorted(ids(loaded.shuffle(seed=0))) == list(range(N))


def bgzip(raw):
    """As bgzip packs: a gzip member per 60 kB, each naming its size, and an empty one at the end."""
    packed = b""
    for part in (raw[i : i + 60_000] for i in range(0, len(raw), 60_000)):
        squeezer = zlib.compressobj(6, zlib.DEFLATED, -15)
        deflated = squeezer.compress(part) + squeezer.flush()
        packed += b"\x1f\x8b\x08\x04\0\0\0\0\0\xff\x06\0BC\x02\0" + (len(deflated) + 25).to_bytes(2, "little")
        packed += deflated + zlib.crc32(part).to_bytes(4, "little") + len(part).to_bytes(4, "little")
    return packed + bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")


PACKINGS = {
    "one member": gzip.compress,
    "many members": lambda raw: b"".join(gzip.compress(raw[i : i + 50_000], 1) for i in range(0, len(raw), 50_000)),
    "bgzip": bgzip,
    "one zero behind": lambda raw: gzip.compress(raw, 1) + b"\0",
    "zeros behind": lambda raw: gzip.compress(raw, 1) + bytes(4_096),
    "a byte behind": lambda raw: gzip.compress(raw, 1) + b"x",
    "garbage behind": lambda raw: gzip.compress(raw, 1) + b"garbage!" * 100,
    "garbage behind many members": lambda raw: gzip.compress(raw[:70_000], 1) + gzip.compress(raw[70_000:], 1) + b"xy",
}


@pytest.mark.parametrize("far", [False, True], ids=["disk", "server"])
@pytest.mark.parametrize("form", ["GNU", "PAX"])
def test_what_is_read_forward_is_indexed_too(tmp_path, form, far, capfd):
    """Packings, lengths of names and bytes behind the end, as pigz, bgzip and block devices make them."""
    made, files = document("train")
    odd = ["train/" + "d" * 90 + "/" + "f" * 140 + ".wav", "train/näme 日本/ü rec.wav",
           unicodedata.normalize("NFD", "train/é/a.wav"), "train/-dash/ a b .wav"]  # fmt: skip
    for audio, name in zip(made["audio"], odd, strict=False):
        files[name] = files.pop(audio["file_name"])
        audio["file_name"] = name
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=getattr(tarfile, f"{form}_FORMAT")) as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mtime = len(content), 1.5
            tar.addfile(member, io.BytesIO(content))
    right = {audio["id"]: files[audio["file_name"]] for audio in made["audio"]}
    pack(tmp_path / "train.json.tar.gz", {"train.json": json.dumps(made).encode()})
    with archive_server(tmp_path) as server:
        source = server.url if far else tmp_path
        for i, (name, packed) in enumerate(PACKINGS.items()):
            (tmp_path / "train.tar.gz").write_bytes(packed(buffer.getvalue()))
            index = tmp_path / f"index{i}"
            index.mkdir()
            IndexBuild(Source.parse(source), "train", index, spacing=1 << 17, segment_bytes=1 << 18).run()
            for where in (None, index):
                rows = hf_inatsounds.load_dataset("all", "train", source=source, index=where)
                assert {row["recording_id"]: row["audio"]["bytes"] for row in rows} == right, name
            assert name != "garbage behind" or "behind the gzip stream are passed over" in capfd.readouterr().err


@pytest.mark.parametrize("spoil", ["truncated", "flipped", "not gzip"])
def test_damaged_archives_are_named(noise, tmp_path, spoil):
    content = (noise / "train.tar.gz").read_bytes()
    changed = {
        "truncated": content[:-100_000],
        "flipped": content[:9_000_000] + bytes(8) + content[9_000_008:],
        "not gzip": b"nothing of the kind" * 1000,
    }[spoil]
    (tmp_path / "train.tar.gz").write_bytes(changed)
    with pytest.raises(SourceError, match=r"damaged archive: .*train\.tar\.gz"):
        build(tmp_path, tmp_path / "index")
    assert not (tmp_path / "index" / FILES[0]).exists()


def test_small_archives_have_an_index_too(tiny, tmp_path):
    build(tiny, tmp_path)
    loaded = hf_inatsounds.load_dataset(split="train", source=tiny, index=tmp_path)
    assert list(loaded) == list(hf_inatsounds.load_dataset(split="train", source=tiny))
    assert sorted(ids(loaded.shuffle(seed=1))) == list(range(12))


def test_the_command_builds_shows_and_finds_it_done(tiny, tmp_path, capsys):
    from hf_inatsounds.cli.main import main

    for _ in range(2):
        assert main(["index", str(tiny), "--out", str(tmp_path / "index"), "--json", "--quiet"]) == 0
        out = capsys.readouterr().out
        assert '"split": "train"' in out
        assert '"recordings": 12' in out
    assert pq.read_table(tmp_path / "index" / "test.members.parquet").num_rows == 6
    assert main(["index", str(tmp_path), "--out", str(tmp_path / "no")]) == 1
    assert "missing audio archive" in capsys.readouterr().err


def test_errors_are_ours_and_one_line(noise, tmp_path):
    with pytest.raises(InatSoundsError) as caught:
        hf_inatsounds.load_dataset("all", "validation", source=noise, index=noise / "index")
    assert "\n" not in str(caught.value)


def test_without_an_index_it_says_once_that_it_reads_forward(tiny, monkeypatch):
    from hf_inatsounds.data import indexed_rows as recordings

    lines = []
    monkeypatch.setattr(recordings, "LARGE_BYTES", 1000)
    monkeypatch.setattr(recordings, "_said", [])
    monkeypatch.setattr(recordings.logger, "warning", lines.append)
    for name, times in (("annotations", 0), ("annotations", 0), ("all", 1), ("all", 1)):
        hf_inatsounds.load_dataset(name, "train", source=tiny)
        assert [line.split(" reads")[0] for line in lines] == ["Streaming without a seek index"] * times


def test_training_and_evaluation_read_by_index(noise, rows):
    from hf_inatsounds.evaluation import split_info

    info = split_info(str(noise), "all", "train", str(noise / "index"))
    assert info.rows().num_shards >= 8
    assert list(info.rows()) == rows


def test_a_name_that_is_not_utf8_is_passed_over_by_index_as_in_reading_forward(tmp_path):
    write_source(tmp_path)
    with tarfile.open(tmp_path / "train.tar.gz") as packed:
        members = [(member, packed.extractfile(member).read()) for member in packed]
    stray = tarfile.TarInfo("train/\udcff\udcfe.wav")
    stray.size = 3
    members.insert(3, (stray, b"abc"))
    with (
        gzip.open(tmp_path / "train.tar.gz", "wb") as file,
        tarfile.open(fileobj=file, mode="w|", encoding="utf-8", errors="surrogateescape") as packed,
    ):
        for member, content in members:
            packed.addfile(member, io.BytesIO(content))
    index = tmp_path / "index"
    index.mkdir()
    IndexBuild(Source.parse(tmp_path), "train", index).run()
    names = read_index(Source.parse(index), "train").members["file_name"].to_pylist()
    assert names[3] == r"train/\xff\xfe.wav"
    rows = {
        where: list(hf_inatsounds.load_dataset("all", "train", source=tmp_path, index=where)) for where in (index, None)
    }
    assert rows[index] == rows[None]
    assert len(rows[None]) == len(members) - 1
