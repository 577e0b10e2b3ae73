"""Serve function_app.py as the Azure Functions host does: the Event Grid webhook, HTTP routes, timers."""

from __future__ import annotations

import argparse
import importlib
import inspect
import json
import logging
import os
import re
import secrets
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import azure.functions as func
from azure.functions.decorators.core import BindingDirection
from azure.functions.timer import TimerRequest
from croniter import croniter
from werkzeug.exceptions import HTTPException, NotFound, Unauthorized
from werkzeug.routing import Map, Rule
from werkzeug.wrappers import Request, Response

from local.event_grid_webhook import Failure, answer_event_grid
from local.serving import Server

logger = logging.getLogger(__name__)

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,127}", re.IGNORECASE)
_ROUTE_PARAMETER = re.compile(r"\{(\w+)[^}]*\}")


@dataclass(frozen=True)
class Function:
    """A function of the app, with its trigger as the worker describes it to the host."""

    name: str
    trigger: Mapping[str, Any]
    code: Callable[..., Any]
    has_output: bool

    @property
    def type(self) -> str:
        """The type of its trigger."""
        return str(self.trigger["type"])

    def call(self, argument: Any) -> Any:
        """Run it as the worker does, which takes a returned value without an output binding for a failure."""
        result = self.code(**{self.trigger["name"]: argument})
        if result is not None and not self.has_output:
            msg = f"function '{self.name}' without a $return binding returned a non-None value"
            raise RuntimeError(msg)
        return result


