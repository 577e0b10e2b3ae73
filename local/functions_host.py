"""Serve an Azure Functions app as the Azure Functions host does: `func start`, without Core Tools."""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields
from datetime import UTC, tzinfo
from pathlib import Path
from typing import Any, Self

import azure.functions as func
from werkzeug.wrappers import Request, Response

from local.functions_admin import TIMER_INFO, AdminApi
from local.functions_event_grid import EventGridWebhook
from local.functions_http import Route, request_datum, response_of
from local.functions_keys import Door, Keys
from local.functions_timers import Timers
from local.functions_worker import EVENT_GRID, HTTP, TIMER, Function, Worker, index
from local.kestrel import decoded_path, empty, refusal, scheme, sent
from local.program import end_with_stdin
from local.serving import Server, free_port

_HOME_PAGE = "<!DOCTYPE html>\n<title>Your Azure Function App is up and running.</title>\n"
_DISABLE_HOME_PAGE = "AzureWebJobsDisableHomepage"
_SECONDS_A_DAY = 24 * 3600
_log = logging.getLogger(__name__)


class FunctionsHost:
    """The host of one app: answers requests, and as a context manager runs the timers."""

    def __init__(
        self,
        app: func.FunctionApp,
        *,
        key: Keys | str | None = None,
        timers: bool = False,
        http: Mapping[str, Any] | None = None,
        time_zone: tzinfo = UTC,
    ) -> None:
        """Read the app's functions.

        A `key` that is a text is the master key; without a key no request needs one, as with `func start`. `http` is
        the section `extensions.http` of host.json.
        """
        self._functions = index(app)
        self._http = http or {}
        self._keys = key if isinstance(key, Keys) else Keys(master=key or "")
        self._worker = Worker()
        self._admin = AdminApi(self._functions, self._worker.start, self._keys.host)
        self._event_grid = EventGridWebhook(self._of_kind(EVENT_GRID), self._worker.start, time_zone)
        routes = [Route(function, self._http.get("routePrefix", "api")) for function in self._of_kind(HTTP)]
        self._routes = sorted(routes, key=lambda route: route.order)
        self._timers = Timers(self._of_kind(TIMER) if timers else [], self._run)

    def __enter__(self) -> Self:
        self._timers.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._timers.__exit__()
        self._worker.stop()

    def __call__(self, request: Request) -> Response:
        """Answer a request."""
        refused = refusal(request)
        if refused:
            return refused
        response = empty(204) if _is_preflight(request) else self._answer(request)
        for name, value in self._http.get("customHeaders", {}).items():
            response.headers.setdefault(name, value)
        hsts = self._http.get("hsts", {})
        if hsts.get("isEnabled") and scheme(request) == "https":
            response.headers["Strict-Transport-Security"] = f"max-age={int(hsts['maxAge']) * _SECONDS_A_DAY}"
        return sent(response)

    def run(self, name: str) -> None:
        """Run a timer function now, and raise the exception that it raises."""
        self._run(next(function for function in self._functions if function.name.lower() == name.lower()))

    def addresses(self, url: str) -> Iterator[str]:
        """Return a line for each function: its name, and its URL or schedule."""
        for subscriber in self._of_kind(EVENT_GRID):
            yield f"{subscriber.name}: {url}/runtime/webhooks/EventGrid?functionName={subscriber.name}"
        for route in self._routes:
            yield f"{route.function.name}: {url}{route.path}"
        for timer in self._of_kind(TIMER):
            yield f"{timer.name}: {timer.trigger['schedule']}"

    def _of_kind(self, kind: str) -> list[Function]:
        return [function for function in self._functions if function.kind == kind]

    def _run(self, timer: Function) -> None:
        self._worker.start(timer, TIMER_INFO).result()

    def _answer(self, request: Request) -> Response:
        match [request.method, *decoded_path(request).strip("/").lower().split("/")]:
            case [_, ""]:
                is_disabled = os.environ.get(_DISABLE_HOME_PAGE, "").lower() == "true"
                return empty(204) if is_disabled else Response(_HOME_PAGE, content_type="text/html")
            case [_, "runtime", "webhooks", "eventgrid", *_]:
                return self._keys.refusal(Door.EVENT_GRID, request) or self._event_grid(request)
            case [_, "runtime", "webhooks", *_]:
                return self._keys.refusal(Door.ADMIN, request) or empty(404)
            case [method, "admin", *path]:
                return self._keys.refusal(Door.ADMIN, request) or self._admin(method, path, request)
            case _:
                return self._invoke(request)

    def _invoke(self, request: Request) -> Response:
        matches = ((route, route.match(request)) for route in self._routes)
        route, parameters = next((match for match in matches if match[1] is not None), (None, None))
        if route is None or parameters is None:
            return empty(404)
        if refused := self._keys.refusal(route.door, request):
            return refused
        invocation = self._worker.start(route.function, request_datum(request, parameters))
        if invocation.exception():
            return empty(500)
        try:
            return response_of(invocation.result())
        except ValueError:
            _log.exception("The response of %s cannot be sent", route.function.name)
            return empty(500)


