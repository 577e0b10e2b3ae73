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
from concurrent.futures import wait
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import azure.functions as func
from azure.functions.meta import Datum
from werkzeug.wrappers import Request, Response

from local.functions_http import Route, request_datum, response_of
from local.functions_worker import EVENT_GRID, HTTP, TIMER, Function, Worker, index
from local.serving import Server

if TYPE_CHECKING:
    from croniter import croniter

_WEBHOOK_METHODS = ("GET", "PUT", "POST", "DELETE", "OPTIONS")
_TIMER_INFO = '{"Schedule":{"AdjustForDST":true},"ScheduleStatus":null,"IsPastDue":false}'
_log = logging.getLogger(__name__)


class FunctionsHost:
    """The host of one app: answers requests, and as a context manager runs the timers."""

    def __init__(
        self, app: func.FunctionApp, *, key: str | None = None, timers: bool = False, route_prefix: str = "api"
    ) -> None:
        """Read the app's functions; without a key all doors are open, as they are with `func start`."""
        functions = index(app)
        self._key = key
        self._subscribers = {function.name: function for function in functions if function.kind == EVENT_GRID}
        self._timers = {function.name: function for function in functions if function.kind == TIMER}
        routes = [Route(function, route_prefix) for function in functions if function.kind == HTTP]
        self._routes = sorted(routes, key=lambda route: route.order)
        schedules = [(function, _schedule(function)) for function in self._timers.values() if timers]
        self._clocks = [threading.Thread(target=self._keep_time, args=args) for args in schedules]
        self._stopped = threading.Event()
        self._worker = Worker()

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
                return Response("Your Functions 4.0 app is up and running\n")
            case [method, "runtime", "webhooks", "eventgrid"] if method in _WEBHOOK_METHODS:
                return self._with_key(request, self._event_grid)
            case ["GET", "admin", "host", "status"]:
                return self._with_key(request, lambda _: _json_response({"state": "Running"}))
            case ["POST", "admin", "functions", name]:
                return self._with_key(request, partial(self._run_now, name))
            case _:
                return self._http(request)

    def run(self, name: str) -> None:
        """Run a timer function now, raising what it raises."""
        self._worker.start(self._timers[name], Datum(_TIMER_INFO, "json")).result()

    def addresses(self, url: str) -> Iterator[str]:
        """For each function a line with what it answers to: its URL or its schedule."""
        for name in self._subscribers:
            yield f"{name}: {url}/runtime/webhooks/EventGrid?functionName={name}"
        for route in self._routes:
            yield f"{route.function.name}: {url}{route.path}"
        for name, timer in self._timers.items():
            yield f"{name}: {timer.trigger['schedule']}"

    def _with_key(self, request: Request, answer: Callable[[Request], Response]) -> Response:
        given = request.args.get("code") or request.headers.get("x-functions-key")
        return answer(request) if self._key in (None, given) else Response(status=401)

    def _event_grid(self, request: Request) -> Response:
        """Answer Event Grid as the host's extension does.

        https://github.com/Azure/azure-sdk-for-net/tree/main/sdk/eventgrid/Microsoft.Azure.WebJobs.Extensions.EventGrid
        """
        name = request.args.get("functionName", "")
        if name not in self._subscribers:
            return Response(f"cannot find function: '{name}'", status=404)
        if request.method == "OPTIONS":
            return _cloud_events_handshake(request)
        match request.headers.get("aeg-event-type", "").lower():
            case "subscriptionvalidation":
                return _event_grid_handshake(request)
            case "notification":
                return self._deliver(self._subscribers[name], request)
            case "unsubscribe":
                return Response(status=202)
            case _:
                return Response(status=400)

    def _deliver(self, subscriber: Function, request: Request) -> Response:
        try:
            events = _events(request)
        except ValueError as error:
            return Response(str(error), status=500)
        invocations = [self._worker.start(subscriber, Datum(_compact(event), "json")) for event in events]
        wait(invocations)
        if any(invocation.exception() for invocation in invocations):
            return Response(f"Exception while executing function: Functions.{subscriber.name}", status=500)
        return Response(status=202)

    def _http(self, request: Request) -> Response:
        for route in self._routes:
            parameters = route.match(request)
            if parameters is not None:
                invoke = partial(self._invoke, route.function, parameters)
                return invoke(request) if route.is_open else self._with_key(request, invoke)
        return Response(status=404)

    def _invoke(self, function: Function, parameters: dict[str, str], request: Request) -> Response:
        invocation = self._worker.start(function, request_datum(request, parameters))
        return Response(status=500) if invocation.exception() else response_of(invocation.result())

    def _run_now(self, name: str, request: Request) -> Response:
        timer = next((timer for timer in self._timers if timer.lower() == name), None)
        if timer is None:
            return Response(status=404)
        if not isinstance(request.get_json(force=True, silent=True), dict):
            return Response(status=400)
        # The real host answers before it has run, and a failure is only in its log. Callers here ask when it is done.
        self._run_logged(timer)
        return Response(status=202)

    def _keep_time(self, timer: Function, schedule: croniter) -> None:
        if timer.trigger.get("runOnStartup"):
            self._run_logged(timer.name)
        due = datetime.now(UTC)
        while True:
            # A wait may end a little early, which must not make the same moment come again.
            due = schedule.get_next(datetime, start_time=max(due, datetime.now(UTC)))
            if self._stopped.wait((due - datetime.now(UTC)).total_seconds()):
                return
            self._run_logged(timer.name)

    def _run_logged(self, name: str) -> None:
        # The worker logs what a function raises.
        with suppress(Exception):
            self.run(name)


