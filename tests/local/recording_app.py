"""An Azure Functions app that records its calls."""

import json
import threading
from typing import Any

import azure.functions as func


class RecordingApp:
    """An app whose functions record what they are called with."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.together = threading.Barrier(3)
        self.app = func.FunctionApp()
        self._add_subscribers()
        self._add_timers()
        self._add_routes()

    def _add_subscribers(self) -> None:
        @self.app.event_grid_trigger(arg_name="event")
        def text(event: str) -> None:
            self.calls.append(event)
            if "fail" in event:
                raise ValueError("no room")

        @self.app.event_grid_trigger(arg_name="event")
        def typed(event: func.EventGridEvent) -> None:
            self.calls.append(event)

        @self.app.event_grid_trigger(arg_name="event")
        def with_context(event: str, context: func.Context) -> None:
            self.calls.append(context)

        @self.app.event_grid_trigger(arg_name="event")
        async def coroutine(event: str, context: func.Context) -> None:
            self.calls.append((event, context.function_name, context.thread_local_storage.invocation_id))

        @self.app.event_grid_trigger(arg_name="event")
        def parallel(event: str) -> None:
            self.together.wait(10)

        @self.app.event_grid_trigger(arg_name="event")
        def returning(event: str) -> str:
            return "done"

    def _add_timers(self) -> None:
        @self.app.timer_trigger(arg_name="timer", schedule="0 0 0 1 1 *")
        def tick(timer: func.TimerRequest) -> None:
            self.calls.append(timer)

        @self.app.timer_trigger(arg_name="timer", schedule="0 0 0 1 1 *")
        def broken(timer: func.TimerRequest) -> None:
            raise ValueError("no time")

    def _add_routes(self) -> None:
        @self.app.route("things/{id}", methods=["GET", "POST"])
        def things(req: func.HttpRequest) -> func.HttpResponse:
            seen = {
                "method": req.method,
                "url": req.url,
                "route": dict(req.route_params),
                "query": dict(req.params),
                "headers": dict(req.headers),
                "body": req.get_body().decode(),
            }
            headers = {"X-Answered": "yes", "Set-Cookie": "a=1; Path=/; HttpOnly"}
            return func.HttpResponse(json.dumps(seen), status_code=201, mimetype="application/json", headers=headers)

        @self.app.route("things/best", auth_level=func.AuthLevel.ANONYMOUS)
        def best(req: func.HttpRequest) -> str:
            return "the best"

        @self.app.route("numbers/{number:int}")
        def numbers(req: func.HttpRequest) -> str:
            return req.route_params["number"]

        @self.app.route("files/{*path}")
        def files(req: func.HttpRequest) -> str:
            return str(req.route_params.get("path"))

        @self.app.route("pages/{number?}")
        def pages(req: func.HttpRequest) -> str:
            return str(req.route_params.get("number"))

        @self.app.route("failing")
        def failing(req: func.HttpRequest) -> func.HttpResponse:
            raise ValueError("no page")

        @self.app.route("nothing")
        def nothing(req: func.HttpRequest) -> None:
            return None

        @self.app.route("header")
        def header(req: func.HttpRequest) -> func.HttpResponse:
            return func.HttpResponse(headers={"X-Name": req.params["value"]})
