"""A Hub on loopback: what ``huggingface_hub``, ``hf``, ``datasets`` and ``transformers`` need of its HTTP interface.

Repositories are created (private or public), uploaded to (preupload, LFS, commit), listed and downloaded from, ranges
included. There is no Xet storage: clients run with ``HF_HUB_DISABLE_XET=1``. Every request is recorded with its body.
"""

import base64
import contextlib
import hashlib
import http.server
import json
import re
import shutil
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.helpers.hub_storage import TOKEN, USER, Hub, Repo

LFS_ENDINGS = (".parquet", ".safetensors", ".bin", ".wav", ".flac", ".zst", ".npy", ".arrow")
PREFIX = {"datasets/": "dataset", "": "model"}


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self._handle()

    do_HEAD = do_POST = do_PUT = do_GET

    def _handle(self) -> None:
        body = self._body()
        with self.hub.lock:
            self.hub.requests.append((self.command, self.path, body))
        refused = self.hub.refuse(self.command, self.path)
        if refused is not None:
            return self._error(refused, "refused by the test")
        path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)
        for pattern, answer in ROUTES:
            found = re.fullmatch(pattern, path)
            if found:
                return answer(self, body, **found.groupdict())
        return self._error(404, f"no route {path}")

    def _body(self) -> Path | None:
        """The request's body, streamed into a file of its own."""
        path = self.hub.folder / "received" / f"{time.monotonic_ns()}-{threading.get_ident()}"
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            with open(path, "wb") as out:
                while size := int(self.rfile.readline().split(b";")[0], 16):
                    out.write(self.rfile.read(size))
                    self.rfile.readline()
                self.rfile.readline()
            return path
        left = int(self.headers.get("Content-Length") or 0)
        if not left:
            return None
        with open(path, "wb") as out:
            while left and (part := self.rfile.read(min(left, 1 << 20))):
                out.write(part)
                left -= len(part)
        return path

    def _send(self, status: int, content: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _json(self, value: Any) -> None:
        self._send(200, json.dumps(value).encode(), Content_Type="application/json")

    def _error(self, status: int, message: str, code: str = "") -> None:
        self._send(status, json.dumps({"error": message}).encode(), X_Error_Code=code, X_Error_Message=message)

    def _allowed(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def _repo(self, kind: str, repo_id: str) -> Repo | None:
        """The repository; an answer is sent where it is missing, or hidden from who asks."""
        repo = self.hub.repos.get((kind.removesuffix("s"), repo_id))
        if repo is None or (repo.private and not self._allowed()):
            self._error(404 if self._allowed() else 401, "Repository not found", "RepoNotFound")
            return None
        return repo

    def _at(self, repo: Repo, revision: str | None) -> tuple[str, dict[str, Any]] | None:
        """Commit and files of a revision; an answer is sent where there is none."""
        found = repo.at(revision or "main")
        if found is None:
            self._error(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return found

    def whoami(self, body: Path | None) -> None:
        if not self._allowed():
            return self._error(401, "Invalid credentials")
        token = {"accessToken": {"role": "write", "displayName": "loopback"}, "type": "access_token"}
        return self._json({"type": "user", "id": "0", "name": USER, "fullname": USER, "orgs": [], "auth": token})

    def auth_check(self, body: Path | None, kind: str, repo_id: str) -> None:
        if self._writable(kind, repo_id):
            self._send(200)

    def create(self, body: Path | None) -> None:
        if not self._allowed():
            return self._error(401, "Invalid credentials")
        asked = json.loads(body.read_bytes()) if body else {}
        if asked.get("organization") not in (None, USER):
            return self._error(403, f"You don't have the rights to create a model under {asked['organization']}")
        repo_id, kind = f"{asked.get('organization') or USER}/{asked['name']}", asked.get("type", "model")
        answer = {"url": f"{self.hub.url}/{'datasets/' if kind == 'dataset' else ''}{repo_id}", "id": repo_id}
        if (kind, repo_id) in self.hub.repos:
            return self._send(409, json.dumps({"error": "You already created this repo", **answer}).encode())
        private = asked.get("visibility") == "private" or bool(asked.get("private"))
        self.hub.repos[kind, repo_id] = Repo(private, {".gitattributes": self._regular(b"")})
        return self._json(answer)

    def validate(self, body: Path | None) -> None:
        import yaml

        text = json.loads(body.read_bytes())["content"] if body else ""
        metadata = yaml.safe_load(text.split("---")[1]) if text.startswith("---") else None
        ok = isinstance(metadata, dict) and bool(metadata.get("license"))
        self._json({"errors": [], "warnings": [] if ok else [{"message": "no metadata"}]})

    def info(self, body: Path | None, kind: str, repo_id: str, revision: str | None) -> None:
        if (repo := self._repo(kind, repo_id)) and (found := self._at(repo, revision)):
            siblings = [{"rfilename": name} for name in sorted(found[1])]
            gated = "auto" if repo.gated else False
            self._json(
                {"_id": "0", "id": repo_id, "author": USER, "sha": found[0], "private": repo.private, "gated": gated,
                 "disabled": False, "tags": [], "downloads": 0, "likes": 0, "lastModified": "2026-01-01T00:00:00.000Z",
                 "createdAt": "2026-01-01T00:00:00.000Z", "siblings": siblings, **self._card_data(repo)}
            )  # fmt: skip

    def _card_data(self, repo: Repo) -> dict[str, Any]:
        """What the Hub takes from a card's metadata."""
        import yaml

        if "README.md" not in repo.files:
            return {}
        text = self.hub.blob(repo.files["README.md"]["sha256"]).read_text()
        metadata = (yaml.safe_load(text.split("---")[1]) if text.startswith("---") else None) or {}
        return {key: metadata[key] for key in ("pipeline_tag", "library_name") if key in metadata}

    def refs(self, body: Path | None, kind: str, repo_id: str) -> None:
        if repo := self._repo(kind, repo_id):
            main = {"name": "main", "ref": "refs/heads/main", "targetCommit": repo.sha}
            self._json({"branches": [main], "converts": [], "tags": []})

    def tree(self, body: Path | None, kind: str, repo_id: str, revision: str, under: str | None) -> None:
        if (repo := self._repo(kind, repo_id)) and (at := self._at(repo, revision)):
            files = at[1]
            query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
            recursive = query.get("recursive", ["false"])[0].lower() in ("true", "1")
            start = f"{under.strip('/')}/" if under and under.strip("/") else ""
            found, folders = [], set()
            for name in sorted(files):
                if name.startswith(start):
                    parents = name[len(start) :].split("/")[:-1]
                    steps = ["/".join(parents[: i + 1]) for i in range(len(parents))]
                    folders.update(start + step for step in (steps if recursive else steps[:1]))
                    if recursive or not parents:
                        found.append(_entry(name, files[name]))
            if start and not found and not folders:
                return self._error(404, "Entry not found", "EntryNotFound")
            self._json(
                [{"type": "directory", "oid": "0" * 40, "size": 0, "path": name} for name in sorted(folders)] + found
            )
        return None

    def paths_info(self, body: Path | None, kind: str, repo_id: str) -> None:
        if (repo := self._repo(kind, repo_id)) and body:
            asked = body.read_bytes()
            is_json = asked.startswith(b"{")
            paths = json.loads(asked)["paths"] if is_json else urllib.parse.parse_qs(asked.decode())["paths"]
            names = [name for name in paths if name in repo.files]
            folders = [name for name in paths if any(file.startswith(f"{name}/") for file in repo.files)]
            self._json(
                [_entry(name, repo.files[name]) for name in names]
                + [{"type": "directory", "oid": "0" * 40, "size": 0, "path": name} for name in folders]
            )

    def preupload(self, body: Path | None, kind: str, repo_id: str) -> None:
        if self._writable(kind, repo_id) and body:
            files = json.loads(body.read_bytes())["files"]
            self._json({"files": [
                {"path": one["path"], "shouldIgnore": False, "uploadMode": "lfs" if _is_large(one) else "regular"}
                for one in files
            ]})  # fmt: skip

    def lfs_batch(self, body: Path | None, prefix: str, repo_id: str) -> None:
        if self._writable(PREFIX[prefix], repo_id) and body:
            objects = []
            for one in json.loads(body.read_bytes())["objects"]:
                there = self.hub.blob(one["oid"]).exists()
                href = {name: {"href": f"{self.hub.url}/lfs/{name}/{one['oid']}"} for name in ("upload", "verify")}
                objects.append({"oid": one["oid"], "size": one["size"], **({} if there else {"actions": href})})
            self._json({"transfer": "basic", "objects": objects})

    def lfs_upload(self, body: Path | None, oid: str) -> None:
        if body is None or hashlib.sha256(body.read_bytes()).hexdigest() != oid:
            return self._error(400, "checksum does not match")
        shutil.copyfile(body, self.hub.blob(oid))
        return self._send(200)

    def lfs_verify(self, body: Path | None, oid: str) -> None:
        self._send(200 if self.hub.blob(oid).exists() else 404)

    def commit(self, body: Path | None, kind: str, repo_id: str) -> None:
        repo = self._writable(kind, repo_id)
        if repo is None or body is None:
            return None
        with self.hub.lock:
            files = dict(repo.files)
            for line in body.read_bytes().splitlines():
                key, value = (item := json.loads(line))["key"], item["value"]
                if key == "header" and value.get("parentCommit", repo.sha) != repo.sha:
                    return self._error(412, "A commit has happened since. Please refresh and try again.")
                if key == "file":
                    files[value["path"]] = self._regular(base64.b64decode(value["content"]))
                elif key == "lfsFile":
                    if not self.hub.blob(value["oid"]).exists():
                        return self._error(400, f"{value['path']} was not uploaded")
                    pointer = hashlib.sha1(value["oid"].encode()).hexdigest()
                    files[value["path"]] = {"sha256": value["oid"], "oid": pointer, "size": value["size"], "lfs": True}
                elif key == "deletedFile":
                    files.pop(value["path"])
            repo.history[repo.sha] = repo.files
            repo.files, repo.commits = files, repo.commits + 1
        url = f"{self.hub.url}/{kind}/{repo_id}/commit/{repo.sha}"
        return self._json({"success": True, "commitOid": repo.sha, "commitUrl": url})

    def resolve(self, body: Path | None, prefix: str, repo_id: str, revision: str, path: str) -> None:
        repo = self._repo(PREFIX[prefix], repo_id)
        found = None if repo is None else self._at(repo, revision)
        if repo is None or found is None:
            return None
        if repo.gated and self.headers.get("Authorization", "").removeprefix("Bearer ") not in repo.readers:
            return self._error(403 if self._allowed() else 401, "Access to it is restricted", "GatedRepo")
        sha, files = found
        if path not in files:
            return self._error(404, "Entry not found", "EntryNotFound")
        entry = files[path]
        etag = f'"{entry["sha256"] if entry["lfs"] else entry["oid"]}"'
        headers = {
            "ETag": etag,
            "X_Repo_Commit": sha,
            "Accept_Ranges": "bytes",
            "X_Linked_Size": str(entry["size"]),
        }
        content = self.hub.blob(entry["sha256"]).read_bytes()
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if asked:
            first, last = int(asked[1]), min(int(asked[2] or len(content) - 1), len(content) - 1)
            if first > last:
                return self._send(416, Content_Range=f"bytes */{len(content)}")
            with self.hub.lock:
                self.hub.ranged_bytes[path] += last + 1 - first
            return self._send(
                206, content[first : last + 1], Content_Range=f"bytes {first}-{last}/{len(content)}", **headers
            )
        return self._send(200, content, **headers)

    def _writable(self, kind: str, repo_id: str) -> Repo | None:
        if not self._allowed():
            self._error(401, "Invalid credentials")
            return None
        return self._repo(kind, repo_id)

    def _regular(self, content: bytes) -> dict[str, Any]:
        oid = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        return {"sha256": self.hub.keep(content), "oid": oid, "size": len(content), "lfs": False}


def _is_large(one: dict[str, Any]) -> bool:
    return bool(one["path"].endswith(LFS_ENDINGS) or one["size"] > 10 << 20)


def _entry(path: str, entry: dict[str, Any]) -> dict[str, Any]:
    lfs = {"lfs": {"oid": entry["sha256"], "size": entry["size"], "pointerSize": 130}} if entry["lfs"] else {}
    return {"type": "file", "oid": entry["oid"], "size": entry["size"], "path": path, **lfs}


_API = r"/api/(?P<kind>datasets|models)/(?P<repo_id>[^/]+/[^/]+)"
ROUTES: tuple[tuple[str, Callable[..., None]], ...] = (
    (r"/api/whoami-v2", _Handler.whoami),
    (r"/api/repos/create", _Handler.create),
    (r"/api/validate-yaml", _Handler.validate),
    (rf"{_API}(/revision/(?P<revision>[^/]+))?", _Handler.info),
    (rf"{_API}/refs", _Handler.refs),
    (rf"{_API}/auth-check(/write)?", _Handler.auth_check),
    (rf"{_API}/tree/(?P<revision>[^/]+)(?P<under>/.*)?", _Handler.tree),
    (rf"{_API}/paths-info/[^/]+", _Handler.paths_info),
    (rf"{_API}/preupload/[^/]+", _Handler.preupload),
    (rf"{_API}/commit/[^/]+", _Handler.commit),
    (r"/(?P<prefix>datasets/|)(?P<repo_id>[^/]+/[^/]+)\.git/info/lfs/objects/batch", _Handler.lfs_batch),
    (r"/lfs/upload/(?P<oid>[0-9a-f]{64})", _Handler.lfs_upload),
    (r"/lfs/verify/(?P<oid>[0-9a-f]{64})", _Handler.lfs_verify),
    (r"/(?P<prefix>datasets/|)(?P<repo_id>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<path>.+)", _Handler.resolve),
)


@contextlib.contextmanager
def hub_server(folder: Path) -> Iterator[Hub]:
    """A Hub whose blobs and received requests lie in ``folder``."""
    for name in ("blobs", "received"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    hub = Hub(folder)
    handler = type("Handler", (_Handler,), {"hub": hub})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        hub.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield hub
        finally:
            server.shutdown()
            thread.join()
