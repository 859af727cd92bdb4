"""What a server's answer means: which file it is of, which fault another try may mend, and which one it cannot."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from hf_inatsounds.archives.retries import Passing
from hf_inatsounds.errors import SourceError

MISSING = (404, 410)
_DENIED = (401, 403)
_AGAIN = (408, 425, 429)
_NEVER = (501, 505)
_CONTENT_RANGE = re.compile(r"^bytes (\d+)-(\d+)/(\d+)$")
_ALL_OF = re.compile(r"^bytes (?:\*|\d+-\d+)/(\d+)$")


class NotAllowedError(SourceError):
    """A file that the server does not hand out to us."""


class NoRangeError(Passing):
    """An answer to a range request that is not the range."""


@dataclass(frozen=True)
class FileState:
    """What a server says of a file; two states that differ are two files.

    Attributes:
        size: in bytes; None where the server does not say.
        etag: its ETag, without the mark of weakness; "" where there is none.
        modified: its Last-Modified; "" where there is none.
        weak: whether the ETag is weak, so that it is no good for ``If-Range``.
    """

    size: int | None
    etag: str
    modified: str
    weak: bool = False

    @classmethod
    def of(cls, response: Any) -> FileState:
        """The state that an answer is of."""
        match = _ALL_OF.match(response.headers.get("Content-Range", ""))
        length = response.headers.get("Content-Length", "")
        size = int(length) if length.isdigit() and response.status_code == 200 else None
        etag = response.headers.get("ETag", "")
        return cls(
            int(match[1]) if match else size,
            etag.removeprefix("W/"),
            response.headers.get("Last-Modified", ""),
            etag.startswith("W/"),
        )

    def differs(self, other: FileState) -> str:
        """What tells the two apart, as ``was → is``; "" where nothing that both name does.

        >>> FileState(3, '"a"', "").differs(FileState(3, '"b"', ""))
        'ETag "a" → "b"'
        """
        for name, was, now in (("size", self.size, other.size), ("ETag", self.etag, other.etag)):
            if was not in (None, "") and now not in (None, "") and was != now:
                return f"{name} {was} → {now}"
        if not (self.etag and other.etag) and self.modified and other.modified and self.modified != other.modified:
            return f"Last-Modified {self.modified} → {other.modified}"
        return ""

    def __str__(self) -> str:
        return f"{self.size}:{self.etag}:{self.modified}"


def require_good(response: Any, where: str) -> None:
    """Refuse an answer that is none.

    Raises:
        Passing: if another try may mend it.
        NotAllowedError, SourceError: if it cannot.
    """
    code = response.status_code
    said = f"status {code}"
    if code in (200, 206):
        return
    if code in _DENIED:
        raise NotAllowedError(
            "not allowed", where=where, found=said, expected="a file that may be read",
            fix="Check the address, the access rights, and whether its signature has run out; a storage that may not "
            "be listed answers so for missing files too.",
        )  # fmt: skip
    if code in MISSING:
        raise SourceError("no such file", where=where, found=said)
    if code in _AGAIN or (code >= 500 and code not in _NEVER):
        raise Passing(said, _asked_s(response))
    raise SourceError("cannot read a file of the source", where=where, found=said)


def require_range(response: Any, position: int, stop: int | None) -> int:
    """Bytes that the body of a good answer holds, if it is the range [position, stop) that was asked for.

    Raises:
        NoRangeError: if it is not.
    """
    match = _CONTENT_RANGE.match(response.headers.get("Content-Range", ""))
    if response.status_code != 206 or match is None:
        raise NoRangeError(f"status {response.status_code} without the range: the server has no range requests")
    first, last, total = (int(group) for group in match.groups())
    if first != position or last != (total if stop is None else min(stop, total)) - 1:
        raise NoRangeError(f"another range, {match.group()}, for bytes {position}-{'' if stop is None else stop - 1}")
    return last - first + 1


def passing_errors() -> tuple[type[BaseException], ...]:
    """What reading over HTTP raises beside our own errors."""
    import requests
    import urllib3

    return (Passing, requests.RequestException, urllib3.exceptions.HTTPError, OSError)


def lasting(error: BaseException) -> str:
    """Why no other try can mend an error; "" where one may."""
    import requests

    if isinstance(error, requests.TooManyRedirects):
        return "the server redirects without end"
    wrong = (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema, requests.exceptions.MissingSchema)
    if isinstance(error, wrong):
        return "no URL that can be read"
    if isinstance(error, requests.exceptions.SSLError) and "CERTIFICATE_VERIFY_FAILED" in str(error):
        return "the server's certificate is not trusted"
    return ""


def _asked_s(response: Any) -> float | None:
    """Seconds that ``Retry-After``, a number or a date, asks to wait; None where it is not there or unreadable."""
    import urllib3

    try:
        return urllib3.Retry().parse_retry_after(response.headers.get("Retry-After", ""))
    except (urllib3.exceptions.InvalidHeader, ValueError, OverflowError):
        return None
