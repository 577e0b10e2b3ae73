"""Proxies in front of a server that forward requests, count them, and draw faults."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Mapping
from random import Random
from urllib.parse import urlsplit

import urllib3
from werkzeug.wrappers import Request, Response

from local.azure_devops_faults import Fault
from local.serving import Application, HangUp

_HOP_BY_HOP = ("connection", "keep-alive", "transfer-encoding", "content-length")


class Forward:
    """An application that forwards every request to another server."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._pool = urllib3.HTTPConnectionPool(str(parts.hostname), parts.port, maxsize=100, retries=False)

    def __call__(self, request: Request) -> Response:
        """Answer as the other server does."""
        try:
            answer = self._pool.urlopen(
                request.method,
                request.environ["REQUEST_URI"],
                request.get_data(),
                headers=dict(request.headers),
                decode_content=False,
            )
        except urllib3.exceptions.HTTPError as error:
            raise HangUp from error
        headers = [(name, value) for name, value in answer.headers.items() if name.lower() not in _HOP_BY_HOP]
        return Response(answer.data, answer.status, headers)


class Proxy:
    """An application in front of another: counts requests, and draws a fault for some of them."""

    def __init__(
        self, application: Application, faults: Mapping[str, tuple[float, Fault]] | None = None, seed: str = ""
    ) -> None:
        """Take each fault with its share of the requests in percent."""
        self.requests = 0
        self.calm = False
        self.delay = 0.0  # seconds
        self.happened: Counter[str] = Counter()
        self._application = application
        self._faults = {**(faults or {}), "": (0.0, Fault())}
        shares = [share for share, _ in self._faults.values()]
        self._shares = [*shares[:-1], 100 - sum(shares)]
        self._random = Random(seed)
        self._lock = threading.Lock()

    def __call__(self, request: Request) -> Response:
        """Answer a request, with or without a fault."""
        time.sleep(self.delay)
        return self._draw().answer(lambda: self._application(request))

    def _draw(self) -> Fault:
        with self._lock:
            self.requests += 1
            (name,) = self._random.choices([*self._faults], self._shares)
            if self.calm or not name:
                return Fault()
            self.happened[name] += 1
            return self._faults[name][1]
