"""The local Functions host answers as the real one does."""

from __future__ import annotations

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


class Site:
    """A served app whose functions note what they were given."""

    def __init__(self) -> None:
        self.given: list[Any] = []
        self.together = threading.Barrier(3)
        self.app = func.FunctionApp()
        self._add_subscribers()
        self._add_timers()
        self._add_routes()

    def _add_subscribers(self) -> None:
        @self.app.event_grid_trigger(arg_name="event")
        def text(event: str) -> None:
            self.given.append(event)
            if "fail" in event:
                raise ValueError("no room")

        @self.app.event_grid_trigger(arg_name="event")
        def typed(event: func.EventGridEvent) -> None:
            self.given.append(event)

        @self.app.event_grid_trigger(arg_name="event")
        async def awaited(event: str, context: func.Context) -> None:
            self.given.append((event, context.function_name, context.thread_local_storage.invocation_id))

        @self.app.event_grid_trigger(arg_name="event")
        def parallel(event: str) -> None:
            self.together.wait(10)

        @self.app.event_grid_trigger(arg_name="event")
        def returning(event: str) -> str:
            return "done"

    def _add_timers(self) -> None:
        @self.app.timer_trigger(arg_name="timer", schedule="0 0 0 1 1 *")
        def tick(timer: func.TimerRequest) -> None:
            self.given.append(timer)

        @self.app.timer_trigger(arg_name="timer", schedule="0 0 0 1 1 *")
        def broken(timer: func.TimerRequest) -> None:
            raise ValueError("no time")

    def _add_routes(self) -> None:
        @self.app.route("things/{id}", methods=["GET", "POST"])
        def things(req: func.HttpRequest) -> func.HttpResponse:
            told = [
                req.method,
                dict(req.route_params),
                dict(req.params),
                req.headers["X-Asked"],
                req.get_body().decode(),
            ]
            headers = {"X-Told": "yes", "Set-Cookie": "a=1; Path=/"}
            return func.HttpResponse(json.dumps(told), status_code=201, mimetype="application/json", headers=headers)

        @self.app.route("things/best", auth_level=func.AuthLevel.ANONYMOUS)
        def best(req: func.HttpRequest) -> str:
            return "the best"

        @self.app.route("nothing")
        def nothing(req: func.HttpRequest) -> None:
            return None


@pytest.fixture
def site() -> Site:
    return Site()


@pytest.fixture
def url(site: Site) -> Iterator[str]:
    host = FunctionsHost(site.app)
    with host, Server(host) as server:
        yield server.url


def deliver(url: str, name: str, body: Any, **headers: str) -> requests.Response:
    content = body if isinstance(body, str) else json.dumps(body)
    webhook = f"{url}/runtime/webhooks/EventGrid?functionName={name}"
    return requests.post(webhook, content.encode(), headers=NOTIFICATION | headers, timeout=20)


@pytest.mark.parametrize("event", [EVENT, CLOUD_EVENT], ids=["Event Grid's schema", "CloudEvents"])
@pytest.mark.parametrize("batch", [False, True], ids=["alone", "in an array"])
def test_a_function_that_takes_str_gets_the_whole_event_as_compact_json(
    site: Site, url: str, *, event: dict[str, Any], batch: bool
) -> None:
    answer = deliver(url, "text", [event] if batch else event)

    assert (answer.status_code, answer.text) == (202, "")
    assert site.given == [json.dumps(event, separators=(",", ":"), ensure_ascii=False)]


def test_other_functions_get_the_librarys_own_event(site: Site, url: str) -> None:
    deliver(url, "typed", [EVENT, CLOUD_EVENT])

    assert {type(event) for event in site.given} == {func.EventGridEvent, func.CloudEvent}
    assert {event.subject for event in site.given} == {"größe", None}


def test_a_coroutine_gets_its_event_and_its_context(site: Site, url: str) -> None:
    assert deliver(url, "awaited", {}).status_code == 202

    ((event, name, invocation),) = site.given
    assert (event, name) == ("{}", "awaited")
    assert invocation


def test_the_events_of_a_batch_run_at_the_same_time(url: str) -> None:
    assert deliver(url, "parallel", [{}, {}, {}]).status_code == 202


def test_one_failure_fails_the_batch_after_all_have_run(site: Site, url: str) -> None:
    answer = deliver(url, "text", [{"a": "fail"}, {"a": 1}])

    assert (answer.status_code, answer.text) == (500, "Exception while executing function: Functions.text")
    assert sorted(site.given) == ['{"a":"fail"}', '{"a":1}']


def test_a_returned_value_is_a_failure(url: str) -> None:
    assert deliver(url, "returning", {}).status_code == 500


def test_an_empty_array_is_accepted(site: Site, url: str) -> None:
    assert deliver(url, "text", []).status_code == 202
    assert site.given == []


@pytest.mark.parametrize("body", ["no JSON", "[{}, 1]", '"text"', "7", "", "\ufeff"])
def test_a_body_without_events_is_a_server_error(site: Site, url: str, body: str) -> None:
    assert deliver(url, "text", body).status_code == 500
    assert site.given == []


