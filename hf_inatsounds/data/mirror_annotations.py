"""Annotations out of a mirror, for what trains and evaluates on it."""

from __future__ import annotations

import pyarrow.parquet as pq

from hf_inatsounds.data.annotations import Annotations
from hf_inatsounds.data.labels import FILE_NAME, LabelSpace
from hf_inatsounds.data.mirror import Mirror, no_mirror
from hf_inatsounds.errors import CheckpointError, SourceError
from hf_inatsounds.schema import SPLITS


def mirror_annotations(mirror: Mirror, split: str) -> Annotations:
    """One split's annotations, as ``publish`` put them into a mirror; from the Hub downloaded once, into its cache.

    Raises:
        SourceError: if it is not whole.
    """
    try:
        label_space, table = mirror.file(FILE_NAME), mirror.file(f"annotations/{split}.parquet")
        rows = pq.read_table(table).replace_schema_metadata(None)
        title, md5 = str(mirror.manifest["title"]), mirror.manifest.get("annotations_md5")
        made_from = str(md5.get(split, "")) if isinstance(md5, dict) else ""  # older mirrors don't say
        return Annotations(split, rows, LabelSpace.load(label_space.parent), title, made_from)
    except SourceError:
        raise
    except (OSError, ValueError, KeyError, CheckpointError) as error:
        raise no_mirror(f"{mirror.where}, {split}", error) from error


def mirror_splits(mirror: Mirror) -> list[str]:
    """The splits that a mirror has."""
    names = {record["path"] for record in mirror.manifest["files"]}
    return [split for split in SPLITS if f"annotations/{split}.parquet" in names]