def _is_preflight(request: Request) -> bool:
    """Return whether this is a question of CORS, which the host answers as it does on the Flex Consumption plan."""
    asked = {"Origin", "Access-Control-Request-Method"}
    return request.method == "OPTIONS" and asked <= set(request.headers.keys())


def _load(options: argparse.Namespace) -> FunctionsHost:
    folder = options.app_dir.resolve()
    values = _read_json(folder / "local.settings.json").get("Values", {})
    os.environ.update({name: value for name, value in values.items() if name not in os.environ})
    _log_to_stderr()
    http = _read_json(folder / "host.json").get("extensions", {}).get("http", {})
    app = _import_app(folder)
    keys = Keys(**{key.name: getattr(options, f"{key.name}_key") or "" for key in fields(Keys)})
    return FunctionsHost(app, key=keys, timers=options.timers, http=http)


def _read_json(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8-sig"))) if path.exists() else {}


def _import_app(folder: Path) -> func.FunctionApp:
    sys.path.insert(0, str(folder))
    os.chdir(folder)
    module = importlib.import_module("function_app")
    apps = [value for value in vars(module).values() if isinstance(value, func.FunctionApp)]
    if len(apps) != 1:
        raise ValueError(f"function_app.py defines {len(apps)} instances of FunctionApp; define exactly one")
    return apps[0]


def _log_to_stderr() -> None:
    debug = os.environ.get("PYTHON_ENABLE_DEBUG_LOGGING") == "1"
    level = logging.DEBUG if debug else logging.INFO
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S")
    # Azure's libraries log every request at INFO.
    logging.getLogger("azure").setLevel(logging.DEBUG if debug else logging.WARNING)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m local.functions_host", description="Serve a Functions app.")
    parser.add_argument("--port", type=free_port, default="7071", help="port to listen on; 0 is a free port")
    parser.add_argument("--no-timers", dest="timers", action="store_false", help="run timer functions on request only")
    for key in fields(Keys):
        parser.add_argument(f"--{key.name}-key", help="default: none; without any key, requests need none")
    parser.add_argument("--until-stdin-ends", action="store_true", help="end when standard input ends")
    parser.add_argument("--app-dir", type=Path, default=Path(), help="folder of function_app.py; default: this folder")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until interrupted; PYTHON_ENABLE_DEBUG_LOGGING=1 logs more, as it does in Azure."""
    options = _options(arguments)
    if options.until_stdin_ends:
        end_with_stdin()
    try:
        host = _load(options)
    except Exception as error:  # noqa: BLE001  an app may raise anything while it is imported
        print(f"Worker failed to index functions\n{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        _log.debug("Stack of this error:", exc_info=error)
        return 1
    # A shell's background job begins with SIGINT ignored.
    for stop in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stop, signal.default_int_handler)
    with suppress(KeyboardInterrupt), host, Server(host, options.port) as server:
        print(*host.addresses(server.url), sep="\n", flush=True)
        server.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
