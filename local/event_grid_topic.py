"""An Event Grid custom topic on this machine: accepts events over HTTP as the real one does, and keeps them."""

from __future__ import annotations

import json
import re
import threading
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from werkzeug.wrappers import Request, Response

from local.azure_devops_faults import Fault, Faults

Json = dict[str, Any]

_MOST_BYTES = 1024 * 1024
_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)?", re.ASCII)


@dataclass(frozen=True)
class InputSchema:
    """The schema of the events that a topic accepts."""

    of_one: str  # the content type of one event; none in Event Grid's schema
    of_a_batch: str
    required: frozenset[str]
    time: str
    lower_case: bool = False
    stamped: tuple[tuple[str, str], ...] = ()  # what the topic adds if it is missing


# https://learn.microsoft.com/azure/event-grid/event-schema
EVENT_GRID_SCHEMA = InputSchema(
    of_one="",
    of_a_batch="application/json",
    required=frozenset({"id", "subject", "eventType", "eventTime"}),
    time="eventTime",
    stamped=(("dataVersion", ""), ("metadataVersion", "1")),
)
# https://learn.microsoft.com/azure/event-grid/cloud-event-schema
CLOUD_EVENTS = InputSchema(
    of_one="application/cloudevents+json",
    of_a_batch="application/cloudevents-batch+json",
    required=frozenset({"id", "source", "specversion", "type"}),
    time="time",
    lower_case=True,
)


class _Refusal(Exception):  # noqa: N818  an answer
    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        body = json.dumps({"error": {"code": code, "message": message}})
        self.response = Response(body, status, mimetype="application/json")


class EventGridTopic:
    """One custom topic; an application for a Server.

    https://learn.microsoft.com/azure/event-grid/post-to-custom-topic
    """

    def __init__(self, *, key: str = "a key", schema: InputSchema = CLOUD_EVENTS) -> None:
        """Accept this key, or any token."""
        self.events: list[Json] = []
        self._schema = schema
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
            events = _events(request, self._schema)
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


def _events(request: Request, schema: InputSchema) -> list[Json]:
    if f"{request.method} {request.path}" != "POST /api/events":
        raise _Refusal(404, "NotFound", "The requested resource was not found.")
    if len(request.get_data()) > _MOST_BYTES:
        raise _Refusal(413, "RequestEntityTooLarge", "The maximum size of a request is 1 MB.")
    body = request.get_json(force=True, silent=True)
    kind = request.mimetype.lower()
    events = [body] if kind == schema.of_one else body
    if kind not in (schema.of_one, schema.of_a_batch) or not isinstance(events, list) or not events:
        raise _Refusal(400, "BadRequest", "The body is not an array of events in the schema of this topic.")
    for event in events:
        _check(event, schema)
    return [dict(schema.stamped) | event for event in events]


def _check(event: Any, schema: InputSchema) -> None:
    if not isinstance(event, dict) or not schema.required <= event.keys():
        raise _Refusal(400, "BadRequest", f"An event has {', '.join(sorted(schema.required))}.")
    if schema.lower_case and any(name != name.lower() for name in event):
        raise _Refusal(400, "BadRequest", "The attributes of a CloudEvent are written in lower case.")
    if schema.time in event and not _is_time(event[schema.time]):
        raise _Refusal(400, "BadRequest", f"The value of {schema.time} is not a time.")


def _is_time(value: Any) -> bool:
    if not isinstance(value, str) or not _TIME.fullmatch(value):
        return False
    try:
        datetime.fromisoformat(value[:19])
    except ValueError:
        return False
    return True
