"""The local Functions host answers as the real one does."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import azure.functions as func
import pytest
import requests

from local.functions_host import FunctionsHost
from local.serving import Server

HOME = Path(__file__).parents[2]
NOTIFICATION = {"aeg-event-type": "Notification"}
EVENT = {"id": "1", "topic": "/t", "subject": "größe", "eventType": "A.B", "data": {"a": 1}, "dataVersion": ""}
CLOUD_EVENT = {"specversion": "1.0", "id": "1", "source": "/t", "type": "A.B", "data": {"a": [1]}, "extra": "kept"}


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
            self.calls.append((context.function_name, context.invocation_id, context.trace_context.trace_parent))

        @self.app.event_grid_trigger(arg_name="event")
        def parallel(event: str) -> None:
            self.together.wait(10)

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
            seen = [
                req.method,
                dict(req.route_params),
                dict(req.params),
                req.headers["X-Sent"],
                req.get_body().decode(),
            ]
            return func.HttpResponse(
                json.dumps(seen), status_code=201, mimetype="application/json", headers={"X-Answered": "yes"}
            )

        @self.app.route("failing", methods=["GET"])
        def failing(req: func.HttpRequest) -> func.HttpResponse:
            raise ValueError("no page")


@pytest.fixture
def recording() -> RecordingApp:
    return RecordingApp()


@pytest.fixture
def url(recording: RecordingApp) -> Iterator[str]:
    host = FunctionsHost(recording.app)
    with host, Server(host) as server:
        yield server.url


def deliver(url: str, name: str, body: Any, **headers: str) -> requests.Response:
    content = body if isinstance(body, str) else json.dumps(body)
    webhook = f"{url}/runtime/webhooks/EventGrid?functionName={name}"
    return requests.post(webhook, content.encode(), headers=NOTIFICATION | headers, timeout=20)


@pytest.mark.parametrize("event", [EVENT, CLOUD_EVENT], ids=["Event Grid's schema", "CloudEvents"])
@pytest.mark.parametrize("batch", [False, True], ids=["alone", "in an array"])
def test_a_function_with_a_str_parameter_gets_the_whole_event_as_compact_json(
    recording: RecordingApp, url: str, *, event: dict[str, Any], batch: bool
) -> None:
    answer = deliver(url, "text", [event] if batch else event)

    assert (answer.status_code, answer.text) == (202, "")
    assert recording.calls == [json.dumps(event, separators=(",", ":"), ensure_ascii=False)]


def test_other_functions_get_the_librarys_own_event(recording: RecordingApp, url: str) -> None:
    deliver(url, "typed", [EVENT, CLOUD_EVENT])

    assert {type(event) for event in recording.calls} == {func.EventGridEvent, func.CloudEvent}
    assert {event.subject for event in recording.calls} == {"größe", None}


def test_a_function_gets_its_context(recording: RecordingApp, url: str) -> None:
    assert deliver(url, "with_context", {}).status_code == 202

    ((name, invocation, trace_parent),) = recording.calls
    assert name == "with_context"
    assert invocation
    assert trace_parent.startswith("00-")


def test_the_events_of_a_batch_run_at_the_same_time(url: str) -> None:
    assert deliver(url, "parallel", [{}, {}, {}]).status_code == 202


def test_one_failure_fails_the_batch_after_all_have_run(recording: RecordingApp, url: str) -> None:
    answer = deliver(url, "text", [{"a": "fail"}, {"a": 1}])

    assert (answer.status_code, answer.text) == (500, "Exception while executing function: Functions.text")
    assert sorted(recording.calls) == ['{"a":"fail"}', '{"a":1}']


@pytest.mark.parametrize("body", ["no JSON", "[{}, 1]", '"text"', "7", "", "\ufeff"])
def test_a_body_without_events_is_a_server_error(recording: RecordingApp, url: str, body: str) -> None:
    assert deliver(url, "text", body).status_code == 500
    assert recording.calls == []


@pytest.mark.parametrize("content_type", ["application/cloudevents+json", "x/y"])
def test_the_content_type_is_ignored(url: str, content_type: str) -> None:
    assert deliver(url, "text", {}, **{"Content-Type": content_type}).status_code == 202


def test_other_messages_of_event_grid_do_not_reach_the_function(recording: RecordingApp, url: str) -> None:
    assert deliver(url, "text", {}, **{"aeg-event-type": "Other"}).status_code == 400
    assert recording.calls == []


@pytest.mark.parametrize("name", ["", "TEXT", "tick", "unknown"])
def test_only_an_event_grid_function_of_exactly_this_name_is_found(url: str, name: str) -> None:
    answer = deliver(url, name, {})

    assert (answer.status_code, answer.text) == (404, f"cannot find function: '{name}'")


def test_the_webhook_path_is_case_insensitive_and_other_extensions_are_not_found(url: str) -> None:
    def post(extension: str) -> int:
        webhook = f"{url}/Runtime/WebHooks/{extension}?functionName=text"
        return requests.post(webhook, "{}", headers=NOTIFICATION, timeout=5).status_code

    assert (post("eventgrid"), post("EVENTGRID"), post("blobs")) == (202, 202, 404)


def test_a_timer_function_runs_on_request_and_gets_the_librarys_own_request(recording: RecordingApp, url: str) -> None:
    answer = requests.post(f"{url}/admin/functions/TICK", json={"input": None}, timeout=5)

    assert answer.status_code == 202
    (timer,) = recording.calls
    assert isinstance(timer, func.TimerRequest)
    assert timer.past_due is False


def test_a_failure_of_a_timer_is_only_in_the_log(url: str, caplog: pytest.LogCaptureFixture) -> None:
    assert requests.post(f"{url}/admin/functions/broken", json={"input": ""}, timeout=5).status_code == 202
    assert "Functions.broken" in caplog.text


@pytest.mark.parametrize(("name", "body", "status"), [("unknown", "{}", 404), ("text", "{}", 404), ("tick", "", 400)])
def test_a_wrong_request_runs_nothing(url: str, name: str, body: str, status: int) -> None:
    assert requests.post(f"{url}/admin/functions/{name}", body, timeout=5).status_code == status


def test_a_timer_runs_on_its_schedule_and_never_overlaps_itself() -> None:
    running, overlapped, twice = threading.Lock(), threading.Event(), threading.Semaphore(0)
    app = func.FunctionApp()

    @app.timer_trigger(arg_name="timer", schedule="* * * * * *")
    def slow(timer: func.TimerRequest) -> None:
        if not running.acquire(blocking=False):
            overlapped.set()
            return
        overlapped.wait(1.2)
        running.release()
        twice.release()

    with FunctionsHost(app, timers=True):
        assert twice.acquire(timeout=10)
        assert twice.acquire(timeout=10)

    assert not overlapped.is_set()


def test_requests_and_responses_are_converted(url: str) -> None:
    answer = requests.post(f"{url}/API/Things/7?q=a", "body", headers={"X-Sent": "by us"}, timeout=5)

    assert answer.json() == ["POST", {"id": "7"}, {"q": "a"}, "by us", "body"]
    assert (answer.status_code, answer.headers["X-Answered"]) == (201, "yes")
    assert answer.headers["Content-Type"] == "application/json"


def test_an_exception_in_an_http_function_is_a_server_error(url: str) -> None:
    answer = requests.get(f"{url}/api/failing", timeout=5)

    assert (answer.status_code, answer.text) == (500, "")


@pytest.mark.parametrize("path", ["/api/unknown", "/api/things", "/api/things/1/2", "/things/1", "/api/", "/admin/x"])
def test_other_paths_are_not_found(url: str, path: str) -> None:
    assert requests.get(url + path, timeout=5).status_code == 404


def test_a_method_that_a_route_does_not_have_is_not_found(url: str) -> None:
    # As the real host answers, against RFC 9110: https://github.com/Azure/azure-functions-host/issues/10098
    assert requests.delete(f"{url}/api/things/1", timeout=5).status_code == 404


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/runtime/webhooks/EventGrid?functionName=text"),
        ("POST", "/admin/functions/tick"),
        ("GET", "/admin/host/status"),
        ("GET", "/api/things/1"),
    ],
)
def test_a_host_with_a_key_refuses_requests_without_it(recording: RecordingApp, method: str, path: str) -> None:
    host = FunctionsHost(recording.app, key="secret")
    with host, Server(host) as server:

        def status(**options: Any) -> int:
            headers = NOTIFICATION | {"X-Sent": "by us"} | options.pop("headers", {})
            return requests.request(
                method, server.url + path, json={}, headers=headers, timeout=5, **options
            ).status_code

        assert {status(), status(params={"code": "wrong"}), status(headers={"x-functions-key": "wrong"})} == {401}
        assert {status(params={"code": "secret"}), status(headers={"x-functions-key": "secret"})} <= {200, 201, 202}


APP = """
import logging, os
import azure.functions as func

