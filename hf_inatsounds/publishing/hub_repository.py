"""A repository on the Hub that a mirror or a model goes to: looked at, and written to on top of what was seen."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_inatsounds.data.mirror import CARD_FILE, MANIFEST_FILE
from hf_inatsounds.errors import PublishError
from hf_inatsounds.progress import Bar
from hf_inatsounds.publishing.folder import changed_card
from hf_inatsounds.publishing.hub_errors import as_publish_errors
from hf_inatsounds.publishing.hub_state import HubState, Record
from hf_inatsounds.schema import TERMS

FILES_AT_ONCE = 20
"""Contents uploaded between two looks at the repository's visibility, about 10 GB of shards."""

_CONFLICTS = (409, 412)
_COMMIT_ATTEMPTS = 6

Operations = Callable[[HubState], list[Any]]
"""What a commit consists of, given the one that it follows."""

Locate = Callable[[str], Path]
"""Where a file is on this machine."""


@dataclass(frozen=True)
class Kind:
    """What a repository is for.

    Attributes:
        repo_type: as the Hub calls it.
        content: what it holds, in words.
        manifest_file: the file by which it is known as ours; it names all the others.
        terms: those of what it holds, if it must not be public by mistake.
    """

    repo_type: str
    content: str
    manifest_file: str
    terms: str = ""


MIRROR = Kind("dataset", "mirror", MANIFEST_FILE, TERMS)


