"""A mirror on the Hub: private unless asked otherwise, uploaded in steps that can be repeated."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hf_inatsounds.errors import PublishError
from hf_inatsounds.progress import Bar
from hf_inatsounds.publishing.mirror import CARD_FILE, MANIFEST_FILE
from hf_inatsounds.publishing.shards import file_record
from hf_inatsounds.schema import TERMS

FILES_A_COMMIT = 20
"""About 10 GB of shards: what an interrupted upload has to look at again at most."""

_PARTS = "parts"
_CONFLICTS = (409, 412)
_COMMIT_ATTEMPTS = 6
_OURS = re.compile(rf"(data|annotations)/[^/]*\.parquet|(index|{_PARTS})/.*")
"""A mirror's files besides card and manifest; an older mirror's go when a new one is complete."""


class HubTarget:
    """A dataset repository that takes a mirror.

    Args:
        repo_id: ``owner/name``.
        public: whether it is to be public.
        quiet: no progress.
    """

    def __init__(self, repo_id: str, *, public: bool = False, quiet: bool = False) -> None:
        from huggingface_hub import HfApi
        from huggingface_hub.utils import disable_progress_bars

        disable_progress_bars()
        self.repo_id, self.public, self.quiet = repo_id, public, quiet
        self._api = HfApi(library_name="hf-inatsounds")

    def open(self) -> None:
        """Create the repository, or make sure that the one that is there has the visibility asked for.

        Raises:
            PublishError: if it has the other one, or the Hub refuses.
        """
        with as_publish_errors(self.repo_id):
            self._api.create_repo(self.repo_id, repo_type="dataset", private=not self.public, exist_ok=True)
        self.check_visibility()

    def check_visibility(self) -> None:
        """Look whether the repository is as public or private as asked for; done again before each upload.

        Raises:
            PublishError: if it is not.
        """
        with as_publish_errors(self.repo_id):
            is_private = bool(self._api.repo_info(self.repo_id, repo_type="dataset").private)
        if is_private and self.public:
            raise PublishError(
                "the repository is private", where=self.repo_id, found="a private repository",
                expected="a public one, since --public is given",
                fix="Leave out --public, publish to another repository, or change it in its settings.",
            )  # fmt: skip
        if not is_private and not self.public:
            raise PublishError(
                "the repository is public", where=self.repo_id, found="a public repository",
                expected=f"a private one. {TERMS}",
                fix="Publish to another repository, make it private in its settings, or give --public.",
            )  # fmt: skip

    def upload_part(self, folder: Path, part: str, records: list[dict[str, Any]]) -> None:
        """Upload one part's shards and what is known of them, for rank 0, which may be on another machine.

        Args:
            folder: where the shards are.
            part: a name that no other part has.
            records: the shards' records.

        Raises:
            PublishError: if the Hub refuses or is away.
        """
        from huggingface_hub import CommitOperationAdd

        self._upload_missing(folder, records, self._there())
        text = json.dumps(records).encode()
        self._commit([CommitOperationAdd(f"{_PARTS}/{part}.json", text)], f"Part {part}")

    def part_records(self, prefix: str) -> dict[str, dict[str, Any]]:
        """Path → record of the shards that were uploaded by parts whose names begin with ``prefix``."""
        found = {}
        for path in self._there():
            if path.startswith(f"{_PARTS}/{prefix}"):
                with as_publish_errors(self.repo_id):
                    local = self._api.hf_hub_download(self.repo_id, path, repo_type="dataset")
                    records = json.loads(Path(local).read_text(encoding="utf-8"))
                found.update({record["path"]: record for record in records})
        return found

    def upload(self, folder: Path, manifest: dict[str, Any]) -> dict[str, int]:
        """Upload the manifest's files that the repository lacks, then card and manifest together, last.

        Args:
            folder: the mirror.
            manifest: its manifest; nothing that it does not name is uploaded.

        Returns:
            How many files were uploaded, there already, and removed since they belong to an older mirror.

        Raises:
            PublishError: if the Hub refuses or is away; what is uploaded stays, and the next run goes on.
        """
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        there = self._there()
        named = [record["path"] for record in manifest["files"]]
        last = [file_record(folder / name, name) for name in (CARD_FILE, MANIFEST_FILE)]
        first = [record for record in manifest["files"] if record["path"] != CARD_FILE]
        uploaded = self._upload_missing(folder, first, there)
        stale = [path for path in there if _OURS.fullmatch(path) and path not in named]
        changed = [record["path"] for record in last if not _same(folder, record, there.get(record["path"]))]
        operations: list[Any] = [CommitOperationAdd(path, folder / path) for path in changed]
        operations += [CommitOperationDelete(path) for path in stale]
        if operations:
            self._commit(operations, "Card and manifest of the mirror")
        uploaded += len(changed)
        return {"uploaded": uploaded, "already_there": len(first) + len(last) - uploaded, "removed": len(stale)}

    def _upload_missing(self, folder: Path, records: list[dict[str, Any]], there: dict[str, Any]) -> int:
        """Commit the files that the repository lacks; returns how many they were."""
        from huggingface_hub import CommitOperationAdd

        todo = [record["path"] for record in records if not _same(folder, record, there.get(record["path"]))]
        for path in todo:
            if not (folder / path).exists():
                raise PublishError(
                    "a shard is neither here nor on the Hub", where=path, fix="Run the rank that made it again."
                )
        with contextlib.closing(Bar(f"uploading to {self.repo_id}", quiet=self.quiet)) as bar:
            bar.start(len(todo))
            for start in range(0, len(todo), FILES_A_COMMIT):
                paths = todo[start : start + FILES_A_COMMIT]
                additions = [CommitOperationAdd(path, folder / path) for path in paths]
                self._commit(additions, f"{len(paths)} files of the mirror")
                bar.update(start + len(paths))
        return len(todo)

    def _commit(self, operations: list[Any], message: str) -> None:
        """One commit; tried again where another part's came in between."""
        from huggingface_hub.errors import HfHubHTTPError

        self.check_visibility()
        with as_publish_errors(self.repo_id):
            for attempt in range(_COMMIT_ATTEMPTS):
                try:
                    self._api.create_commit(self.repo_id, operations, commit_message=message, repo_type="dataset")
                    return
                except HfHubHTTPError as error:
                    status = getattr(error.response, "status_code", None)
                    if status not in _CONFLICTS or attempt == _COMMIT_ATTEMPTS - 1:
                        raise
                    time.sleep(2.0**attempt)

    def _there(self) -> dict[str, Any]:
        """Path → what the Hub knows of the file."""
        with as_publish_errors(self.repo_id):
            entries = self._api.list_repo_tree(self.repo_id, repo_type="dataset", recursive=True)
            return {entry.path: entry for entry in entries if hasattr(entry, "blob_id")}


