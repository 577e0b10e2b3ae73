"""HTTP functions: their routes, and their requests and responses as the worker exchanges them with the host."""

import re
from urllib.parse import unquote, urlsplit

from azure.functions.meta import Datum
from werkzeug.datastructures import Headers
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
        self.is_anonymous = trigger.get("authLevel", "function").lower() == "anonymous"
        self._methods = [method.upper() for method in trigger.get("methods", [])]
        segments = self.path[1:].split("/")
        self._pattern = re.compile("".join(map(_segment_pattern, segments)) + "/?", re.IGNORECASE)
        # Literal segments go before parameters, and these before the rest of a path.
        self.order = [(segment.startswith("{*"), segment.startswith("{")) for segment in segments]

    def match(self, request: Request) -> dict[str, str] | None:
        """Return the parameters in the request's path, or None if the request is for another function."""
        found = self._pattern.fullmatch(_path(request))
        if found is None or request.method not in (self._methods or [request.method]):
            return None
        return {name: value for name, value in found.groupdict().items() if value}


def _segment_pattern(segment: str) -> str:
    found = _PARAMETER.fullmatch(segment)
    if found is None:
        return "/" + re.escape(segment)
    star, name, constraint, optional = found.groups()
    text = ".*" if star else _CONSTRAINTS[constraint] if constraint else "[^/]+"
    return f"(?:/(?P<{name}>{text})){'?' if star else optional}"


def _path(request: Request) -> str:
    """Return the decoded path; the host leaves an escaped slash as it is."""
    path = urlsplit(request.environ["REQUEST_URI"]).path
    return unquote(re.sub("%2F", lambda slash: f"%25{slash[0][1:]}", path, flags=re.IGNORECASE))


def parameter(request: Request, name: str) -> str:
    """Return a query parameter as the host reads it: in any case, repeated ones joined by commas."""
    return ",".join(value for key, value in request.args.items(multi=True) if key.lower() == name.lower())


def request_datum(request: Request, parameters: dict[str, str]) -> Datum:
    """Return a request as the host passes it to the worker."""
    names = {name.lower(): name for name in request.args}.values()
    query = {name: parameter(request, name) for name in names}
    return Datum(
        {
            "method": Datum(request.method, "string"),
            "url": Datum(f"{request.scheme}://{request.host}{request.environ['REQUEST_URI']}", "string"),
            "headers": _texts({name.lower(): value for name, value in request.headers.items()}),
            "query": _texts({name: value for name, value in query.items() if value}),
            "params": _texts(parameters),
            "body": Datum(request.get_data(), "bytes"),
        },
        "http",
    )


def _texts(values: dict[str, str]) -> dict[str, Datum]:
    return {name: Datum(value, "string") for name, value in values.items()}


def response_of(result: Datum) -> Response:
    """Return the response that the worker passes to the host; raises ValueError for a header that cannot be sent."""
    if result.type == "string":
        return Response(result.value, mimetype="text/plain")
    parts = result.value
    headers = Headers()
    for name, value in parts["headers"].items():
        value.value.encode("ascii")
        headers.setdefault(name, value.value)
    for cookie in parts["cookies"] or []:
        for morsel in cookie.values():
            headers.add("Set-Cookie", morsel.OutputString())
    return Response(parts["body"].value, int(parts["status_code"].value), headers)


def empty(status: int) -> Response:
    """Return a response of the host itself, which has neither a body nor a content type."""
    response = Response(status=status)
    del response.headers["Content-Type"]
    return response
