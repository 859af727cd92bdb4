"""Where a source's files are: a folder or a base URL, read through one small interface."""

from __future__ import annotations

import hashlib
import io
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeVar

from hf_inatsounds.archives.http_answers import NotAllowedError
from hf_inatsounds.archives.http_ranges import HttpRanges
from hf_inatsounds.archives.ranges import open_ranges
from hf_inatsounds.errors import SourceError
from hf_inatsounds.files import replacing
from hf_inatsounds.schema import OFFICIAL_URL

T = TypeVar("T")

_URL = re.compile(r"^[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_HUB_ID = re.compile(r"^[\w.-]+/[\w.-]+$")


def is_hub_id(source: str | os.PathLike[str]) -> bool:
    """Whether ``source`` reads as a Hub dataset id rather than a folder or URL.

    >>> is_hub_id("me/inatsounds"), is_hub_id("https://host/2024"), is_hub_id("official")
    (True, False, False)
    """
    return isinstance(source, str) and bool(_HUB_ID.match(source)) and not Path(source).exists()


def is_repo_id(text: str) -> bool:
    """Whether the Hub could have a repository of this name.

    >>> is_repo_id("me/model"), is_repo_id("model"), is_repo_id("me/my model")
    (True, False, False)
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(text)
    except HFValidationError:
        return False
    return text.count("/") == 1


def public_place(place: str) -> str:
    """A source as it may be stored, compared and pushed: a URL without password and signature; a path as it is.

    A signature that was renewed is no other source.

    >>> public_place("https://me:pw@host/2024?X-Amz-Signature=abc"), public_place("data/sounds")
    ('https://host/2024', 'data/sounds')
    """
    if not _URL.match(place):
        return place
    scheme, _, rest = re.split(r"[?#]", place, maxsplit=1)[0].partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"


@dataclass(frozen=True)
class Source:
    """A place that holds archives and annotations, or the unpacked tree.

    Attributes:
        root: absolute path of a folder, or a base URL that fsspec understands (https://, s3:// …). What follows
            a question mark, as a signature does, goes behind the name of each file.
    """

    root: str

    @classmethod
    def parse(cls, source: str | os.PathLike[str]) -> Source:
        """``official``, a folder or a base URL.

        Raises:
            SourceError: if it is none of them.
        """
        text = os.fspath(source)
        if text == "official":
            return cls(OFFICIAL_URL)
        if _URL.match(text):
            base, mark, query = text.partition("?")
            return cls(base.rstrip("/") + mark + query)
        folder = Path(text).expanduser()
        if not folder.is_dir():
            raise SourceError(
                "no such source",
                where=text,
                expected='"official", a folder with the archives, a base URL, or a Hub dataset id (owner/name)',
            )
        return cls(str(folder.resolve()))

    @property
    def is_remote(self) -> bool:
        """Whether the source is a URL."""
        return bool(_URL.match(self.root))

    def path(self, name: str) -> str:
        """Full path or URL of the file ``name``."""
        if not self.is_remote:
            return str(Path(self.root, name))
        base, mark, query = self.root.partition("?")
        return f"{base}/{name}{mark}{query}"

    def exists(self, name: str) -> bool:
        """Whether the source holds ``name``.

        Raises:
            SourceError: if its server gives no answer, or does not allow to read the file.
        """
        if not self.is_remote:
            return Path(self.root, name).exists()
        reader = open_ranges(self.path(name))
        if isinstance(reader, HttpRanges):
            return reader.state() is not None
        return bool(self._filesystem().exists(self.path(name)))

    def leads_out(self, file_name: str) -> bool:
        """Whether a recording of an unpacked tree is a link to a file that is not below its split's folder."""
        top = Path(self.root, Path(file_name).parts[0])
        return not Path(self.root, file_name).resolve().is_relative_to(top.resolve())

    def open(self, name: str) -> IO[bytes]:
        """Open ``name`` for forward reading; over HTTP a cut connection goes on where it was.

        Raises:
            SourceError: if it is missing or cannot be read.
        """
        try:
            reader = open_ranges(self.path(name))
            if self.is_remote and not isinstance(reader, HttpRanges):
                opened: IO[bytes] = self._filesystem().open(self.path(name), "rb")
                return opened
            if not self.is_remote:
                file = open(self.path(name), "rb")  # noqa: SIM115  # what cannot be read is told here, not at the first byte
                if not os.path.isfile(self.path(name)):
                    return file  # a pipe is opened once and has no positions
                file.close()
            return io.BufferedReader(_Forward(reader.stream(0)), 1 << 20)
        except OSError as error:
            raise SourceError("cannot read a file of the source", where=self.path(name), found=error) from error

    def local_copy(self, name: str) -> Path:
        """Path of ``name`` on this machine: the file itself, or for a URL a download in the cache of ``datasets``.

        Meant for small files: annotations are megabytes, and every load needs them. A file that changed at the
        server, by size, ETag or date, is downloaded again.

        Raises:
            SourceError: if it is missing or cannot be read.
        """
        if not self.is_remote:
            return Path(self.path(name))
        reader = open_ranges(self.path(name))
        if not isinstance(reader, HttpRanges):
            return self._fsspec_copy(name)
        path = _cached(reader, name)
        if not path.exists():
            with replacing(path) as temporary, open(temporary, "wb") as file:
                file.writelines(reader.stream(0))
        return path

    def drop_copy(self, name: str) -> bool:
        """Forget the download of ``name``, which turned out to be damaged; False where there is none to forget."""
        reader = open_ranges(self.path(name))
        if not isinstance(reader, HttpRanges):
            return False
        _cached(reader, name).unlink(missing_ok=True)
        return True

    def _fsspec_copy(self, name: str) -> Path:
        import datasets

        try:
            return Path(datasets.DownloadManager().download(self.path(name)))
        except (OSError, ValueError) as error:
            raise SourceError("cannot download a file of the source", where=self.path(name), found=error) from error

    def _filesystem(self) -> Any:
        import fsspec

        try:
            return fsspec.core.url_to_fs(self.root)[0]
        except ImportError as error:
            raise SourceError(
                "this kind of URL needs one more package", where=self.root, found=error, fix="pip install s3fs"
            ) from error


def held(asked: Iterable[T], holds: Callable[[T], bool]) -> list[T]:
    """Those of ``asked`` that a source holds.

    A storage that may not be listed denies what is not there. So where something may be read, what is denied counts
    as missing.

    Raises:
        NotAllowedError: if nothing may be read.
    """
    found, denied = [], None
    for one in asked:
        try:
            if holds(one):
                found.append(one)
        except NotAllowedError as error:
            denied = denied or error
    if denied and not found:
        raise denied
    return found


def _cached(reader: HttpRanges, name: str) -> Path:
    """Where the download of a file in its present state lies, or would.

    Raises:
        SourceError: if there is no such file.
    """
    import datasets

    state = reader.state()
    if state is None:
        raise SourceError("no such file", where=reader.where)
    key = hashlib.sha256(repr([reader.where, str(state)]).encode()).hexdigest()[:32]
    return Path(datasets.config.DOWNLOADED_DATASETS_PATH) / "hf_inatsounds" / f"{key}-{name}"


class _Forward(io.RawIOBase):
    """Chunks as a file that is only read forward."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._rest = memoryview(chunk)
        n = min(len(buffer), len(self._rest))
        buffer[:n], self._rest = self._rest[:n], self._rest[n:]
        return n
