"""The administration API of the Functions host.

https://github.com/Azure/azure-functions-host/wiki/Admin-APIs
"""

import json
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

from azure.functions.meta import Datum
from werkzeug.wrappers import Request, Response

from local.functions_worker import EVENT_GRID, TIMER, Function
from local.kestrel import empty

TIMER_INFO = Datum('{"Schedule":{"AdjustForDST":true},"ScheduleStatus":null,"IsPastDue":false}', "json")


class AdminApi:
    """Shows the functions and the state of the host, and runs functions."""

    def __init__(
        self, functions: Iterable[Function], start: Callable[[Function, Datum], Future[Any]], host_key: str
    ) -> None:
        """Take the functions of the app, what starts them, and the key to show."""
        self._functions = {function.name.lower(): function for function in functions}
        self._start = start
        self._host_key = host_key

    def __call__(self, method: str, path: list[str], request: Request) -> Response:
        """Answer a request for the path behind `/admin`, which is in small letters."""
        match [method, *path]:
            case ["GET", "host", "status"]:
                return _json({"state": "Running"})
            case ["GET", "host", "ping"]:
                response = empty(200)
                response.headers.extend({"Cache-Control": "no-store, no-cache", "Pragma": "no-cache"})
                return response
            case ["GET", "host", "keys"]:
                keys = [{"name": "default", "value": self._host_key}]
                return _json({"keys": keys, "links": [{"rel": "self", "href": request.base_url}]})
            case ["GET", "functions"]:
                return _json([_shown(function) for function in self._functions.values()])
            case [_, "functions", name, *rest] if name in self._functions:
                return self._of_function(method, self._functions[name], rest, request)
            case _:
                return empty(403 if path[:1] == ["vfs"] else 404)

    def _of_function(self, method: str, function: Function, path: list[str], request: Request) -> Response:
        match [method, *path]:
            case ["GET"]:
                return _json(_shown(function))
            case ["GET", "status"]:
                return _json({})
            case ["POST"]:
                return self._run(function, request)
            case _:
                return empty(404)

    def _run(self, function: Function, request: Request) -> Response:
        body = request.get_json(force=True, silent=True)
        if not isinstance(body, dict):
            return empty(400)
        # The real host answers before the function runs. Callers here need to know when it has ended.
        with suppress(Exception):  # the worker logs it
            if function.kind == TIMER:
                self._start(function, TIMER_INFO).result()
            elif function.kind == EVENT_GRID:
                self._start(function, Datum(str(body.get("input") or ""), "json")).result()
        return empty(202)


def _shown(function: Function) -> dict[str, Any]:
    return {
        "name": function.name,
        "config": {"bindings": [function.trigger]},
        "isDisabled": False,
        "language": "python",
    }


def _json(value: Any) -> Response:
    return Response(json.dumps(value, separators=(",", ":")), content_type="application/json; charset=utf-8")
