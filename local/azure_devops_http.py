"""Requests to the local Azure DevOps, what their paths name, and answers to them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from werkzeug.wrappers import Request, Response

from local.azure_devops_releases import Json


@dataclass(frozen=True)
class Call:
    """A request and what its path names."""

    request: Request
    organization: str = ""
    project: str = ""
    id: str = ""
    run: str = ""
    namespace: str = ""

    @property
    def query(self) -> Mapping[str, str]:
        """What stands behind the question mark."""
        return self.request.args

    @property
    def body(self) -> Json:
        """The JSON object that was sent; raises ValueError when it is none."""
        body = self.request.get_json(force=True, silent=True)
        if not isinstance(body, dict):
            msg = "The body is not a JSON object."
            raise ValueError(msg)  # noqa: TRY004  answered with 400, as what is wrong in the body
        return body

    def links(self, project: str, api: str, page: str) -> Json:
        """The addresses of a thing, for programs and for people."""
        home = f"{self.request.host_url}{self.organization}/{project}"
        return {"self": {"href": f"{home}/_apis/{api}"}, "web": {"href": f"{home}/{page}"}}


Handler = Callable[[Call], Response]


class Route(NamedTuple):
    """A method and a path with names in it, and who answers."""

    pattern: re.Pattern[str]
    handler: Handler


def routes(handlers: Mapping[str, Handler]) -> list[Route]:
    """Read routes such as `GET /{organization}/_apis`; case does not matter."""
    return [
        Route(re.compile(re.sub(r"{(\w+)}", r"(?P<\1>[^/]+)", route), re.IGNORECASE), handler)
        for route, handler in handlers.items()
    ]


def find(among: list[Route], request: Request) -> tuple[Handler, Call] | None:
    """Who answers this request."""
    asked = f"{request.method} {request.path.rstrip('/') or '/'}"
    for route in among:
        if match := route.pattern.fullmatch(asked):
            return route.handler, Call(request, **match.groupdict())
    return None


def json_of(body: object, status: int = 200) -> Response:
    """Answer with JSON."""
    return Response(json.dumps(body), status, mimetype="application/json")


def list_of(values: Sequence[object], continuation_token: object = None) -> Response:
    """Answer with a list, and where it goes on."""
    response = json_of({"count": len(values), "value": values})
    if continuation_token is not None:
        response.headers["x-ms-continuationtoken"] = str(continuation_token)
    return response