@pytest.mark.parametrize("content_type", ["application/cloudevents+json", "application/cloudevents-batch+json", "x/y"])
def test_the_content_type_is_never_read(url: str, content_type: str) -> None:
    assert deliver(url, "text", {}, **{"Content-Type": content_type}).status_code == 202


@pytest.mark.parametrize("body", [[{"data": {"validationCode": "x"}}], {"data": '{"validationCode":"x"}'}])
@pytest.mark.parametrize("header", ["SubscriptionValidation", "subscriptionvalidation"])
def test_a_subscription_is_validated_without_the_function(site: Site, url: str, body: Any, header: str) -> None:
    answer = deliver(url, "text", body, **{"aeg-event-type": header})

    assert (answer.status_code, answer.json()) == (200, {"validationResponse": "x"})
    assert site.given == []


@pytest.mark.parametrize(
    ("asked", "allowed"),
    [
        ("eventgrid.azure.net", "eventgrid.azure.net"),
        ("eventgrid.azure.us", "eventgrid.azure.us"),
        ("example.org", "eventgrid.azure.net"),
    ],
)
def test_cloud_events_are_allowed_to_come(url: str, asked: str, allowed: str) -> None:
    webhook = f"{url}/runtime/webhooks/EventGrid?functionName=text"

    answer = requests.options(webhook, headers={"WebHook-Request-Origin": asked}, timeout=5)

    assert (answer.status_code, answer.headers["Webhook-Allowed-Origin"]) == (200, allowed)


@pytest.mark.parametrize(("header", "status"), [("Unsubscribe", 202), ("Other", 400), ("", 400)])
def test_other_messages_do_not_reach_the_function(site: Site, url: str, header: str, status: int) -> None:
    assert deliver(url, "text", {}, **{"aeg-event-type": header}).status_code == status
    assert site.given == []


@pytest.mark.parametrize("name", ["", "TEXT", "tick", "unknown"])
def test_only_an_event_grid_function_of_exactly_this_name_is_found(url: str, name: str) -> None:
    answer = deliver(url, name, {})

    assert (answer.status_code, answer.text) == (404, f"cannot find function: '{name}'")


def test_the_path_is_found_in_any_case_and_other_extensions_are_not(url: str) -> None:
    def post(extension: str) -> int:
        webhook = f"{url}/Runtime/WebHooks/{extension}?functionName=text"
        return requests.post(webhook, "{}", headers=NOTIFICATION, timeout=5).status_code

    assert (post("eventgrid"), post("EVENTGRID"), post("blobs")) == (202, 202, 404)


def test_a_timer_function_runs_when_asked_and_gets_the_librarys_own_request(site: Site, url: str) -> None:
    answer = requests.post(f"{url}/admin/functions/TICK", json={"input": None}, timeout=5)

    assert answer.status_code == 202
    ((timer),) = site.given
    assert isinstance(timer, func.TimerRequest)
    assert timer.past_due is False


def test_the_failure_of_a_timer_is_in_the_log_only(url: str, caplog: pytest.LogCaptureFixture) -> None:
    assert requests.post(f"{url}/admin/functions/broken", json={"input": ""}, timeout=5).status_code == 202
    assert "Functions.broken" in caplog.text


@pytest.mark.parametrize(("name", "body", "status"), [("unknown", "{}", 404), ("text", "{}", 404), ("tick", "", 400)])
def test_what_cannot_be_run_is_refused(url: str, name: str, body: str, status: int) -> None:
    assert requests.post(f"{url}/admin/functions/{name}", body, timeout=5).status_code == status


def test_running_a_timer_from_python_raises_what_it_raises(site: Site) -> None:
    with FunctionsHost(site.app) as host, pytest.raises(ValueError, match="no time"):
        host.run("broken")


@pytest.mark.parametrize("options", [{"schedule": "0 0 0 1 1 *", "run_on_startup": True}, {"schedule": "* * * * * *"}])
def test_timers_run_at_the_start_if_they_want_and_on_their_schedule(options: dict[str, Any]) -> None:
    ran = threading.Event()
    app = func.FunctionApp()

    @app.timer_trigger(arg_name="timer", **options)
    def tick(timer: func.TimerRequest) -> None:
        ran.set()

    with FunctionsHost(app, timers=True):
        assert ran.wait(10)


def test_a_timer_never_overlaps_itself() -> None:
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


def test_requests_and_responses_are_converted_both_ways(url: str) -> None:
    answer = requests.post(f"{url}/API/Things/7?q=a", "body", headers={"X-Asked": "who"}, timeout=5)

    assert answer.json() == ["POST", {"id": "7"}, {"q": "a"}, "who", "body"]
    assert (answer.status_code, answer.headers["X-Told"]) == (201, "yes")
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.cookies["a"] == "1"


def test_a_word_in_a_route_goes_before_a_parameter(url: str) -> None:
    assert requests.get(f"{url}/api/things/best", timeout=5).text == "the best"


def test_an_http_function_that_returns_nothing_is_a_server_error(url: str) -> None:
    assert requests.get(f"{url}/api/nothing", timeout=5).status_code == 500


