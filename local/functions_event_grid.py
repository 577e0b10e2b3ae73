"""The Event Grid extension of the Functions host: the webhook that Event Grid delivers to.

https://github.com/Azure/azure-sdk-for-net/tree/main/sdk/eventgrid/Microsoft.Azure.WebJobs.Extensions.EventGrid
"""

import json
import logging
from collections.abc import Callable, Iterable
from concurrent.futures import Future, wait
from typing import Any

from azure.functions.meta import Datum
from werkzeug.wrappers import Request, Response

from local.functions_http import empty, parameter
from local.functions_worker import Function

METHODS = ("GET", "PUT", "POST", "DELETE", "OPTIONS")
_ORIGIN = "eventgrid.azure.net"
_log = logging.getLogger(__name__)


class EventGridWebhook:
    """Answers the validation of subscriptions, and delivers events to the functions."""

    def __init__(self, functions: Iterable[Function], start: Callable[[Function, Datum], Future[Any]]) -> None:
        """Deliver to these functions; `start` begins an invocation."""
        self._functions = {function.name: function for function in functions}
        self._start = start

    def __call__(self, request: Request) -> Response:
        """Answer a request."""
        name = parameter(request, "functionName")
        if name not in self._functions:
            return Response(f"cannot find function: '{name}'", status=404)
        try:
            return self._answer(self._functions[name], request)
        except (ValueError, LookupError, TypeError, RecursionError):
            # The real host logs the reason and answers without it.
            _log.exception("The request body of Event Grid cannot be read")
            return empty(500)

    def _answer(self, function: Function, request: Request) -> Response:
        if request.method == "OPTIONS":
            return _cloud_events_handshake(request)
        match request.headers.get("aeg-event-type", "").lower():
            case "subscriptionvalidation":
                return _event_grid_handshake(request)
            case "notification":
                return self._deliver(function, _events(request))
            case "unsubscribe":
                return empty(202)
            case _:
                return empty(400)

    def _deliver(self, function: Function, events: list[dict[str, Any]]) -> Response:
        invocations = [self._start(function, Datum(_compact(event), "json")) for event in events]
        wait(invocations)
        if any(invocation.exception() for invocation in invocations):
            return Response(f"Exception while executing function: Functions.{function.name}", status=500)
        return empty(202)


def _cloud_events_handshake(request: Request) -> Response:
    origin = request.headers.get("WebHook-Request-Origin", "")
    response = empty(200)
    # Azure's national clouds have other endings.
    response.headers["Webhook-Allowed-Origin"] = origin if origin.startswith("eventgrid.azure.") else _ORIGIN
    return response


def _event_grid_handshake(request: Request) -> Response:
    data = _events(request)[0]["data"]
    code = (json.loads(data) if isinstance(data, str) else data)["validationCode"]
    return Response(_compact({"validationResponse": code}))


def _events(request: Request) -> list[dict[str, Any]]:
    body = json.loads(request.get_data())
    events = body if isinstance(body, list) else [body]
    if not all(isinstance(event, dict) for event in events):
        raise ValueError("an event is not a JSON object")
    return events


def _compact(value: dict[str, Any]) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
