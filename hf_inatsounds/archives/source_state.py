"""What state a source's recordings and annotations are in: what was made of them is made again when it changes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from hf_inatsounds.archives.fetch import Source
from hf_inatsounds.archives.http_ranges import HttpRanges
from hf_inatsounds.archives.ranges import LocalRanges, RangeReader, open_ranges
from hf_inatsounds.fingerprints import file_digest
from hf_inatsounds.schema import STEMS

EDGE_BYTES = 64 << 10
"""First and last bytes that are digested of a file on disk, and of one that has nothing but a size to be told by. A
gzip file ends with a checksum of its content."""

FOLDER_THREADS = 8
"""Class folders of an unpacked tree that are looked at together. A network disk answers them side by side."""

State = dict[str, str]
"""File or folder of a source → a text, another one when it is replaced."""


def audio_state(source: Source, splits: Iterable[str]) -> State:
    """The state of the splits' recordings: of each archive, or where there is none of each file of the unpacked tree.

    An archive on disk is known by its size, time and edges; one behind a URL by what the server says of it (size,
    ETag, Last-Modified). In a tree the size and time of every file count: 139,000 files took 1.2 s of one core.
    """
    found: State = {}
    for stem in (STEMS[split] for split in splits):
        name = f"{stem}.tar.gz"
        state = file_state(source, name)
        if state is None and not source.is_remote:
            name, state = f"{stem}/", folder_state(Path(source.path(stem)))
        if state is not None:
            found[name] = state
    return found


def file_state(source: Source, name: str) -> str | None:
    """What tells two states of a source's file apart; None where it is not there.

    Raises:
        SourceError: if a server gives no answer, or names neither ETag nor time and has no range requests either: a
            replaced file could not be told.
    """
    reader = open_ranges(source.path(name))
    if isinstance(reader, HttpRanges):
        state = reader.state()
        if state is None:
            return None
        return str(state) if state.etag or state.modified else f"{state}:{_edges(reader)}"
    if not source.exists(name):
        return None
    known = reader.identity()
    if isinstance(reader, LocalRanges):
        return f"{known}:{_edges(reader)}" if os.path.isfile(reader.where) else known  # reading a pipe would empty it
    return known if ":" in known else f"{known}:{_edges(reader)}"


def _edges(reader: RangeReader) -> str:
    """SHA-256 of a file's beginning and end."""
    size = reader.size()
    edge = min(EDGE_BYTES, size)
    return hashlib.sha256(reader.read(0, edge) + reader.read(size - edge, size)).hexdigest()


def folder_state(folder: Path) -> str | None:
    """Digest of the path, size and time of every file below a folder, and how many they are; None without a folder."""
    if not folder.is_dir():
        return None
    files, below = _files_in(folder, str(folder))
    with ThreadPoolExecutor(FOLDER_THREADS) as pool:
        for found in pool.map(lambda one: _files_below(one, str(folder)), below):
            files += found
    digest = hashlib.sha256()
    for line in sorted(files):
        digest.update(line)
    return f"{len(files)} files:{digest.hexdigest()}"


def _files_below(folder: str, root: str) -> list[bytes]:
    files: list[bytes] = []
    waiting, seen = [folder], set()
    while waiting:
        here = waiting.pop()
        about = os.stat(here)
        if (about.st_dev, about.st_ino) in seen:  # a link to a folder above
            continue
        seen.add((about.st_dev, about.st_ino))
        found, below = _files_in(here, root)
        files += found
        waiting += below
    return files


def _files_in(folder: str | Path, root: str) -> tuple[list[bytes], list[str]]:
    """A line for each file of a folder, and the folders in it. What a link leads to counts, not the link."""
    files, folders = [], []
    with os.scandir(folder) as entries:
        for entry in entries:
            try:
                if entry.is_dir():
                    folders.append(entry.path)
                    continue
                about = entry.stat()
            except FileNotFoundError:  # a link to nothing is no recording
                continue
            name = os.fsencode(entry.path[len(root) :])
            files.append(b"%s\0%d\0%d\n" % (name, about.st_size, about.st_mtime_ns))
    return files, folders


def annotation_state(source: Source, names: Iterable[str]) -> State:
    """The state of annotation files: the digest of their content on disk, what the server says of them behind a URL."""
    found: State = {}
    for name in names:
        state = file_state(source, name)
        if state is not None and not source.is_remote:
            state = file_digest(Path(source.path(name)))
        if state is not None:
            found[name] = state
    return found
