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

_TIMER_INFO = '{"Schedule":{"AdjustForDST":true},"ScheduleStatus":null,"IsPastDue":false}'


class FunctionsHost:
    """The host of one app: answers requests, and as a context manager runs the timers."""

    def __init__(self, app: func.FunctionApp, *, key: str | None = None, timers: bool = False) -> None:
        """Read the app's functions; without a key no request needs one, as with `func start`."""
        functions = index(app)
        self._key = key
        self._subscribers = {function.name: function for function in functions if function.kind == EVENT_GRID}
        self._timers = {function.name: function for function in functions if function.kind == TIMER}
        self._routes = [Route(function) for function in functions if function.kind == HTTP]
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
        given = request.args.get("code") or request.headers.get("x-functions-key")
        answer = self._handler(request)
        if answer is None:
            return Response(status=404)
        return answer(request) if self._key in (None, given) else Response(status=401)

    def _handler(self, request: Request) -> Callable[[Request], Response] | None:
        match [request.method, *request.path.strip("/").lower().split("/")]:
            case ["POST", "runtime", "webhooks", "eventgrid"]:
                return self._event_grid
            case ["GET", "admin", "host", "status"]:
                return lambda _: Response('{"state": "Running"}', mimetype="application/json")
            case ["POST", "admin", "functions", name]:
                return partial(self._run_now, name)
        for route in self._routes:
            parameters = route.match(request)
            if parameters is not None:
                return partial(self._invoke, route.function, parameters)
        return None

    def addresses(self, url: str) -> Iterator[str]:
        """Return a line for each function: its name, and its URL or schedule."""
        for name in self._subscribers:
            yield f"{name}: {url}/runtime/webhooks/EventGrid?functionName={name}"
        for route in self._routes:
            yield f"{route.function.name}: {url}{route.path}"
        for name, timer in self._timers.items():
            yield f"{name}: {timer.trigger['schedule']}"

    def _event_grid(self, request: Request) -> Response:
        """Answer a delivery as the host's extension does.

        https://github.com/Azure/azure-sdk-for-net/tree/main/sdk/eventgrid/Microsoft.Azure.WebJobs.Extensions.EventGrid
        """
        name = request.args.get("functionName", "")
        if name not in self._subscribers:
            return Response(f"cannot find function: '{name}'", status=404)
        if request.headers.get("aeg-event-type", "").lower() != "notification":
            return Response(status=400)
        try:
            events = _events(request)
        except ValueError as error:
            return Response(str(error), status=500)
        invocations = [self._worker.start(self._subscribers[name], Datum(event, "json")) for event in events]
        wait(invocations)
        if any(invocation.exception() for invocation in invocations):
            return Response(f"Exception while executing function: Functions.{name}", status=500)
        return Response(status=202)

    def _invoke(self, function: Function, parameters: dict[str, str], request: Request) -> Response:
        invocation = self._worker.start(function, request_datum(request, parameters))
        return Response(status=500) if invocation.exception() else response_of(invocation.result())

    def _run_now(self, name: str, request: Request) -> Response:
        timer = next((timer for timer in self._timers.values() if timer.name.lower() == name), None)
        if timer is None:
            return Response(status=404)
        if not isinstance(request.get_json(force=True, silent=True), dict):
            return Response(status=400)
        # The real host answers before the function runs. Callers here need to know when it has ended.
        self._run(timer)
        return Response(status=202)

    def _keep_time(self, timer: Function, schedule: croniter) -> None:
        due = datetime.now(UTC)
        while True:
            # A wait may end a little early, which must not run the same schedule twice.
            due = schedule.get_next(datetime, start_time=max(due, datetime.now(UTC)))
            if self._stopped.wait((due - datetime.now(UTC)).total_seconds()):
                return
            self._run(timer)

    def _run(self, timer: Function) -> None:
        # The worker logs exceptions.
        with suppress(Exception):
            self._worker.start(timer, Datum(_TIMER_INFO, "json")).result()


def _schedule(timer: Function) -> croniter:
    # Without timers the host needs only the packages that are deployed.
    from croniter import croniter  # noqa: PLC0415

    # NCRONTAB begins with seconds, and both the day of the month and the day of the week must match.
    return croniter(timer.trigger["schedule"], second_at_beginning=True, day_or=False)


def _events(request: Request) -> list[str]:
    body = json.loads(request.get_data())
    events = body if isinstance(body, list) else [body]
    if not all(isinstance(event, dict) for event in events):
        raise ValueError("an event is a JSON object")
    return [json.dumps(event, separators=(",", ":"), ensure_ascii=False) for event in events]


def _load(options: argparse.Namespace) -> FunctionsHost:
    folder = options.app_dir.resolve()
    settings = folder / "local.settings.json"
    if settings.exists():
        values: dict[str, str] = json.loads(settings.read_text(encoding="utf-8-sig")).get("Values", {})
        os.environ.update({name: value for name, value in values.items() if name not in os.environ})
    sys.path.insert(0, str(folder))
    os.chdir(folder)
    app: Any = importlib.import_module("function_app")
    return FunctionsHost(app.app, timers=options.timers)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m local.functions_host", description="Serve a Functions app.")
    parser.add_argument("--port", type=int, default=7071, help="port to listen on; 0 is a free port")
    parser.add_argument("--no-timers", dest="timers", action="store_false", help="run timer functions on request only")
    parser.add_argument("--app-dir", type=Path, default=Path(), help="folder of function_app.py; default: this folder")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until interrupted."""
    options = _options(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S")
    # Azure's libraries log every request at INFO.
    logging.getLogger("azure").setLevel(logging.WARNING)
    try:
        host = _load(options)
    except Exception as error:  # noqa: BLE001  an app may raise anything while it is imported
        print(f"Worker failed to index functions\n{type(error).__name__}: {error}", file=sys.stderr, flush=True)
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
