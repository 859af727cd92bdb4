"""What a repository on the Hub holds at one commit, and what of it is ours to replace or remove.

A file is ours only while it is as we recorded it, in ``manifest.json`` or in a note of an upload that is under way.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_inatsounds.data.mirror import CARD_FILE, MANIFEST_FILE, is_record, parse_manifest

Record = dict[str, Any]
"""``{"path", "size", "sha256"}`` of a file, and for a shard what is known of it."""

NOTES = "parts"
_NOTE = re.compile(rf"{NOTES}/[0-9a-f]{{32}}-[\w-]+\.json")
"""An upload under way: a JSON list of records, named by the set's fingerprint."""

_MADE_BY_THE_HUB = (".gitattributes",)


@dataclass(frozen=True)
class HubState:
    """One commit of a repository.

    Attributes:
        revision: the commit.
        files: path → what the Hub lists of it.
        manifest: of the mirror in it; None where there is none, or a file of that name that is not ours.
        notes: path → records of uploads under way, or of what such a one left.
        read: downloads a small file of the commit.
        manifest_file: the manifest's name.
    """

    revision: str
    files: dict[str, Any]
    manifest: dict[str, Any] | None
    notes: dict[str, list[Record]]
    read: Callable[[str], Path]
    manifest_file: str = MANIFEST_FILE

    @classmethod
    def look(cls, api: Any, repo_id: str, revision: str, repo_type: str, manifest_file: str) -> HubState:
        """List a repository, and read what is recorded in it."""

        def read(path: str) -> Path:
            return Path(api.hf_hub_download(repo_id, path, repo_type=repo_type, revision=revision))

        entries = api.list_repo_tree(repo_id, repo_type=repo_type, recursive=True, revision=revision)
        files = {entry.path: entry for entry in entries if hasattr(entry, "blob_id")}
        manifest = parse_manifest(read(manifest_file).read_bytes()) if manifest_file in files else None
        notes = {path: _note(read(path)) for path in files if _NOTE.fullmatch(path)}
        noted = {path: one for path, one in notes.items() if one is not None}
        return cls(revision, files, manifest, noted, read, manifest_file)

    @property
    def is_ours(self) -> bool:
        """Whether a mirror is in it, or on its way into it."""
        return self.manifest is not None or bool(self.notes)

    @property
    def contents(self) -> list[str]:
        """The files that somebody put there, by name."""
        return sorted(path for path in self.files if path not in _MADE_BY_THE_HUB)

    def holds(self, record: Record, local: Path) -> bool:
        """Whether a file is there as it is here."""
        entry = self.files.get(record["path"])
        if entry is None or record["size"] != entry.size:
            return False
        if entry.lfs is not None:
            return bool(entry.lfs.sha256 == record["sha256"])
        return local.is_file() and self.holds_text(record["path"], local.read_bytes())

    def holds_text(self, path: str, content: bytes) -> bool:
        """Whether a small file is there with this content."""
        digest = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()  # git's own
        return path in self.files and bool(self.files[path].blob_id == digest)

    def may_replace(self, path: str) -> bool:
        """Whether a file is not there, or there as it was recorded."""
        if path not in self.files or path in self.notes or (path == self.manifest_file and self.manifest is not None):
            return True
        recorded, entry = self._recorded().get(path, set()), self.files[path]
        if not recorded:
            return False
        digest = entry.lfs.sha256 if entry.lfs is not None else hashlib.sha256(self.read(path).read_bytes()).hexdigest()
        return digest in recorded

    def stale(self, wanted: Iterable[str]) -> list[str]:
        """Our files that are not among ``wanted``; notes come last, since they tell of the others."""
        kept = {*wanted, self.manifest_file, CARD_FILE}
        recorded = sorted(path for path in self._recorded() if path in self.files and path not in kept)
        return [path for path in recorded if self.may_replace(path)] + sorted(self.notes)

    def records(self, paths: Iterable[str]) -> list[Record]:
        """What is recorded of some files of ours, without what is known of them besides."""
        recorded = self._recorded()
        return [
            {"path": path, "size": self.files[path].size, "sha256": digest}
            for path in paths
            for digest in sorted(recorded.get(path, ()))
        ]

    def _recorded(self) -> dict[str, set[str]]:
        """Path → SHA-256 that it may have as a file of ours."""
        found: dict[str, set[str]] = {}
        noted = (record for note in self.notes.values() for record in note)
        for record in (*(self.manifest or {"files": []})["files"], *noted):
            found.setdefault(record["path"], set()).add(record["sha256"])
        return found


def _note(path: Path) -> list[Record] | None:
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, list) and all(is_record(one) for one in found) else None
