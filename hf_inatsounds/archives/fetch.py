"""Where a source's files are: a folder or a base URL, read through one small interface."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from hf_inatsounds.errors import SourceError
from hf_inatsounds.schema import OFFICIAL_URL

_URL = re.compile(r"^[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_HUB_ID = re.compile(r"^[\w.-]+/[\w.-]+$")


def is_hub_id(source: str | os.PathLike[str]) -> bool:
    """Whether ``source`` reads as a Hub dataset id rather than a folder or URL.

    >>> is_hub_id("me/inatsounds"), is_hub_id("https://host/2024"), is_hub_id("official")
    (True, False, False)
    """
    return isinstance(source, str) and bool(_HUB_ID.match(source)) and not Path(source).exists()


@dataclass(frozen=True)
class Source:
    """A place that holds archives and annotations, or the unpacked tree.

    Attributes:
        root: absolute path of a folder, or a base URL that fsspec understands (https://, s3:// …).
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
            return cls(text.rstrip("/"))
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
        return f"{self.root}/{name}" if self.is_remote else str(Path(self.root, name))

    def exists(self, name: str) -> bool:
        """Whether the source holds ``name``."""
        if not self.is_remote:
            return Path(self.root, name).exists()
        return bool(self._filesystem().exists(self.path(name)))

    def open(self, name: str) -> IO[bytes]:
        """Open ``name`` for forward reading.

        Raises:
            SourceError: if it is missing or cannot be read.
        """
        try:
            if not self.is_remote:
                return open(self.path(name), "rb")
            # block_size=0: one streamed request, no cache of ranges, for a reader that only goes forward
            filesystem = self._filesystem()
            options = {"block_size": 0} if "http" in str(filesystem.protocol) else {}
            opened: IO[bytes] = filesystem.open(self.path(name), "rb", **options)
            return opened
        except OSError as error:
            raise SourceError("cannot read a file of the source", where=self.path(name), found=error) from error

    def local_copy(self, name: str) -> Path:
        """Path of ``name`` on this machine: the file itself, or for a URL a download cached by ``datasets``.

        Meant for small files: annotations are megabytes, and every load needs them.
        """
        if not self.is_remote:
            return Path(self.path(name))
        import datasets

        progress = datasets.utils.logging.is_progress_bar_enabled()
        datasets.disable_progress_bars()
        try:
            return Path(datasets.DownloadManager().download(self.path(name)))
        except (OSError, ValueError) as error:
            raise SourceError("cannot download a file of the source", where=self.path(name), found=error) from error
        finally:
            if progress:
                datasets.enable_progress_bars()

    def fingerprint(self, names: list[str]) -> str:
        """What tells two states of a local source apart: sizes and times of ``names``; empty for a URL."""
        if self.is_remote:
            return ""
        stats = [(name, Path(self.root, name)) for name in sorted(names)]
        return ";".join(f"{n}:{p.stat().st_size}:{p.stat().st_mtime_ns}" for n, p in stats if p.exists())

    def _filesystem(self) -> Any:
        import fsspec

        try:
            return fsspec.core.url_to_fs(self.root)[0]
        except ImportError as error:
            raise SourceError(
                "this kind of URL needs one more package", where=self.root, found=error, fix="pip install s3fs"
            ) from error
