import io
import json
import logging
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import hf_inatsounds
from hf_inatsounds.archives.fetch import Source
from hf_inatsounds.audio import read_window
from hf_inatsounds.audio.encoded import embedded
from hf_inatsounds.data.annotations import Annotations
from hf_inatsounds.data.labels import LabelSpace
from hf_inatsounds.data.mirror import Mirror
from hf_inatsounds.data.mirror_rows import MirrorRows
from hf_inatsounds.errors import AnnotationError, SourceError
from hf_inatsounds.publishing.recordings_in import recordings_in
from hf_inatsounds.schema import COLUMNS
from tests.helpers.archive import SPECIES, document, pack, write_source
from tests.helpers.server import serving

NAMES = {"all": 12, "aves": 7, "amphibia": 5, "evaluation": 9, "annotations": 12}


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize(("name", "n"), NAMES.items())
def test_every_name_gives_its_rows(tiny, name, n, streaming):
    rows = list(hf_inatsounds.load_dataset(name, "train", source=tiny, streaming=streaming))
    assert len(rows) == n
    has_audio = name != "annotations"
    expected = [column for column in COLUMNS if column != "audio" or has_audio]
    assert list(rows[0]) == [*expected, *(["defect"] if has_audio else [])]


def test_all_splits_come_as_a_dictionary(tiny):
    for streaming in (True, False):
        loaded = hf_inatsounds.load_dataset(source=tiny, streaming=streaming)
        assert list(loaded) == ["train", "validation", "test"]


def test_streaming_and_prepared_rows_are_the_same(tiny):
    streamed = list(hf_inatsounds.load_dataset(split="train", source=tiny))
    assert streamed == list(hf_inatsounds.load_dataset(split="train", source=tiny, streaming=False))


def test_labels_are_named_by_scientific_name_over_all_categories(tiny):
    loaded = hf_inatsounds.load_dataset("amphibia", "test", source=tiny)
    label = loaded.features["label"]
    assert label.names == [f"{genus} {epithet}" for _, genus, epithet, _ in SPECIES]
    row = next(iter(loaded))
    assert label.int2str(row["label"]) == row["species"]


def test_audio_is_the_recording(tiny):
    row = next(iter(hf_inatsounds.load_dataset(split="train", source=tiny)))
    waveform = read_window(row["audio"])
    assert len(waveform) == round(row["duration_s"] * 22_050)
    assert row["audio"]["path"] == row["file_name"]


def test_an_unpacked_tree_gives_the_same_rows(tiny, tmp_path):
    tree = write_source(tmp_path, unpacked=True)
    assert list(hf_inatsounds.load_dataset(split="train", source=tree)) == list(
        hf_inatsounds.load_dataset(split="train", source=tiny)
    )


def test_a_base_url_gives_the_same_rows(tiny):
    with serving(tiny) as url:
        for name in ("all", "annotations"):
            found = list(hf_inatsounds.load_dataset(name, "validation", source=url))
            assert found == list(hf_inatsounds.load_dataset(name, "validation", source=tiny))
        with pytest.raises(SourceError, match="unknown dataset name"):
            hf_inatsounds.load_dataset("reptilia", "train", source=url)


def test_a_url_with_nothing_behind_it_is_named(tmp_path):
    with serving(tmp_path) as url, pytest.raises(AnnotationError, match=r"train\.json\.tar\.gz.*no such file"):
        hf_inatsounds.load_dataset(split="train", source=url)


def test_a_changed_source_is_not_read_from_the_cache(tmp_path):
    write_source(tmp_path)
    before = hf_inatsounds.load_dataset(split="train", source=tmp_path, streaming=False)

    def shorten(stem, document, files):
        first = document["audio"].pop(0)
        document["annotations"].pop(0)
        files.pop(first["file_name"])

    write_source(tmp_path, change=shorten)
    after = hf_inatsounds.load_dataset(split="train", source=tmp_path, streaming=False)
    assert (len(before), len(after)) == (12, 11)


def test_a_stream_stops_and_starts_again(tiny):
    loaded = hf_inatsounds.load_dataset(split="train", source=tiny)
    seen = []
    for row in loaded:
        seen.append(row["recording_id"])
        if len(seen) == 5:
            state = loaded.state_dict()
            break
    again = hf_inatsounds.load_dataset(split="train", source=tiny)
    again.load_state_dict(state)
    assert seen + [row["recording_id"] for row in again] == list(range(12))


