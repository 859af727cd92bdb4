"""Indexes whose digests are right and whose content is not: refused in a line, or read with nothing lost in silence."""

import gzip
import json
import shutil
import tarfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import hf_inatsounds
from hf_inatsounds.archives.fetch import Source
from hf_inatsounds.archives.indexing import IndexBuild
from hf_inatsounds.archives.seek_index import digest, file_names, read_index
from hf_inatsounds.errors import SourceError
from tests.helpers.noise import write_noise

N = 60


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    write_noise(folder, "train", N, samples=(10_000, 30_000))
    (folder / "index").mkdir()
    IndexBuild(Source.parse(folder), "train", folder / "index", spacing=1 << 19).run()
    return folder


def forge(made, tmp_path, *, members=None, points=None, archive=None, manifest=None):
    """The index with a part of it changed, and its digests as they must be then."""
    folder = shutil.copytree(made / "index", tmp_path / "index")
    names = file_names("train")
    for part, change in (("members", members), ("points", points)):
        if change is not None:
            path = folder / names[part]
            table = change(pq.read_table(path))
            path.write_bytes(table) if isinstance(table, bytes) else pq.write_table(table, path)
    content = json.loads((folder / names["manifest"]).read_text())
    content.pop("sha256")
    content["archive"] |= archive or {}
    for part in ("members", "points"):
        content["files"][part]["sha256"] = digest((folder / names[part]).read_bytes())
    content = manifest(content) if manifest else content
    if isinstance(content, dict):
        content["sha256"] = digest(json.dumps(content, sort_keys=True).encode())
    (folder / names["manifest"]).write_text(json.dumps(content))
    return folder


def column(name, change):
    """A table's change: one column as ``change`` makes it of its values."""

    def changed(table):
        values = change(table[name].to_pylist())
        return table.set_column(table.column_names.index(name), name, pa.array(values))

    return changed


def same(name, change):
    """As :func:`column`, in the same type."""

    def changed(table):
        values = pa.array(change(table[name].to_pylist()), table.schema.field(name).type)
        return table.set_column(table.column_names.index(name), table.schema.field(name), values)

    return changed


def at(i, value):
    return lambda values: [*values[:i], value, *values[i + 1 :]]


MEMBERS = {
    "offsets as text": column("offset", lambda values: [str(value) for value in values]),
    "offsets as floats": column("offset", lambda values: [float(value) for value in values]),
    "no offsets": lambda table: table.drop_columns(["offset"]),
    "a column more": lambda table: table.append_column("path", table["file_name"]),
    "a null": same("size", at(3, None)),
    "names that are lists": column("file_name", lambda values: [[value] for value in values]),
    "names of bytes": column("file_name", lambda values: [value.encode() for value in values]),
    "a negative size": same("size", at(3, -1)),
    "a size of an exabyte": same("size", at(3, 1 << 60)),
    "a size into the next member": same("size", lambda values: at(3, values[3] + 4_000)(values)),
    "a negative offset": same("offset", at(0, -512)),
    "an offset behind the end": same("offset", at(N - 1, 1 << 40)),
    "offsets that fall": lambda table: table.take(pa.array(list(range(N))[::-1])),
    "the same member again and again": lambda table: table.take(pa.array([0] * N)),
    "a name that leaves its folder": same("file_name", at(3, "../../etc/passwd")),
    "an absolute name": same("file_name", at(3, "/etc/passwd")),
    "a name of a megabyte": same("file_name", at(3, "a" * (1 << 20))),
    "names that fill the memory": lambda table: pa.table(
        {
            "file_name": pa.DictionaryArray.from_arrays(np.zeros(3_000_000, np.int32), ["a" * 4_000]),
            **{key: pa.array(np.zeros(3_000_000), table.schema.field(key).type) for key in table.column_names[1:]},
        }
    ),
    "no Parquet": lambda _: b"nothing of the kind",
    "nothing": lambda _: b"",
}
POINTS = {
    "no points": lambda table: table.slice(0, 0),
    "a first point that is none": lambda table: table.slice(1),
    "points that fall": lambda table: table.take(pa.array([0, 2, 1, *range(3, table.num_rows)])),
    "a point behind the end": same("at", lambda values: [*values[:-1], 1 << 40]),
    "bits of a ninth": same("bits", at(1, 9)),
    "a window of a gigabyte": same("window_end", lambda values: [*values[:-1], values[-1] + (1 << 30)]),
    "a window of less than nothing": same("window_end", at(1, -5)),
    "points as text": column("out", lambda values: [str(value) for value in values]),
}
ARCHIVES = {
    "bytes as text": {"bytes": "many"},
    "bytes of a bool": {"bytes": True},
    "no size at all": {"decompressed_bytes": -1},
    "a size beyond all": {"decompressed_bytes": 1 << 70},
    "a bomb": {"decompressed_bytes": 1 << 45},
    "another archive": {"name": "test.tar.gz"},
    "a digest that is a list": {"md5": []},
}
MANIFESTS = {
    "a list": lambda content: [content],
    "no archive": lambda content: {**content, "archive": None},
    "no files": lambda content: {key: value for key, value in content.items() if key != "files"},
    "files that are a text": lambda content: {**content, "files": "members"},
    "format": lambda content: {**content, "format": [1]},
}


