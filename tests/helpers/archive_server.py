"""A file server on loopback with ranges, that counts what it is asked and fails by a seeded plan."""

from __future__ import annotations

import contextlib
import http.server
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

FAULTS = ("503", "500", "429", "refuse", "cut", "stall", "ignored-range", "other-range", "no-content-range", "slow")
STALL_S = 0.4


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
    """Serves ``folder``; a share of requests fails in one of ``kinds``; ``down`` fails them all."""

    daemon_threads = True

    def __init__(self, folder: Path, *, fail_share: float = 0.0, kinds: tuple[str, ...] = FAULTS, seed: int = 0):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder, self.fail_share, self.kinds = folder, fail_share, kinds
        self.down = False
        self.delay_s = 0.0
        self.log = Log()
        self.lock = threading.Lock()
        self._random = random.Random(seed)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def fault(self) -> str:
        with self.lock:
            if self.down:
                return "503"
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
            return self._status(404)
        size = path.stat().st_size
        start, stop, ranged = self._range(size)
        with self.server.lock:
            self.server.log.requests.append((method, name, start, stop))
        time.sleep(self.server.delay_s)
        kind = self.server.fault()
        if kind == "refuse":
            self.close_connection = True
            return None
        if kind.isdigit():
            return self._status(int(kind))
        if ranged and start >= size:
            return self._status(416)
        if kind == "ignored-range":
            start, stop, ranged = 0, size, False
        shift = 7 if kind == "other-range" and ranged and start >= 7 else 0
        self.send_response(206 if ranged else 200)
        if ranged and kind != "no-content-range":
            self.send_header("Content-Range", f"bytes {start - shift}-{stop - shift - 1}/{size}")
        self.send_header("Content-Length", str(stop - start))
        self.send_header("Accept-Ranges", "bytes")
        self.end_headers()
        if method == "GET":
            self._send(path, name, start - shift, stop - shift, kind)
        return None

    def _send(self, path: Path, name: str, start: int, stop: int, kind: str) -> None:
        if kind in ("cut", "stall"):
            stop = start + (stop - start) // 2
        step = 1 << 16
        with open(path, "rb") as file:
            file.seek(start)
            while start < stop:
                if self.server.down:
                    self.close_connection = True
                    return
                chunk = file.read(min(step, stop - start))
                self.wfile.write(chunk)
                start += len(chunk)
                with self.server.lock:
                    self.server.log.sent_bytes[name] += len(chunk)
                if kind == "slow":
                    time.sleep(0.01)
        if kind == "stall":
            time.sleep(STALL_S)
        if kind in ("cut", "stall"):
            self.close_connection = True

    def _range(self, size: int) -> tuple[int, int, bool]:
        match = re.match(r"bytes=(\d+)-(\d*)$", self.headers.get("Range", ""))
        if match is None:
            return 0, size, False
        start = int(match[1])
        return start, min(int(match[2]) + 1 if match[2] else size, size), True

    def _status(self, code: int) -> None:
        self.send_response(code)
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
        server.shutdown()
        server.server_close()
        thread.join()