def _schedule(timer: Function) -> croniter:
    # Without timers the host runs with what is deployed, and nothing else.
    from croniter import croniter  # noqa: PLC0415

    # NCRONTAB begins with seconds, and wants both the day of the month and the day of the week to match.
    return croniter(timer.trigger["schedule"], second_at_beginning=True, day_or=False)


def _cloud_events_handshake(request: Request) -> Response:
    asked = request.headers.get("WebHook-Request-Origin", "")
    allowed = asked if asked.startswith("eventgrid.azure.") else "eventgrid.azure.net"
    return Response(headers={"Webhook-Allowed-Origin": allowed})


def _event_grid_handshake(request: Request) -> Response:
    try:
        data = _events(request)[0]["data"]
        code = (json.loads(data) if isinstance(data, str) else data)["validationCode"]
    except (ValueError, LookupError, TypeError) as error:
        return Response(str(error), status=500)
    return _json_response({"validationResponse": code})


def _events(request: Request) -> list[dict[str, Any]]:
    body = json.loads(request.get_data())
    events = body if isinstance(body, list) else [body]
    if not all(isinstance(event, dict) for event in events):
        msg = "an event is a JSON object"
        raise ValueError(msg)
    return events


def _compact(event: dict[str, Any]) -> str:
    return json.dumps(event, separators=(",", ":"), ensure_ascii=False)


def _json_response(value: object) -> Response:
    return Response(json.dumps(value), mimetype="application/json")


def _load(options: argparse.Namespace) -> FunctionsHost:
    folder = options.app_dir.resolve()
    settings = _read_json(folder / "local.settings.json").get("Values", {})
    os.environ.update({name: value for name, value in settings.items() if name not in os.environ})
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
        msg = f"function_app.py must have one FunctionApp, and has {len(apps)}"
        raise ValueError(msg)
    return apps[0]


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m local.functions_host", description="Serve a Functions app.")
    parser.add_argument("--port", type=int, default=7071, help="where to listen; 0 takes a free port")
    parser.add_argument("--no-timers", dest="timers", action="store_false", help="run timer functions only when asked")
    parser.add_argument("--key", help="the key that requests must bring; without it they need none")
    parser.add_argument("--app-dir", type=Path, default=Path(), help="where function_app.py is; otherwise here")
    return parser.parse_args(arguments)


def _log_to_stderr() -> None:
    debug = os.environ.get("PYTHON_ENABLE_DEBUG_LOGGING") == "1"
    level = logging.DEBUG if debug else logging.INFO
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S")
    # Azure's libraries tell every request at INFO.
    logging.getLogger("azure").setLevel(logging.DEBUG if debug else logging.WARNING)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until interrupted; PYTHON_ENABLE_DEBUG_LOGGING=1 shows more, as it does in Azure."""
    options = _options(arguments)
    _log_to_stderr()
    try:
        host = _load(options)
    except Exception as error:  # noqa: BLE001  an app may raise anything while it is imported
        print(f"Worker failed to index functions\n{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        _log.debug("It was raised here:", exc_info=error)
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