@pytest.mark.parametrize("path", ["/api/unknown", "/api/things", "/api/things/1/2", "/things/1", "/api/", "/admin/x"])
def test_other_paths_are_not_found(url: str, path: str) -> None:
    assert requests.get(url + path, timeout=5).status_code == 404


def test_a_method_that_a_route_does_not_take_is_not_found(url: str) -> None:
    # As the real host does, against RFC 9110: https://github.com/Azure/azure-functions-host/issues/10098
    assert requests.delete(f"{url}/api/things/1", timeout=5).status_code == 404


@pytest.mark.parametrize(("prefix", "path"), [("", "/things/best"), ("v1/x", "/v1/x/things/best")])
def test_the_route_prefix_can_be_another(site: Site, prefix: str, path: str) -> None:
    host = FunctionsHost(site.app, route_prefix=prefix)
    with host, Server(host) as server:
        assert requests.get(server.url + path, timeout=5).status_code == 200


def test_the_host_says_that_it_runs(url: str) -> None:
    assert requests.get(f"{url}/admin/host/status", timeout=5).json() == {"state": "Running"}
    assert "up and running" in requests.get(url, timeout=5).text


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/runtime/webhooks/EventGrid?functionName=text"),
        ("OPTIONS", "/runtime/webhooks/EventGrid?functionName=text"),
        ("POST", "/admin/functions/tick"),
        ("GET", "/admin/host/status"),
        ("GET", "/api/things/1"),
    ],
)
def test_with_a_key_only_requests_that_bring_it_come_in(site: Site, method: str, path: str) -> None:
    host = FunctionsHost(site.app, key="secret")
    with host, Server(host) as server:

        def status(**options: Any) -> int:
            headers = NOTIFICATION | {"X-Asked": "who"} | options.pop("headers", {})
            return requests.request(
                method, server.url + path, json={}, headers=headers, timeout=5, **options
            ).status_code

        assert {status(), status(params={"code": "wrong"}), status(headers={"x-functions-key": "wrong"})} == {401}
        assert {status(params={"code": "secret"}), status(headers={"x-functions-key": "secret"})} <= {200, 201, 202}


def test_an_anonymous_function_needs_no_key(site: Site) -> None:
    host = FunctionsHost(site.app, key="secret")
    with host, Server(host) as server:
        assert requests.get(f"{server.url}/api/things/best", timeout=5).status_code == 200


@pytest.mark.parametrize("names", [["host"], ["1st"], ["a b"], ["a" * 129], ["good", "GOOD"]])
def test_names_that_the_host_refuses_are_refused(names: list[str]) -> None:
    app = func.FunctionApp()
    for name in names:

        @app.function_name(name)
        @app.event_grid_trigger(arg_name="event")
        def function(event: str) -> None: ...

    with pytest.raises(ValueError, match="function name"):
        FunctionsHost(app)


def test_an_annotation_that_the_trigger_does_not_give_is_refused_as_by_the_worker() -> None:
    app = func.FunctionApp()

    @app.event_grid_trigger(arg_name="event")
    def function(event: dict) -> None: ...  # type: ignore[type-arg]

    with pytest.raises(ValueError, match="cannot load the function function"):
        FunctionsHost(app)


APP = """
import logging, os
import azure.functions as func

app = func.FunctionApp()

@app.route("hello", auth_level="anonymous")
def hello(req: func.HttpRequest) -> str:
    logging.getLogger("app").info("said hello")
    return os.environ["FROM_FILE"] + os.environ["FROM_BOTH"]
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
    (tmp_path / "host.json").write_text('{"version": "2.0", "extensions": {"http": {"routePrefix": "x"}}}')
    (tmp_path / "local.settings.json").write_text('{"Values": {"FROM_FILE": "file ", "FROM_BOTH": "file"}}')
    with command(tmp_path, "--no-timers", FROM_BOTH="environment") as process:
        assert process.stdout
        name, _, url = process.stdout.readline().strip().partition(": ")

        answer = requests.get(url, timeout=5)
        process.send_signal(stop)
        _, errors = process.communicate(timeout=10)

    assert (name, answer.text) == ("hello", "file environment")
    assert url.endswith("/x/hello")
    assert "INFO said hello" in errors
    assert process.returncode == 0
    assert "Traceback" not in errors


@pytest.mark.parametrize(
    ("app", "message"),
    [
        ("raise RuntimeError('a setting is missing')", "RuntimeError: a setting is missing"),
        ("this is no Python", "SyntaxError"),
        ("", "must have one FunctionApp, and has 0"),
        ("import azure.functions as func\na, b = func.FunctionApp(), func.FunctionApp()", "has 2"),
    ],
)
def test_an_app_that_cannot_be_indexed_is_told_in_clear_words(tmp_path: Path, app: str, message: str) -> None:
    (tmp_path / "function_app.py").write_text(app)

    with command(tmp_path) as process:
        _, errors = process.communicate(timeout=20)

    assert process.returncode == 1
    assert errors.startswith("Worker failed to index functions\n")
    assert message in errors
    assert "Traceback" not in errors
