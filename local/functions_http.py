"""HTTP functions: whose request it is, and requests and responses on their way to the worker and back."""

from __future__ import annotations

import re

from azure.functions.meta import Datum
from werkzeug.wrappers import Request, Response

from local.functions_worker import Function

_PARAMETER = re.compile(r"\{(\*?)(\w+)(?::(\w+))?(\??)\}")
_CONSTRAINTS = {"alpha": "[a-z]+", "guid": "[0-9a-f-]{36}", "int": r"-?\d+", "long": r"-?\d+"}


class Route:
    """The route of an HTTP function, such as `releases/{id}`, `files/{*path}`, `{number:int}` or `{last?}`."""

    def __init__(self, function: Function, prefix: str) -> None:
        trigger = function.trigger
        self.function = function
        self.path = "/" + "/".join(filter(None, (prefix.strip("/"), trigger["route"].strip("/"))))
        self.is_open = trigger.get("authLevel", "function").lower() == "anonymous"
        self._methods = [method.upper() for method in trigger.get("methods", [])]
        segments = self.path[1:].split("/")
        self._pattern = re.compile("".join(map(_segment_pattern, segments)) + "/?", re.IGNORECASE)
        # Words go before parameters, and those before the rest of a path.
        self.order = [(segment.startswith("{*"), segment.startswith("{")) for segment in segments]

    def match(self, request: Request) -> dict[str, str] | None:
        """The parameters in the request's path, or None if it is for another function."""
        found = self._pattern.fullmatch(request.path)
        if found is None or request.method not in (self._methods or [request.method]):
            return None
        return {name: value for name, value in found.groupdict().items() if value is not None}


def _segment_pattern(segment: str) -> str:
    found = _PARAMETER.fullmatch(segment)
    if found is None:
        return "/" + re.escape(segment)
    star, name, constraint, optional = found.groups()
    text = ".*" if star else _CONSTRAINTS[constraint] if constraint else "[^/]+"
    return f"(?:/(?P<{name}>{text})){'?' if star else optional}"


def request_datum(request: Request, parameters: dict[str, str]) -> Datum:
    """A request as the host gives it to the worker."""
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
    """The response that the worker's result stands for."""
    if result.type == "string":
        return Response(result.value, mimetype="text/plain")
    parts = result.value
    response = Response(parts["body"].value, status=int(parts["status_code"].value))
    for name, value in parts["headers"].items():
        response.headers[name] = value.value
    for cookie in parts["cookies"] or []:
        for morsel in cookie.values():
            response.headers.add("Set-Cookie", morsel.OutputString())
    return response
