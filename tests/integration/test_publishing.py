"""Mirrors in a folder: their rows, their bytes, and what a kill or a mistake leaves."""

import hashlib
import io
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import datasets
import pyarrow.parquet as pq
import pytest
import soundfile as sf

from hf_inatsounds.archives.fetch import Source
from hf_inatsounds.archives.forward import iterate_archive
from hf_inatsounds.archives.indexing import IndexBuild
from hf_inatsounds.data.loading import open_dataset
from hf_inatsounds.errors import PublishError, SourceError
from hf_inatsounds.publishing.encoding import encode
from hf_inatsounds.publishing.mirror import MirrorBuilder
from hf_inatsounds.publishing.parts import Share
from hf_inatsounds.publishing.plan import MirrorSettings
from hf_inatsounds.schema import SPLITS, TERMS
from tests.helpers.archive import write_source
from tests.helpers.archive_server import archive_server
from tests.helpers.noise import write_noise
from tests.helpers.server import serving

ROOT = Path(__file__).parents[2]
SMALL = {"shard_bytes": 100_000}


def build(source, folder, *, splits=SPLITS, part=None, settings=SMALL, **more):
    made = MirrorSettings(splits=splits, **settings)
    return MirrorBuilder(str(source), folder, made, part=part, quiet=True, **{"workers": 2, **more}).build()


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def shards(folder):
    """Name → bytes; the folder that they are in is named by the source, too."""
    return {path.name: path.read_bytes() for path in folder.rglob("data/*/*.parquet")}


def undecoded(rows):
    return rows.cast_column("audio", datasets.Audio(decode=False)) if "audio" in rows.features else rows


def by_id(rows):
    found = {row["recording_id"]: row for row in undecoded(rows)}
    assert list(next(iter(found.values()))) == list(rows.features)
    return found


def readable(rows):
    """Those that a mirror of recordings holds."""
    return {key: row for key, row in rows.items() if row.get("defect") not in ("empty", "unreadable")}


def mirrored(folder, name, split, streaming=True):
    return by_id(datasets.load_dataset(str(folder), name, split=split, streaming=streaming))


def samples(audio):
    try:
        return sf.read(io.BytesIO(audio["bytes"]), dtype="int16")[0].tobytes()
    except sf.LibsndfileError:
        return audio["bytes"]


