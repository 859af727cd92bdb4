"""Annotations out of a mirror on the Hub, for what trains and evaluates on it."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq

from hf_inatsounds.annotations import Annotations
from hf_inatsounds.errors import CheckpointError, SourceError
from hf_inatsounds.labels import FILE_NAME, LabelSpace
from hf_inatsounds.publishing.mirror import MANIFEST_FILE


def mirror_annotations(repo_id: str, split: str) -> Annotations:
    """One split's annotations, as ``publish`` put them into a repository; downloaded once into the Hub's cache.

    Raises:
        SourceError: if there is no such repository, or no mirror in it.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError  # its other errors are OSErrors and ValueErrors

    try:
        names = (MANIFEST_FILE, FILE_NAME, f"annotations/{split}.parquet")
        manifest, label_space, table = (Path(hf_hub_download(repo_id, name, repo_type="dataset")) for name in names)
        title = str(json.loads(manifest.read_text(encoding="utf-8"))["title"])
        rows = pq.read_table(table).replace_schema_metadata(None)
        return Annotations(split, rows, LabelSpace.load(label_space.parent), title)
    except (EntryNotFoundError, OSError, ValueError, KeyError, CheckpointError) as error:
        raise SourceError(
            "no such folder, and no mirror on the Hub that can be read",
            where=f"{repo_id}, {split}",
            found=str(error).strip().split("\n")[0],
            expected="a folder, or a dataset repository that you may read and that was made by hf-inatsounds publish",
        ) from error
