"""What the annotations say of a dataset, counted: recordings, hours, species and licences by supercategory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa

from hf_inatsounds.data.annotations import Annotations, annotated_hours

UNKNOWN_LICENSE = "no licence given"


def summarise_annotations(annotations: Sequence[Annotations]) -> dict[str, Any]:
    """Count what one or several splits hold; exact, and reading no recording.

    Args:
        annotations: one per split, of one dataset.

    Returns:
        JSON-ready: ``title``, ``official`` (whether all were read from the official archives), ``classes``,
        ``evaluated_classes``, ``classes_without_common_name``, and ``splits``:
        split → ``total`` and ``supercategories``, each with ``recordings``, ``hours`` (of the annotated
        durations), ``without_duration``, ``species``, ``with_place`` (recordings with latitude and longitude),
        ``without_common_name`` (recordings) and ``licenses`` (name → recordings, the most frequent first).
        A supercategory is listed where any split holds it.
    """
    space = annotations[0].label_space
    names = sorted({name for one in annotations for name in one.table["supercategory"].to_pylist()})
    return {
        "title": annotations[0].title,
        "official": all(one.is_official for one in annotations),
        "classes": len(space),
        "evaluated_classes": len(space.evaluated),
        "classes_without_common_name": sum(not taxon.common_name for taxon in space.taxa),
        "splits": {one.split: _split(one.table, names) for one in annotations},
    }


def _split(table: pa.Table, names: Iterable[str]) -> dict[str, Any]:
    rows = table.select(
        ["supercategory", "label", "duration_s", "latitude", "longitude", "common_name", "license"]
    ).to_pylist()
    return {
        "total": _counts(rows),
        "supercategories": {name: _counts([row for row in rows if row["supercategory"] == name]) for name in names},
    }


def _counts(rows: list[dict[str, Any]]) -> dict[str, Any]:
    durations = [row["duration_s"] for row in rows]
    licenses = Counter(row["license"] or UNKNOWN_LICENSE for row in rows)
    return {
        "recordings": len(rows),
        "hours": annotated_hours(durations),
        "without_duration": durations.count(None),
        "species": len({row["label"] for row in rows}),
        "with_place": sum(row["latitude"] is not None and row["longitude"] is not None for row in rows),
        "without_common_name": sum(row["common_name"] is None for row in rows),
        "licenses": dict(sorted(licenses.items(), key=lambda item: (-item[1], item[0]))),
    }