class FunctionsHost:
    """The host of one function app, as an application to serve; a context manager that runs its threads."""

    def __init__(
        self, app: func.FunctionApp, *, key: str | None = None, timers: bool = False, route_prefix: str = "api"
    ) -> None:
        """With a key, callers must give it, as in Azure; without, as under `func start`, nobody need."""
        self.functions = _functions(app)
        self._key = key
        self._timers = timers
        self._stopped = threading.Event()
        self._pool = ThreadPoolExecutor(_threads())
        self._running: dict[str, threading.Lock] = {name: threading.Lock() for name in self.functions}
        self._routes = self._map(route_prefix)

    def run(self, name: str) -> None:
        """Run a timer function now, and raise what it raises; it never runs beside itself."""
        with self._running[name]:
            self._pool.submit(self.functions[name].call, TimerRequest(past_due=False)).result()

    def deliver(self, name: str, events: list[dict[str, Any]]) -> None:
        """Give each event to an Event Grid function, all at the same time; raises the first failure."""
        function = self.functions.get(name)
        if function is None or function.type != "eventGridTrigger":
            msg = f"cannot find function: '{name}'"
            raise NotFound(msg)
        texts = [json.dumps(event, separators=(",", ":"), ensure_ascii=False) for event in events]
        calls = [self._pool.submit(function.call, text) for text in texts]
        failures = [error for error in (call.exception() for call in calls) if error]
        for error in failures:
            logger.error("Exception while executing function: Functions.%s: %r", name, error)
        if failures:
            msg = f"Exception while executing function: Functions.{name}"
            raise Failure(msg) from failures[0]

    def __call__(self, request: Request) -> Response:
        """Answer one request."""
        urls = self._routes.bind_to_environ(request.environ)
        try:
            handle, values = urls.match()
            answer: Response = handle(request, **values)
        except HTTPException as error:
            return Response(error.description, error.code)
        return answer

    def __enter__(self) -> Self:
        for function in self.functions.values() if self._timers else ():
            if function.type == "timerTrigger":
                threading.Thread(target=self._keep_time, args=(function,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._pool.shutdown()

    def _map(self, prefix: str) -> Map:
        rules = [
            Rule("/", endpoint=lambda _: Response("Your Functions app is up and running", mimetype="text/html")),
            Rule("/admin/host/status", endpoint=self._status),
            Rule("/admin/functions/<name>", endpoint=self._run_now, methods=["POST"]),
            Rule("/runtime/webhooks/<extension>", endpoint=self._webhook),
        ]
        for function in self.functions.values():
            if function.type == "httpTrigger":
                route = _ROUTE_PARAMETER.sub(r"<\1>", function.trigger.get("route") or function.name)
                methods = [method.value for method in function.trigger.get("methods") or func.HttpMethod]
                rules.append(Rule(f"/{prefix}/{route}", endpoint=self._http(function), methods=methods))
        return Map(rules, strict_slashes=False)

    def _status(self, _: Request) -> Response:
        return Response(json.dumps({"state": "Running"}), mimetype="application/json")

    def _run_now(self, request: Request, name: str) -> Response:
        self._check_key(request)
        if name not in self.functions:
            raise NotFound
        # The real host answers at once and runs it in the background; here the answer tells that it has ended.
        try:
            self.run(name)
        except Exception:
            logger.exception("Exception while executing function: Functions.%s", name)
        return Response(status=202)

    def _webhook(self, request: Request, extension: str) -> Response:
        if extension.lower() != "eventgrid":
            raise NotFound
        self._check_key(request)
        return answer_event_grid(request, self.deliver)

    def _http(self, function: Function) -> Callable[..., Response]:
        def handle(request: Request, **route_params: str) -> Response:
            if function.trigger.get("authLevel") != func.AuthLevel.ANONYMOUS:
                self._check_key(request)
            given = func.HttpRequest(
                request.method,
                request.url,
                headers=dict(request.headers),
                params=request.args.to_dict(),
                route_params=route_params,
                body=request.get_data(),
            )
            try:
                answer = self._pool.submit(function.call, given).result()
                return Response(answer.get_body(), answer.status_code, dict(answer.headers), mimetype=answer.mimetype)
            except Exception:
                logger.exception("Exception while executing function: Functions.%s", function.name)
                return Response(status=500)

        return handle

    def _check_key(self, request: Request) -> None:
        given = request.args.get("code") or request.headers.get("x-functions-key") or ""
        if self._key is not None and not secrets.compare_digest(given.encode(), self._key.encode()):
            raise Unauthorized

    def _keep_time(self, function: Function) -> None:
        # NCRONTAB writes the seconds first.
        times = croniter(function.trigger["schedule"], datetime.now(UTC), second_at_beginning=True)
        while not self._stopped.wait((times.get_next(datetime) - datetime.now(UTC)).total_seconds()):
            try:
                self.run(function.name)
            except Exception:
                logger.exception("Exception while executing function: Functions.%s", function.name)


def _functions(app: func.FunctionApp) -> dict[str, Function]:
    found: dict[str, Function] = {}
    for function in app.get_functions():
        name, trigger = str(function.get_function_name()), function.get_trigger()
        if not _NAME.fullmatch(name) or name.lower() in map(str.lower, found):
            msg = f"the function name {name!r} is not allowed, or stands twice"
            raise ValueError(msg)
        if trigger is None or inspect.iscoroutinefunction(function.get_user_function()):
            msg = f"the function {name} has no trigger, or is a coroutine, which this host does not run"
            raise ValueError(msg)
        outputs = [binding for binding in function.get_bindings() if binding.direction != BindingDirection.IN.value]
        found[name] = Function(name, trigger.get_dict_repr(), function.get_user_function(), bool(outputs))
    return found


def _threads() -> int:
    # https://learn.microsoft.com/azure/azure-functions/python-scale-performance-reference
    return int(os.environ.get("PYTHON_THREADPOOL_THREAD_COUNT") or min(32, (os.cpu_count() or 1) + 4))


def load(folder: Path) -> tuple[func.FunctionApp, str]:
    """Import function_app.py of a folder with its local.settings.json; returns the app and its route prefix."""
    host = json.loads((folder / "host.json").read_text())
    settings = folder / "local.settings.json"
    if settings.exists():
        os.environ.update(json.loads(settings.read_text()).get("Values", {}) | os.environ)
    sys.path.insert(0, str(folder))
    app = importlib.import_module("function_app").app
    return app, host.get("extensions", {}).get("http", {}).get("routePrefix", "api")


def main() -> int:
    """Serve until interrupted; 1 when the app does not start."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=7071)
    parser.add_argument("--app-dir", type=Path, default=Path.cwd())
    parser.add_argument("--key", help="the key that callers must give")
    parser.add_argument("--no-timers", action="store_true", help="run timer functions only when asked to")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("azure").setLevel(logging.WARNING)
    try:
        app, prefix = load(arguments.app_dir.resolve())
    except Exception as error:
        logger.error("Worker failed to index functions\n%s", error)  # noqa: TRY400  the trace is for who debugs it
        logger.debug("", exc_info=True)
        return 1
    host = FunctionsHost(app, key=arguments.key, timers=not arguments.no_timers, route_prefix=prefix)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with host, Server(host, arguments.port) as server:
        print(f"Functions of {server.url}:", flush=True)
        for function in host.functions.values():
            where = function.trigger.get("schedule") or function.trigger.get("route") or ""
            print(f"  {function.name}: {function.type} {where}".rstrip(), flush=True)
        try:
            server.wait()
        except KeyboardInterrupt:
            return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
