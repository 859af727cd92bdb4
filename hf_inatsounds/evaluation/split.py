"""What the annotations say of a split that is trained on or scored; no recording is read."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from hf_inatsounds.annotations import Annotations, read_annotations
from hf_inatsounds.archives.fetch import Source, is_hub_id
from hf_inatsounds.builder import open_dataset
from hf_inatsounds.errors import AnnotationError, SourceError
from hf_inatsounds.labels import LabelSpace
from hf_inatsounds.publishing.reading import mirror_annotations
from hf_inatsounds.schema import OFFICIAL_CLASSES, SPLITS

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
        revision: SHA-256 of what the annotations say of the split: ids, labels and file names.
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

    @property
    def present(self) -> Array:
        """Classes that the split holds, ascending."""
        return np.unique(self.labels)

    def rows(self, *, streaming: bool = True) -> Any:
        """The split's rows with encoded audio."""
        import datasets

        loaded = open_dataset(self.name, self.split, source=self.source, streaming=streaming, index=self.index or None)
        return loaded.cast_column("audio", datasets.Audio(decode=False))


def split_info(source: str, name: str, split: str, index: str = "") -> SplitInfo:
    """Read what the annotations say of a split; no recording is read.

    Raises:
        SourceError: unknown source, name or split, or a split without recordings.
        AnnotationError: missing or malformed annotations.
    """
    annotations, table = split_table(source, name, split)
    official = len(annotations.label_space) == OFFICIAL_CLASSES
    title = "iNaturalist Sounds Dataset" if official else annotations.title or "a dataset in the layout of iNatSounds"
    hours = float(np.nansum(np.array(table["duration_s"].to_pylist(), np.float64))) / 3600
    labels = table["label"].to_numpy().astype(np.int64)
    return SplitInfo(source, name, split, annotations.label_space, labels, hours, title, index, _revision(table))


def _revision(table: Any) -> str:
    """The same for archives, an unpacked tree and a mirror of them; another as soon as a recording or label differs."""
    digest = hashlib.sha256()
    for row in sorted(zip(*(table[key].to_pylist() for key in ("recording_id", "label", "file_name")), strict=True)):
        digest.update(json.dumps(row).encode())
    return digest.hexdigest()


def split_table(source: str, name: str, split: str) -> tuple[Annotations, pa.Table]:
    """A split's annotations, and the rows of them that the dataset called ``name`` has.

    Raises:
        SourceError, AnnotationError: as :func:`split_info`.
    """
    if split not in SPLITS:
        raise SourceError("unknown split", where="split", found=repr(split), expected=", ".join(SPLITS))
    is_mirror = is_hub_id(source)
    annotations = mirror_annotations(source, split) if is_mirror else read_annotations(Source.parse(source), split)
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
