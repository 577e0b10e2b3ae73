"""An Event Grid custom topic on this machine: takes events over HTTP as the real one does, and keeps them."""

from __future__ import annotations

import argparse
import json
import threading
from typing import Any, Literal

from werkzeug.wrappers import Request, Response

from local.azure_devops_faults import Fault, Faults
from local.serving import Server

Json = dict[str, Any]
Schema = Literal["EventGridSchema", "CloudEventSchemaV1_0"]

_MOST_BYTES = 1024 * 1024
_GRID = ("id", "subject", "eventType", "eventTime", "dataVersion", "data")
_CLOUD = ("id", "source", "specversion", "type")
_BATCH = "application/cloudevents-batch+json"
_ONE = "application/cloudevents+json"


class _Refusal(Exception):  # noqa: N818  an answer
    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.response = _json({"error": {"code": code, "message": message}}, status)


class EventGridTopic:
    """One custom topic; an application for a Server.

    https://learn.microsoft.com/azure/event-grid/post-to-custom-topic
    """

    def __init__(self, *, key: str = "a key", schema: Schema | None = None) -> None:
        """Let in who brings the key or any token; `schema` is the one input schema, None takes either."""
        self.events: list[Json] = []
        self._key = key
        self._schema = schema
        self._faults = Faults()
        self._lock = threading.Lock()

    def misbehave(self, *faults: Fault) -> None:
        """Let these faults happen too; of those that match a request, the one added first happens."""
        self._faults.add(faults)

    def behave(self) -> None:
        """Let no more faults happen."""
        self._faults.clear()

    def __call__(self, request: Request) -> Response:
        """Answer a request."""
        if f"{request.method} {request.path}" == "GET /_local/events":
            return _json(self.events)
        return self._faults.take(request).answer(lambda: self._answer(request))

    def _answer(self, request: Request) -> Response:
        if f"{request.method} {request.path}" != "POST /api/events":
            return _Refusal(404, "NotFound", "The requested resource was not found.").response
        try:
            self._check_sign_in(request)
            events = self._events(request)
        except _Refusal as refusal:
            return refusal.response
        # All or none, as the real one takes them.
        with self._lock:
            self.events += events
        return Response(status=200)

    def _check_sign_in(self, request: Request) -> None:
        key, token = request.headers.get("aeg-sas-key"), request.headers.get("Authorization", "")
        if key == self._key or (key is None and token.startswith("Bearer ") and token != "Bearer "):
            return
        raise _Refusal(401, "Unauthorized", "The request did not contain a valid authentication key or token.")

    def _events(self, request: Request) -> list[Json]:
        kind = request.mimetype.lower()
        cloud = kind in (_BATCH, _ONE)
        if self._schema and cloud != (self._schema == "CloudEventSchemaV1_0"):
            raise _Refusal(400, "BadRequest", f"This topic takes events of the schema {self._schema} alone.")
        if len(request.get_data()) > _MOST_BYTES:
            raise _Refusal(413, "RequestEntityTooLarge", "The maximum size of a request is 1 MB.")
        try:
            content = json.loads(request.get_data())
        except ValueError as error:
            raise _Refusal(400, "BadRequest", f"The body is not JSON: {error}") from error
        events = [content] if kind == _ONE else content
        if not isinstance(events, list) or not events:
            raise _Refusal(400, "BadRequest", "The body is not an array of events.")
        for event in events:
            _check(event, cloud=cloud)
        return events


def _check(event: Any, *, cloud: bool) -> None:
    wanted = _CLOUD if cloud else _GRID
    missing = [name for name in wanted if not isinstance(event, dict) or name not in event]
    if missing:
        raise _Refusal(400, "BadRequest", f"This event lacks {', '.join(missing)}.")
    # Event Grid writes both itself. https://learn.microsoft.com/azure/event-grid/event-schema
    if not cloud and ("topic" in event or event.get("metadataVersion", "1") != "1"):
        raise _Refusal(400, "BadRequest", "topic and metadataVersion cannot be set to another value than the topic's.")
    if cloud and any(name != name.lower() for name in event if name != "data_base64"):
        raise _Refusal(400, "BadRequest", "The attributes of a CloudEvent are written in lower case.")


def _json(body: object, status: int = 200) -> Response:
    return Response(json.dumps(body), status, mimetype="application/json")


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(prog="python -m local.event_grid_topic", description="Serve a local custom topic.")
    parser.add_argument("--port", type=int, default=0, help="where to listen; a free port otherwise")
    parser.add_argument("--key", default="a key", help="what lets in, as any token does")
    options = parser.parse_args()
    with Server(EventGridTopic(key=options.key), options.port) as server:
        print(f"Custom topic at {server.url}/api/events", flush=True)
        server.wait()


if __name__ == "__main__":
    main()