def test_torch_workers_do_not_repeat_rows(tmp_path, monkeypatch):
    from torch.utils.data import DataLoader

    tree = write_source(tmp_path, unpacked=True)
    monkeypatch.setattr("hf_inatsounds.data.builder.FOLDER_SHARD_ROWS", 5)
    loaded = hf_inatsounds.load_dataset(split="train", source=tree).select_columns(["recording_id"])
    assert loaded.num_shards == 3
    ids = [int(i) for batch in DataLoader(loaded, batch_size=2, num_workers=2) for i in batch["recording_id"]]
    assert sorted(ids) == list(range(12))


def test_what_archive_and_annotations_do_not_share_is_said(tmp_path, caplog):
    def spoil(stem, document, files):
        if stem == "train":
            files[f"{stem}/stray.wav"] = files.pop(document["audio"][0]["file_name"])

    write_source(tmp_path, change=spoil)
    logger = logging.getLogger("datasets")
    logger.addHandler(caplog.handler)
    logging.getLogger("hf_inatsounds").addHandler(caplog.handler)
    assert len(list(hf_inatsounds.load_dataset(split="train", source=tmp_path))) == 11
    assert "1 recordings without annotation were passed over, the first is train/stray.wav" in caplog.text
    assert "1 annotated recordings are not in the archive" in caplog.text


@pytest.mark.parametrize("streaming", [True, False])
def test_a_hostile_archive_doubles_no_row_and_says_what_it_passed_over(tmp_path, caplog, streaming):
    write_source(tmp_path)
    expected = list(hf_inatsounds.load_dataset(split="train", source=tmp_path))
    with tarfile.open(tmp_path / "train.tar.gz") as tar:
        files = [(member, tar.extractfile(member).read()) for member in tar]
    with tarfile.open(tmp_path / "train.tar.gz", "w:gz") as tar:
        for member, content in [*files, (files[0][0], b"another")]:
            again = tarfile.TarInfo(member.name)
            again.size = len(content)
            tar.addfile(again, io.BytesIO(content))
        for name, kind in (("../../up.wav", tarfile.REGTYPE), ("train/link.wav", tarfile.SYMTYPE)):
            odd = tarfile.TarInfo(name)
            odd.type, odd.linkname = kind, "/etc/passwd"
            tar.addfile(odd)
    logging.getLogger("hf_inatsounds").addHandler(caplog.handler)
    logging.getLogger("datasets").addHandler(caplog.handler)
    assert list(hf_inatsounds.load_dataset(split="train", source=tmp_path, streaming=streaming)) == expected
    for text in (
        "1 recordings came a second time and were passed over, the first is train/",
        "1 members (unsafe name) were passed over, the first is ../../up.wav",
        "1 members (symbolic link) were passed over, the first is train/link.wav",
    ):
        assert text in caplog.text


@pytest.mark.parametrize("streaming", [True, False])
def test_mistakes_are_named(tiny, tmp_path, streaming):
    cases = [
        ({"name": "birds"}, "unknown dataset name: name: found 'birds'; expected all, amphibia, aves, evaluation"),
        ({"split": "dev"}, "unknown split: split: found 'dev'; expected train, validation, test"),
        ({"source": tmp_path / "nowhere"}, "no such source: .*nowhere"),
        ({"source": tmp_path}, "nothing of iNatSounds here"),
        ({"index": tmp_path / "nowhere"}, "no such source: .*nowhere"),
    ]
    for change, message in cases:
        with pytest.raises(SourceError, match=message):
            hf_inatsounds.load_dataset(**{"source": tiny, "streaming": streaming, **change})


@pytest.mark.parametrize("streaming", [True, False])
def test_a_missing_file_is_named(tmp_path, streaming):
    write_source(tmp_path)
    (tmp_path / "val.json.tar.gz").unlink()
    for split in ("validation", None):
        with pytest.raises(AnnotationError, match=r"missing annotation archive: .*val\.json\.tar\.gz"):
            hf_inatsounds.load_dataset(split=split, source=tmp_path, streaming=streaming)
    (tmp_path / "test.tar.gz").unlink()
    with pytest.raises(SourceError, match=r"missing audio archive: .*test\.tar\.gz"):
        hf_inatsounds.load_dataset(split="test", source=tmp_path, streaming=streaming)


