"""The Event Grid extension of the Functions host: the webhook that Event Grid delivers to.

https://github.com/Azure/azure-sdk-for-net/tree/main/sdk/eventgrid/Microsoft.Azure.WebJobs.Extensions.EventGrid
"""

import logging
from collections.abc import Callable, Iterable
from concurrent.futures import Future, wait
from datetime import tzinfo
from typing import Any

from azure.functions.meta import Datum
from werkzeug.wrappers import Request, Response

from local.functions_worker import Function
from local.kestrel import empty, parameter
from local.newtonsoft import newtonsoft_read, newtonsoft_write

_METHODS = ("GET", "PUT", "POST", "DELETE", "OPTIONS")
_log = logging.getLogger(__name__)


class EventGridWebhook:
    """Answers the validation of subscriptions, and delivers events to the functions."""

    def __init__(
        self, functions: Iterable[Function], start: Callable[[Function, Datum], Future[Any]], time_zone: tzinfo
    ) -> None:
        """Deliver to these functions; `start` begins an invocation."""
        self._functions = {function.name: function for function in functions}
        self._start = start
        self._time_zone = time_zone

    def __call__(self, request: Request) -> Response:
        """Answer a request."""
        if request.method not in _METHODS:
            return empty(404)
        name = parameter(request, "functionName")
        if name not in self._functions:
            return Response(f"cannot find function: '{name}'", status=404)
        try:
            return self._answer(self._functions[name], request)
        except (ValueError, LookupError, TypeError):
            # The real host logs the reason and answers without it.
            _log.exception("The request body of Event Grid cannot be read")
            return empty(500)

    def _answer(self, function: Function, request: Request) -> Response:
        if request.method == "OPTIONS":
            return _cloud_events_handshake()
        match request.headers.get("aeg-event-type", "").lower():
            case "subscriptionvalidation":
                return self._event_grid_handshake(request)
            case "notification":
                return self._deliver(function, self._events(request))
            case "unsubscribe":
                return empty(202)
            case _:
                return empty(400)

    def _deliver(self, function: Function, events: list[dict[str, Any]]) -> Response:
        inputs: list[Any] = [events] if function.trigger.get("cardinality", "").lower() == "many" else events
        indented = function.trigger.get("dataType", "").lower() == "string"
        texts = [newtonsoft_write(value, indented=indented) for value in inputs]
        invocations = [self._start(function, Datum(text, "json")) for text in texts]
        wait(invocations)
        if any(invocation.exception() for invocation in invocations):
            return Response(f"Exception while executing function: Functions.{function.name}", status=500)
        return empty(202)

    def _event_grid_handshake(self, request: Request) -> Response:
        data = self._events(request)[0]["data"]
        code = (newtonsoft_read(data) if isinstance(data, str) else data)["validationCode"]
        return Response(newtonsoft_write({"validationResponse": code}))

    def _events(self, request: Request) -> list[dict[str, Any]]:
        body = newtonsoft_read(request.get_data().decode("utf-8-sig", "replace"), self._time_zone)
        events = body if isinstance(body, list) else [body]
        if not all(isinstance(event, dict) for event in events):
            raise ValueError("an event is not a JSON object")
        return events


def _cloud_events_handshake() -> Response:
    response = empty(200)
    response.headers["Webhook-Allowed-Origin"] = "eventgrid.azure.net"
    return response
