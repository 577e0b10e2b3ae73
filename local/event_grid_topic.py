"""An Event Grid custom topic on this machine: accepts CloudEvents over HTTP as the real one does, and keeps them."""

from __future__ import annotations

import json
import threading
from typing import Any

from werkzeug.wrappers import Request, Response

from local.azure_devops_faults import Fault, Faults

Json = dict[str, Any]

_MOST_BYTES = 1024 * 1024
_ONE = "application/cloudevents+json"
_BATCH = "application/cloudevents-batch+json"
_REQUIRED = ("id", "source", "specversion", "type")


class _Refusal(Exception):  # noqa: N818  an answer
    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        body = json.dumps({"error": {"code": code, "message": message}})
        self.response = Response(body, status, mimetype="application/json")


class EventGridTopic:
    """One custom topic with the schema of CloudEvents; an application for a Server.

    https://learn.microsoft.com/azure/event-grid/post-to-custom-topic
    """

    def __init__(self, *, key: str = "a key") -> None:
        """Accept this key, or any token."""
        self.events: list[Json] = []
        self._key = key
        self._faults = Faults()
        self._lock = threading.Lock()

    def misbehave(self, *faults: Fault) -> None:
        """Add faults; of those that match a request, the one added first happens."""
        self._faults.add(faults)

    def behave(self) -> None:
        """Remove all faults."""
        self._faults.clear()

    def __call__(self, request: Request) -> Response:
        """Answer a request."""
        return self._faults.take(request).answer(lambda: self._answer(request))

    def _answer(self, request: Request) -> Response:
        try:
            self._check_sign_in(request)
            events = _events(request)
        except _Refusal as refusal:
            return refusal.response
        # All or none, as the real topic.
        with self._lock:
            self.events += events
        return Response(status=200)

    def _check_sign_in(self, request: Request) -> None:
        key, token = request.headers.get("aeg-sas-key"), request.headers.get("Authorization", "")
        if key == self._key or (key is None and token.startswith("Bearer ") and token != "Bearer "):
            return
        raise _Refusal(401, "Unauthorized", "The request did not contain a valid authentication key or token.")


def _events(request: Request) -> list[Json]:
    if f"{request.method} {request.path}" != "POST /api/events":
        raise _Refusal(404, "NotFound", "The requested resource was not found.")
    if len(request.get_data()) > _MOST_BYTES:
        raise _Refusal(413, "RequestEntityTooLarge", "The maximum size of a request is 1 MB.")
    body = request.get_json(force=True, silent=True)
    events = [body] if request.mimetype.lower() == _ONE else body
    if request.mimetype.lower() not in (_ONE, _BATCH) or not isinstance(events, list) or not events:
        raise _Refusal(400, "BadRequest", "The body is not an array of CloudEvents.")
    for event in events:
        if missing := [name for name in _REQUIRED if not isinstance(event, dict) or name not in event]:
            raise _Refusal(400, "BadRequest", f"This event lacks {', '.join(missing)}.")
        if any(name != name.lower() for name in event):
            raise _Refusal(400, "BadRequest", "The attributes of a CloudEvent are written in lower case.")
    return events
