"""Annotation JSON → a validated Arrow table, one row a recording."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from hf_inatsounds.archives.fetch import Source
from hf_inatsounds.archives.forward import iterate_members
from hf_inatsounds.errors import AnnotationError, SourceError
from hf_inatsounds.labels import LabelSpace
from hf_inatsounds.schema import COLUMNS, RANKS, STEMS

_KEYS: dict[str, tuple[str, ...]] = {
    "audio": ("id", "file_name"),
    "categories": ("id", "name", "supercategory", *RANKS, "audio_dir_name", "evaluation"),
    "annotations": ("audio_id", "category_id"),
    "licenses": ("id",),
}
"""Top-level list → the keys that each of its entries must have."""

_ARROW_TYPES = {"label": pa.int64(), "int64": pa.int64(), "float64": pa.float64(), "bool": pa.bool_()}


@dataclass(frozen=True)
class Annotations:
    """One split's annotations.

    Attributes:
        split: train, validation or test.
        table: all columns of the dataset but ``audio``; rows in the JSON's order.
        label_space: the classes.
        title: what the JSON says of itself.
    """

    split: str
    table: pa.Table
    label_space: LabelSpace
    title: str = ""

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


def annotation_file(source: Source, split: str) -> str | None:
    """Name of the split's annotation file in ``source``: packed, or unpacked; None if there is neither."""
    stem = STEMS[split]
    return next((name for name in (f"{stem}.json.tar.gz", f"{stem}.json") if source.exists(name)), None)


def require_annotation_file(source: Source, split: str) -> str:
    """As :func:`annotation_file`.

    Raises:
        AnnotationError: if there is none.
    """
    name = annotation_file(source, split)
    if name is None:
        raise AnnotationError(
            "missing annotation archive",
            where=source.path(f"{STEMS[split]}.json.tar.gz"),
            found="no such file",
            expected=f"the annotations of the {split} split",
            fix="Download it from the place the audio archive is from.",
        )
    return name


def read_annotations(source: Source, split: str) -> Annotations:
    """Read and validate one split's annotations.

    Raises:
        AnnotationError: if they are missing, not JSON, or contradict themselves.
    """
    name = require_annotation_file(source, split)
    where = source.path(name)
    text = _json_bytes(source, name)
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise AnnotationError("not JSON", where=where, found=error, expected="the annotation JSON") from error
    return parse_annotations(document, split=split, where=where)


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
    ordered = [categories[index] for index in range(len(categories))]
    labels = _labels(document, len(ordered), where)
    licenses = _by_id(document["licenses"], "licenses", where)
    rows = [
        _row(audio, ordered[labels[audio["id"]]], labels[audio["id"]], licenses, where) for audio in document["audio"]
    ]
    names = [name for name in COLUMNS if name != "audio"]
    arrow_schema = pa.schema([(name, _ARROW_TYPES.get(COLUMNS[name], pa.string())) for name in names])
    table = pa.Table.from_pylist(rows, schema=arrow_schema)
    info = document.get("info")
    title = str(info.get("description") or "") if isinstance(info, dict) else ""
    return Annotations(split, table, LabelSpace.from_categories(ordered), title)


def _json_bytes(source: Source, name: str) -> bytes:
    where = source.path(name)
    with open(source.local_copy(name), "rb") as stream:
        if not name.endswith(".tar.gz"):
            return stream.read()
        try:
            members = [content for member, content in iterate_members(stream, where=where) if member.endswith(".json")]
        except SourceError as error:
            raise AnnotationError(str(error)) from error
    if len(members) != 1:
        raise AnnotationError(
            "odd annotation archive", where=where, found=f"{len(members)} .json files", expected="one"
        )
    return members[0]


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
        if not isinstance(key, int) or isinstance(key, bool) or key in found:
            problem = "given twice" if key in found else "no integer"
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
        if audio_id not in audio:
            raise AnnotationError(
                "annotation of an unknown recording", where=at, found=f"audio_id {audio_id!r}",
                expected="the id of an entry of 'audio'",
            )  # fmt: skip
        if isinstance(category_id, bool) or not isinstance(category_id, int) or not 0 <= category_id < n_categories:
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
    file_name = audio["file_name"]
    if not isinstance(file_name, str) or file_name.startswith("/") or ".." in file_name.split("/"):
        raise AnnotationError("unsafe file name", where=at, found=repr(file_name), expected="split/folder/file.wav")
    license_id = audio.get("license")
    if license_id is not None and license_id not in licenses:
        raise AnnotationError(
            "unknown licence", where=at, found=repr(license_id), expected="the id of an entry of 'licenses'"
        )
    licence = {} if license_id is None else licenses[license_id]
    return {
        "recording_id": audio["id"],
        "label": label,
        "species": category["name"],
        "common_name": category.get("common_name") or None,
        "supercategory": category["supercategory"],
        **{rank: category[rank] for rank in RANKS},
        "evaluation": bool(category["evaluation"]),
        "latitude": _number(audio, "latitude", at, -90.0, 90.0),
        "longitude": _number(audio, "longitude", at, -180.0, 180.0),
        "location_uncertainty_m": _number(audio, "location_uncertainty", at, 0.0, math.inf),
        "date": _text(audio.get("date")),
        "duration_s": _number(audio, "duration", at, 0.0, math.inf),
        "license": _text(licence.get("name")),
        "license_url": _text(licence.get("url")),
        "rights_holder": _text(audio.get("rights_holder")),
        "file_name": file_name,
    }


def _number(audio: dict[str, Any], key: str, at: str, low: float, high: float) -> float | None:
    """A finite number within [low, high]; None for null and NaN, which the official JSON has both."""
    value = audio.get(key)
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise AnnotationError("value out of range", where=f"{at}, {key}", found=repr(value), expected=f"{low} … {high}")
    return float(value)


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
