"""Serve an Azure Functions app as the Azure Functions host does: `func start`, without Core Tools."""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, tzinfo
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import azure.functions as func
from azure.functions.meta import Datum
from werkzeug.wrappers import Request, Response

from local.functions_event_grid import METHODS, EventGridWebhook
from local.functions_http import Route, empty, parameter, request_datum, response_of
from local.functions_worker import EVENT_GRID, HTTP, TIMER, Function, Worker, index
from local.serving import Server

if TYPE_CHECKING:
    from croniter import croniter

_HOME_PAGE = "<!DOCTYPE html>\n<title>Your Azure Function App is up and running.</title>\n"
_TIMER_INFO = '{"Schedule":{"AdjustForDST":true},"ScheduleStatus":null,"IsPastDue":false}'
_log = logging.getLogger(__name__)


class FunctionsHost:
    """The host of one app: answers requests, and as a context manager runs the timers."""

    def __init__(
        self,
        app: func.FunctionApp,
        *,
        key: str | None = None,
        timers: bool = False,
        route_prefix: str = "api",
        time_zone: tzinfo = UTC,
    ) -> None:
        """Read the app's functions; without a key no request needs one, as with `func start`."""
        functions = index(app)
        self._key = key
        self._worker = Worker()
        self._functions = {function.name.lower(): function for function in functions}
        self._event_grid = EventGridWebhook(self._of_kind(EVENT_GRID), self._worker.start, time_zone)
        self._routes = sorted(
            (Route(function, route_prefix) for function in self._of_kind(HTTP)), key=lambda route: route.order
        )
        schedules = [(function, _schedule(function)) for function in self._of_kind(TIMER) if timers]
        self._clocks = [threading.Thread(target=self._keep_time, args=args) for args in schedules]
        self._stopped = threading.Event()

    def __enter__(self) -> Self:
        for clock in self._clocks:
            clock.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for clock in self._clocks:
            clock.join()
        self._worker.stop()

    def __call__(self, request: Request) -> Response:
        """Answer a request."""
        match [request.method, *request.path.strip("/").lower().split("/")]:
            case [_, ""]:
                return Response(_HOME_PAGE, content_type="text/html")
            case [method, "runtime", "webhooks", "eventgrid", *_] if method in METHODS:
                return self._with_key(request, self._event_grid)
            case ["GET", "admin", "host", "status"]:
                status = Response('{"state": "Running"}', mimetype="application/json")
                return self._with_key(request, lambda _: status)
            case ["POST", "admin", "functions", name]:
                return self._with_key(request, partial(self._run_now, name))
            case _:
                return self._http(request)

    def run(self, name: str) -> None:
        """Run a timer function now, and raise the exception that it raises."""
        self._worker.start(self._functions[name.lower()], Datum(_TIMER_INFO, "json")).result()

    def addresses(self, url: str) -> Iterator[str]:
        """Return a line for each function: its name, and its URL or schedule."""
        for subscriber in self._of_kind(EVENT_GRID):
            yield f"{subscriber.name}: {url}/runtime/webhooks/EventGrid?functionName={subscriber.name}"
        for route in self._routes:
            yield f"{route.function.name}: {url}{route.path}"
        for timer in self._of_kind(TIMER):
            yield f"{timer.name}: {timer.trigger['schedule']}"

    def _of_kind(self, kind: str) -> list[Function]:
        return [function for function in self._functions.values() if function.kind == kind]

    def _with_key(self, request: Request, answer: Callable[[Request], Response]) -> Response:
        given = request.headers.get("x-functions-key") or parameter(request, "code")
        return answer(request) if self._key in (None, given) else empty(401)

    def _http(self, request: Request) -> Response:
        for route in self._routes:
            parameters = route.match(request)
            if parameters is not None:
                invoke = partial(self._invoke, route.function, parameters)
                return invoke(request) if route.is_anonymous else self._with_key(request, invoke)
        return empty(404)

    def _invoke(self, function: Function, parameters: dict[str, str], request: Request) -> Response:
        invocation = self._worker.start(function, request_datum(request, parameters))
        if invocation.exception():
            return empty(500)
        try:
            return response_of(invocation.result())
        except ValueError:
            _log.exception("The response of %s cannot be sent", function.name)
            return empty(500)

    def _run_now(self, name: str, request: Request) -> Response:
        function = self._functions.get(name)
        if function is None:
            return empty(404)
        body = request.get_json(force=True, silent=True)
        if not isinstance(body, dict):
            return empty(400)
        # The real host answers before the function runs. Callers here need to know when it has ended.
        with suppress(Exception):  # the worker logs it
            if function.kind == TIMER:
                self.run(name)
            elif function.kind == EVENT_GRID:
                self._worker.start(function, Datum(str(body.get("input") or ""), "json")).result()
        return empty(202)

    def _keep_time(self, timer: Function, schedule: croniter) -> None:
        if timer.trigger.get("runOnStartup"):
            self._run_logged(timer.name)
        due = datetime.now(UTC)
        while True:
            # A wait may end a little early, which must not run the same schedule twice.
            due = schedule.get_next(datetime, start_time=max(due, datetime.now(UTC)))
            if self._stopped.wait((due - datetime.now(UTC)).total_seconds()):
                return
            self._run_logged(timer.name)

    def _run_logged(self, name: str) -> None:
        with suppress(Exception):  # the worker logs it
            self.run(name)


def _schedule(timer: Function) -> croniter:
    # Without timers the host needs only the packages that are deployed.
    from croniter import croniter  # noqa: PLC0415

    # NCRONTAB begins with seconds, and both the day of the month and the day of the week must match.
    return croniter(timer.trigger["schedule"], second_at_beginning=True, day_or=False)


def _load(options: argparse.Namespace) -> FunctionsHost:
    folder = options.app_dir.resolve()
    values = _read_json(folder / "local.settings.json").get("Values", {})
    os.environ.update({name: value for name, value in values.items() if name not in os.environ})
    _log_to_stderr()
    http = _read_json(folder / "host.json").get("extensions", {}).get("http", {})
    app = _import_app(folder)
    return FunctionsHost(app, key=options.key, timers=options.timers, route_prefix=http.get("routePrefix", "api"))


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
    parser.add_argument("--port", type=int, default=7071, help="port to listen on; 0 is a free port")
    parser.add_argument("--no-timers", dest="timers", action="store_false", help="run timer functions on request only")
    parser.add_argument("--key", help="key that requests must have; default: requests need no key")
    parser.add_argument("--app-dir", type=Path, default=Path(), help="folder of function_app.py; default: this folder")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until interrupted; PYTHON_ENABLE_DEBUG_LOGGING=1 logs more, as it does in Azure."""
    options = _options(arguments)
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
