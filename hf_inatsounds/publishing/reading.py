"""Annotations out of a mirror on the Hub, for what trains and evaluates on it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq

from hf_inatsounds.annotations import Annotations
from hf_inatsounds.errors import CheckpointError, SourceError
from hf_inatsounds.labels import FILE_NAME, LabelSpace
from hf_inatsounds.publishing.mirror import MANIFEST_FILE


def mirror_commit(repo_id: str, split: str) -> str:
    """The commit that a mirror on the Hub is at.

    Raises:
        SourceError: if there is no such repository, or no mirror in it.
    """
    with _named(repo_id, split):
        return _files(repo_id, split, None)[0].parent.name


def mirror_annotations(repo_id: str, split: str, revision: str | None = None) -> Annotations:
    """One split's annotations, as ``publish`` put them into a repository; downloaded once into the Hub's cache.

    Raises:
        SourceError: if there is no such repository, or no mirror in it.
    """
    with _named(repo_id, split):
        manifest, label_space, table = _files(repo_id, split, revision)
        title = str(json.loads(manifest.read_text(encoding="utf-8"))["title"])
        rows = pq.read_table(table).replace_schema_metadata(None)
        return Annotations(split, rows, LabelSpace.load(label_space.parent), title)


def _files(repo_id: str, split: str, revision: str | None) -> list[Path]:
    """Manifest, classes and annotations, in the Hub's cache: in a folder that is called by their commit."""
    from huggingface_hub import hf_hub_download

    names = (MANIFEST_FILE, FILE_NAME, f"annotations/{split}.parquet")
    return [Path(hf_hub_download(repo_id, name, repo_type="dataset", revision=revision)) for name in names]


@contextlib.contextmanager
def _named(repo_id: str, split: str) -> Iterator[None]:
    """What is wrong with a mirror, in a line."""
    from huggingface_hub.errors import EntryNotFoundError  # its other errors are OSErrors and ValueErrors

    try:
        yield
    except (EntryNotFoundError, OSError, ValueError, KeyError, CheckpointError) as error:
        raise SourceError(
            "no such folder, and no mirror on the Hub that can be read",
            where=f"{repo_id}, {split}",
            found=str(error).strip().split("\n")[0],
            expected="a folder, or a dataset repository that you may read and that was made by hf-inatsounds publish",
        ) from error