@pytest.mark.parametrize("streaming", [True, False])
def test_a_damaged_archive_is_named_and_nothing_half_is_left(tmp_path, streaming):
    write_source(tmp_path)
    path = tmp_path / "train.tar.gz"
    path.write_bytes(path.read_bytes()[:-20_000])
    for _ in range(2):  # the second time too: no half-prepared cache is taken for a whole one
        with pytest.raises(SourceError, match=r"damaged archive: .*train\.tar\.gz.*after train/"):
            list(hf_inatsounds.load_dataset(split="train", source=tmp_path, streaming=streaming))


def test_annotations_that_are_not_json_or_no_archive_are_named(tmp_path):
    write_source(tmp_path)
    pack(tmp_path / "train.json.tar.gz", {"train.json": b"{ not json"})
    with pytest.raises(AnnotationError, match=r"not JSON: .*train\.json\.tar\.gz"):
        hf_inatsounds.load_dataset(split="train", source=tmp_path)
    pack(tmp_path / "train.json.tar.gz", {"readme.txt": b""})
    with pytest.raises(AnnotationError, match=r"found 0 \.json files"):
        hf_inatsounds.load_dataset(split="train", source=tmp_path)
    (tmp_path / "train.json.tar.gz").write_bytes(b"not gzip")
    with pytest.raises(AnnotationError, match="damaged archive"):
        hf_inatsounds.load_dataset(split="train", source=tmp_path)


def test_a_bomb_is_refused(tmp_path, monkeypatch):
    from hf_inatsounds.archives.forward import iterate_members

    write_source(tmp_path)
    with open(tmp_path / "train.tar.gz", "rb") as stream, pytest.raises(SourceError, match="too large"):
        list(iterate_members(stream, where="train.tar.gz", max_member_bytes=1_000))


def test_a_link_out_of_an_unpacked_tree_is_not_followed(tmp_path, caplog):
    """A tree that somebody else packed must not put this machine's files into rows, nor into a mirror."""
    found, files = document("train")
    (tmp_path / "secret.wav").write_bytes(b"secret")
    tree, moved = tmp_path / "tree", tmp_path / "disk"
    moved.mkdir(parents=True)
    tree.mkdir()
    (tree / "train").symlink_to(moved)  # a folder on another disk is its owner's choice
    for name, content in files.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes(content)
    names = list(files)
    for name, leads_to in ((names[0], tmp_path / "secret.wav"), (names[1], "../../secret.wav")):
        (tree / name).unlink()
        (tree / name).symlink_to(leads_to)
    (tree / names[2]).unlink()
    (tree / names[2]).symlink_to(tree / names[3])  # within the tree
    (tree / "train.json").write_text(json.dumps(found))
    rows = {row["file_name"]: row["audio"]["bytes"] for row in hf_inatsounds.load_dataset("all", "train", source=tree)}
    assert rows == {**{name: files[name] for name in names[2:]}, names[2]: files[names[3]]}
    assert "2 recordings are links out of their folder and were passed over" in caplog.text
    assert dict(recordings_in(Source.parse(tree), "train", names)) == rows


def test_the_path_in_a_row_of_a_mirror_is_never_read(tmp_path):
    (tmp_path / "secret.wav").write_bytes(next(iter(document("train")[1].values())))
    for path in (str(tmp_path / "secret.wav"), "../secret.wav", "secret.wav"):
        audio = {"bytes": None, "path": path}
        assert embedded(audio)["bytes"] == b""
        shard = tmp_path / "data/0/train-0.parquet"
        shard.parent.mkdir(parents=True, exist_ok=True)
        column = pa.array([audio], pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
        known = pa.table(
            {"recording_id": [1], "label": [0], "file_name": ["a.wav"], "latitude": [0.0], "longitude": [0.0]}
        )
        pq.write_table(known.append_column("audio", column), shard)
        mirror = Mirror(str(tmp_path), None, {"files": [{"path": "data/0/train-0.parquet"}]}, folder=tmp_path)
        rows = MirrorRows(mirror, Annotations("train", known, LabelSpace(())))
        assert bytes(rows.take([0])[0]["audio"]["bytes"]) == b""
