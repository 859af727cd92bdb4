"""A file server on loopback with ranges, that counts what it is asked and fails by a seeded plan, or always alike."""

from __future__ import annotations

import contextlib
import http.server
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path

FAULTS = ("503", "500", "429", "refuse", "cut", "stall", "ignored-range", "other-range", "no-content-range", "slow")
STALL_S = 0.4
SHORT_BYTES = 200_000
"""Sent of each body before the connection ends, by the kind "short"."""


@dataclass
class Log:
    """What happened, by file name."""

    requests: list[tuple[str, str, int, int]] = field(default_factory=list)  # method, name, start, stop
    sent_bytes: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)

    def clear(self) -> None:
        self.requests.clear()
        self.sent_bytes.clear()
        self.faults.clear()


class ArchiveServer(http.server.ThreadingHTTPServer):
    """Serves ``folder``; a share of requests fails in one of ``kinds``; ``down`` fails them all.

    Attributes:
        always: (method, kind): every request of this method for an archive fails so; "" is any method.
        validators: of "etag", "modified" and "if-range", those that it knows.
        flips: bodies of archives in which a byte is still to be changed on the way, one each.
        flipped: ending of the names of which it changes a byte.
        missing: the status of what is not there.
        query: what a URL must end with; other requests are not allowed.
        waits: values of Retry-After of the next answers, which are 429.
        before: called with (method, name, number of requests so far) before each answer.
        hold: while set, a body stops after HOLD_BYTES.
    """

    daemon_threads = True
    HOLD_BYTES = 300_000

    def __init__(self, folder: Path, *, fail_share: float = 0.0, kinds: tuple[str, ...] = FAULTS, seed: int = 0):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder, self.fail_share, self.kinds = folder, fail_share, kinds
        self.down = False
        self.delay_s = 0.0
        self.always = ("", "")
        self.validators = {"etag", "modified", "if-range"}
        self.flips, self.flipped = 0, ".tar.gz"
        self.query, self.missing = "", 404
        self.waits: list[str] = []
        self.before: Callable[[str, str, int], None] = lambda method, name, n: None
        self.hold = threading.Event()
        self.held = threading.Event()
        self.log = Log()
        self.lock = threading.Lock()
        self._random = random.Random(seed)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def fault(self, method: str, name: str) -> str:
        with self.lock:
            if self.down:
                return "503"
            if self.always[1] and self.always[0] in ("", method) and name.endswith(".tar.gz"):
                self.log.faults[self.always[1]] += 1
                return self.always[1]
            kind = self._random.choice(self.kinds) if self._random.random() < self.fail_share else ""
            self.log.faults[kind] += bool(kind)
            return kind

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that go away are expected."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ArchiveServer

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer("HEAD")

    def do_GET(self) -> None:
        self._answer("GET")

    def _answer(self, method: str) -> None:
        name = self.path.split("?")[0].lstrip("/")
        path = self.server.folder / name
        if ".." in name or not path.is_file():
            return self._status(self.server.missing)
        with self.server.lock:
            n = len(self.server.log.requests)
        self.server.before(method, name, n)
        stat = path.stat()
        size = stat.st_size
        tags = {"ETag": f'"{stat.st_mtime_ns:x}"', "Last-Modified": formatdate(stat.st_mtime, usegmt=True)}
        start, stop, ranged = self._range(size)
        if_range = self.headers.get("If-Range")
        if "if-range" in self.server.validators and if_range and if_range != tags["ETag"]:
            start, stop, ranged = 0, size, False
        with self.server.lock:
            self.server.log.requests.append((method, name, start, stop))
            wait = self.server.waits.pop(0) if self.server.waits else ""
        if wait:
            return self._status(429, {"Retry-After": wait})
        if self.server.query and not self.path.endswith(f"?{self.server.query}"):
            return self._status(403)
        time.sleep(self.server.delay_s)
        kind = self.server.fault(method, name)
        if kind == "refuse":
            self.close_connection = True
            return None
        if kind == "redirect-loop":
            return self._status(302, {"Location": self.path})
        if kind.isdigit():
            return self._status(int(kind))
        if ranged and start >= size:
            return self._status(416, {"Content-Range": f"bytes */{size}"})
        if kind == "ignored-range":
            start, stop, ranged = 0, size, False
        shift = 7 if kind == "other-range" and ranged and start >= 7 else 0
        if kind == "other-total":
            size += 1
        self.send_response(206 if ranged else 200)
        if ranged and kind != "no-content-range":
            self.send_header("Content-Range", f"bytes {start - shift}-{stop - shift - 1}/{size}")
        self.send_header("Content-Length", str(stop - start))
        self.send_header("Accept-Ranges", "bytes")
        for key, known in (("ETag", "etag"), ("Last-Modified", "modified")):
            if known in self.server.validators:
                self.send_header(key, tags[key])
        self.end_headers()
        if method == "GET":
            self._send(path, name, start - shift, stop - shift, kind)
        return None

    def _send(self, path: Path, name: str, start: int, stop: int, kind: str) -> None:
        if kind in ("cut", "stall"):
            stop = start + (stop - start) // 2
        if kind == "short":
            stop = min(stop, start + SHORT_BYTES)
        flip = self._flip(name, start, stop)
        hold_at = start + self.server.HOLD_BYTES if self.server.hold.is_set() and name.endswith(".tar.gz") else stop
        step = 1 << 16
        with open(path, "rb") as file:
            file.seek(start)
            while start < stop:
                if self.server.down:
                    self.close_connection = True
                    return
                if start >= hold_at:
                    self.server.held.set()
                    while self.server.hold.is_set():
                        time.sleep(0.05)
                chunk = file.read(min(step, stop - start))
                if start <= flip < start + len(chunk):
                    at = flip - start
                    chunk = chunk[:at] + bytes([chunk[at] ^ 0x55]) + chunk[at + 1 :]
                self.wfile.write(chunk)
                start += len(chunk)
                with self.server.lock:
                    self.server.log.sent_bytes[name] += len(chunk)
                if kind == "slow":
                    time.sleep(0.01)
        if kind == "stall":
            time.sleep(STALL_S)
        if kind in ("cut", "stall", "short"):
            self.close_connection = True

    def _flip(self, name: str, start: int, stop: int) -> int:
        """Where a byte is changed; -1 for nowhere."""
        with self.server.lock:
            if not self.server.flips or not name.endswith(self.server.flipped):
                return -1
            self.server.flips -= 1
            return (start + stop) // 2

    def _range(self, size: int) -> tuple[int, int, bool]:
        match = re.match(r"bytes=(\d+)-(\d*)$", self.headers.get("Range", ""))
        if match is None:
            return 0, size, False
        start = int(match[1])
        return start, min(int(match[2]) + 1 if match[2] else size, size), True

    def _status(self, code: int, headers: dict[str, str] | None = None) -> None:
        self.send_response(code)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", "0")
        self.end_headers()


@contextlib.contextmanager
def archive_server(folder: Path, **options: object) -> Iterator[ArchiveServer]:
    server = ArchiveServer(folder, **options)  # type: ignore[arg-type]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.hold.clear()
        server.shutdown()
        server.server_close()
        thread.join()
