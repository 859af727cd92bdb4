"""What the annotations say of a split that is trained on or scored; no recording is read."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from hf_inatsounds.archives.fetch import Source, held, is_hub_id
from hf_inatsounds.archives.source_state import State, audio_state
from hf_inatsounds.data.annotations import Annotations, annotated_hours, annotation_file, require_annotation_file
from hf_inatsounds.data.archive_rows import OPEN, ArchiveRows
from hf_inatsounds.data.builder import INatSounds
from hf_inatsounds.data.labels import LabelSpace
from hf_inatsounds.data.loading import open_dataset
from hf_inatsounds.data.mirror import is_mirror, open_mirror
from hf_inatsounds.data.mirror_annotations import mirror_annotations, mirror_splits
from hf_inatsounds.data.mirror_rows import MirrorRows
from hf_inatsounds.data.prepared import annotation_identity, parsed_annotations
from hf_inatsounds.data.rows import FolderRows, ForwardRows, Rows
from hf_inatsounds.data.selection import Selection
from hf_inatsounds.data.selection_values import Select
from hf_inatsounds.errors import AnnotationError, SourceError
from hf_inatsounds.fingerprints import changed_facts, fingerprint, table_fingerprint
from hf_inatsounds.schema import SPLITS, STEMS

COMMIT = "commit"
"""In the state of a mirror: its commit on the Hub, in a folder the digest of its manifest."""

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class SplitInfo:
    """What the annotations say of a split that is trained on or scored.

    Attributes:
        source: where it is, as ``load_dataset`` takes it.
        name: the dataset's name.
        split: train, validation or test.
        label_space: all classes.
        labels: (N,) int64, of the annotated recordings.
        hours: their annotated length.
        title: which dataset it is, in words.
        index: where the archives' seek indexes are; empty for none.
        revision: SHA-256 of ids, labels and file names: the same for archives, an unpacked tree and a mirror of them.
        annotations: SHA-256 of all that the annotations say of the split, and of the classes.
        state: file of the source → its state when the annotations were read; of a mirror its ``COMMIT``.
        selection: which of the split's recordings it is about.
        official: whether the annotations are known to be the official release's.
    """

    source: str
    name: str
    split: str
    label_space: LabelSpace
    labels: Array
    hours: float
    title: str
    index: str = ""
    revision: str = ""
    annotations: str = ""
    state: State = field(default_factory=dict)
    selection: Selection = field(default_factory=Selection)
    official: bool = False

    @property
    def present(self) -> Array:
        """Classes that the split holds, ascending."""
        return np.unique(self.labels)

    def rows(self, *, streaming: bool = True) -> Any:
        """The split's rows with encoded audio, as ``load_dataset`` gives them."""
        import datasets

        loaded = open_dataset(
            self.selection, self.split, source=self.source, streaming=streaming, index=self.index or None,
            revision=self._revision,
        )  # fmt: skip
        return loaded.cast_column("audio", datasets.Audio(decode=False))

    @property
    def _revision(self) -> str | None:
        return self.state.get(COMMIT) if is_hub_id(self.source) else None

    @property
    def is_at_hand(self) -> bool:
        """Whether the source is an unpacked tree or a mirror on this machine: nothing need be prepared."""
        if is_hub_id(self.source) or is_mirror(self.source):
            return not is_hub_id(self.source)
        source = Source.parse(self.source)
        return not source.is_remote and not source.exists(f"{STEMS[self.split]}.tar.gz")

    def by_number(self, *, draws: bool = False) -> Rows | None:
        """The split's rows by number, straight from the source; None of an archive without an index.

        Args:
            draws: whether they are read one by one, in no order that the source reads well.
        """
        if is_mirror(self.source):
            mirror = open_mirror(self.source, self._revision)
            return MirrorRows(mirror, self.selection.apply(mirror_annotations(mirror, self.split)))
        source = Source.parse(self.source)
        if self.index:
            index = Source.parse(self.index).root
            builder = INatSounds(
                config_name=self.name, source=source.root, splits=(self.split,), index=index,
                select=self.selection.text,
            )  # fmt: skip
            return ArchiveRows(builder.recordings(self.split), keep=0 if draws else OPEN)
        if self.is_at_hand:
            return FolderRows(self.selection.apply(all_annotations(self.source, self.split)).table, source)
        return None

    def scored_rows(self, *, draws: bool = False) -> Rows | ForwardRows:
        """The split's rows: by number, or from front to back."""
        return self.by_number(draws=draws) or ForwardRows(self.rows(), len(self.labels))

    def check_state(self) -> None:
        """Whether the source is as it was when the annotations were read.

        Raises:
            SourceError: if not: what was read since may be of two states.
        """
        if COMMIT in self.state and is_hub_id(self.source):
            return  # which nothing changes any more
        if changed := changed_facts(self.state, _state(self.source, self.split)):
            raise SourceError(
                "the source was changed while it was read", where=self.source, found=f"another {', '.join(changed)}",
                expected="one state of it from beginning to end", fix="Run it again when nothing writes to it.",
            )  # fmt: skip


