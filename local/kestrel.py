"""Requests as ASP.NET and its web server Kestrel, on which the Functions host is built, refuse and read them.

https://learn.microsoft.com/aspnet/core/fundamentals/servers/kestrel/options
"""

import re
from urllib.parse import quote, unquote

from werkzeug.wrappers import Request, Response

_LONGEST_REQUEST_LINE, _LONGEST_HEADERS = 8192, 32768
_ESCAPED_SLASH = re.compile("%(2F)", re.IGNORECASE)
_NOT_AN_ESCAPE = re.compile("%(?![0-9a-f]{2})", re.IGNORECASE)


def empty(status: int) -> Response:
    """Return a response that has neither a body nor a content type."""
    response = Response(status=status)
    del response.headers["Content-Type"]
    return response


def refusal(request: Request) -> Response | None:
    """Return the answer to a request that does not reach the host, or None."""
    target = request.environ["REQUEST_URI"]
    if len(f"{request.method} {target} HTTP/1.1\r\n") > _LONGEST_REQUEST_LINE:
        return empty(414)
    if sum(len(f"{name}: {value}\r\n") for name, value in request.headers.items()) > _LONGEST_HEADERS:
        return empty(431)
    if not request.headers.get("Host") or not target.startswith("/") or "\0" in decoded_path(request):
        return empty(400)
    return None


def sent(response: Response) -> Response:
    """Return the response that is sent in place of one whose content has another length than its header announces."""
    length = len(response.get_data())
    return response if response.headers.get("Content-Length", str(length)) == str(length) else empty(500)


def decoded_path(request: Request) -> str:
    """Return the path decoded once, without dot segments; escaped slashes and bytes that are not UTF-8 stay escaped."""
    path = _ESCAPED_SLASH.sub(r"%25\1", request.environ["REQUEST_URI"].partition("?")[0])
    # Werkzeug registers this error handler, which escapes bytes again.
    segments = unquote(path, errors="werkzeug.url_quote").split("/")[1:]
    kept: list[str] = []
    for segment in segments:
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    if segments and segments[-1] in (".", ".."):
        kept.append("")
    return "/" + "/".join(kept)


def full_url(request: Request) -> str:
    """Return the URL with the scheme and the host that Azure's front end received."""
    path = quote(_NOT_AN_ESCAPE.sub("%25", decoded_path(request)), safe="%/:@!$&'()*+,;=~")
    _, mark, query = request.environ["REQUEST_URI"].partition("?")
    return f"{scheme(request)}://{host(request)}{path}{mark}{query}"


def parameter(request: Request, name: str) -> str:
    """Return a query parameter: in any case, repeated ones joined by commas."""
    return ",".join(value for key, value in request.args.items(multi=True) if key.lower() == name.lower())


def scheme(request: Request) -> str:
    """Return the scheme that Azure's front end received."""
    return request.headers.get("X-Forwarded-Proto", "http")


def host(request: Request) -> str:
    """Return the host name that Azure's front end received."""
    return request.headers.get("Disguised-Host") or request.headers["Host"]


def header_text(value: str) -> str:
    """Decode a header value, which WSGI represents as Latin-1."""
    return value.encode("latin-1").decode("utf-8", "replace")
