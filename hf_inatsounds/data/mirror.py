"""A mirror as a reader finds it, on the Hub or in a folder: one state of it, whole by its manifest, or refused."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import datasets

from hf_inatsounds.archives.fetch import is_hub_id
from hf_inatsounds.errors import SourceError
from hf_inatsounds.fingerprints import file_digest

MANIFEST_FILE = "manifest.json"
CARD_FILE = "README.md"

HTTP_LIBRARIES = ("httpx", "httpx2", "httpcore", "httpcore2", "requests", "urllib3")
"""Modules whose errors mean that the Hub was not reached: huggingface_hub changes its library between versions."""

_RECORD = {"path": str, "size": int, "sha256": str}
_AGAIN = "Run hf-inatsounds publish again: it goes on where it stopped."


def parse_manifest(content: bytes) -> dict[str, Any] | None:
    """A mirror's manifest; None for another document, whatever its name is.

    >>> parse_manifest(b'{"name": "a web page"}') is None
    True
    """
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or not isinstance(found.get("fingerprint"), str):
        return None
    records = found.get("files")
    return found if isinstance(records, list) and all(is_record(one) for one in records) else None


def is_record(value: object) -> bool:
    """Whether ``value`` is what a manifest says of a file: ``{"path", "size", "sha256"}``, and perhaps more."""
    return isinstance(value, dict) and all(isinstance(value.get(key), kind) for key, kind in _RECORD.items())


@dataclass(frozen=True)
class Mirror:
    """One revision of a mirror on the Hub, or a mirror in a folder, which may be a mounted bucket.

    Attributes:
        where: ``owner/name``, or the folder's path.
        revision: its commit; without a connection what was asked for, where the Hub's cache decides.
        checked: whether its files were compared with the manifest; not without a connection.
        manifest: what :func:`parse_manifest` gives.
    """

    where: str
    revision: str | None
    manifest: dict[str, Any]
    checked: bool = True
    folder: Path | None = None
    token: str | bool | None = field(default=None, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "token": None}  # never stored

    @property
    def state(self) -> str:
        """What tells two states of it apart: its commit; of a folder the digest of its manifest."""
        if self.folder is not None:
            return file_digest(self.folder / MANIFEST_FILE)
        # the cache's folders are called by their commits
        return self.revision or self.file("label_space.json").parent.name

    def open(self, name: str) -> IO[bytes]:
        """One of its files for reading by ranges; of the Hub's only those that are asked for are fetched.

        Raises:
            SourceError: if it is not there.
        """
        if self.folder is not None:
            return open(self.folder / name, "rb")
        from huggingface_hub import HfFileSystem

        files = HfFileSystem(token=self.token)
        path = f"datasets/{self.where}@{self.revision}/{name}" if self.revision else f"datasets/{self.where}/{name}"
        opened: IO[bytes] = files.open(path, "rb", cache_type="none")
        return opened

    def file(self, name: str) -> Path:
        """Path of one of its files on this machine; downloaded once into the Hub's cache.

        Raises:
            SourceError: if the manifest does not name it, or it is another one than the manifest names.
            OSError, ValueError: if the Hub does not give it.
        """
        record = next((one for one in self.manifest["files"] if one["path"] == name), None)
        if record is None:
            raise no_mirror(self.where, f"no {name} in {MANIFEST_FILE}")
        path = self.folder / name if self.folder else _download(self.where, name, self.revision, self.token)
        if file_digest(path) != record["sha256"]:
            raise SourceError(
                "the mirror is not whole", where=f"{self.where}, {name}",
                found="another file than the manifest names", expected=f"SHA-256 {record['sha256']}", fix=_AGAIN,
            )  # fmt: skip
        return path

    def load(self, name: str, split: str | None, *, streaming: bool) -> Any:
        """What plain ``datasets.load_dataset`` gives of this revision.

        Raises:
            SourceError: for an unknown name or split, or if the card leads to other files than the manifest names.
        """
        splits = self.manifest.get("configs", {}).get(name)
        if "configs" in self.manifest and (splits is None or split not in (None, *splits)):
            there = self.manifest["configs"]
            expected = ", ".join(there) if splits is None else ", ".join(splits)
            raise SourceError(
                "unknown dataset name" if splits is None else "no such split in the mirror", where=self.where,
                found=repr(name if splits is None else split), expected=expected,
            )  # fmt: skip
        known = {"revision": self.revision, "token": self.token} if self.folder is None else {}
        if not self.checked:
            return datasets.load_dataset(self.where, name, split=split, streaming=streaming, **known)
        builder = datasets.load_dataset_builder(self.where, name, **known)
        self._check_card(name, builder.config.data_files or {}, splits)
        if streaming:
            return builder.as_streaming_dataset(split=split)
        builder.download_and_prepare()
        return builder.as_dataset(split=split)

    def _check_card(self, name: str, data_files: Any, expected: dict[str, int] | None) -> None:
        """Whether the files that the card leads to are the manifest's, each once, with the rows that it counts."""
        rows = {record["path"]: record.get("rows") for record in self.manifest["files"]}
        for split, urls in data_files.items():
            paths = [self._path_of(str(url)) for url in urls]
            strays = sorted({path for path in paths if path not in rows or paths.count(path) > 1})
            counted = [rows.get(path) for path in paths]
            n = None if None in counted else sum(count for count in counted if count is not None)
            short = expected is not None and n is not None and n != expected.get(str(split))
            if strays or short:
                raise SourceError(
                    "the mirror's card and manifest are not of one set", where=f"{self.where}, {name}, {split}",
                    found=f"{strays[0]} besides the manifest's files" if strays else f"files of {n} recordings",
                    expected=None if strays else f"{(expected or {}).get(str(split))} recordings", fix=_AGAIN,
                )  # fmt: skip

    def _path_of(self, url: str) -> str:
        """A file's path in the mirror."""
        if self.folder is None:
            return url.split(f"@{self.revision}/", 1)[-1]
        path = Path(url)
        return path.relative_to(self.folder).as_posix() if path.is_relative_to(self.folder) else url


