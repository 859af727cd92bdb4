"""The seek index of one archive as it lies in a folder or at a URL: member table, points, sealed windows, manifest.

For ``train.tar.gz`` it is ``train.index.json`` (the manifest, written last), ``train.members.parquet``,
``train.points.parquet`` and ``train.windows.bin``. Nothing in them is a recording's audio, sealed windows aside.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hf_inatsounds.archives.deflate import Point
from hf_inatsounds.archives.fetch import Source
from hf_inatsounds.archives.ranges import RangeReader, open_ranges
from hf_inatsounds.archives.sealing import digest
from hf_inatsounds.errors import SourceError

FORMAT = 1
EDGE_BYTES = 64 << 10
"""First and last bytes of the archive that are compared before an index is used."""

WHOLE_WINDOWS_BYTES = 4 << 20
"""Sealed windows up to this size are fetched in one request; of more, each where it is needed."""

MEMBERS = pa.schema([("file_name", pa.string()), ("offset", pa.int64()), ("size", pa.int64()), ("crc32", pa.uint32())])
POINTS = pa.schema(
    [("out", pa.int64()), ("at", pa.int64()), ("bits", pa.uint8()), ("window", pa.int64()), ("window_end", pa.int64())]
)
_REBUILD = "Build it anew in an empty folder: hf-inatsounds index SOURCE --out DIR"

Array = np.ndarray[Any, np.dtype[Any]]


def file_names(stem: str) -> dict[str, str]:
    """The files of an index: ``manifest``, ``members``, ``points``, ``windows``.

    >>> file_names("val")["manifest"]
    'val.index.json'
    """
    return {
        "manifest": f"{stem}.index.json",
        "members": f"{stem}.members.parquet",
        "points": f"{stem}.points.parquet",
        "windows": f"{stem}.windows.bin",
    }


@dataclass(frozen=True)
class SeekIndex:
    """One archive's index.

    Attributes:
        stem: train, val or test.
        location: where its files are.
        archive: ``{"name", "bytes", "md5", "head_sha256", "tail_sha256", "decompressed_bytes"}``.
        members: MEMBERS, in archive order; offsets in the decompressed stream.
        points: POINTS, ascending; the first is the archive's beginning and has no window.
    """

    stem: str
    location: Source
    archive: dict[str, Any]
    members: pa.Table
    points: pa.Table

    @property
    def where(self) -> str:
        """The manifest's path or URL, for errors."""
        return self.location.path(file_names(self.stem)["manifest"])

    @functools.cached_property
    def out(self) -> Array:
        """(P,) offsets of the points in the decompressed stream."""
        return self.points["out"].to_numpy()

    @functools.cached_property
    def at(self) -> Array:
        """(P,) offsets of the points in the archive."""
        return self.points["at"].to_numpy()

    def point(self, i: int) -> Point:
        """The i-th point."""
        return Point(int(self.out[i]), int(self.at[i]), self.points["bits"][i].as_py())

    def point_before(self, offset: int) -> int:
        """The last point at or before ``offset`` of the decompressed stream."""
        return int(np.searchsorted(self.out, offset, side="right")) - 1

    def compressed_end(self, offset: int) -> int:
        """Where in the archive everything before ``offset`` of the decompressed stream is over, at the latest."""
        following = int(np.searchsorted(self.out, offset, side="left"))
        return int(self.at[following]) if following < len(self.at) else int(self.archive["bytes"])

    def sealed_window(self, i: int) -> bytes:
        """The i-th point's sealed window."""
        start, stop = self.points["window"][i].as_py(), self.points["window_end"][i].as_py()
        where = self.location.path(file_names(self.stem)["windows"])
        whole = self.points["window_end"][-1].as_py()
        return (
            _whole(where, whole)[start:stop] if whole <= WHOLE_WINDOWS_BYTES else open_ranges(where).read(start, stop)
        )

    def check_archive(self, archive: RangeReader) -> None:
        """Compare an archive's size and edges with the indexed one's.

        Raises:
            SourceError: if it is another archive.
        """
        size, expected = archive.size(), self.archive["bytes"]
        found = {"bytes": size}
        wanted = {"bytes": expected}
        if size == expected:
            edge = min(EDGE_BYTES, size)
            found |= {"head": digest(archive.read(0, edge)), "tail": digest(archive.read(size - edge, size))}  # type: ignore[dict-item]
            wanted |= {"head": self.archive["head_sha256"], "tail": self.archive["tail_sha256"]}
        for key, value in wanted.items():
            if found[key] != value:
                raise SourceError(
                    "the seek index is of another archive",
                    where=archive.where,
                    found=f"{found[key]:,} bytes" if key == "bytes" else f"a {key} with sha256 {found[key]}",
                    expected=f"{value:,} bytes" if key == "bytes" else f"sha256 {value}, as {self.where} says",
                    fix=f"Compare the archive's md5 with {self.archive['md5']}. {_REBUILD}",
                )


def has_index(location: Source, stem: str) -> bool:
    """Whether ``location`` holds a whole index of the archive."""
    return location.exists(file_names(stem)["manifest"])


def read_index(location: Source, stem: str) -> SeekIndex:
    """Read and check an index.

    Raises:
        SourceError: if it is missing, of another version, or any of its files was changed.
    """
    names = file_names(stem)
    where = location.path(names["manifest"])
    if not has_index(location, stem):
        raise SourceError(
            "no seek index", where=where, found="no such file", fix="Build it: hf-inatsounds index SOURCE --out DIR"
        )
    try:
        manifest = json.loads(_content(location, names["manifest"]))
        seal = manifest.pop("sha256")
        if manifest["format"] != FORMAT or seal != digest(_canonical(manifest)):
            raise ValueError(f"format {manifest['format']}, or a changed manifest")
        tables = {}
        for part in ("members", "points"):
            content = _content(location, names[part])
            if digest(content) != manifest["files"][part]["sha256"]:
                raise ValueError(f"{names[part]} was changed")
            tables[part] = pq.read_table(pa.BufferReader(content))
        return SeekIndex(stem, location, manifest["archive"], tables["members"], tables["points"])
    except (ValueError, KeyError, TypeError, AttributeError, pa.ArrowException) as error:
        raise SourceError(
            "damaged seek index", where=where, found=error, expected=f"format {FORMAT}, unchanged", fix=_REBUILD
        ) from error


def write_manifest(folder: Path, stem: str, archive: dict[str, Any]) -> dict[str, Any]:
    """Write the manifest beside the other files, which must be whole; returns it."""
    from hf_inatsounds.files import write_json

    names = file_names(stem)
    files = {}
    for part in ("members", "points", "windows"):
        content = (folder / names[part]).read_bytes() if part != "windows" else None
        files[part] = {"name": names[part], "bytes": (folder / names[part]).stat().st_size}
        if content is not None:
            files[part]["sha256"] = digest(content)
    manifest: dict[str, Any] = {"format": FORMAT, "archive": archive, "files": files}
    manifest["sha256"] = digest(_canonical(manifest))
    write_json(folder / names["manifest"], manifest)
    return manifest


def _canonical(manifest: dict[str, Any]) -> bytes:
    return json.dumps(manifest, sort_keys=True).encode()


def _content(location: Source, name: str) -> bytes:
    reader = open_ranges(location.path(name))
    return b"".join(reader.stream(0))


@functools.lru_cache(maxsize=3)
def _whole(where: str, size: int) -> bytes:
    return open_ranges(where).read(0, size)
