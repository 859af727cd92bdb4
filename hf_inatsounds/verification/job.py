"""One split to verify, and the file that keeps what was found until the archive changes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hf_inatsounds.annotations import annotation_file
from hf_inatsounds.archives.fetch import Source
from hf_inatsounds.files import write_text
from hf_inatsounds.schema import STEMS
from hf_inatsounds.verification.split import check_split

FORMAT = 2
"""Of the cache; another format's entries are made anew."""


class Job:
    """One split to read, and where its result is kept."""

    def __init__(self, root: str, split: str, window_s: float, cache: str | None) -> None:
        self.root, self.split, self.window_s, self.cache = root, split, window_s, cache

    def n_bytes(self) -> int:
        """Size of the audio archive, 0 where it is unknown."""
        return _size_and_time(Source(self.root), f"{STEMS[self.split]}.tar.gz")[0] or 0

    def run(self, on_bytes: Callable[[int], None]) -> dict[str, Any]:
        """What the cache has, or a pass."""
        source, key = Source(self.root), self._key()
        path = self._path()
        if path is not None and key is not None and path.exists():
            try:
                kept = json.loads(path.read_text(encoding="utf-8"))
                if kept["key"] == key:
                    on_bytes(self.n_bytes())
                    return {**kept["check"], "from_cache": True}
            except (ValueError, KeyError, TypeError):
                pass  # not ours, or half of it: made anew
        check = check_split(source, self.split, window_s=self.window_s, on_bytes=on_bytes)
        if path is not None and key is not None and check["archive"]["damage"] is None:
            write_text(path, json.dumps({"key": key, "check": check}))
        return {**check, "from_cache": False}

    def _key(self) -> list[Any] | None:
        """What a kept result depends on; None where a size or time is unknown, or nothing is packed."""
        source = Source(self.root)
        names = [f"{STEMS[self.split]}.tar.gz", annotation_file(source, self.split)]
        states = [_size_and_time(source, name) for name in names if name and source.exists(name)]
        if len(states) != len(names) or any(None in state for state in states):
            return None
        return [FORMAT, self.root, self.window_s, *(list(state) for state in states)]

    def _path(self) -> Path | None:
        if self.cache is None:
            return None
        digest = hashlib.blake2b(self.root.encode(), digest_size=6).hexdigest()
        return Path(self.cache) / f"verified-{STEMS[self.split]}-{digest}.json"


def _size_and_time(source: Source, name: str) -> tuple[int | None, int | str | None]:
    if not source.is_remote:
        path = Path(source.path(name))
        state = path.stat() if path.is_file() else None
        return (None, None) if state is None else (state.st_size, state.st_mtime_ns)
    import fsspec

    try:
        filesystem, path_there = fsspec.core.url_to_fs(source.path(name))
        info = filesystem.info(path_there)
    except OSError:
        return None, None
    changed = info.get("ETag") or info.get("LastModified")
    return info.get("size"), None if changed is None else str(changed)
