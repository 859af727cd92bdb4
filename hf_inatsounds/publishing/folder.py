"""A folder that takes a mirror: what may be in it before, and how a finished set gets to its place."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hf_inatsounds.data.mirror import CARD_FILE, MANIFEST_FILE, parse_manifest
from hf_inatsounds.errors import PublishError
from hf_inatsounds.fingerprints import changed_facts, file_digest, read_record
from hf_inatsounds.publishing.plan import set_folder

WORK_FOLDER = ".publishing"
"""Plain ``datasets`` looks into no folder whose name begins with a dot."""

FACTS_FILE = "facts.json"
"""Below it, for each mirror that was begun: what that one depends on."""


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The folder's manifest, if it is a mirror's."""
    path = folder / MANIFEST_FILE
    return parse_manifest(path.read_bytes()) if path.is_file() else None


def check_folder(folder: Path, work: Path, facts: Mapping[str, str], *, replace_card: bool = False) -> None:
    """Refuse a folder in which something would be mixed or written over.

    Args:
        folder: where the mirror goes.
        work: the run's own folder below ``WORK_FOLDER``.
        facts: what the mirror depends on; another one's differ.
        replace_card: whether a card that was changed by hand may be written over.

    Raises:
        PublishError: if there is another mirror, something else than a mirror, or a card that was changed by hand.
    """
    manifest, begun = read_manifest(folder), list((folder / WORK_FOLDER).glob("*"))
    others = sorted(path.name for path in folder.glob("*") if not path.name.startswith("."))
    if others and manifest is None and not begun:
        raise PublishError(
            "the folder holds something else than a mirror", where=folder,
            found=f"{others[0]} and no {MANIFEST_FILE} of ours", expected="an empty folder, or a mirror",
            fix="Choose another folder: nothing in this one was touched.",
        )  # fmt: skip
    records = [manifest, *(read_record(path / FACTS_FILE) for path in begun if path != work)]
    unlike = [record for record in records if record is not None and record.get("facts") != facts]
    if unlike:
        raise PublishError(
            "the folder holds another mirror", where=folder,
            found=f"one of other {', '.join(changed_facts(unlike[0].get('facts') or {}, facts))}",
            expected="an empty folder, or a mirror of what is published now; what was withdrawn or replaced since "
            "would stay in its shards", fix="Choose another folder (--local-dir, --work-dir), or delete this one.",
        )  # fmt: skip
    if manifest is not None:
        check_card(folder, None, replace=replace_card)


def check_card(folder: Path, card: str | None, *, replace: bool) -> None:
    """Refuse to write over a card that is neither as the manifest has it nor what would be written.

    Raises:
        PublishError: unless ``replace``.
    """
    path, manifest = folder / CARD_FILE, read_manifest(folder) or {"files": []}
    if replace or not path.is_file():
        return
    written = {record["sha256"] for record in manifest["files"] if record["path"] == CARD_FILE}
    if file_digest(path) not in written and path.read_bytes() != (card or "").encode():
        raise changed_card(path)


def changed_card(where: object) -> PublishError:
    """The error for a card in which somebody has written."""
    return PublishError(
        "the card was changed by hand", where=where, found=f"another {CARD_FILE} than was written here last",
        expected="that one", fix="Keep your text elsewhere, and give --replace-card to have the card written anew.",
    )  # fmt: skip


def place(staging: Path, folder: Path, fingerprint: str) -> None:
    """Move what is staged to its place: the shards all at once, since their folder is of this set alone."""
    shards = set_folder(fingerprint)
    if (staging / shards).exists() and not (folder / shards).exists():
        (folder / shards).parent.mkdir(parents=True, exist_ok=True)
        os.rename(staging / shards, folder / shards)
    for path in sorted(staging.rglob("*")):
        if path.is_file():  # small files, and shards that were made again
            target = folder / path.relative_to(staging)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(path, target)
