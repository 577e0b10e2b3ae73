"""HTTP functions: their routes, and their requests and responses as the worker exchanges them with the host."""

import re
from http.cookies import Morsel
from typing import Any

from azure.functions.meta import Datum
from werkzeug.datastructures import Headers
from werkzeug.wrappers import Request, Response

from local.functions_keys import Door
from local.functions_worker import Function
from local.kestrel import decoded_path, full_url, header_text, host, parameter
from local.newtonsoft import newtonsoft_read, newtonsoft_write

_PARAMETER = re.compile(r"\{(\*?)(\w+)(?::(\w+))?(\??)\}")
_CONSTRAINTS = {"alpha": "[a-z]+", "guid": "[0-9a-f-]{36}", "int": "-?[0-9]+", "long": "-?[0-9]+"}
_LIMITS = {"int": 2**31, "long": 2**63}
_DOORS = {"anonymous": Door.ANONYMOUS, "function": Door.FUNCTION, "admin": Door.ADMIN_FUNCTION}


class Route:
    """The route of an HTTP function, such as `releases/{id}`, `files/{*path}`, `{number:int}` or `{last?}`."""

    def __init__(self, function: Function, prefix: str) -> None:
        trigger = function.trigger
        self.function = function
        self.path = "/" + "/".join(filter(None, (prefix.strip("/"), trigger["route"].strip("/"))))
        self.door = _DOORS[trigger.get("authLevel", "function").lower()]
        self._methods = [method.upper() for method in trigger.get("methods", [])]
        # Routes of ASP.NET match in any case and on escaped slashes, which Werkzeug's routing does not.
        segments = self.path[1:].split("/")
        self._limits = {name: _LIMITS[kind] for _, name, kind, _ in _PARAMETER.findall(self.path) if kind in _LIMITS}
        self._pattern = re.compile("".join(map(_segment_pattern, segments)) + "/?", re.IGNORECASE | re.DOTALL)
        # Literal segments go before parameters, and these before the rest of a path.
        self.order = [(segment.startswith("{*"), segment.startswith("{")) for segment in segments]

    def match(self, request: Request) -> dict[str, str] | None:
        """Return the parameters in the request's path, or None if the request is for another function."""
        found = self._pattern.fullmatch(decoded_path(request))
        if found is None or request.method not in (self._methods or [request.method]):
            return None
        values = {name: value for name, value in found.groupdict().items() if value}
        fits = all(-limit <= int(values.get(name, 0)) < limit for name, limit in self._limits.items())
        return values if fits else None


def _segment_pattern(segment: str) -> str:
    found = _PARAMETER.fullmatch(segment)
    if found is None:
        return "/" + re.escape(segment)
    star, name, constraint, optional = found.groups()
    text = ".*" if star else _CONSTRAINTS[constraint] if constraint else "[^/]+"
    return f"(?:/(?P<{name}>{text})){'?' if star else optional}"


def request_datum(request: Request, parameters: dict[str, str]) -> Datum:
    """Return a request as the host passes it to the worker."""
    names = {name.lower(): name for name in request.args}.values()
    query = {name: parameter(request, name) for name in names}
    headers = {name.lower(): header_text(value) for name, value in request.headers.items()}
    return Datum(
        {
            "method": Datum(request.method, "string"),
            "url": Datum(full_url(request), "string"),
            "headers": _texts({**headers, "host": host(request)}),
            "query": _texts({name: value for name, value in query.items() if value}),
            "params": _texts(parameters),
            # The host reads as many bytes as the content length announces: none of a chunked body.
            "body": Datum(request.get_data() if request.content_length else b"", "bytes"),
        },
        "http",
    )


def _texts(values: dict[str, str]) -> dict[str, Datum]:
    return {name: Datum(value, "string") for name, value in values.items()}


def response_of(result: Datum) -> Response:
    """Return the response that the worker passes to the host; raises ValueError for one that cannot be sent."""
    if result.type == "string":
        return Response(_indented(result.value), mimetype="text/plain")
    parts = result.value
    headers = Headers()
    for name, value in parts["headers"].items():
        value.value.encode("ascii")
        headers.setdefault(name, value.value)
    for cookie in parts["cookies"] or []:
        for morsel in cookie.values():
            headers.add("Set-Cookie", _cookie(morsel))
    # In a list, the body does not set its content length.
    return Response([parts["body"].value], int(parts["status_code"].value), headers)


def _indented(text: str) -> str:
    """Indent JSON as the host does when a function returns a str."""
    try:
        value = newtonsoft_read(text)
    except ValueError:
        return text
    return newtonsoft_write(value, indented=True) if isinstance(value, dict | list) else text


def _cookie(morsel: Morsel[Any]) -> str:
    parts = [f"{morsel.key}={morsel.coded_value}"]
    parts += [f"{name}={morsel[name]}" for name in ("expires", "max-age") if morsel[name]]
    parts += [f"{name}={morsel[name]}" for name in ("domain", "path")]
    parts += ["secure"] if morsel["secure"] else []
    parts += [f"samesite={morsel['samesite'].lower()}"] if morsel["samesite"] else []
    parts += ["httponly"] if morsel["httponly"] else []
    return "; ".join(parts)
