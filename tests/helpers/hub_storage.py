"""What the Hub on loopback holds: repositories, contents, and every request that it received."""

import base64
import contextlib
import hashlib
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TOKEN = "hf_loopback_0123456789abcdef"
USER = "me"


@dataclass
class Repo:
    """A repository's newest revision: path → sha256 of its content and git id, and its number of commits.

    ``history`` has the files of earlier commits, ``branches`` those of further branches, and of ``gated`` ones only who
    may read the files' contents is shown them: ``readers`` are tokens.
    """

    private: bool
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    commits: int = 0
    branches: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    gated: bool = False
    readers: tuple[str, ...] = ()
    history: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)

    @property
    def sha(self) -> str:
        return self.sha_of("main")

    def sha_of(self, branch: str) -> str:
        return hashlib.sha1(f"commit {self.commits} of {branch}".encode()).hexdigest()

    def at(self, revision: str) -> tuple[str, dict[str, dict[str, Any]]] | None:
        """A revision's commit and files; None where there is no such revision."""
        for branch, files in {"main": self.files, **self.branches}.items():
            if revision in (branch, self.sha_of(branch)):
                return self.sha_of(branch), files
        return (revision, self.history[revision]) if revision in self.history else None


@dataclass
class Hub:
    """What the server holds. ``refuse(method, path)`` may return a status to answer with instead."""

    folder: Path
    url: str = ""
    repos: dict[tuple[str, str], Repo] = field(default_factory=dict)
    requests: list[tuple[str, str, Path | None]] = field(default_factory=list)
    ranged_bytes: Counter[str] = field(default_factory=Counter)
    refuse: Callable[[str, str], int | None] = lambda method, path: None
    lock: Any = field(default_factory=threading.RLock)

    def repo(self, repo_id: str, kind: str = "dataset") -> Repo:
        return self.repos[kind, repo_id]

    def content(self, repo_id: str, path: str, kind: str = "dataset") -> bytes:
        return self.blob(self.repo(repo_id, kind).files[path]["sha256"]).read_bytes()

    def blob(self, sha256: str) -> Path:
        return self.folder / "blobs" / sha256

    def keep(self, content: bytes) -> str:
        sha256 = hashlib.sha256(content).hexdigest()
        self.blob(sha256).write_bytes(content)
        return sha256

    def put(self, repo_id: str, folder: Path, *, branch: str = "main", under: str = "", gated: bool = False) -> Repo:
        """Have a model repository hold what is in a folder, as if it had been uploaded."""
        repo = self.repos.setdefault(("model", repo_id), Repo(False, gated=gated))
        files = repo.files if branch == "main" else repo.branches.setdefault(branch, {})
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                content = path.read_bytes()
                oid = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
                name = f"{under}{path.relative_to(folder).as_posix()}"
                files[name] = {"sha256": self.keep(content), "oid": oid, "size": len(content), "lfs": False}
        return repo

    def fetched(self) -> set[str]:
        """Paths of the files whose contents were asked for."""
        found = [re.search(r"/resolve/[^/]+/(.+)$", path) for method, path, _ in list(self.requests) if method == "GET"]
        return {one[1] for one in found if one}

    def received(self) -> Iterator[bytes]:
        """Every request's line and body, base64 contents of commits decoded."""
        for method, path, body in list(self.requests):
            yield f"{method} {path}".encode()
            content = b"" if body is None else body.read_bytes()
            yield content
            for text in re.findall(rb'"(?:content|sample)": ?"([A-Za-z0-9+/=]+)"', content):
                with contextlib.suppress(ValueError):
                    yield base64.b64decode(text)

    def environment(self, home: Path, *, token: bool = True) -> dict[str, str]:
        """Variables for a child process that talks to this Hub alone."""
        found = {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(home),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
        }
        return found | ({"HF_TOKEN": TOKEN} if token else {})
