"""The app that was served when the real Functions host was recorded, without its slow and its deadly answer."""

import base64
import gzip
import json
from collections.abc import Callable
from typing import Any

import azure.functions as func

Seen = list[dict[str, Any]]
Answer = func.HttpResponse
_ANONYMOUS = func.AuthLevel.ANONYMOUS

ANSWERS: dict[str, Callable[[], Any]] = {
    "text": lambda: Answer("plain"),
    "string": lambda: "a string",
    "none": lambda: None,
    "dict": lambda: {"a": 1},
    "bytes": lambda: Answer(bytes(range(256)), mimetype="application/octet-stream"),
    "empty": Answer,
    "utf8": lambda: Answer("köln 模型 😀", mimetype="text/plain"),
    "latin": lambda: Answer("köln".encode("latin-1"), mimetype="text/plain", charset="latin-1"),
    "html": lambda: Answer("<p>hi</p>", mimetype="text/html"),
    "cookies": lambda: Answer("c", headers={"Set-Cookie": "a=1; Path=/; Secure; HttpOnly; SameSite=Lax"}),
    "header": lambda: Answer(
        "h", headers={"X-One": "1", "x-one": "2", "X-Empty": "", "Cache-Control": "no-store", "Vary": "Accept"}
    ),
    "header-utf8": lambda: Answer("h", headers={"X-Name": "köln"}),
    "header-newline": lambda: Answer("h", headers={"X-Name": "a\r\nX-Injected: 1"}),
    "header-length": lambda: Answer("hello", headers={"Content-Length": "3"}),
    "header-type": lambda: Answer("{}", mimetype="application/json", headers={"Content-Type": "text/x-own"}),
    "gzip": lambda: Answer(
        gzip.compress(b"zipped", mtime=0), headers={"Content-Encoding": "gzip"}, mimetype="text/plain"
    ),
    "redirect": lambda: Answer(status_code=303, headers={"Location": "/api/anything"}),
    "big": lambda: Answer("x" * 5_000_000),
    "slow": lambda: Answer("late"),
}


def recorded_app(seen: Seen) -> func.FunctionApp:
    """Build the app; its functions add to `seen` what they are given."""
    app = func.FunctionApp(http_auth_level=_ANONYMOUS)
    _add_echoes(app, seen)
    _add_answers(app, seen)
    _add_other_triggers(app, seen)
    return app


def _add_echoes(app: func.FunctionApp, seen: Seen) -> None:
    def add(name: str, req: func.HttpRequest) -> func.HttpResponse:
        body = req.get_body()
        given = {
            "method": req.method,
            "url": req.url,
            "params": dict(req.params),
            "route_params": dict(req.route_params),
            "headers": dict(req.headers),
            "length": len(body),
            "body": base64.b64encode(body[:200]).decode(),
        }
        seen.append({"function": name, **given})
        return Answer(json.dumps(given), mimetype="application/json")

    @app.route("echo/{a}/{b?}", methods=["GET", "POST", "PUT", "DELETE"])
    def echo(req: func.HttpRequest) -> func.HttpResponse:
        return add("echo", req)

    @app.route("typed/{n:int}", methods=["GET"])
    def typed(req: func.HttpRequest) -> str:
        add("typed", req)
        return json.dumps(dict(req.route_params))

    @app.route("files/{*path}", methods=["GET", "POST"])
    def files(req: func.HttpRequest) -> func.HttpResponse:
        return add("files", req)

    @app.route("anything")
    def anything(req: func.HttpRequest) -> func.HttpResponse:
        return add("anything", req)


def _add_answers(app: func.FunctionApp, seen: Seen) -> None:
    @app.route("guarded", methods=["GET"], auth_level=func.AuthLevel.FUNCTION)
    def guarded(req: func.HttpRequest) -> func.HttpResponse:
        seen.append({"function": "guarded"})
        return Answer("in")

    @app.route("restricted", methods=["GET"], auth_level=func.AuthLevel.ADMIN)
    def restricted(req: func.HttpRequest) -> func.HttpResponse:
        seen.append({"function": "restricted"})
        return Answer("in")

    @app.route("answer", methods=["GET", "POST"])
    def answer(req: func.HttpRequest) -> Any:
        kind = req.params["kind"]
        seen.append({"function": "answer", "kind": kind})
        if kind.isdigit():
            return Answer(None if kind in ("204", "304") else "body", status_code=int(kind))
        return ANSWERS[kind]()


def _add_other_triggers(app: func.FunctionApp, seen: Seen) -> None:
    @app.event_grid_trigger(arg_name="event")
    def events(event: func.EventGridEvent) -> None:
        seen.append(
            {
                "function": "events",
                "id": event.id,
                "topic": event.topic,
                "subject": event.subject,
                "event_type": event.event_type,
                "event_time": str(event.event_time),
                "data_version": event.data_version,
                "data": event.get_json(),
            }
        )
        if "fail" in event.subject:
            raise RuntimeError("the function failed")

    @app.timer_trigger(schedule="0 0 0 1 1 *", arg_name="timer", run_on_startup=False)
    def tick(timer: func.TimerRequest) -> None:
        seen.append({"function": "tick", "past_due": timer.past_due})