@pytest.fixture(scope="module")
def mirror(tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("mirror")
    return folder, build(tiny, folder)


@pytest.mark.parametrize("source", ["tiny", "animals"])
def test_rows_are_those_of_the_forward_stream_byte_for_byte(source, tmp_path, request):
    where = request.getfixturevalue(source)
    splits = ("train", "validation")
    build(where, tmp_path, splits=splits, settings={"audio_format": "wav", "shard_bytes": 4_000_000})
    for name in ("all", "aves", "evaluation", "annotations"):
        for split in splits:
            expected = by_id(open_dataset(name, split, source=where, streaming=True))
            assert mirrored(tmp_path, name, split) == readable(expected)


def test_over_http_rows_by_index_read_forward_and_from_the_mirror_are_the_same(animals, tmp_path):
    splits = {"train": "train", "validation": "val"}
    (tmp_path / "index").mkdir()
    with archive_server(animals) as server, archive_server(tmp_path / "index") as index_server:
        for stem in splits.values():
            IndexBuild(Source.parse(server.url), stem, tmp_path / "index").run()
        wav = {"audio_format": "wav", "shard_bytes": 4_000_000}
        build(server.url, tmp_path / "mirror", splits=tuple(splits), settings=wav, index=tmp_path / "index")
        for split in splits:
            forward = by_id(open_dataset("all", split, source=server.url, streaming=True))
            by_index = open_dataset("all", split, source=server.url, streaming=True, index=index_server.url)
            assert by_id(by_index) == forward
            assert by_id(by_index.shuffle(seed=1)) == forward
            assert mirrored(tmp_path / "mirror", "all", split) == readable(forward)


def named(manifest, key):
    """Files that the shards' records name under a key."""
    return [name for one in manifest["files"] for names in one.get(key, {}).values() for name in names]


@pytest.mark.parametrize("source", ["tiny", "animals"])
def test_flac_has_the_same_samples_and_every_other_column(source, tmp_path, request):
    where = request.getfixturevalue(source)
    manifest = build(where, tmp_path, splits=("train",), settings={"shard_bytes": 4_000_000})
    expected = by_id(open_dataset("all", "train", source=where, streaming=True))
    found = mirrored(tmp_path, "all", "train", streaming=False)
    assert found.keys() == readable(expected).keys()
    kept = named(manifest, "kept_as_original_bytes")
    for key, row in found.items():
        audio, original = row.pop("audio"), expected[key].pop("audio")
        assert row == expected[key]
        assert samples(audio) == samples(original)
        if row["file_name"] in kept:
            assert audio == original
        else:
            assert audio["path"] == original["path"].removesuffix(".wav") + ".flac"
            assert audio["bytes"][:4] == b"fLaC"
    assert len(kept) == (1 if source == "animals" else 0)  # the truncated one
    left_out = named(manifest, "left_out")
    assert left_out == [row["file_name"] for row in expected.values() if row["defect"] == "empty"]
    assert len(left_out) == sum(manifest["left_out"].values()) == (1 if source == "animals" else 0)


def test_what_cannot_be_decoded_or_is_not_there_is_counted(tmp_path):
    def spoil(stem, document, recordings):
        names = list(recordings)
        recordings[names[0]] = b"no recording"
        recordings.pop(names[1])
        recordings[f"{stem}/stray.wav"] = b"RIFF"

    (tmp_path / "source").mkdir()
    source = write_source(tmp_path / "source", change=spoil)
    manifest = build(source, tmp_path / "mirror")
    absent = [name for one in manifest["files"] for name in one.get("not_in_the_archive", [])]
    assert (manifest["left_out"], len(absent), manifest["recordings"]) == ({"unreadable": 3}, 3, 18)
    card = (tmp_path / "mirror" / "README.md").read_text()
    assert "nothing can be decoded is left out:\n3 unreadable" in card
    assert "18 recordings" in card
    assert "Annotated recordings that the archives lack: 3" in card


def test_the_manifest_has_every_file_and_its_checksum(mirror):
    folder, manifest = mirror
    there = files(folder)
    assert json.loads(there.pop("manifest.json")) == manifest
    assert {one["path"]: (one["size"], one["sha256"]) for one in manifest["files"]} == {
        name: (len(content), hashlib.sha256(content).hexdigest()) for name, content in there.items()
    }


def test_shards_stream_well(mirror, tmp_path, archives):
    build(archives, tmp_path, splits=("train",), settings={"shard_bytes": 10**9})
    for path in sorted((tmp_path / "data").glob("*/*.parquet")):
        metadata = pq.read_metadata(path)
        groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
        assert all(group.num_rows <= 100 for group in groups)
        columns = [group.column(i) for group in groups for i in range(group.num_columns)]
        assert all(column.has_offset_index for column in columns)
        audio = [column for column in columns if column.path_in_schema == "audio.bytes"]
        assert audio
        assert not any(column.is_stats_set for column in audio)
        assert all(column.compression == "UNCOMPRESSED" for column in audio)


def test_every_run_and_every_number_of_workers_gives_the_same_bytes(mirror, tiny, tmp_path):
    build(tiny, tmp_path, workers=1)
    assert files(tmp_path) == files(mirror[0])


def test_parts_give_the_bytes_of_one_process(mirror, tiny, tmp_path):
    with pytest.raises(PublishError, match=r"not complete: .*of \d+ shards missing.*parts of ranks 1, 2 of 3"):
        build(tiny, tmp_path, part=Share(0, 3, wait_s=0))
    for rank in (2, 1):
        assert build(tiny, tmp_path, part=Share(rank, 3)) is None
    build(tiny, tmp_path, part=Share(0, 3))
    assert files(tmp_path) == files(mirror[0])


def test_by_index_a_part_reads_its_own_recordings_and_writes_the_same_bytes(tmp_path):
    source, index = tmp_path / "source", tmp_path / "index"
    source.mkdir(), index.mkdir()
    write_noise(source, "train", 120, samples=(20_000, 200_000))
    IndexBuild(Source.parse(source), "train", index).run()
    settings = {"splits": ("train",), "settings": {"shard_bytes": 300_000}}
    build(source, tmp_path / "whole", **settings)
    with archive_server(source) as server:
        build(server.url, tmp_path / "one", part=Share(3, 30), index=index, **settings)
        assert 0 < server.log.sent_bytes["train.tar.gz"] < 0.6 * (source / "train.tar.gz").stat().st_size
        for rank in (2, 1, 0):
            build(server.url, tmp_path / "parts", part=Share(rank, 3), index=index, **settings)
    whole, one, parts = (shards(tmp_path / name) for name in ("whole", "one", "parts"))
    assert not list((tmp_path / "one").glob("data/*/*"))  # nothing is at its place before all is there
    assert one
    assert one.items() <= whole.items()
    assert parts == whole


def test_an_index_of_another_archive_is_refused_before_a_recording_is_read(tmp_path):
    for name in ("source", "other", "index"):
        (tmp_path / name).mkdir()
    write_source(tmp_path / "source")
    write_noise(tmp_path / "other", "train", 12, species=3, samples=(2_000, 3_000))
    IndexBuild(Source.parse(tmp_path / "other"), "train", tmp_path / "index").run()
    with pytest.raises(SourceError, match="the seek index is of another archive"):
        build(tmp_path / "source", tmp_path / "mirror", splits=("train",), index=tmp_path / "index")


def test_an_unpacked_tree_and_a_url_give_the_same_shards(mirror, tiny, tmp_path):
    (tmp_path / "tree").mkdir()
    write_source(tmp_path / "tree", unpacked=True)
    build(tmp_path / "tree", tmp_path / "from-tree")
    with serving(tiny) as url:
        build(url, tmp_path / "from-url")
    for name in ("from-tree", "from-url"):
        assert shards(tmp_path / name) == shards(mirror[0])


def test_a_damaged_or_lost_shard_is_made_again(mirror, tiny, tmp_path):
    build(tiny, tmp_path)
    first, second = sorted((tmp_path / "data").glob("*/train-*"))[:2]
    content = bytearray(first.read_bytes())
    content[1_000] ^= 1
    first.write_bytes(content)
    second.unlink()
    build(tiny, tmp_path)
    assert files(tmp_path) == files(mirror[0])


def test_a_damaged_archive_publishes_nothing_and_costs_nothing_that_was_encoded(mirror, tiny, tmp_path, monkeypatch):
    def damaged(source, name, **more):
        for i, member in enumerate(iterate_archive(source, name, **more)):
            if name == "val.tar.gz" and i == 4:
                raise SourceError("damaged archive", where=source.path(name))
            yield member

    def encoded(content, audio_format):
        encodings.append(content)
        return encode(content, audio_format)

    encodings: list[bytes] = []
    monkeypatch.setattr("hf_inatsounds.publishing.shards.encode", encoded)
    with monkeypatch.context() as broken:
        broken.setattr("hf_inatsounds.publishing.recordings_in.iterate_archive", damaged)
        with pytest.raises(SourceError, match=r"damaged archive: .*val\.tar\.gz"):
            build(tiny, tmp_path)
    there = files(tmp_path)
    assert "manifest.json" not in there
    assert not [name for name in there if "data/" in name and "/validation" in name]
    build(tiny, tmp_path)
    assert files(tmp_path) == files(mirror[0])
    assert len(encodings) == 24  # none twice


def test_another_mirror_is_not_mixed_with(mirror, tiny, tmp_path):
    build(tiny, tmp_path)
    before = files(tmp_path)
    for change in ({"seed": 1}, {"audio_format": "wav"}):
        with pytest.raises(PublishError, match="the folder holds another mirror"):
            build(tiny, tmp_path, settings=SMALL | change)
    assert files(tmp_path) == before


def test_an_index_goes_along_but_no_recording_does(tiny, tmp_path):
    index = tmp_path / "index"
    index.mkdir()
    with pytest.raises(PublishError, match=r"no index: .*found no \*\.index\.json"):
        build(tiny, tmp_path / "a", audio=False, index=index)
    (index / "train.index.json").write_text("{}")
    (index / "train.windows.bin").write_bytes(b"sealed")
    manifest = build(tiny, tmp_path / "b", audio=False, index=index)
    assert (tmp_path / "b/index/train.windows.bin").read_bytes() == b"sealed"
    assert not (tmp_path / "b/data").exists()
    assert "**without the recordings**" in (tmp_path / "b/README.md").read_text()
    assert manifest["recordings"] == 0


@pytest.mark.parametrize(
    "name", ["train.windows.bin", "train.points.parquet", "train.tar.gz", "a.wav", "sub/val.index.json"]
)
def test_what_is_no_index_is_refused_as_one(mirror, tiny, tmp_path, name):
    (tmp_path / "index/sub").mkdir(parents=True)
    (tmp_path / "index/train.index.json").write_text("{}")
    content = next((mirror[0] / "data").glob("*/*")) if name.endswith("parquet") else tiny / "train.tar.gz"
    (tmp_path / "index" / name).write_bytes(content.read_bytes())
    with pytest.raises(PublishError, match=rf"not an index: .*{name}: found a"):
        build(tiny, tmp_path / "mirror", audio=False, index=tmp_path / "index")
    assert not (tmp_path / "mirror/manifest.json").exists()


def test_the_card_says_what_is_in_it(mirror, tiny):
    card = (mirror[0] / "README.md").read_text()
    assert TERMS in card
    for part in (
        "| Aves | train | 2 | 7 |",
        "| CC BY 4.0 | 24 |",
        "@article{",
        "license: other",
        "audio-classification",
    ):
        assert part in card
    for section in ("Composition", "Motivation", "Collection", "Preprocessing", "Uses", "Distribution", "Maintenance"):
        assert f"## {section}\n" in card


def command(source, folder):
    return [sys.executable, "-m", "hf_inatsounds.cli.main", "publish", str(source), "--local-dir", str(folder),
            "--shard-mb", "4", "--workers", "2", "--json"]  # fmt: skip


def test_a_killed_run_ends_in_the_same_bytes(archives, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    subprocess.run(command(archives, whole), env=environment, check=True, capture_output=True)
    expected = files(whole)
    generator = random.Random(0)

    def spooled_bytes():
        sizes = [path.stat().st_size for path in killed.glob(".publishing/*/spool/*.spool") if path.exists()]
        return sum(sizes)

    moments = (  # twice while it encodes, once while it writes shards
        lambda: spooled_bytes() > 1_000_000,
        lambda: spooled_bytes() > 8_000_000,
        lambda: bool(list(killed.glob(".publishing/*/records/*.json"))),
    )
    deaths = 0
    for moment in moments:
        process = subprocess.Popen(
            command(archives, killed), env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        while not moment() and process.poll() is None:
            time.sleep(0.002)
        time.sleep(generator.random() * 0.1)
        process.send_signal(signal.SIGKILL)
        deaths += process.wait() == -signal.SIGKILL
        there = files(killed)
        for name in expected:  # nothing half-written has a final name
            assert name not in there or there[name] == expected[name]
    assert deaths >= 2
    done = subprocess.run(command(archives, killed), env=environment, check=True, capture_output=True, text=True)
    assert json.loads(done.stdout)["files"] == len(expected)
    assert files(killed) == expected


def test_ranks_of_torchrun_share_the_work(mirror, tiny, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "WORLD_SIZE": "2"}
    ranks = [
        subprocess.Popen(command(tiny, tmp_path), env={**environment, "RANK": rank}, stderr=subprocess.PIPE, text=True)
        for rank in "01"
    ]
    assert [rank.wait(timeout=300) for rank in ranks] == [0, 0], [rank.communicate() for rank in ranks]
    assert (tmp_path / "manifest.json").exists()
    bad = subprocess.run(
        command(tiny, tmp_path), env={**environment, "RANK": "2"}, capture_output=True, text=True, check=False
    )
    assert bad.returncode == 1
    assert "bad part: RANK, WORLD_SIZE: found 2, 2; expected 0 ≤ RANK < WORLD_SIZE" in bad.stderr
