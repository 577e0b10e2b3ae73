"""A proxy in front of a server: records requests, makes the server unavailable, and stops a request at a gate."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import requests
from werkzeug.wrappers import Request, Response

from local.serving import HangUp, Server

# Called with the name of the server, method, path, and "before" or "after" the server handles the request.
Gate = Callable[[str, str, str, str], None]


@dataclass
class Proxy:
    """Forwards requests to one server."""

    name: str
    upstream: str
    gate: Gate | None = None
    down: bool = False
    down_after: int | None = None
    passed: list[tuple[str, str]] = field(default_factory=list)
    _local: threading.local = field(default_factory=threading.local)

    def __call__(self, request: Request) -> Response:
        if self.down or (self.down_after is not None and len(self.passed) >= self.down_after):
            raise HangUp
        path = request.full_path if request.query_string else request.path
        self.passed.append((request.method, path))
        if self.gate:
            self.gate(self.name, request.method, request.path, "before")
        answer = self._session.request(
            request.method,
            self.upstream + request.environ["REQUEST_URI"],
            headers={name: value for name, value in request.headers if name.lower() != "content-length"},
            data=request.get_data(),
            allow_redirects=False,
        )
        if self.gate:
            self.gate(self.name, request.method, request.path, "after")
        headers = {name: value for name, value in answer.headers.items() if name.lower() not in _HOP}
        return Response(answer.content, answer.status_code, headers)

    @property
    def _session(self) -> requests.Session:
        if not hasattr(self._local, "session"):
            self._local.session = requests.Session()
            self._local.session.trust_env = False
        return self._local.session

    def served(self) -> Server:
        return Server(self)


_HOP = ("connection", "transfer-encoding", "content-length", "keep-alive", "content-encoding")
