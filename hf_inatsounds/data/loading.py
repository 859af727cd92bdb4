"""``load_dataset``: archives, an unpacked tree or a mirror in, what ``datasets.load_dataset`` returns out."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

import datasets

from hf_inatsounds.archives.fetch import Source
from hf_inatsounds.data.audio_column import encoded_where_undecodable
from hf_inatsounds.data.builder import INatSounds
from hf_inatsounds.data.indexed_rows import say_forward_once
from hf_inatsounds.data.indexed_stream import rows_stream
from hf_inatsounds.data.mirror import Mirror, is_mirror, open_mirror
from hf_inatsounds.data.mirror_annotations import mirror_annotations, mirror_splits
from hf_inatsounds.data.mirror_rows import MirrorRows
from hf_inatsounds.data.prepared import all_splits, prepare_rows, prepared_state
from hf_inatsounds.data.selection import Selection
from hf_inatsounds.data.selection_values import Select
from hf_inatsounds.errors import ArgumentsError, InatSoundsError, SourceError
from hf_inatsounds.schema import COLUMNS, DEFECT_COLUMN, SPLITS, STEMS, features


def load_dataset(
    name: str = "all",
    split: str | None = None,
    *,
    source: str | os.PathLike[str] = "official",
    streaming: bool = True,
    index: str | os.PathLike[str] | None = None,
    select: Select = None,
    columns: Sequence[str] | None = None,
    revision: str | None = None,
    token: str | bool | None = None,
) -> Any:
    """Load iNatSounds.

    With an index (``hf-inatsounds index SOURCE --out DIR``) a stream has many shards, reads only the parts of the
    archive that it needs, and shuffles without a buffer: the order is a function of (seed, epoch, position), and
    ``state_dict()`` resumes it exactly. A shuffled stream holds some 260 MB, an unshuffled one a recording.
    Shuffle before ``split_dataset_by_node``: what that returns shuffles through the buffer of ``datasets``. As
    there, ``set_epoch`` of more than 0 reorders an unshuffled stream too.

    Args:
        name: "all", a supercategory in lower case ("aves"), "evaluation" (the classes that validation and
            test hold), or "annotations" (no audio).
        split: "train", "validation", "test", or None for a dictionary of all that the source has.
        source: "official", a folder with the archives, the unpacked tree or a mirror, a base URL, or a Hub dataset id.
        streaming: whether to read as you go, or to prepare Arrow files in the ``datasets`` cache first.
        index: folder or base URL of the archives' seek indexes; without one, archives are read from front to back.
        select: which recordings, as :meth:`~hf_inatsounds.data.selection.Selection.parse` takes it:
            ``{"family": "Ranidae", "license": ["CC0 1.0", "CC BY 4.0"], "max_per_class": 150}``. With an index or from
            a mirror only what holds them is fetched. The label space stays whole unless ``relabel`` is true.
        columns: which columns; None for all. Without ``audio`` no recording is read.
        revision: branch, tag or commit of a repository on the Hub.
        token: of the Hub; None for the one that ``hf auth login`` stored, False for none.

    Returns:
        What ``datasets.load_dataset`` returns. The ``audio`` column decodes where ``datasets`` can decode (torchcodec
        and FFmpeg); elsewhere it holds ``{"bytes", "path"}``. :func:`hf_inatsounds.audio.read_window` takes either.
        Every recording decodes: an empty or unreadable one is a second of silence, and the last column, ``defect``,
        says so. A mirror leaves those recordings out.

    Raises:
        ArgumentsError: a selection that cannot be.
        SourceError: unknown source, split or name; missing or damaged archive or index.
        AnnotationError: missing or malformed annotations.
    """
    if columns is not None and (unknown := [one for one in columns if one not in (*COLUMNS, DEFECT_COLUMN)]):
        raise ArgumentsError("unknown column", where="columns", found=unknown, expected=", ".join(COLUMNS))
    selection = Selection.parse(name, select)
    audio = name != "annotations" and (columns is None or bool({"audio", DEFECT_COLUMN} & set(columns)))
    loaded = open_dataset(
        selection, split, source=source, streaming=streaming, index=index, revision=revision, token=token, audio=audio
    )
    return encoded_where_undecodable(loaded if columns is None else loaded.select_columns(list(columns)))


def open_dataset(
    selection: Selection | str,
    split: str | None,
    *,
    source: str | os.PathLike[str],
    streaming: bool,
    index: str | os.PathLike[str] | None = None,
    revision: str | None = None,
    token: str | bool | None = None,
    audio: bool = True,
) -> Any:
    """As :func:`load_dataset`, with an ``audio`` column that decodes whether torchcodec is there or not.

    Args:
        selection: which recordings; a text is a name without conditions.
        split: as there.
        source: as there.
        streaming: as there.
        index: as there.
        revision: as there.
        token: as there.
        audio: whether there is an ``audio`` column.
    """
    if isinstance(selection, str):
        selection = Selection(selection, {})
    if split is not None and split not in SPLITS:
        raise SourceError("unknown split", where="split", found=repr(split), expected=", ".join(SPLITS))
    audio = audio and selection.name != "annotations"
    if is_mirror(source):
        return _of_mirror(open_mirror(source, revision, token=token), selection, split, streaming, audio=audio)
    parsed = Source.parse(source)
    try:
        splits = all_splits(parsed) if split is None else (split,)
        builder = INatSounds(
            config_name=selection.name if audio else "annotations",
            source=parsed.root,
            splits=splits,
            state="" if streaming else prepared_state(parsed, splits, audio=audio),
            index="" if index is None else Source.parse(index).root,
            select=selection.text if selection.conditions or not audio else "",
        )
        if streaming and index is not None and audio:
            made = builder.splits_made
            streams = {one: rows_stream(builder.recordings(one), builder.info, one) for one in made}
            return datasets.IterableDatasetDict(streams) if split is None else streams[split]
        if streaming:
            if audio:
                say_forward_once(parsed, [STEMS[one] for one in builder.splits_made])
            return builder.as_streaming_dataset(split=split)
        prepare_rows(builder, parsed, audio=audio)
        return builder.as_dataset(split=split)
    except datasets.exceptions.DatasetGenerationError as error:
        cause = error.__cause__
        raise cause if isinstance(cause, InatSoundsError) else error from None


def _of_mirror(mirror: Mirror, selection: Selection, split: str | None, streaming: bool, *, audio: bool) -> Any:
    if not selection.conditions and audio == (selection.name != "annotations"):
        return mirror.load(selection.name, split, streaming=streaming)
    found = {one: _part(mirror, selection, one, streaming, audio=audio) for one in _splits(mirror, split)}
    if split is not None:
        return found[split]
    return (datasets.IterableDatasetDict if streaming else datasets.DatasetDict)(found)


def _splits(mirror: Mirror, split: str | None) -> list[str]:
    there = mirror_splits(mirror)
    if split is not None and split not in there:
        raise SourceError(
            "no such split in the mirror", where=mirror.where, found=repr(split), expected=", ".join(there)
        )
    return there if split is None else [split]


def _part(mirror: Mirror, selection: Selection, split: str, streaming: bool, *, audio: bool) -> Any:
    """A part of a mirror's split: only its row groups are read."""
    annotations = selection.apply(mirror_annotations(mirror, split))
    info = datasets.DatasetInfo(features=features(annotations.label_space.species, audio=audio, defect=audio))
    if not audio:
        rows = datasets.Dataset(annotations.table.cast(info.features.arrow_schema), info=info)
        return rows.to_iterable_dataset() if streaming else rows
    rows = MirrorRows(mirror, annotations)
    if streaming:
        return rows_stream(rows, info, split)
    stored = datasets.Features(
        {name: _STORED_AUDIO if name == "audio" else info.features[name] for name in info.features}
    )
    made = datasets.Dataset.from_generator(
        _rows_of, features=stored, gen_kwargs={"rows": rows}, split=datasets.NamedSplit(split),
        fingerprint=rows.identity[:32],
    )  # fmt: skip
    return made.cast(info.features)  # the same bytes: datasets would ask for torchcodec to take them as Audio


_STORED_AUDIO = {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}


def _rows_of(rows: MirrorRows) -> Iterator[dict[str, Any]]:
    for number in range(len(rows)):
        yield rows.table(number).to_pylist()[0]
