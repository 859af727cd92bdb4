"""Building a seek index: one pass over a gzip tar, in segments, so that a killed build goes on where it was.

A segment ends between two members, behind a seek point at least ``segment_bytes`` after the segment's own. The
next one starts decompression anew at that point, as a rerun after a kill does: both give the same bytes.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from hf_inatsounds.archives.compressed import Compressed, open_compressed
from hf_inatsounds.archives.deflate import ERRORS, Inflater, Point, stream_end
from hf_inatsounds.archives.fetch import Source
from hf_inatsounds.archives.index_checks import MEMBERS, POINTS
from hf_inatsounds.archives.plain import CrcMismatch, Plain, Start
from hf_inatsounds.archives.ranges import LocalRanges, open_ranges
from hf_inatsounds.archives.sealing import digest, key_start, seal, unseal
from hf_inatsounds.archives.seek_index import EDGE_BYTES, file_names, write_manifest
from hf_inatsounds.archives.side_by_side import side_by_side
from hf_inatsounds.archives.tar_members import Row, read_members
from hf_inatsounds.archives.tar_walk import DamagedError, no_files
from hf_inatsounds.errors import SourceError
from hf_inatsounds.files import replacing, write_json
from hf_inatsounds.fingerprints import code_fingerprint
from hf_inatsounds.progress import note

SPACING_BYTES = 4 << 20
"""Least decompressed bytes between two points. A window has 32 KiB, so the index is at most 0.8 % of the archive."""

SEGMENT_BYTES = 512 << 20
"""Compressed bytes of a segment: what a kill loses at most. Each end of one wastes what rapidgzip has read ahead."""

TRAILER_BYTES = 64 << 20
"""Decompressed bytes that may follow the tar's end: padding to the writer's record size, at the most."""


@dataclass
class _State:
    """What a build has done; everything in it is written after each segment."""

    archive: dict[str, Any]
    next_member: int = 0
    points: list[tuple[int, int, int, int, int]] = field(default_factory=lambda: [(0, 0, 0, 0, 0)])
    parts: int = 0
    done: bool = False
    decompressed_bytes: int = 0
    crc32: int = 0  # of the decompressed data before the last point


class IndexBuild:
    """One archive's build.

    Args:
        source: where the archive is.
        stem: train, val or test.
        folder: where the index goes.
        report: told (bytes done, bytes in all) now and then.
        spacing: least distance of two points, in decompressed bytes.
        segment_bytes: compressed bytes between two checkpoints.

    Attributes:
        size: of the archive, in bytes.
    """

    def __init__(
        self,
        source: Source,
        stem: str,
        folder: Path,
        *,
        report: Callable[[int, int], None] = lambda done, total: None,
        spacing: int = SPACING_BYTES,
        segment_bytes: int = SEGMENT_BYTES,
    ) -> None:
        self.where = source.path(f"{stem}.tar.gz")
        self.stem, self.folder = stem, folder
        self.partial = folder / f".{stem}.partial"
        self._spacing, self._segment_bytes = spacing, segment_bytes
        self._reader = open_ranges(self.where)
        self.size = size = self._reader.size()
        edge = min(EDGE_BYTES, size)
        identity = {
            "name": f"{stem}.tar.gz",
            "bytes": size,
            "head_sha256": digest(self._reader.read(0, edge)),
            "tail_sha256": digest(self._reader.read(size - edge, size)),
            "spacing_bytes": spacing,
            "state": self._reader.identity(),
            "code": code_fingerprint("hf_inatsounds.archives.indexing"),
        }
        self._state = self._resumed(identity) or self._fresh(identity)
        self._end = size
        self._report = report
        self._refetched = isinstance(self._reader, LocalRanges)  # which would give the same bytes again
        self._compressed = self._opened()

    @property
    def resumed_at(self) -> int:
        """Compressed bytes whose index an earlier run has left."""
        return self._state.points[-1][1]

    def run(self) -> dict[str, Any]:
        """Build, or go on building; returns the manifest.

        Raises:
            SourceError: if the archive is missing, damaged, or changes while it is read.
        """
        try:
            while not self._state.done:
                try:
                    # in a thread of its own: rapidgzip waits for its threads, and they for the server, where no
                    # interrupt is heard
                    side_by_side(self._segment)
                except CrcMismatch as error:
                    self._state = self._in_one_go(error)
                except DamagedError as error:
                    self._mend(error)
                self._save()
            return self._finish()
        finally:
            self._compressed.close()

    def _opened(self) -> Compressed:
        return open_compressed(self._reader, self.size, lambda done: self._report(done, self.size))

    def _start(self) -> Start:
        """The last point, where the next segment begins."""
        out, at, bits, *_ = self._state.points[-1]
        point = Point(out, at, bits)
        return Start(point, self._window(point) if at else None, self._state.crc32)

    def _mend(self, error: DamagedError) -> None:
        """See to it that the segment can be tried again: without the bytes behind the gzip stream, or fetched anew.

        Raises:
            DamagedError: ``error``, where neither helps.
        """
        if self._end == self.size:
            start = self._start()
            before = self._compressed.read(start.point.at - 1, start.point.at)[0] if start.point.bits else 0
            inflater = Inflater(start.window, start.point.bits, before)
            with contextlib.suppress(*ERRORS):
                self._end = stream_end(self._compressed.read, inflater, start.point.at, self.size)
            if self._end < self.size:
                note(f"{self.where}: {self.size - self._end:,} bytes behind the gzip stream are passed over")
                return
        if self._refetched:
            raise error
        note(f"{error} Fetching it again.")
        self._refetched = True
        self._compressed.close()
        self._compressed = self._opened()

    def _segment(self) -> None:
        start = self._start()
        at = start.point.at
        self._compressed.skip_to(at)
        found: list[tuple[Start, bytes]] = []
        plain = Plain(
            self._compressed,
            start,
            self._spacing,
            lambda made: found.append((made, seal(made.window or b"", made.point, self._before(made.point)))),
            self.where,
            self._end,
        )

        def enough(offset: int) -> bool:
            last = [made.point for made, _ in found if made.point.out <= offset]
            return bool(last) and last[-1].at - at >= self._segment_bytes

        rows: list[Row] = []
        try:
            plain.skip_to(self._state.next_member)
            following = read_members(plain, self.where, rows, enough)
            if following is None:
                self._drain(plain, rows)
        finally:
            plain.close()
        self._keep(rows, [pair for pair in found if following is None or pair[0].point.out <= following])
        self._state.next_member = following or 0

    def _in_one_go(self, error: CrcMismatch) -> _State:
        """A fresh state without segments: several gzip members have several CRCs, which a late start cannot know.

        Raises:
            SourceError: if the build was in one go already: then the data are wrong.
        """
        if self._state.parts == 0:
            raise SourceError(
                "damaged archive",
                where=self.where,
                found="data that contradict the gzip checksum",
                expected="a whole gzip tar",
                fix="Download it again and compare its md5.",
            ) from error
        self._segment_bytes = self.size
        return self._fresh({key: value for key, value in self._state.archive.items() if key != "segment_bytes"})

    def _drain(self, plain: Plain, rows: list[Row]) -> None:
        """Read what is behind the tar's end, so that damage there is found too."""
        if plain.skip(TRAILER_BYTES) == TRAILER_BYTES and plain.read(1):
            raise SourceError(
                "damaged archive",
                where=self.where,
                found=f"more than {TRAILER_BYTES:,} bytes behind {rows[-1][0] if rows else 'its beginning'}",
                expected="the end of the tar",
            )
        self._state.done, self._state.decompressed_bytes = True, plain.position

    def _before(self, point: Point) -> bytes:
        return self._compressed.read(key_start(point), point.at)

    def _window(self, point: Point) -> bytes:
        with open(self.partial / "windows.bin", "rb") as file:
            file.seek(self._state.points[-1][3])
            return unseal(file.read(), point, self._before(point), where=str(self.partial))

    def _keep(self, rows: list[Row], found: list[tuple[Start, bytes]]) -> None:
        columns = zip(*rows, strict=True) if rows else iter([()] * len(MEMBERS))
        table = pa.table([pa.array(c, f.type) for c, f in zip(columns, MEMBERS, strict=True)], schema=MEMBERS)
        with replacing(self.partial / f"{self._state.parts:06d}.parquet") as path:
            pq.write_table(table, path)
        self._state.parts += 1
        with open(self.partial / "windows.bin", "r+b") as file:
            position = file.seek(self._state.points[-1][4])
            for made, sealed in found:
                point = made.point
                file.write(sealed)
                self._state.crc32 = made.crc32
                self._state.points.append((point.out, point.at, point.bits, position, position + len(sealed)))
                position += len(sealed)
            file.truncate()

    def _fresh(self, identity: dict[str, Any]) -> _State:
        shutil.rmtree(self.partial, ignore_errors=True)
        self.partial.mkdir(parents=True)
        (self.partial / "windows.bin").touch()
        return _State(identity | {"segment_bytes": self._segment_bytes})

    def _resumed(self, identity: dict[str, Any]) -> _State | None:
        """What an earlier run of the same archive and settings left; None for nothing usable."""
        try:
            state = _State(**json.loads((self.partial / "state.json").read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None
        state.points = [tuple(point) for point in state.points]  # type: ignore[misc]
        return state if state.archive == identity | {"segment_bytes": self._segment_bytes} else None

    def _save(self) -> None:
        write_json(self.partial / "state.json", vars(self._state))

    def _finish(self) -> dict[str, Any]:
        names = file_names(self.stem)
        parts = [pq.read_table(self.partial / f"{i:06d}.parquet") for i in range(self._state.parts)]
        members = pa.concat_tables(parts).combine_chunks()  # one chunk: the bytes do not tell of segments
        if not members.num_rows:
            raise no_files(self.where)
        points = [pa.array(c, f.type) for c, f in zip(zip(*self._state.points, strict=True), POINTS, strict=True)]
        with replacing(self.folder / names["members"]) as path:
            pq.write_table(members, path, compression="zstd", compression_level=9)
        with replacing(self.folder / names["points"]) as path:
            pq.write_table(pa.table(points, schema=POINTS), path, compression="zstd", compression_level=9)
        with replacing(self.folder / names["windows"]) as path:
            shutil.copyfile(self.partial / "windows.bin", path)
        identity = {key: self._state.archive[key] for key in ("name", "bytes", "head_sha256", "tail_sha256")}
        archive = identity | {"md5": self._compressed.md5(), "decompressed_bytes": self._state.decompressed_bytes}
        manifest = write_manifest(self.folder, self.stem, archive)
        shutil.rmtree(self.partial)
        return manifest