def is_mirror(source: str | os.PathLike[str]) -> bool:
    """Whether a source is a mirror: on the Hub, or in a folder that has a mirror's manifest."""
    return is_hub_id(source) or ("://" not in os.fspath(source) and Path(source, MANIFEST_FILE).is_file())


def open_mirror(
    source: str | os.PathLike[str],
    revision: str | None = None,
    *,
    where: str | None = None,
    token: str | bool | None = None,
) -> Mirror:
    """A revision of a mirror, with every file of its manifest: by size and SHA-256, in a folder by size.

    Without a connection it is what the Hub's cache has of it.

    Args:
        source: ``owner/name``, or a folder.
        revision: branch, tag or commit on the Hub; None for the newest.
        where: what errors are about, if that is more than the source.
        token: of the Hub; None for the stored one.

    Raises:
        SourceError: if there is no such repository, no mirror in it, or one that is not whole.
    """
    if not is_hub_id(source):
        return _in_folder(Path(source))
    repo_id = str(source)
    where = where or repo_id
    revision, files = _listed(repo_id, revision, where, token)
    if files is not None and MANIFEST_FILE not in files:
        raise no_mirror(where, f"no {MANIFEST_FILE}")
    try:
        manifest = parse_manifest(_download(repo_id, MANIFEST_FILE, revision, token).read_bytes())
    except (OSError, ValueError) as error:
        raise no_mirror(where, error) from error
    if manifest is None:
        raise no_mirror(where, f"a {MANIFEST_FILE} that is not a mirror's")
    if files is not None:
        lacking = [one["path"] for one in manifest["files"] if not _is_there(files.get(one["path"]), one)]
        _require_none(lacking, manifest, where)
    return Mirror(repo_id, revision, manifest, checked=files is not None, token=token)


def _in_folder(folder: Path) -> Mirror:
    folder = folder.expanduser().resolve()
    manifest = parse_manifest((folder / MANIFEST_FILE).read_bytes())
    if manifest is None:
        raise no_mirror(folder, f"a {MANIFEST_FILE} that is not a mirror's")
    strays = [one["path"] for one in manifest["files"] if not (folder / one["path"]).resolve().is_relative_to(folder)]
    if strays:
        raise no_mirror(folder, f"a {MANIFEST_FILE} that names {strays[0]}, outside of the folder")

    def is_there(record: dict[str, Any]) -> bool:
        path = folder / record["path"]
        return path.is_file() and (record["path"] == CARD_FILE or path.stat().st_size == record["size"])

    _require_none([one["path"] for one in manifest["files"] if not is_there(one)], manifest, folder)
    return Mirror(str(folder), None, manifest, folder=folder)


def _require_none(lacking: list[str], manifest: dict[str, Any], where: object) -> None:
    if lacking:
        raise SourceError(
            "the mirror is not whole", where=where,
            found=f"{len(lacking)} of {len(manifest['files'])} files missing or changed, the first {lacking[0]}",
            expected=f"the files of {MANIFEST_FILE}", fix=_AGAIN,
        )  # fmt: skip


def _listed(
    repo_id: str, revision: str | None, where: str, token: str | bool | None
) -> tuple[str | None, dict[str, Any] | None]:
    """The commit of a revision and its files by path; no files without a connection."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    api = HfApi(library_name="hf-inatsounds", token=token)
    try:
        commit = api.repo_info(repo_id, repo_type="dataset", revision=revision).sha
        tree = api.list_repo_tree(repo_id, repo_type="dataset", revision=commit, recursive=True)
        return commit, {entry.path: entry for entry in tree if hasattr(entry, "blob_id")}
    except (HfHubHTTPError, ValueError) as error:
        raise no_mirror(where, error) from error
    except Exception as error:
        library = type(error).__module__.split(".")[0]
        if not isinstance(error, ConnectionError) and library not in HTTP_LIBRARIES:
            raise
        return revision, None


def _is_there(entry: Any, record: dict[str, Any]) -> bool:
    """Whether the Hub lists the recorded file; the card's words may be changed by hand, and who reads a small file
    looks at its checksum.
    """
    if entry is None or record["path"] == CARD_FILE:
        return entry is not None
    return bool(entry.size == record["size"] and (entry.lfs is None or entry.lfs.sha256 == record["sha256"]))


def no_mirror(where: object, found: object) -> SourceError:
    """The error for a source that is neither a folder nor a mirror."""
    return SourceError(
        "no such folder, and no mirror on the Hub that can be read",
        where=where,
        found=str(found).strip().split("\n")[0],
        expected="a folder, or a dataset repository that you may read and that was made by hf-inatsounds publish",
    )


def _download(repo_id: str, name: str, revision: str | None, token: str | bool | None) -> Path:
    from huggingface_hub import hf_hub_download

    return Path(hf_hub_download(repo_id, name, repo_type="dataset", revision=revision, token=token))
