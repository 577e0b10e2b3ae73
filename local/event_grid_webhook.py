"""The webhook of the host's Event Grid extension: handshakes, headers and batches.

https://github.com/Azure/azure-sdk-for-net/tree/main/sdk/eventgrid/Microsoft.Azure.WebJobs.Extensions.EventGrid
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from werkzeug.exceptions import BadRequest, InternalServerError
from werkzeug.wrappers import Request, Response

_ORIGINS = ("eventgrid.azure.net", "eventgrid.azure.us", "eventgrid.azure.cn")


class Failure(InternalServerError):  # noqa: N818  the extension's word
    """A function failed, so Event Grid must deliver the whole batch again."""


def answer_event_grid(request: Request, deliver: Callable[[str, list[dict[str, Any]]], None]) -> Response:
    """Answer as the extension does; `deliver` gets the function's name and the events, and raises Failure."""
    name = request.args.get("functionName", "")
    kind = request.headers.get("aeg-event-type", "").lower()
    if request.method == "OPTIONS":
        deliver(name, [])
        return _allow(request.headers.get("WebHook-Request-Origin", ""))
    if kind == "subscriptionvalidation":
        deliver(name, [])
        code = _validation_code(_events(request)[0])
        return Response(json.dumps({"validationResponse": code}), mimetype="application/json")
    if kind == "unsubscribe":
        return Response(status=202)
    if kind != "notification":
        raise BadRequest
    deliver(name, _events(request))
    return Response(status=202)


def _allow(origin: str) -> Response:
    allowed = origin if origin in _ORIGINS else _ORIGINS[0]
    return Response(status=200, headers={"Webhook-Allowed-Origin": allowed})


def _events(request: Request) -> list[dict[str, Any]]:
    try:
        content = json.loads(request.get_data())
    except ValueError as error:
        raise InternalServerError(str(error)) from error
    events = content if isinstance(content, list) else [content]
    if not all(isinstance(event, dict) for event in events):
        msg = "an event is not a JSON object"
        raise InternalServerError(msg)
    return events


def _validation_code(event: dict[str, Any]) -> Any:
    data = event["data"]
    # A handshake that comes without its array carries its data as JSON text.
    return (json.loads(data) if isinstance(data, str) else data)["validationCode"]
