"""Annotation JSON → a validated Arrow table, one row a recording."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hf_inatsounds.archives.fetch import Source
from hf_inatsounds.archives.tar_walk import safe_name
from hf_inatsounds.data.annotation_json import (
    MOST,
    annotation_file,
    is_id,
    is_nan,
    json_number,
    json_text,
    read_document,
    require_annotation_file,
)
from hf_inatsounds.data.labels import LabelSpace
from hf_inatsounds.errors import AnnotationError, SourceError
from hf_inatsounds.schema import COLUMNS, OFFICIAL_FILES, OFFICIAL_TITLE, RANKS, STEMS

__all__ = [
    "Annotations",
    "annotated_hours",
    "annotation_file",
    "parse_annotations",
    "read_annotations",
    "require_annotation_file",
]

_KEYS: dict[str, tuple[str, ...]] = {
    "audio": ("id", "file_name"),
    "categories": ("id", "name", "supercategory", *RANKS, "audio_dir_name", "evaluation"),
    "annotations": ("audio_id", "category_id"),
    "licenses": ("id",),
}
"""Top-level list → the keys that each of its entries must have."""

_ARROW_TYPES = {"label": pa.int64(), "int64": pa.int64(), "float64": pa.float64(), "bool": pa.bool_()}


UNTITLED = "a dataset in the layout of iNatSounds"


@dataclass(frozen=True)
class Annotations:
    """One split's annotations.

    Attributes:
        split: train, validation or test.
        table: all columns of the dataset but ``audio``; rows in the JSON's order.
        label_space: the classes.
        title: what the JSON says of itself.
        md5: of the file that they were read from, a mirror's of the one that it was made from; empty where not known.
    """

    split: str
    table: pa.Table
    label_space: LabelSpace
    title: str = ""
    md5: str = ""

    @property
    def is_official(self) -> bool:
        """Whether they were read from the official release's archive.

        False is no proof of the contrary: an unpacked JSON has no md5 that the authors published.
        """
        name = f"{STEMS[self.split]}.json.tar.gz"
        return any(file.name == name and file.md5 == self.md5 for file in OFFICIAL_FILES)

    @property
    def dataset(self) -> str:
        """Which dataset they are of, in words: the official one, or what the JSON calls itself, on one line."""
        return OFFICIAL_TITLE if self.is_official else " ".join(self.title.split()) or UNTITLED

    def select(self, name: str) -> pa.Table:
        """The rows of the dataset called ``name``: all, a supercategory in lower case, or evaluation.

        Raises:
            SourceError: if there is no such name.
        """
        supercategories = {taxon.supercategory.lower() for taxon in self.label_space.taxa}
        if name in ("all", "annotations"):
            return self.table
        if name == "evaluation":
            return self.table.filter(self.table["evaluation"])
        if name not in supercategories:
            known = ", ".join(["all", *sorted(supercategories), "evaluation", "annotations"])
            raise SourceError("unknown dataset name", where="name", found=repr(name), expected=known)
        return self.table.filter(pc.equal(pc.utf8_lower(self.table["supercategory"]), name))


def annotated_hours(durations_s: Sequence[float | None]) -> float:
    """Annotated length of recordings, in hours; those without a duration count as 0.

    >>> annotated_hours([1800.0, None, 1800.0])
    1.0
    """
    return float(np.nansum(np.array(durations_s, np.float64))) / 3600


def read_annotations(source: Source, split: str, name: str | None = None) -> Annotations:
    """Read and validate one split's annotations.

    Args:
        source: where they are.
        split: train, validation or test.
        name: their file, where that is known already.

    Raises:
        AnnotationError: if they are missing, not JSON, or contradict themselves.
    """
    name = name or require_annotation_file(source, split)
    document, md5 = read_document(source, name)
    return replace(parse_annotations(document, split=split, where=source.path(name)), md5=md5)


def parse_annotations(document: Any, *, split: str, where: str) -> Annotations:
    """Validate a parsed annotation document and make its table.

    Args:
        document: what the JSON holds.
        split: train, validation or test.
        where: the file, for errors.

    Raises:
        AnnotationError: naming the file, the entry, what was found and what was expected.
    """
    _check_lists(document, where)
    categories = _by_id(document["categories"], "categories", where)
    if sorted(categories) != list(range(len(categories))):
        raise AnnotationError(
            "category ids have gaps",
            where=where,
            found=f"{len(categories)} ids from {min(categories, default=None)} to {max(categories, default=None)}",
            expected=f"0 … {len(categories) - 1}",
        )
    ordered = [_category(categories[index], f"{where}, category id {index}") for index in range(len(categories))]
    labels = _labels(document, len(ordered), where)
    licenses = _by_id(document["licenses"], "licenses", where)
    rows = [
        _row(audio, ordered[labels[audio["id"]]], labels[audio["id"]], licenses, where) for audio in document["audio"]
    ]
    _check_files(rows, where)
    names = [name for name in COLUMNS if name != "audio"]
    arrow_schema = pa.schema([(name, _ARROW_TYPES.get(COLUMNS[name], pa.string())) for name in names])
    table = pa.Table.from_pylist(rows, schema=arrow_schema)
    info = document.get("info")
    title = json_text(info.get("description"), f"{where}, info") if isinstance(info, dict) else None
    return Annotations(split, table, LabelSpace.from_categories(ordered), title or "")


def _check_lists(document: Any, where: str) -> None:
    if not isinstance(document, dict):
        raise AnnotationError(
            "not an annotation document", where=where, found=type(document).__name__, expected="object"
        )
    for name, keys in _KEYS.items():
        entries = document.get(name)
        if not isinstance(entries, list):
            raise AnnotationError(
                "missing list", where=f"{where}, {name!r}", found=type(entries).__name__, expected="list"
            )
        for position, entry in enumerate(entries):
            missing = [key for key in keys if key not in entry] if isinstance(entry, dict) else list(keys)
            if missing:
                raise AnnotationError(
                    "incomplete entry", where=f"{where}, {name}[{position}]", found=f"no {', '.join(missing)}",
                    expected=f"keys {', '.join(keys)}",
                )  # fmt: skip


def _by_id(entries: list[dict[str, Any]], name: str, where: str) -> dict[int, dict[str, Any]]:
    found: dict[int, dict[str, Any]] = {}
    for position, entry in enumerate(entries):
        key = entry["id"]
        if not is_id(key) or key in found:
            problem = "given twice" if is_id(key) else "no integer of 64 bits"
            raise AnnotationError("bad id", where=f"{where}, {name}[{position}]", found=f"{key!r}, {problem}")
        found[key] = entry
    return found


def _labels(document: dict[str, Any], n_categories: int, where: str) -> dict[int, int]:
    """Audio id → label: one annotation a recording, each naming what exists."""
    audio = _by_id(document["audio"], "audio", where)
    labels: dict[int, int] = {}
    for position, annotation in enumerate(document["annotations"]):
        audio_id, category_id = annotation["audio_id"], annotation["category_id"]
        at = f"{where}, annotations[{position}]"
        if not is_id(audio_id) or audio_id not in audio:
            raise AnnotationError(
                "annotation of an unknown recording", where=at, found=f"audio_id {audio_id!r}",
                expected="the id of an entry of 'audio'",
            )  # fmt: skip
        if not is_id(category_id) or not 0 <= category_id < n_categories:
            raise AnnotationError(
                "category id out of range", where=at, found=f"category_id {category_id!r}",
                expected=f"0 … {n_categories - 1}",
            )  # fmt: skip
        if audio_id in labels:
            raise AnnotationError(
                "two annotations of one recording", where=at, found=f"audio_id {audio_id}", expected="one"
            )
        labels[audio_id] = category_id
    bare: Iterable[int] = (key for key in audio if key not in labels)
    for key in bare:
        raise AnnotationError(
            "recording without annotation", where=where, found=f"audio id {key}", expected="one label each"
        )
    return labels


def _row(
    audio: dict[str, Any], category: dict[str, Any], label: int, licenses: dict[int, dict[str, Any]], where: str
) -> dict[str, Any]:
    at = f"{where}, audio id {audio['id']}"
    file_name = json_text(audio["file_name"], at)
    if file_name is None or not isinstance(audio["file_name"], str) or not safe_name(file_name):
        raise AnnotationError(
            "unsafe file name", where=at, found=repr(audio["file_name"]), expected="split/folder/file.wav"
        )
    license_id = None if is_nan(audio.get("license")) else audio.get("license")
    if license_id is not None and (not is_id(license_id) or license_id not in licenses):
        raise AnnotationError(
            "unknown licence", where=at, found=repr(license_id), expected="the id of an entry of 'licenses'"
        )
    licence = {} if license_id is None else licenses[license_id]
    return {
        "recording_id": audio["id"],
        "label": label,
        "species": category["name"],
        "common_name": category["common_name"],
        "supercategory": category["supercategory"],
        **{rank: category[rank] for rank in RANKS},
        "evaluation": category["evaluation"],
        "latitude": json_number(audio, "latitude", at, -90.0, 90.0),
        "longitude": json_number(audio, "longitude", at, -180.0, 180.0),
        "location_uncertainty_m": json_number(audio, "location_uncertainty", at, 0.0, MOST),
        "date": json_text(audio.get("date"), at),
        "duration_s": json_number(audio, "duration", at, 0.0, MOST),
        "license": json_text(licence.get("name"), at),
        "license_url": json_text(licence.get("url"), at),
        "rights_holder": json_text(audio.get("rights_holder"), at),
        "file_name": file_name,
    }


def _category(category: dict[str, Any], at: str) -> dict[str, Any]:
    """The columns of one category, checked."""
    made: dict[str, Any] = {key: category[key] for key in ("name", "supercategory", *RANKS)}
    for key, value in made.items():
        if not isinstance(value, str) or not json_text(value, at):
            raise AnnotationError("bad name", where=f"{at}, {key}", found=repr(value), expected="text")
    if category["evaluation"] not in (0, 1):
        raise AnnotationError(
            "value out of range", where=f"{at}, evaluation", found=repr(category["evaluation"]), expected="0 or 1"
        )
    common_name = json_text(category.get("common_name"), at) or None
    return {**made, "common_name": common_name, "evaluation": bool(category["evaluation"])}


def _check_files(rows: list[dict[str, Any]], where: str) -> None:
    """Each recording has a file of its own."""
    owners: dict[str, int] = {}
    for row in rows:
        owner = owners.setdefault(row["file_name"], row["recording_id"])
        if owner != row["recording_id"]:
            raise AnnotationError(
                "two recordings have one file", where=where, found=f"{row['file_name']} of audio ids {owner} and "
                f"{row['recording_id']}", expected="a file each",
            )  # fmt: skip