def _same(folder: Path, record: dict[str, Any], entry: Any) -> bool:
    """Whether the Hub has the recorded file: by SHA-256, or by git's own checksum of small ones."""
    if entry is None or record["size"] != entry.size:
        return False
    if entry.lfs is not None:
        return bool(entry.lfs.sha256 == record["sha256"])
    content = (folder / record["path"]).read_bytes()
    return bool(hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest() == entry.blob_id)


@contextlib.contextmanager
def as_publish_errors(repo_id: str) -> Iterator[None]:
    """The Hub's errors as one line; their texts hold no token."""
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError

    login = "Log in with a token that may write: hf auth login"
    again = "Run the command again: what is there is kept."
    try:
        yield
    except LocalTokenNotFoundError as error:
        raise PublishError("not logged in to the Hub", where=repo_id, fix=login) from error
    except HFValidationError as error:
        raise PublishError("bad repository id", where=repo_id, found=error, expected="owner/name") from error
    except HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        fix = login if status in (401, 403) else again
        raise PublishError("the Hub refused", where=repo_id, found=_first_line(error), fix=fix) from error
    except (OSError, RuntimeError, ValueError) as error:
        reasons = [_first_line(one) for one in (error, error.__cause__) if one is not None]
        raise PublishError("upload failed", where=repo_id, found=": ".join(reasons), fix=again) from error
    except Exception as error:
        # the HTTP library's own errors: huggingface_hub changes it from version to version
        if type(error).__module__.split(".")[0] not in ("httpx", "httpx2", "httpcore", "requests", "urllib3"):
            raise
        raise PublishError("the Hub is not reachable", where=repo_id, found=_first_line(error), fix=again) from error


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