def refused(folder):
    with pytest.raises(SourceError, match=r"damaged seek index: .*train") as caught:
        read_index(Source.parse(folder), "train")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1_000


@pytest.mark.parametrize("name", MEMBERS)
def test_members_that_no_archive_has_are_refused(made, tmp_path, name):
    refused(forge(made, tmp_path, members=MEMBERS[name]))


@pytest.mark.parametrize("name", POINTS)
def test_points_that_no_archive_has_are_refused(made, tmp_path, name):
    refused(forge(made, tmp_path, points=POINTS[name]))


@pytest.mark.parametrize("name", ARCHIVES)
def test_archives_that_there_cannot_be_are_refused(made, tmp_path, name):
    refused(forge(made, tmp_path, archive=ARCHIVES[name]))


@pytest.mark.parametrize("name", MANIFESTS)
def test_manifests_that_are_none_are_refused(made, tmp_path, name):
    refused(forge(made, tmp_path, manifest=MANIFESTS[name]))


def test_a_manifest_of_endless_size_or_depth_is_refused(made, tmp_path):
    folder = forge(made, tmp_path)
    for content in ("[" * 200_000 + "]" * 200_000, "[" + "0," * 1_000_000 + "0]"):
        (folder / "train.index.json").write_text(content)
        refused(folder)


@pytest.mark.parametrize("kept", [slice(0, 1), slice(N - 1, N), slice(0, N - 1), slice(1, N), slice(0, None, 2)])
def test_an_index_that_leaves_recordings_out_is_refused(made, tmp_path, kept):
    """Where digests, ranges and order are right, and members and the stream's size are cut."""
    table = pq.read_table(made / "index" / "train.members.parquet")
    numbers = list(range(N))[kept]
    last = numbers[-1]
    end = table["offset"][last].as_py() + table["size"][last].as_py()
    for archive in ({}, {"decompressed_bytes": end + 1_024}):
        points = (lambda t: t.filter(pa.compute.less_equal(t["out"], end))) if archive else None
        folder = forge(made, tmp_path / str(end + len(archive)), members=lambda t: t.take(pa.array(numbers)),
                       points=points, archive=archive)  # fmt: skip
        with pytest.raises(SourceError, match=f"leaves out a part of the archive: .*{N - len(numbers)} of {N}"):
            hf_inatsounds.load_dataset("all", "train", source=made, index=folder)


def test_what_the_archive_lacks_too_is_no_fault_of_the_index(made, tmp_path):
    """As in reading forward: annotations of a recording that is not there are passed over with a word."""
    folder = tmp_path / "less"
    folder.mkdir()
    shutil.copy(made / "train.json.tar.gz", folder)
    with (
        tarfile.open(made / "train.tar.gz") as tar,
        gzip.open(folder / "train.tar.gz", "wb") as packed,
        tarfile.open(fileobj=packed, mode="w") as less,
    ):
        for member in tar.getmembers()[:-7]:
            less.addfile(member, tar.extractfile(member))
    (folder / "index").mkdir()
    IndexBuild(Source.parse(folder), "train", folder / "index").run()
    forward = list(hf_inatsounds.load_dataset("all", "train", source=folder))
    assert len(forward) == N - 7
    assert list(hf_inatsounds.load_dataset("all", "train", source=folder, index=folder / "index")) == forward
