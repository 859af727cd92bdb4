"""What the annotations say of a split that is trained on or scored; no recording is read."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from hf_inatsounds.archives.fetch import Source, is_hub_id
from hf_inatsounds.archives.source_state import State, audio_state
from hf_inatsounds.data.annotations import Annotations, annotated_hours, read_annotations
from hf_inatsounds.data.builder import open_dataset
from hf_inatsounds.data.labels import LabelSpace
from hf_inatsounds.data.mirror_annotations import mirror_annotations, mirror_commit
from hf_inatsounds.errors import AnnotationError, SourceError
from hf_inatsounds.fingerprints import changed_facts, fingerprint, table_fingerprint
from hf_inatsounds.schema import OFFICIAL_CLASSES, SPLITS

COMMIT = "commit"
"""In the state of a mirror on the Hub: what is read of it is read in this commit."""

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

    @property
    def present(self) -> Array:
        """Classes that the split holds, ascending."""
        return np.unique(self.labels)

    def rows(self, *, streaming: bool = True) -> Any:
        """The split's rows with encoded audio."""
        import datasets

        loaded = open_dataset(
            self.name, self.split, source=self.source, streaming=streaming, index=self.index or None,
            revision=self.state.get(COMMIT),
        )  # fmt: skip
        return loaded.cast_column("audio", datasets.Audio(decode=False))

    def check_state(self) -> None:
        """Whether the source is as it was when the annotations were read.

        Raises:
            SourceError: if not: what was read since may be of two states.
        """
        if COMMIT in self.state:
            return  # which nothing changes any more
        if changed := changed_facts(self.state, _state(self.source, self.split)):
            raise SourceError(
                "the source was changed while it was read", where=self.source, found=f"another {', '.join(changed)}",
                expected="one state of it from beginning to end", fix="Run it again when nothing writes to it.",
            )  # fmt: skip


def split_info(source: str, name: str, split: str, index: str = "") -> SplitInfo:
    """Read what the annotations say of a split; no recording is read.

    Raises:
        SourceError: unknown source, name or split, or a split without recordings.
        AnnotationError: missing or malformed annotations.
    """
    state = _state(source, split)
    annotations, table = split_table(source, name, split, revision=state.get(COMMIT))
    official = len(annotations.label_space) == OFFICIAL_CLASSES
    title = "iNaturalist Sounds Dataset" if official else annotations.title or "a dataset in the layout of iNatSounds"
    hours = annotated_hours(table["duration_s"].to_pylist())
    labels = table["label"].to_numpy().astype(np.int64)
    ordered = table.sort_by("recording_id")
    revision = table_fingerprint(ordered.select(["recording_id", "label", "file_name"]))
    said = {"table": table_fingerprint(ordered), "classes": [asdict(taxon) for taxon in annotations.label_space.taxa]}
    return SplitInfo(
        source, name, split, annotations.label_space, labels, hours, title, index, revision, fingerprint(said), state
    )


def _state(source: str, split: str) -> State:
    """The state of what a split's recordings are in."""
    if split not in SPLITS:
        raise SourceError("unknown split", where="split", found=repr(split), expected=", ".join(SPLITS))
    return {COMMIT: mirror_commit(source, split)} if is_hub_id(source) else audio_state(Source.parse(source), [split])


def split_table(source: str, name: str, split: str, revision: str | None = None) -> tuple[Annotations, pa.Table]:
    """A split's annotations, and the rows of them that the dataset called ``name`` has; of a mirror in a revision.

    Raises:
        SourceError, AnnotationError: as :func:`split_info`.
    """
    if split not in SPLITS:
        raise SourceError("unknown split", where="split", found=repr(split), expected=", ".join(SPLITS))
    if is_hub_id(source):
        annotations = mirror_annotations(source, split, revision)
    else:
        annotations = read_annotations(Source.parse(source), split)
    table = annotations.select(name)
    if not table.num_rows:
        raise SourceError("no recordings", where=f"{source}, {split}, {name!r}", expected="at least one")
    return annotations, table


def training_counts(info: SplitInfo) -> Array | None:
    """Training recordings of each class in the split's source, (C,) int64; None where it has no train annotations."""
    try:
        table = split_table(info.source, info.name, "train")[1]
    except (SourceError, AnnotationError):
        return None
    return np.bincount(table["label"].to_numpy(), minlength=len(info.label_space)).astype(np.int64)