def split_info(source: str, name: str, split: str, index: str = "", select: Select = None) -> SplitInfo:
    """Read what the annotations say of a split; no recording is read.

    Args:
        source: as ``load_dataset`` takes it.
        name: as there.
        split: train, validation or test.
        index: where the archives' seek indexes are; empty for none.
        select: which recordings, as ``load_dataset`` takes it.

    Raises:
        ArgumentsError: a selection that cannot be.
        SourceError: unknown source, name or split, or a split without recordings.
        AnnotationError: missing or malformed annotations.
    """
    state = _state(source, split)
    selection = Selection.parse(name, select)
    annotations = chosen_annotations(source, selection, split, state.get(COMMIT) if is_hub_id(source) else None)
    table = annotations.table
    hours = annotated_hours(table["duration_s"].to_pylist())
    labels = table["label"].to_numpy().astype(np.int64)
    ordered = table.sort_by("recording_id")
    revision = table_fingerprint(ordered.select(["recording_id", "label", "file_name"]))
    said = {"table": table_fingerprint(ordered), "classes": [asdict(taxon) for taxon in annotations.label_space.taxa]}
    return SplitInfo(
        source, name, split, annotations.label_space, labels, hours, annotations.dataset, index, revision,
        fingerprint(said), state, selection, annotations.is_official,
    )  # fmt: skip


def _state(source: str, split: str) -> State:
    """The state of what a split's recordings are in."""
    if split not in SPLITS:
        raise SourceError("unknown split", where="split", found=repr(split), expected=", ".join(SPLITS))
    if is_mirror(source):
        return {COMMIT: open_mirror(source, where=f"{source}, {split}").state}
    return audio_state(Source.parse(source), [split])


def chosen_annotations(source: str, selection: Selection, split: str, revision: str | None = None) -> Annotations:
    """The annotations of the wanted recordings of a split; of a mirror on the Hub in a revision.

    Raises:
        SourceError, AnnotationError: as :func:`split_info`.
    """
    chosen = selection.apply(all_annotations(source, split, revision))
    if not chosen.table.num_rows:
        raise SourceError("no recordings", where=f"{source}, {split}, {selection}", expected="at least one")
    return chosen


def all_annotations(source: str, split: str, revision: str | None = None) -> Annotations:
    """The annotations of a split; of a mirror on the Hub in a revision.

    Raises:
        SourceError, AnnotationError: as :func:`split_info`.
    """
    if split not in SPLITS:
        raise SourceError("unknown split", where="split", found=repr(split), expected=", ".join(SPLITS))
    if is_mirror(source):
        return mirror_annotations(open_mirror(source, revision, where=f"{source}, {split}"), split)
    parsed = Source.parse(source)
    name = require_annotation_file(parsed, split)
    return parsed_annotations(parsed, split, name, annotation_identity(parsed, name))


def splits_of(source: str) -> list[str]:
    """The splits of which a source has annotations.

    Raises:
        SourceError: if there is none.
    """
    if is_mirror(source):
        return list(mirror_splits(open_mirror(source)))
    parsed = Source.parse(source)
    found = held(SPLITS, lambda one: bool(annotation_file(parsed, one)))
    if not found:
        raise SourceError("no annotations here", where=parsed.root, expected="train.json.tar.gz …")
    return found


def training_counts(info: SplitInfo) -> Array | None:
    """Training recordings of each class in the split's source, (C,) int64; None where it has no train annotations.

    Of a selection what it says of classes counts.
    """
    try:
        table = chosen_annotations(info.source, info.selection.of_classes, "train").table
    except (SourceError, AnnotationError):
        return None
    return np.bincount(table["label"].to_numpy(), minlength=len(info.label_space)).astype(np.int64)
