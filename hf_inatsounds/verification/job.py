"""One split to verify, and the file that keeps what was found until the archive changes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hf_inatsounds.archives.fetch import Source
from hf_inatsounds.archives.ranges import open_ranges
from hf_inatsounds.archives.source_state import annotation_state, audio_state
from hf_inatsounds.data.annotations import annotation_file
from hf_inatsounds.errors import SourceError
from hf_inatsounds.files import write_text
from hf_inatsounds.fingerprints import code_fingerprint, fingerprint, versions
from hf_inatsounds.schema import STEMS
from hf_inatsounds.verification.split import check_split


class Job:
    """One split to read, and where its result is kept."""

    def __init__(self, root: str, split: str, window_s: float, cache: str | None) -> None:
        self.root, self.split, self.window_s, self.cache = root, split, window_s, cache

    def n_bytes(self) -> int:
        """Size of the audio archive, 0 where it is unknown."""
        return _n_bytes(Source(self.root), f"{STEMS[self.split]}.tar.gz")

    def run(self, on_bytes: Callable[[int], None]) -> dict[str, Any]:
        """What the cache has of these very files, read by this very code, or a pass."""
        source, path = Source(self.root), self._path()
        key = None if path is None else self._key()
        if path is not None and key is not None and path.exists():
            try:
                kept = json.loads(path.read_text(encoding="utf-8"))
                if kept["key"] == key:
                    on_bytes(self.n_bytes())
                    return {**kept["check"], "from_cache": True}
            except (ValueError, KeyError, TypeError):
                pass  # not ours, or half of it: made anew
        check = check_split(source, self.split, window_s=self.window_s, on_bytes=on_bytes)
        if path is not None and key is not None and check["archive"]["damage"] is None and key == self._key():
            write_text(path, json.dumps({"key": key, "check": check}))
        return {**check, "from_cache": False}

    def _key(self) -> str | None:
        """What a kept result depends on; None where nothing is packed: a tree is read again."""
        source = Source(self.root)
        audio = audio_state(source, [self.split])
        if f"{STEMS[self.split]}.tar.gz" not in audio:
            return None
        names = [name for name in (annotation_file(source, self.split),) if name]
        return fingerprint({
            "audio": audio, "annotations": annotation_state(source, names), "window_s": self.window_s,
            "code": code_fingerprint("hf_inatsounds.verification.split"), "libraries": versions("soundfile", "numpy"),
        })  # fmt: skip

    def _path(self) -> Path | None:
        if self.cache is None:
            return None
        digest = hashlib.blake2b(self.root.encode(), digest_size=6).hexdigest()
        return Path(self.cache) / f"verified-{STEMS[self.split]}-{digest}.json"


def _n_bytes(source: Source, name: str) -> int:
    """Size of a file of the source; 0 where it is not there, or the server does not say."""
    if not source.exists(name):
        return 0
    try:
        return open_ranges(source.path(name)).size()
    except SourceError:
        return 0