class HubRepository:
    """A repository that holds nothing, or what we put there.

    Args:
        repo_id: ``owner/name``.
        kind: what it is for.
        public: whether it is to be public.
        quiet: no progress.
        replace_card: whether a README.md that was changed by hand is written over.

    Attributes:
        fingerprint: of the set that is published; somebody else may publish the same one at the same time.
    """

    def __init__(
        self, repo_id: str, kind: Kind, *, public: bool, quiet: bool = True, replace_card: bool = False
    ) -> None:
        from huggingface_hub import HfApi
        from huggingface_hub.utils import disable_progress_bars

        disable_progress_bars()
        self.kind = kind
        self.repo_id, self.public, self.quiet, self.replace_card = repo_id, public, quiet, replace_card
        self.fingerprint = ""
        self._api = HfApi(library_name="hf-inatsounds")
        self._seen: tuple[str | None] | None = None  # git id of the manifest that was there at first
        self._additions: dict[str, Any] = {}

    def create(self) -> None:
        """Create the repository, unless it is there."""
        with as_publish_errors(self.repo_id):
            self._api.create_repo(self.repo_id, repo_type=self.kind.repo_type, private=not self.public, exist_ok=True)

    def check_visibility(self) -> str:
        """Look whether the repository is as public or private as asked for; done again before each upload.

        Returns:
            The newest commit.

        Raises:
            PublishError: if it is not.
        """
        with as_publish_errors(self.repo_id):
            info = self._api.repo_info(self.repo_id, repo_type=self.kind.repo_type)
        if info.private and self.public:
            raise PublishError(
                "the repository is private", where=self.repo_id, found="a private repository",
                expected="a public one, since --public is given",
                fix="Leave out --public, publish to another repository, or change it in its settings.",
            )  # fmt: skip
        if not info.private and not self.public:
            raise PublishError(
                "the repository is public", where=self.repo_id, found="a public repository",
                expected=f"a private one. {self.kind.terms}".rstrip(),
                fix="Publish to another repository, make it private in its settings, or give --public.",
            )  # fmt: skip
        return str(info.sha)

    def look(self) -> HubState:
        """The repository's newest commit, if it is one that may be published on.

        Raises:
            PublishError: if it may not.
        """
        revision = self.check_visibility()
        with as_publish_errors(self.repo_id):
            state = HubState.look(self._api, self.repo_id, revision, self.kind.repo_type, self.kind.manifest_file)
        contents = state.contents
        if contents and not state.is_ours and not (self.replace_card and contents == [CARD_FILE]):
            raise PublishError(
                f"the repository holds something else than a {self.kind.content} of ours", where=self.repo_id,
                found=f"{contents[0]} and no {self.kind.manifest_file} of ours",
                expected="an empty repository, or one that was made here before",
                fix="Take another repository: nothing in this one was touched.",
            )  # fmt: skip
        if not self.replace_card and not state.may_replace(CARD_FILE):
            raise changed_card(self.repo_id)
        manifest = state.files.get(self.kind.manifest_file)
        seen = (None if manifest is None else manifest.blob_id,)
        self._seen = self._seen or seen
        if seen != self._seen and not self.is_complete(state):
            raise PublishError(
                "somebody else published to the repository in the meantime", where=self.repo_id,
                found=f"another {self.kind.manifest_file} than at the beginning",
                fix="Run the command again to put yours in its place: what is uploaded is kept.",
            )  # fmt: skip
        return state

    def send(self, locate: Locate, records: list[Record]) -> list[Record]:
        """Upload the contents of the files that the repository lacks, without a commit.

        Returns:
            The records of these files.

        Raises:
            PublishError: if one of them is not here either, or the Hub refuses.
        """
        state = self.look()
        missing = [record for record in records if not state.holds(record, locate(record["path"]))]
        for path in (record["path"] for record in missing):
            if not locate(path).exists():
                raise PublishError(
                    "a shard is neither here nor on the Hub", where=path, fix="Run the rank that made it again."
                )
        with contextlib.closing(Bar(f"uploading to {self.repo_id}", quiet=self.quiet)) as bar:
            bar.start(len(missing))
            for start in range(0, len(missing), FILES_AT_ONCE):
                self.check_visibility()
                some = [self.addition(locate, one["path"]) for one in missing[start : start + FILES_AT_ONCE]]
                with as_publish_errors(self.repo_id):
                    self._api.preupload_lfs_files(self.repo_id, some, repo_type=self.kind.repo_type)
                bar.update(start + len(some))
        return missing

    def addition(self, locate: Locate, path: str) -> Any:
        """The operation that adds a file; the same one again, since it knows what is uploaded."""
        from huggingface_hub import CommitOperationAdd

        if path not in self._additions:
            self._additions[path] = CommitOperationAdd(path, locate(path))
        return self._additions[path]

    def is_complete(self, state: HubState) -> bool:
        """Whether the mirror there is of the set that is published."""
        return state.manifest is not None and state.manifest["fingerprint"] == self.fingerprint

    def require_ours(self, state: HubState, paths: list[str]) -> None:
        """Refuse to write over files that somebody else put where ours are to be.

        Raises:
            PublishError: naming the first.
        """
        foreign = [one for one in paths if not state.may_replace(one) and not (self.replace_card and one == CARD_FILE)]
        if foreign:
            raise PublishError(
                f"a file of somebody else is where one of the {self.kind.content} is to be",
                where=f"{self.repo_id}, {foreign[0]}", expected="none, or the file as it was published",
                fix="Move it away, and run the command again.",
            )  # fmt: skip

    def commit(self, operations: Operations, message: str) -> str:
        """One commit on top of the newest one; made anew where another one comes in between.

        Args:
            operations: what it consists of; nothing is committed where that is nothing.
            message: its message.

        Returns:
            The commit's address; empty where nothing was committed.

        Raises:
            PublishError: if the Hub refuses, or the repository may no longer be published to.
        """
        from huggingface_hub.errors import HfHubHTTPError

        for attempt in range(_COMMIT_ATTEMPTS):
            state = self.look()
            made = operations(state)
            if not made:
                return ""
            with as_publish_errors(self.repo_id):
                try:
                    done = self._api.create_commit(
                        self.repo_id, made, commit_message=message, repo_type=self.kind.repo_type,
                        parent_commit=state.revision,
                    )  # fmt: skip
                    return str(done.commit_url)
                except HfHubHTTPError as error:
                    status = getattr(error.response, "status_code", None)
                    if status not in _CONFLICTS or attempt == _COMMIT_ATTEMPTS - 1:
                        raise
            time.sleep(2.0**attempt)
        raise AssertionError("the last attempt returns or raises")
