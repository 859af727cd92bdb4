"""The ``datasets`` builder: archives or an unpacked tree in, rows with encoded audio out."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa

from hf_inatsounds.archives.fetch import Source
from hf_inatsounds.archives.forward import iterate_archive
from hf_inatsounds.archives.tar_walk import PassNotes
from hf_inatsounds.data.annotations import Annotations, require_annotation_file
from hf_inatsounds.data.indexed_rows import Recordings, open_indexed, recordings_of, tables_of
from hf_inatsounds.data.passed_over import PassedOver, warn
from hf_inatsounds.data.prepared import all_splits, annotation_identity, parsed_annotations
from hf_inatsounds.data.selection import Selection
from hf_inatsounds.errors import SourceError
from hf_inatsounds.schema import CITATION, STEMS, TERMS, features

FOLDER_SHARD_ROWS = 1_000
"""Recordings in one shard of an unpacked tree: 137 shards for the official train split."""


@dataclass
class INatSoundsConfig(datasets.BuilderConfig):
    """Configuration of :class:`INatSounds`.

    Args:
        source: "official", a folder with the archives or the unpacked tree, or a base URL.
        splits: the splits to make; None for all that the source has.
        state: what :func:`hf_inatsounds.data.prepared.prepared_state` says of the source, so that rows prepared from
            other files are not taken for today's; empty where rows are streamed.
        index: folder or base URL of the archives' seek indexes; empty to read them from front to back.
        select: which of the name's recordings are wanted, as :attr:`Selection.text`; empty for all.

    Example:
    >>> INatSoundsConfig(name="aves", source="path/to/archives").name
    'aves'
    """

    name: str = "all"
    source: str = "official"
    splits: tuple[str, ...] | None = None
    state: str = ""
    index: str = ""
    select: str = ""

    @property
    def selection(self) -> Selection:
        """Which recordings are wanted."""
        return Selection.from_text(self.select) if self.select else Selection(self.name, {})


class INatSounds(datasets.ArrowBasedBuilder):
    """iNatSounds as a ``datasets`` builder; audio stays encoded until somebody decodes it."""

    VERSION = datasets.Version("1.1.0", "unreadable recordings are silence, and a column says what is defective")
    BUILDER_CONFIG_CLASS = INatSoundsConfig
    # No BUILDER_CONFIGS: any supercategory of the source is a name, and only its annotations tell which.

    def _info(self) -> datasets.DatasetInfo:
        # an unknown name fails here, before anything is made
        annotations = self._chosen(self.splits_made[0])
        has_audio = self.config.name != "annotations"
        return datasets.DatasetInfo(
            description="iNaturalist Sounds: field recordings of birds, insects, amphibians, mammals and reptiles.",
            homepage="https://github.com/visipedia/inat_sounds",
            license=TERMS,
            citation=CITATION,
            features=features(annotations.label_space.species, audio=has_audio, defect=has_audio),
        )

    def _split_generators(self, dl_manager: Any) -> list[datasets.SplitGenerator]:
        return [
            datasets.SplitGenerator(name=split, gen_kwargs={"shards": self._shards(split), "split": split})
            for split in self.splits_made
        ]

    def _generate_tables(self, shards: list[tuple[int, int] | None], split: str) -> Iterator[tuple[int, pa.Table]]:
        """One shard is either None, the whole split in one go, or a range of rows of an unpacked tree."""
        rows = self._rows(split)
        for position, shard in enumerate(shards):
            if self.config.name == "annotations":
                tables = iter([rows])
            elif shard is None and self.config.index:
                tables = self._indexed_tables(split)
            elif shard is None:
                tables = self._archive_tables(rows, split)
            else:
                tables = self._folder_tables(rows.slice(shard[0], shard[1] - shard[0]))
            for table in tables:
                yield position, table

    @property
    def splits_made(self) -> tuple[str, ...]:
        """The splits to make, each with its annotations in the source.

        Raises:
            SourceError: if the source holds nothing of iNatSounds.
            AnnotationError: if annotations are missing.
        """
        return tuple(self._annotation_files)

    @functools.cached_property
    def _annotation_files(self) -> dict[str, str]:
        """Split → its annotation file; asked for once, since a server takes its time."""
        return {
            split: require_annotation_file(self._source, split)
            for split in self.config.splits or all_splits(self._source)
        }

    @functools.cached_property
    def _annotation_identities(self) -> dict[str, str]:
        """Split → which state of its annotation file this builder reads; a copy in a worker reads no other."""
        return {}

    def _shards(self, split: str) -> list[tuple[int, int] | None]:
        if self.config.name == "annotations" or self._source.exists(f"{STEMS[split]}.tar.gz"):
            return [None]
        if not self._source.is_remote and Path(self._source.path(STEMS[split])).is_dir():
            n = self._rows(split).num_rows
            return [(start, min(start + FOLDER_SHARD_ROWS, n)) for start in range(0, n, FOLDER_SHARD_ROWS)] or [(0, 0)]
        raise SourceError(
            "missing audio archive",
            where=self._source.path(f"{STEMS[split]}.tar.gz"),
            found="no such file",
            expected=f"the recordings of the {split} split, or the unpacked folder {STEMS[split]}/",
        )

    @property
    def _source(self) -> Source:
        return Source.parse(self.config.source)

    def _annotations(self, split: str) -> Annotations:
        name = self._annotation_files[split]
        if split not in self._annotation_identities:
            self._annotation_identities[split] = annotation_identity(self._source, name)
        return parsed_annotations(self._source, split, name, self._annotation_identities[split])

    def _chosen(self, split: str) -> Annotations:
        return self.config.selection.apply(self._annotations(split))

    def _rows(self, split: str) -> pa.Table:
        """The rows that are wanted, in the JSON's order."""
        return self._chosen(split).table

    def recordings(self, split: str) -> Recordings:
        """The split's rows with where in the indexed archive their recordings are.

        Raises:
            SourceError: if the index is missing, changed, or of another archive.
        """
        name = f"{STEMS[split]}.tar.gz"
        archive = open_indexed(self._source, STEMS[split], Source.parse(self.config.index))
        rows = self._rows(split)
        found = set(archive.index.members["file_name"].to_pylist())
        strays = found - set(self._annotations(split).table["file_name"].to_pylist())
        left = set(rows["file_name"].to_pylist()) - found
        warn(len(strays), min(strays, default=""), "recordings without annotation were passed over", name)
        warn(len(left), min(left, default=""), "annotated recordings are not in the archive", name)
        return recordings_of(archive, rows)

    def _indexed_tables(self, split: str) -> Iterator[pa.Table]:
        recordings = self.recordings(split)
        return tables_of(recordings.rows, recordings.in_order(np.arange(recordings.rows.num_rows)))

    def _archive_tables(self, rows: pa.Table, split: str) -> Iterator[pa.Table]:
        """Rows in archive order, as the one forward pass meets them."""
        name = f"{STEMS[split]}.tar.gz"
        index = {text: i for i, text in enumerate(rows["file_name"].to_pylist())}
        known = set(self._annotations(split).table["file_name"].to_pylist())
        met, left = PassedOver(), set(index)

        def wanted(member: str) -> bool:
            if member not in known:
                met.add("recordings without annotation were passed over", member)
            elif member in index and member not in left:
                met.add("recordings came a second time and were passed over", member)
            return member in left

        notes = PassNotes()

        def found() -> Iterator[tuple[int, bytes]]:
            for member, content in iterate_archive(self._source, name, wanted=wanted, notes=notes):
                left.discard(member)
                yield index[member], content
                if not left and len(index) < len(known):  # a part is whole: the rest is not read
                    return

        yield from tables_of(rows, found())
        met.warn(name)
        for kind, (count, names) in notes.odd.items():
            warn(count, names[0], f"members ({kind}) were passed over", name)
        warn(len(left), min(left, default=""), "annotated recordings are not in the archive", name)

    def _folder_tables(self, rows: pa.Table) -> Iterator[pa.Table]:
        met = PassedOver()

        def found() -> Iterator[tuple[int, bytes]]:
            for i, file_name in enumerate(rows["file_name"].to_pylist()):
                try:
                    if self._source.leads_out(file_name):
                        met.add("recordings are links out of their folder and were passed over", file_name)
                    else:
                        yield i, Path(self._source.path(file_name)).read_bytes()
                except FileNotFoundError:
                    met.add("annotated recordings are not in the folder", file_name)

        yield from tables_of(rows, found())
        met.warn(self._source.root)
