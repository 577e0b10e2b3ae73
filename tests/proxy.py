"""A proxy in front of a server: records requests, makes the server unavailable, and stops a request at a gate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from urllib3 import PoolManager
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
    _pool: PoolManager = field(default_factory=lambda: PoolManager(maxsize=50))

    def __call__(self, request: Request) -> Response:
        if self.down or (self.down_after is not None and len(self.passed) >= self.down_after):
            raise HangUp
        path = request.full_path if request.query_string else request.path
        self.passed.append((request.method, path))
        if self.gate:
            self.gate(self.name, request.method, request.path, "before")
        answer = self._pool.request(
            request.method,
            self.upstream + request.environ["REQUEST_URI"],
            body=request.get_data(),
            headers={name: value for name, value in request.headers if name.lower() != "content-length"},
            redirect=False,
            retries=False,
            decode_content=False,
        )
        if self.gate:
            self.gate(self.name, request.method, request.path, "after")
        headers = {name: value for name, value in answer.headers.items() if name.lower() not in _HOP}
        return Response(answer.data, answer.status, headers)

    def served(self) -> Server:
        return Server(self)


_HOP = ("connection", "transfer-encoding", "content-length", "keep-alive")
