"""Recordings into a mirror: out of an archive front to back, by its index, or out of an unpacked folder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from hf_inatsounds.archives.fetch import Source
from hf_inatsounds.archives.forward import iterate_archive
from hf_inatsounds.archives.seek_index import has_index
from hf_inatsounds.archives.seekable import spans_of
from hf_inatsounds.archives.tar_walk import Member, require_size
from hf_inatsounds.data.indexed_rows import open_indexed, require_complete
from hf_inatsounds.errors import SourceError
from hf_inatsounds.schema import STEMS

MAX_RECORDING_BYTES = 256 << 20
"""A larger recording is an error: its copies on the way would not fit into 2 GB. The longest real one has 56 MB."""


def recordings_in(
    source: Source, split: str, file_names: Iterable[str], index: str | Path | None = None
) -> Iterator[tuple[str, bytes]]:
    """``(file name, bytes)`` of the wanted recordings, in the order of the archive or the folder; each once.

    Args:
        source: where the split's archive or unpacked folder is.
        split: the split.
        file_names: what is wanted; what is not there is passed over.
        index: a folder of seek indexes. Where the split's is in it, only what is wanted is read.

    Raises:
        SourceError: if the archive is missing, damaged, not the indexed one, or holds too large a member.
    """
    left = set(file_names)
    name = f"{STEMS[split]}.tar.gz"
    if source.exists(name):
        if index is not None and has_index(Source.parse(index), STEMS[split]):
            yield from _by_index(source, split, left, Source.parse(index))
        else:
            yield from _forward(source, name, left)
    elif not source.is_remote and Path(source.path(STEMS[split])).is_dir():
        for file_name in sorted(left):
            path = Path(source.path(file_name))
            if path.is_file() and not source.leads_out(file_name):
                yield file_name, path.read_bytes()
    else:
        raise SourceError(
            "missing audio archive",
            where=source.path(name),
            found="no such file",
            expected=f"the recordings of the {split} split, or the unpacked folder {STEMS[split]}/",
        )


def _first(left: set[str], member: str) -> bool:
    """Whether a member is wanted; of a name that comes twice the first counts, as in reading forward."""
    if member not in left:
        return False
    left.discard(member)
    return True


def _forward(source: Source, name: str, left: set[str]) -> Iterator[tuple[str, bytes]]:
    yield from iterate_archive(
        source, name, wanted=lambda member: _first(left, member), max_member_bytes=MAX_RECORDING_BYTES
    )


def _by_index(source: Source, split: str, left: set[str], location: Source) -> Iterator[tuple[str, bytes]]:
    archive = open_indexed(source, STEMS[split], location)
    members = spans_of(archive.index.members)
    for span in members:  # the same refusal as in reading forward
        require_size(Member(span.name, span.size), archive.where, MAX_RECORDING_BYTES)
    wanted = len(left)
    spans = [span for span in members if _first(left, span.name)]
    require_complete(archive, len(left), wanted)
    yield from zip((span.name for span in spans), archive.read_in_order(spans), strict=True)
