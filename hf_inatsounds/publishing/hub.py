"""A mirror on the Hub: private unless asked otherwise, uploaded in steps that can be repeated."""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hf_inatsounds.errors import PublishError
from hf_inatsounds.progress import Bar
from hf_inatsounds.publishing.mirror import CARD_FILE, MANIFEST_FILE
from hf_inatsounds.schema import TERMS

FILES_A_COMMIT = 20
"""About 10 GB of shards: what an interrupted upload has to look at again at most."""

_OURS = re.compile(r"(data|annotations|index)/[^/]*\.parquet|index/.*")
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
        with _as_publish_errors(self.repo_id):
            self._api.create_repo(self.repo_id, repo_type="dataset", private=not self.public, exist_ok=True)
        self.check_visibility()

    def check_visibility(self) -> None:
        """Look whether the repository is as public or private as asked for; done again before each upload.

        Raises:
            PublishError: if it is not.
        """
        with _as_publish_errors(self.repo_id):
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

    def preupload(self, folder: Path, paths: list[str]) -> None:
        """Send large files ahead of the commit that will name them: for one part of several.

        Raises:
            PublishError: if the Hub refuses or is away.
        """
        from huggingface_hub import CommitOperationAdd

        there = self._there()
        for path in paths:
            self.check_visibility()
            with _as_publish_errors(self.repo_id):
                if not _same(folder / path, there.get(path)):
                    self._api.preupload_lfs_files(
                        self.repo_id, [CommitOperationAdd(path, folder / path)], repo_type="dataset"
                    )

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
        last = [CARD_FILE, MANIFEST_FILE]
        todo = [path for path in named if path not in last and not _same(folder / path, there.get(path))]
        with contextlib.closing(Bar(f"uploading to {self.repo_id}", quiet=self.quiet)) as bar:
            bar.start(len(todo))
            for start in range(0, len(todo), FILES_A_COMMIT):
                paths = todo[start : start + FILES_A_COMMIT]
                additions = [CommitOperationAdd(path, folder / path) for path in paths]
                self._commit(additions, f"{len(paths)} files of the mirror")
                bar.update(start + len(paths))
        stale = [path for path in there if _OURS.fullmatch(path) and path not in named]
        changed = [path for path in last if not _same(folder / path, there.get(path))]
        operations: list[Any] = [CommitOperationAdd(path, folder / path) for path in changed]
        operations += [CommitOperationDelete(path) for path in stale]
        if operations:
            self._commit(operations, "Card and manifest of the mirror")
        uploaded = len(todo) + len(changed)
        return {"uploaded": uploaded, "already_there": len({*named, *last}) - uploaded, "removed": len(stale)}

    def _commit(self, operations: list[Any], message: str) -> None:
        self.check_visibility()
        with _as_publish_errors(self.repo_id):
            self._api.create_commit(self.repo_id, operations, commit_message=message, repo_type="dataset")

    def _there(self) -> dict[str, Any]:
        """Path → what the Hub knows of the file."""
        with _as_publish_errors(self.repo_id):
            entries = self._api.list_repo_tree(self.repo_id, repo_type="dataset", recursive=True)
            return {entry.path: entry for entry in entries if hasattr(entry, "blob_id")}


def _same(path: Path, entry: Any) -> bool:
    """Whether a local file and one on the Hub have one content: by SHA-256, or git's own checksum of small files."""
    if entry is None or path.stat().st_size != entry.size:
        return False
    if entry.lfs is not None:
        with open(path, "rb") as stream:
            return bool(hashlib.file_digest(stream, "sha256").hexdigest() == entry.lfs.sha256)
    content = path.read_bytes()
    return bool(hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest() == entry.blob_id)


@contextlib.contextmanager
def _as_publish_errors(repo_id: str) -> Iterator[None]:
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
