"""Ranges of a file behind an http(s) URL, with retries, and going on where a body was cut."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit

from hf_inatsounds.archives import retries
from hf_inatsounds.errors import SourceError

CHUNK_BYTES = 1 << 18
POOL_CONNECTIONS = 32
"""Connections to a host that are kept open: of a shuffled stream's readers, and of a few side by side."""

T = TypeVar("T")

_CONTENT_RANGE = re.compile(r"^bytes (\d+)-(\d+)/(\d+)$")
_GONE = (401, 403, 404, 410)
_AGAIN = (408, 425, 429)


class _Passing(Exception):
    """A failure that another try may mend."""


@dataclass(frozen=True)
class HttpRanges:
    """Ranges of a file behind an http(s) URL, through ``requests``: its sessions keep connections open.

    Attributes:
        where: the URL.
    """

    where: str

    def headers(self) -> Mapping[str, str] | None:
        """The file's headers; None where there is no such file.

        Raises:
            SourceError: if the server gives no answer.
        """

        def ask() -> Mapping[str, str] | None:
            response = _session(self.where).head(
                self.where,
                headers={"Accept-Encoding": "identity"},
                timeout=retries.RETRY.timeout_s,
                allow_redirects=True,
            )
            if response.status_code in _GONE:
                return None
            self._check_status(response)
            found: Mapping[str, str] = response.headers
            return found

        return self._retrying(ask)

    def size(self) -> int:
        """The file's size in bytes.

        Raises:
            SourceError: if there is no such file, or the server does not say.
        """
        headers = self.headers()
        if headers is None:
            raise SourceError("no such file", where=self.where)
        if not headers.get("Content-Length", "").isdigit():
            raise SourceError("the server does not state the file's size", where=self.where)
        return int(headers["Content-Length"])

    def read(self, start: int, stop: int) -> bytes:
        """The bytes [start, stop)."""
        return b"".join(self.stream(start, stop))

    def stream(self, start: int, stop: int | None = None) -> Iterator[bytes]:
        """The bytes [start, stop) in chunks; a cut body goes on with a further range request.

        Raises:
            SourceError: naming the URL, after ``retries.RETRY.attempts`` tries without progress, or at once where
                another try cannot help.
        """
        position, failures = start, 0
        while stop is None or position < stop:
            try:
                for chunk in self._body(position, stop):
                    position += len(chunk)
                    failures = 0
                    yield chunk
                return
            except _passing_errors() as error:
                failures += 1
                if failures >= retries.RETRY.attempts:
                    raise self._given_up(error, position) from error
                retries.RETRY.wait(failures)

    def _body(self, position: int, stop: int | None) -> Iterator[bytes]:
        """One request's body from ``position`` on."""
        session = _session(self.where)
        request = _prepared(session, self.where).copy()
        if position or stop is not None:
            request.headers["Range"] = f"bytes={position}-{'' if stop is None else stop - 1}"
        settings = {"proxies": session.proxies, "verify": session.verify, "cert": session.cert}
        with session.send(
            request, stream=True, timeout=retries.RETRY.timeout_s, allow_redirects=True, **settings
        ) as response:
            left = self._expected(response, position, stop, ranged="Range" in request.headers)
            while left is None or left > 0:
                chunk = response.raw.read(CHUNK_BYTES if left is None else min(CHUNK_BYTES, left))
                if not chunk:
                    break
                left = None if left is None else left - len(chunk)
                yield chunk
        if left:
            raise _Passing(f"the connection was cut, {left:,} bytes early")

    def _expected(self, response: Any, position: int, stop: int | None, *, ranged: bool) -> int | None:
        """Bytes that the body will hold, None where the server does not say; checks that it is what was asked for."""
        if response.status_code == 416:
            raise SourceError(
                "the file is shorter than expected",
                where=self.where,
                found=response.headers.get("Content-Range", "status 416"),
                expected=f"bytes from {position:,} on",
            )
        self._check_status(response)
        if not ranged:
            length = response.headers.get("Content-Length", "")
            return int(length) if length.isdigit() else None
        match = _CONTENT_RANGE.match(response.headers.get("Content-Range", ""))
        if response.status_code != 206 or match is None:
            raise _Passing(f"the server ignored the range: status {response.status_code}")
        first, last, total = (int(group) for group in match.groups())
        if first != position or last != (total if stop is None else min(stop, total)) - 1:
            raise _Passing(f"the server sent another range: {match.group()} for {position}-{stop}")
        return last - first + 1

    def _check_status(self, response: Any) -> None:
        code = response.status_code
        if code >= 500 or code in _AGAIN:
            raise _Passing(f"status {code}")
        if code >= 400:
            raise SourceError("cannot read a file of the source", where=self.where, found=f"status {code}")

    def _retrying(self, ask: Callable[[], T]) -> T:
        for failures in range(1, retries.RETRY.attempts + 1):
            try:
                return ask()
            except _passing_errors() as error:
                if failures == retries.RETRY.attempts:
                    raise self._given_up(error, 0) from error
                retries.RETRY.wait(failures)
        raise SourceError("no attempts allowed", where=self.where)

    def _given_up(self, error: BaseException, position: int) -> SourceError:
        return SourceError(
            f"no answer after {retries.RETRY.attempts} tries",
            where=f"{self.where}, byte {position:,}",
            found=error or type(error).__name__,
            fix=retries.HOW_ON,
        )


_sessions: dict[tuple[int, str], Any] = {}


def _session(url: str) -> Any:
    """The process's own ``requests.Session`` for a host: connections must not be shared across a fork.

    What the user's environment says of the host (proxies, certificates, netrc) is asked for once: requests would
    go through it at each request, a tenth of the time of a small one.
    """
    import requests

    key = (os.getpid(), urlsplit(url).netloc)
    if key not in _sessions:
        for other in [other for other in _sessions if other[0] != key[0]]:
            del _sessions[other]
        session = requests.Session()
        adapter = requests.adapters.HTTPAdapter(pool_connections=8, pool_maxsize=POOL_CONNECTIONS)
        session.mount("http://", adapter)
        session.mount("https://", adapter)
        settings = session.merge_environment_settings(url, {}, None, None, None)
        session.proxies, session.verify, session.cert = settings["proxies"], settings["verify"], settings["cert"]
        session.auth = requests.utils.get_netrc_auth(url)
        session.trust_env = False
        _sessions[key] = session
    return _sessions[key]


@functools.lru_cache(maxsize=16)
def _prepared(session: Any, url: str) -> Any:
    """A request for the whole file; preparing one for each range would take a quarter of a small one's time."""
    import requests

    return session.prepare_request(requests.Request("GET", url, headers={"Accept-Encoding": "identity"}))


def _passing_errors() -> tuple[type[BaseException], ...]:
    import requests
    import urllib3

    return (_Passing, requests.RequestException, urllib3.exceptions.HTTPError, OSError)