app = func.FunctionApp()

@app.route("hello", methods=["GET"])
def hello(req: func.HttpRequest) -> func.HttpResponse:
    logging.getLogger("app").info("said hello")
    return func.HttpResponse(os.environ["FROM_FILE"] + os.environ["FROM_BOTH"])
"""


def command(app_dir: Path, *arguments: str, **env: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "local.functions_host", "--app-dir", str(app_dir), "--port", "0", *arguments],
        cwd=HOME,
        env=os.environ | env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_the_command_serves_an_app_with_its_settings_until_it_is_stopped(tmp_path: Path, stop: signal.Signals) -> None:
    (tmp_path / "function_app.py").write_text(APP)
    (tmp_path / "local.settings.json").write_text('{"Values": {"FROM_FILE": "file ", "FROM_BOTH": "file"}}')
    with command(tmp_path, "--no-timers", FROM_BOTH="environment") as process:
        assert process.stdout
        name, _, url = process.stdout.readline().strip().partition(": ")

        answer = requests.get(url, timeout=5)
        process.send_signal(stop)
        _, errors = process.communicate(timeout=10)

    assert (name, answer.text) == ("hello", "file environment")
    assert url.endswith("/api/hello")
    assert "INFO said hello" in errors
    assert process.returncode == 0
    assert "Traceback" not in errors


@pytest.mark.parametrize(
    ("app", "message"),
    [
        ("raise RuntimeError('a setting is missing')", "RuntimeError: a setting is missing"),
        ("not Python at all", "SyntaxError"),
        ("", "has no attribute 'app'"),
    ],
)
def test_an_app_that_cannot_be_indexed_is_reported_in_clear_words(tmp_path: Path, app: str, message: str) -> None:
    (tmp_path / "function_app.py").write_text(app)

    with command(tmp_path) as process:
        _, errors = process.communicate(timeout=20)

    assert process.returncode == 1
    assert errors.startswith("Worker failed to index functions\n")
    assert message in errors
    assert "Traceback" not in errors
