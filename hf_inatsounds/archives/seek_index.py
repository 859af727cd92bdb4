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

from hf_inatsounds.archives.deflate import Point
from hf_inatsounds.archives.fetch import Source
from hf_inatsounds.archives.index_checks import MEMBERS, POINTS, check_identity, check_tables, read_table
from hf_inatsounds.archives.ranges import RangeReader, open_ranges
from hf_inatsounds.archives.sealing import digest
from hf_inatsounds.archives.side_by_side import side_by_side
from hf_inatsounds.errors import SourceError
from hf_inatsounds.progress import note

FORMAT = 1
EDGE_BYTES = 64 << 10
"""First and last bytes of the archive that are compared before an index is used."""

WHOLE_WINDOWS_BYTES = 4 << 20
"""Sealed windows up to this size are fetched in one request; of more, each where it is needed."""

MAX_MANIFEST_BYTES = 1 << 20
MAX_FILE_BYTES = 256 << 20
"""Of a table's file."""

_REBUILD = "Build it anew in an empty folder: hf-inatsounds index SOURCE --out DIR"

_FORGED = (
    ValueError, KeyError, IndexError, TypeError, AttributeError, OverflowError, RecursionError, MemoryError, OSError,
    SourceError, pa.ArrowException,
)  # fmt: skip
"""What reading an index that anybody may have made can raise."""

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

    @functools.cached_property
    def edges(self) -> tuple[Array, Array]:
        """(P + 1,) offsets of the points and of the end, in the decompressed stream and in the archive."""
        ends = self.archive["decompressed_bytes"], self.archive["bytes"]
        return np.append(self.out, ends[0]), np.append(self.at, ends[1])

    @functools.cached_property
    def _bits(self) -> Array:
        return self.points["bits"].to_numpy()

    @functools.cached_property
    def _windows(self) -> tuple[Array, Array]:
        return self.points["window"].to_numpy(), self.points["window_end"].to_numpy()

    def point(self, i: int) -> Point:
        """The i-th point."""
        return Point(int(self.out[i]), int(self.at[i]), int(self._bits[i]))

    def point_before(self, offset: int) -> int:
        """The last point at or before ``offset`` of the decompressed stream."""
        return int(np.searchsorted(self.out, offset, side="right")) - 1

    def compressed_ends(self, offsets: Array) -> Array:
        """(N,) where in the archive all before each of the ``offsets`` (N,) of the stream is over, at the latest."""
        ends: Array = self.edges[1][np.searchsorted(self.out, offsets, side="left")]
        return ends

    def sealed_window(self, i: int) -> bytes:
        """The i-th point's sealed window."""
        starts, stops = self._windows
        start, stop, whole = int(starts[i]), int(stops[i]), int(stops[-1])
        where = self.location.path(file_names(self.stem)["windows"])
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
            head, tail = side_by_side(lambda: archive.read(0, edge), lambda: archive.read(size - edge, size))
            found |= {"head": digest(head), "tail": digest(tail)}  # type: ignore[dict-item]
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
    try:
        return _read_index(location, stem)
    except _DamagedIndexError as error:
        if not location.is_remote:
            raise
        note(f"{error} Fetching it again.")
        return _read_index(location, stem)


class _DamagedIndexError(SourceError):
    """An index whose bytes contradict themselves."""


def _read_index(location: Source, stem: str) -> SeekIndex:
    names = file_names(stem)
    where = location.path(names["manifest"])
    contents = _contents(location, stem)
    try:
        manifest = json.loads(contents[0])
        seal = manifest.pop("sha256")
        if manifest["format"] != FORMAT or seal != digest(_canonical(manifest)):
            raise ValueError(f"format {str(manifest['format'])[:100]}, or a changed manifest")
        check_identity(manifest["archive"], stem)
        tables = []
        for part, schema, content in zip(("members", "points"), (MEMBERS, POINTS), contents[1:], strict=True):
            if digest(content) != manifest["files"][part]["sha256"]:
                raise ValueError(f"{names[part]} was changed")
            tables.append(read_table(content, schema))
        check_tables(tables[0], tables[1], manifest["archive"])
        return SeekIndex(stem, location, manifest["archive"], *tables)
    except _FORGED as error:
        raise _DamagedIndexError(
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


def _contents(location: Source, stem: str) -> tuple[bytes, bytes, bytes]:
    """Manifest, member table and points, asked for at once.

    Raises:
        SourceError: if there is no manifest, or a file cannot be read.
    """
    names = file_names(stem)

    def require_manifest() -> bytes:
        if not has_index(location, stem):
            raise SourceError(
                "no seek index",
                where=location.path(names["manifest"]),
                found="no such file",
                fix="Build it: hf-inatsounds index SOURCE --out DIR",
            )
        return b""

    def content(part: str, most: int) -> bytes:
        where = location.path(names[part])
        made = bytearray()
        for chunk in open_ranges(where).stream(0):
            made += chunk
            if len(made) > most:
                raise SourceError(
                    "damaged seek index", where=where, found=f"more than {most:,} bytes", expected="less", fix=_REBUILD
                )
        return bytes(made)

    limits = (("manifest", MAX_MANIFEST_BYTES), ("members", MAX_FILE_BYTES), ("points", MAX_FILE_BYTES))
    parts = (functools.partial(content, *limit) for limit in limits)
    _, manifest, members, points = side_by_side(require_manifest, *parts, far=location.is_remote)
    return manifest, members, points


@functools.lru_cache(maxsize=3)
def _whole(where: str, size: int) -> bytes:
    return open_ranges(where).read(0, size)


def forget_windows() -> None:
    """Drop the sealed windows that are held: they may have been damaged on the way."""
    _whole.cache_clear()
