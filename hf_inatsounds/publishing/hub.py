"""A mirror on the Hub: private unless asked otherwise, seen whole or as it was, uploaded in steps that can be repeated.

Contents are uploaded before any commit. Then one commit brings the new shards and the card that leads to them, and
removes the old shards. Where that is too much for one commit, shards are committed first, to where no card leads.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

from hf_inatsounds.data.mirror import CARD_FILE, MANIFEST_FILE
from hf_inatsounds.publishing.dataset_card import render_waiting_card
from hf_inatsounds.publishing.hub_repository import MIRROR, HubRepository, Locate
from hf_inatsounds.publishing.hub_state import NOTES, HubState, Record
from hf_inatsounds.publishing.plan import set_folder
from hf_inatsounds.publishing.shards import file_record, text_record

OPERATIONS_A_COMMIT = 100
"""The Hub's documentation recommends no more; datasets.push_to_hub takes 50."""


class HubTarget:
    """A dataset repository that takes a mirror.

    Args:
        repo_id: ``owner/name``.
        public: whether it is to be public.
        quiet: no progress.
        replace_card: whether a README.md that was changed by hand is written over.
    """

    def __init__(self, repo_id: str, *, public: bool = False, quiet: bool = False, replace_card: bool = False) -> None:
        self.repository = HubRepository(repo_id, MIRROR, public=public, quiet=quiet, replace_card=replace_card)

    def open(self) -> None:
        """Create the repository, or make sure that the one that is there may be published to.

        Raises:
            PublishError: if it is not as public or private as asked for, holds something else than a mirror, or a card
                that was changed by hand, or if the Hub refuses.
        """
        self.repository.create()
        self.repository.look()

    def upload_part(self, locate: Locate, part: str, records: list[Record]) -> None:
        """Upload one part's shards and what is known of them, for rank 0, which may be on another machine.

        Args:
            locate: tells where a shard is on this machine.
            part: a name that no other part has; it begins with the set's fingerprint.
            records: the shards' records.

        Raises:
            PublishError: if the Hub refuses or is away.
        """
        self.repository.fingerprint = part.split("-")[0]
        self.repository.send(locate, records)
        self._stage(locate, records, part)

    def part_records(self, prefix: str) -> dict[str, Record]:
        """Path → record of the shards that were uploaded by parts whose names begin with ``prefix``."""
        state = self.repository.look()
        noted = [note for path, note in state.notes.items() if path.startswith(f"{NOTES}/{prefix}")]
        return {one["path"]: one for note in noted for one in note if state.holds(one, Path())}

    def upload(self, folder: Path, manifest: dict[str, Any]) -> dict[str, int]:
        """Upload the manifest's files that the repository lacks, and have the card lead to them.

        Args:
            folder: the mirror.
            manifest: its manifest; nothing that it does not name is uploaded.

        Returns:
            How many files were uploaded, there already, and removed since they belong to an older mirror.

        Raises:
            PublishError: if the Hub refuses or is away, or somebody else published in the meantime. What is uploaded
                stays, and the next run goes on; readers see the mirror that was there.
        """
        self.repository.fingerprint = manifest["fingerprint"]
        below = f"{set_folder(manifest['fingerprint'])}/"
        shards = [record for record in manifest["files"] if record["path"].startswith(below)]
        rest = [record for record in manifest["files"] if not record["path"].startswith(below)]
        rest.append(file_record(folder / MANIFEST_FILE, MANIFEST_FILE))
        missing = self.repository.send(folder.joinpath, shards)
        staged = missing[max(OPERATIONS_A_COMMIT - len(rest), 0) :]
        if staged:
            self._stage(folder.joinpath, staged, f"{manifest['fingerprint']}-uploading")
        added, removed = self._switch(folder, [*shards, *rest])
        added += len(staged)
        return {"uploaded": added, "already_there": len(shards) + len(rest) - added, "removed": removed}

    def _stage(self, locate: Locate, records: list[Record], part: str) -> None:
        """Commit shards to where no card leads, with a note that they are ours.

        In a repository without a card plain ``datasets`` would load whatever is there: it gets one that leads nowhere.
        """
        from huggingface_hub import CommitOperationAdd

        card = render_waiting_card().encode()
        note = json.dumps([*records, text_record(card, CARD_FILE)]).encode()
        size = OPERATIONS_A_COMMIT - 2

        def operations(state: HubState, some: list[Record]) -> list[Any]:
            missing = [one["path"] for one in some if not state.holds(one, locate(one["path"]))]
            if not missing and self.repository.is_complete(state):
                return []
            texts = {f"{NOTES}/{part}.json": note} | ({} if state.manifest is not None else {CARD_FILE: card})
            added = [CommitOperationAdd(path, text) for path, text in texts.items() if not state.holds_text(path, text)]
            return [*(self.repository.addition(locate, path) for path in missing), *added]

        for start in range(0, max(len(records), 1), size):
            some = records[start : start + size]
            message = f"{len(some)} shards of a mirror to come"
            self.repository.commit(functools.partial(operations, some=some), message)

    def _switch(self, folder: Path, records: list[Record]) -> tuple[int, int]:
        """The commit from which on readers see the new mirror; returns how many files came with it, and are removed."""
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        left = f"{NOTES}/{self.repository.fingerprint}-left.json"
        counts, later = (0, 0), list[str]()

        def operations(state: HubState) -> list[Any]:
            nonlocal counts, later
            added = [one["path"] for one in records if not state.holds(one, folder / one["path"])]
            self.repository.require_ours(state, added)
            stale = state.stale(one["path"] for one in records)
            counts, later = (len(added), len(stale)), []
            found = [self.repository.addition(folder.joinpath, path) for path in added]
            if len(added) + len(stale) <= OPERATIONS_A_COMMIT:
                return found + [CommitOperationDelete(path) for path in stale]
            later = [*(path for path in stale if path != left), left]
            if added:  # the old manifest goes, and with it the knowledge of what is to be removed
                found.append(CommitOperationAdd(left, json.dumps(state.records(stale)).encode()))
            return found

        self.repository.commit(operations, "A mirror of iNatSounds")
        for start in range(0, len(later), OPERATIONS_A_COMMIT):
            some = later[start : start + OPERATIONS_A_COMMIT]
            self.repository.commit(functools.partial(_removal, some=some), "Files of an older mirror removed")
        return counts


def _removal(state: HubState, some: list[str]) -> list[Any]:
    from huggingface_hub import CommitOperationDelete

    return [CommitOperationDelete(path) for path in some if path in state.files and state.may_replace(path)]
