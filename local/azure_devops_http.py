"""Requests to the local Azure DevOps, what their paths name, and answers to them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

from werkzeug.wrappers import Request, Response

Json = dict[str, Any]


class ErrorType(NamedTuple):
    """One of Azure DevOps' own exceptions, with its HTTP status and its .NET namespace and assembly."""

    name: str
    status: int
    namespace: str = "Microsoft.VisualStudio.Services.ReleaseManagement.Data.Exceptions"
    assembly: str = "Microsoft.VisualStudio.Services.ReleaseManagement2.Data"


INVALID_REQUEST = ErrorType("InvalidRequestException", 400)
NAMESPACE_NOT_FOUND = ErrorType("InvalidSecurityNamespaceException", 404)
PROJECT_NOT_FOUND = ErrorType("ProjectDoesNotExistWithNameException", 404)
RESOURCE_NOT_FOUND = ErrorType("ResourceNotFoundException", 404)


class Refusal(Exception):  # noqa: N818  it is an answer
    """An answer with an error of Azure DevOps."""

    def __init__(self, kind: ErrorType, message: str, **custom_properties: Any) -> None:
        """Take one of Azure DevOps' exceptions, its message, and the properties that only this exception has."""
        super().__init__(message)
        self.status = kind.status
        self.body = {
            "$id": "1",
            **({"customProperties": custom_properties} if custom_properties else {}),
            "innerException": None,
            "message": message,
            "typeName": f"{kind.namespace}.{kind.name}, {kind.assembly}",
            "typeKey": kind.name,
            "errorCode": 0,
            "eventId": 3000,
        }


@dataclass(frozen=True)
class Call:
    """A request and what its path names."""

    request: Request
    organization: str = ""
    project: str = ""
    id: str = ""
    run: str = ""
    namespace: str = ""
    area: str = ""

    @property
    def query(self) -> Mapping[str, str]:
        """The query string."""
        return self.request.args

    @property
    def body(self) -> Json:
        """The JSON object in the body; raises ValueError."""
        body = self.request.get_json(force=True, silent=True)
        if not isinstance(body, dict):
            raise ValueError("The body is not a JSON object.")  # noqa: TRY004  answered with 400
        return body

    def links(self, project: str, api: str, page: str) -> Json:
        """Return the API address and the web address of something in a project."""
        home = f"{self.request.host_url}{self.organization}/{project}"
        return {"self": {"href": f"{home}/_apis/{api}"}, "web": {"href": f"{home}/{page}"}}


Handler = Callable[[Call], Response]


class Route(NamedTuple):
    """A method and path with placeholders, and its handler."""

    pattern: re.Pattern[str]
    handler: Handler


def routes(handlers: Mapping[str, Handler]) -> list[Route]:
    """Compile routes such as `GET /{organization}/_apis`; case does not matter."""
    return [
        Route(re.compile(re.sub(r"{(\w+)}", r"(?P<\1>[^/]+)", route), re.IGNORECASE), handler)
        for route, handler in handlers.items()
    ]


def find(among: list[Route], request: Request) -> tuple[Handler, Call] | None:
    """Return the handler of this request, and what its path names."""
    wanted = f"{request.method} {request.path.rstrip('/') or '/'}"
    for route in among:
        if match := route.pattern.fullmatch(wanted):
            return route.handler, Call(request, **match.groupdict())
    return None


def json_of(body: object, status: int = 200) -> Response:
    """Answer with JSON."""
    return Response(json.dumps(body), status, mimetype="application/json")


def list_of(values: Sequence[object], continuation_token: object = None) -> Response:
    """Answer with a page of a list, and the token of the next page."""
    response = json_of({"count": len(values), "value": values})
    if continuation_token is not None:
        response.headers["x-ms-continuationtoken"] = str(continuation_token)
    return response


def now() -> str:
    """Return the time in Azure DevOps' format."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def moment(text: str) -> datetime:
    """Parse a time in ISO 8601 or in the format of HTTP, which Microsoft's Node client sends; default UTC."""
    parsed = parsedate_to_datetime(text) if text.endswith("GMT") else datetime.fromisoformat(text)
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
