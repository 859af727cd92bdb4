"""Ranges of a file behind an http(s) URL, with retries, and going on where a body was cut."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from hf_inatsounds.archives import retries
from hf_inatsounds.archives.http_answers import (
    MISSING,
    FileState,
    NoRangeError,
    lasting,
    passing_errors,
    require_good,
    require_range,
)
from hf_inatsounds.archives.http_sessions import send
from hf_inatsounds.archives.retries import Passing
from hf_inatsounds.errors import SourceError

CHUNK_BYTES = 1 << 18

SECOND_LOOK = 2
"""Tries of a range at a server that has not given one yet. One that has is tried again as after other failures:
behind one name there may be several servers."""

T = TypeVar("T")


class _ForkedError(Exception):
    """The request was made by another process, of which the present one was forked."""


class HttpRanges:
    """Ranges of a file behind an http(s) URL. All that one reader hands out is of one state of the file.

    Args:
        where: the URL.
    """

    def __init__(self, where: str) -> None:
        self.where = where
        self._state: FileState | None = None
        self._gave_ranges = False

    def state(self) -> FileState | None:
        """What the server says of the file; None where there is no such file.

        Raises:
            SourceError: if the server gives no answer, or does not allow to read the file.
        """
        return self._patiently(self._ask)

    def size(self) -> int:
        """The file's size in bytes.

        Raises:
            SourceError: if there is no such file, or the server does not say.
        """
        state = self.state()
        if state is None:
            raise SourceError("no such file", where=self.where)
        if state.size is None:
            raise SourceError("the server does not state the file's size", where=self.where)
        return state.size

    def identity(self) -> str:
        """What tells two states of the file apart.

        Raises:
            SourceError: as :meth:`state`.
        """
        return str(self.state() or "")

    def read(self, start: int, stop: int) -> bytes:
        """The bytes [start, stop)."""
        return b"".join(self.stream(start, stop))

    def stream(self, start: int, stop: int | None = None) -> Iterator[bytes]:
        """The bytes [start, stop) in chunks; a cut body goes on with a further range request.

        An iterator that was carried over a fork goes on with a request of its own process.

        Raises:
            SourceError: naming the URL, after ``retries.RETRY.attempts`` tries without progress; at once where
                another try cannot help, or where the file was replaced.
        """
        position, failures = start, 0
        while stop is None or position < stop:
            try:
                for chunk in self._body(position, stop):
                    position += len(chunk)
                    failures = 0
                    yield chunk
                return
            except _ForkedError:
                continue
            except passing_errors() as error:
                failures += 1
                self._wait(error, failures, position)

    def _body(self, position: int, stop: int | None) -> Iterator[bytes]:
        """One request's body from ``position`` on."""
        process = os.getpid()
        with self._get(position, stop) as response:
            left = self._expected(response, position, stop)
            while left is None or left > 0:
                # one read of the socket: what arrived before a cut is kept
                chunk = response.raw.read1(CHUNK_BYTES if left is None else min(CHUNK_BYTES, left))
                if not chunk:
                    break
                left = None if left is None else left - len(chunk)
                yield chunk
                if os.getpid() != process:
                    raise _ForkedError
        if left:
            raise Passing(f"the connection was cut, {left:,} bytes early")

    def _get(self, position: int, stop: int | None) -> Any:
        headers = {}
        if position or stop is not None:
            headers["Range"] = f"bytes={position}-{'' if stop is None else stop - 1}"
            if self._state is not None and self._state.etag and not self._state.weak:
                headers["If-Range"] = self._state.etag
        return send("GET", self.where, headers)

    def _expected(self, response: Any, position: int, stop: int | None) -> int | None:
        """Bytes that the body will hold, None where the server does not say; checks that it is what was asked for."""
        if response.status_code == 416:
            self._remember(response)
            raise SourceError(
                "the file is shorter than expected",
                where=self.where,
                found=response.headers.get("Content-Range", "status 416"),
                expected=f"bytes from {position:,} on",
            )
        require_good(response, self.where)
        state = self._remember(response)
        if "Range" not in response.request.headers:
            return state.size
        expected = require_range(response, position, stop)
        self._gave_ranges = True
        return expected

    def _ask(self) -> FileState | None:
        """The file's state, by HEAD; by GET of a byte where the server allows or knows no HEAD, or says no size."""
        with send("HEAD", self.where, {}) as response:
            if response.status_code in MISSING:
                return None
            if response.status_code == 200 and (state := self._remember(response)).size is not None:
                return state
            if response.status_code >= 500 or response.status_code == 429:
                self._unless_headless(response)
        with send("GET", self.where, {"Range": "bytes=0-0"}) as response:
            if response.status_code in MISSING:
                return None
            if response.status_code != 416:  # which says "bytes */0" of an empty file
                require_good(response, self.where)
            return self._remember(response)

    def _unless_headless(self, response: Any) -> None:
        """Raise what is wrong, unless it is that the server knows no HEAD."""
        if response.status_code != 501:
            require_good(response, self.where)

    def _remember(self, response: Any) -> FileState:
        """The state that an answer is of, which must be that of the answers before.

        Raises:
            SourceError: if it is another.
        """
        found = FileState.of(response)
        self._state = self._state or found
        if change := self._state.differs(found):
            raise SourceError(
                "the file was replaced at the server while it was read", where=self.where, found=change,
                expected="one state of it from beginning to end",
                fix="Start again: rows of the two do not belong together.",
            )  # fmt: skip
        return found

    def _patiently(self, ask: Callable[[], T]) -> T:
        failures = 0
        while True:
            try:
                return ask()
            except passing_errors() as error:
                failures += 1
                self._wait(error, failures, 0)

    def _wait(self, error: BaseException, failures: int, position: int) -> None:
        """Wait before the next try.

        Raises:
            SourceError: if no other try is due.
        """
        at = f"{self.where}, byte {position:,}"
        if reason := lasting(error):
            raise SourceError(reason, where=self.where, found=error) from error
        if isinstance(error, NoRangeError) and not self._gave_ranges:
            if failures >= SECOND_LOOK:
                raise SourceError(
                    "the server does not give the range of the file that was asked for", where=at, found=error,
                    expected="status 206 and its Content-Range",
                    fix="Put the file on a server with range requests, or read from a copy on disk.",
                ) from error  # fmt: skip
            return
        if failures >= retries.RETRY.attempts:
            raise SourceError(
                f"no answer after {failures} tries", where=at, found=error or type(error).__name__, fix=retries.HOW_ON
            ) from error
        retries.RETRY.wait(failures, error, self.where)
