"""Annotations out of a mirror on the Hub, for what trains and evaluates on it."""

from __future__ import annotations

import pyarrow.parquet as pq

from hf_inatsounds.data.annotations import Annotations
from hf_inatsounds.data.labels import FILE_NAME, LabelSpace
from hf_inatsounds.data.mirror import no_mirror, open_mirror
from hf_inatsounds.errors import CheckpointError, SourceError


def mirror_commit(repo_id: str, split: str) -> str:
    """The commit that a mirror on the Hub is at.

    Raises:
        SourceError: if there is no such repository, no mirror in it, or one that is not whole.
    """
    mirror = open_mirror(repo_id, where=f"{repo_id}, {split}")
    return mirror.revision or mirror.file(FILE_NAME).parent.name  # the cache's folders are called by their commits


def mirror_annotations(repo_id: str, split: str, revision: str | None = None) -> Annotations:
    """One split's annotations, as ``publish`` put them into a repository; downloaded once into the Hub's cache.

    Raises:
        SourceError: if there is no such repository, no mirror in it, or one that is not whole.
    """
    where = f"{repo_id}, {split}"
    mirror = open_mirror(repo_id, revision, where=where)
    try:
        label_space, table = mirror.file(FILE_NAME), mirror.file(f"annotations/{split}.parquet")
        rows = pq.read_table(table).replace_schema_metadata(None)
        return Annotations(split, rows, LabelSpace.load(label_space.parent), str(mirror.manifest["title"]))
    except SourceError:
        raise
    except (OSError, ValueError, KeyError, CheckpointError) as error:
        raise no_mirror(where, error) from error
