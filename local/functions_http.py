"""HTTP functions: their routes, and their requests and responses as the worker exchanges them with the host."""

from __future__ import annotations

import re

from azure.functions.meta import Datum
from werkzeug.wrappers import Request, Response

from local.functions_worker import Function


class Route:
    """The route of an HTTP function, such as `releases/{model}`."""

    def __init__(self, function: Function) -> None:
        self.function = function
        self.path = f"/api/{function.trigger['route']}"
        self._methods = function.trigger["methods"]
        self._pattern = re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", self.path) + "/?", re.IGNORECASE)

    def match(self, request: Request) -> dict[str, str] | None:
        """Return the parameters in the request's path, or None if the request is for another function."""
        found = self._pattern.fullmatch(request.path)
        return found.groupdict() if found and request.method in self._methods else None


def request_datum(request: Request, parameters: dict[str, str]) -> Datum:
    """Return a request as the host passes it to the worker."""
    return Datum(
        {
            "method": Datum(request.method, "string"),
            "url": Datum(request.url, "string"),
            "headers": _texts(dict(request.headers)),
            "query": _texts(request.args.to_dict()),
            "params": _texts(parameters),
            "body": Datum(request.get_data(), "bytes"),
        },
        "http",
    )


def _texts(values: dict[str, str]) -> dict[str, Datum]:
    return {name: Datum(value, "string") for name, value in values.items()}


def response_of(result: Datum) -> Response:
    """Return the response that the worker passes to the host."""
    parts = result.value
    response = Response(parts["body"].value, status=int(parts["status_code"].value))
    for name, value in parts["headers"].items():
        response.headers[name] = value.value
    return response
