"""A process's connections to HTTP servers, and the requests that are sent over them."""

from __future__ import annotations

import functools
import os
from typing import Any
from urllib.parse import urlsplit

from hf_inatsounds.archives import retries

POOL_CONNECTIONS = 32
"""Connections to a host that are kept open: of a shuffled stream's readers, and of a few side by side."""

_sessions: dict[tuple[int, str], Any] = {}


def send(method: str, url: str, headers: dict[str, str]) -> Any:
    """The answer to a request, its body unread; to be used in a ``with``."""
    session = _session(url)
    request = _prepared(session, url).copy()
    request.method = method
    request.headers.update(headers)
    settings = {"proxies": session.proxies, "verify": session.verify, "cert": session.cert}
    return session.send(request, stream=True, timeout=retries.RETRY.timeout_s, allow_redirects=True, **settings)


def _session(url: str) -> Any:
    """The process's own ``requests.Session`` for a host: connections must not be shared across a fork.

    What the user's environment says of the host (proxies, certificates, netrc) is asked for once: requests would
    go through it at each request, a tenth of the time of a small one.
    """
    import requests

    key = (os.getpid(), urlsplit(url).netloc)
    if key not in _sessions:
        for other in [other for other in _sessions if other[0] != key[0]]:
            _sessions.pop(other, None)  # another thread may have
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
