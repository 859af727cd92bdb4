"""What parsed annotations and prepared rows depend on: a source that changed is read again."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hf_inatsounds.archives.fetch import Source, held
from hf_inatsounds.archives.ranges import open_ranges
from hf_inatsounds.archives.source_state import annotation_state, audio_state
from hf_inatsounds.data.annotations import Annotations, annotation_file, read_annotations
from hf_inatsounds.errors import AnnotationError, SourceError
from hf_inatsounds.fingerprints import code_fingerprint, fingerprint
from hf_inatsounds.schema import SPLITS, STEMS


def all_splits(source: Source) -> tuple[str, ...]:
    """The splits of which a source has annotations or an archive.

    Raises:
        SourceError: if there is none.
    """

    def has(split: str) -> bool:
        return bool(annotation_file(source, split)) or source.exists(f"{STEMS[split]}.tar.gz")

    found = tuple(held(SPLITS, has))
    if not found:
        raise SourceError(
            "nothing of iNatSounds here", where=source.root, expected="train.tar.gz and train.json.tar.gz …"
        )
    return found


def prepared_state(source: Source, splits: Sequence[str], *, audio: bool = True) -> str:
    """What prepared Arrow rows depend on, besides the configuration: the source's files, and the code that reads them.

    Part of the configuration, so that ``datasets`` keeps the rows of each state in a folder of its own.

    Args:
        source: where annotations and recordings are.
        splits: that are prepared, each with its annotations in the source.
        audio: whether the recordings are in the rows.
    """
    names = [name for split in splits if (name := annotation_file(source, split))]
    return fingerprint({
        "annotations": annotation_state(source, names),
        "audio": audio_state(source, splits) if audio else None,
        "code": code_fingerprint("hf_inatsounds.data.builder"),
    })  # fmt: skip


def prepare_rows(builder: Any, source: Source, *, audio: bool) -> None:
    """Prepare a builder's rows as Arrow files, where no earlier call has; a mixture of two states is thrown away.

    Args:
        builder: a ``datasets`` builder whose configuration has ``state`` from :func:`prepared_state`.
        source: its source.
        audio: whether the recordings are in the rows.

    Raises:
        SourceError: if the source was changed meanwhile.
    """
    was_there = Path(builder.cache_dir).exists()
    builder.download_and_prepare()
    if was_there or prepared_state(source, builder.splits_made, audio=audio) == builder.config.state:
        return
    shutil.rmtree(builder.cache_dir, ignore_errors=True)
    raise SourceError(
        "the source was changed while its rows were prepared", where=source.root,
        expected="one state of it from beginning to end", fix="Load it again when nothing writes to it.",
    )  # fmt: skip


def annotation_identity(source: Source, name: str) -> str:
    """What tells two states of an annotation file apart: its size, and its time or ETag."""
    return open_ranges(source.path(name)).identity()


@functools.lru_cache(maxsize=8)
def parsed_annotations(source: Source, split: str, name: str, identity: str) -> Annotations:
    """A split's annotations, parsed once in a process and state of their file: the official JSON takes seconds.

    Args:
        source: where they are.
        split: train, validation or test.
        name: their file.
        identity: of the file, as :func:`annotation_identity` has it.

    Raises:
        AnnotationError: as :func:`read_annotations`, and if the file is another one by now.
    """
    if not source.is_remote and annotation_identity(source, name) != identity:
        raise AnnotationError(
            "the annotations were replaced while they were in use", where=source.path(name),
            expected="the file as it was when the dataset was loaded", fix="Load the dataset again.",
        )  # fmt: skip
    return read_annotations(source, split, name)
