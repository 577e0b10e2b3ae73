"""Faults of the local servers, on request."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from werkzeug.wrappers import Request, Response

from local.serving import HangUp

SIGN_IN_PATH = "/_signin"
_SIGN_IN_PAGE = "<!DOCTYPE html><html><head><title>Azure DevOps Services | Sign In</title></head><body></body></html>"


def sign_in_page() -> Response:
    """Answer with the page that an unknown caller is redirected to."""
    return Response(_SIGN_IN_PAGE, 203, mimetype="text/html")


def to_sign_in() -> Response:
    """Answer as Azure DevOps answers an unknown caller: with a redirect, which here leads to this server."""
    return Response("", 302, {"Location": f"{SIGN_IN_PATH}?realm=dev.azure.com"}, mimetype="text/html")


@dataclass(frozen=True)
class Fault:
    """What happens to which requests; with `status`, `sign_in` or `close="before"` they are not processed."""

    method: str = ""
    path: str = ""  # any part of it and of its query, in any case
    times: int | None = None  # None: until cleared

    delay: float = 0  # seconds, before anything else
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)  # added to any answer
    body: Mapping[str, Any] | str = ""  # used with `status`: JSON, or text as HTML
    sign_in: bool = False
    close: Literal["before", "after"] | None = None  # without an answer, the request unprocessed or processed
    truncate: bool = False  # announce the whole body, send half of it
    unparsable: bool = False  # send half of the body as if it were complete
    apply: bool = False  # process the request nevertheless

    def matches(self, request: Request) -> bool:
        """Return whether this request is meant."""
        return self.method.upper() in ("", request.method) and self.path.lower() in request.full_path.lower()

    def answer(self, process: Callable[[], Response]) -> Response:
        """Answer instead of `process`, which is the answer without a fault."""
        time.sleep(self.delay)
        replaced = self.sign_in or self.status is not None or self.close == "before"
        response = process() if self.apply or not replaced else Response()
        if self.close:
            raise HangUp
        if self.sign_in:
            response = to_sign_in()
        elif self.status is not None:
            response = self._response(self.status)
        response.headers.extend(self.headers)
        if self.truncate:
            raise HangUp(_half_of(response))
        if self.unparsable:
            response.set_data(_first_half(response.get_data()))
        return response

    def _response(self, status: int) -> Response:
        if isinstance(self.body, str):
            return Response(self.body, status, mimetype="text/html")
        return Response(json.dumps(self.body), status, mimetype="application/json")


class Faults:
    """The faults to come; thread-safe."""

    def __init__(self) -> None:
        self._faults: list[tuple[Fault, int | None]] = []
        self._lock = threading.Lock()

    def add(self, faults: Iterable[Fault]) -> None:
        """Add faults."""
        with self._lock:
            self._faults += [(fault, fault.times) for fault in faults]

    def clear(self) -> None:
        """Remove all faults."""
        with self._lock:
            self._faults.clear()

    def take(self, request: Request) -> Fault:
        """Return the first fault that matches and count it; without a match return a fault that does nothing."""
        with self._lock:
            for index, (fault, times) in enumerate(self._faults):
                if times != 0 and fault.matches(request):
                    self._faults[index] = (fault, None if times is None else times - 1)
                    return fault
        return Fault()


def _first_half(content: bytes) -> bytes:
    return content[: len(content) // 2]


def _half_of(response: Response) -> bytes:
    content = response.get_data()
    response.headers["Content-Length"] = str(len(content))
    lines = [f"HTTP/1.1 {response.status}", *(f"{name}: {value}" for name, value in response.headers)]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + _first_half(content)
