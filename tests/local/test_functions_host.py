"""The local Functions host runs timers, checks keys and serves an app as the real one does."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import azure.functions as func
import pytest
import requests

from local.functions_host import FunctionsHost
from local.serving import Server
from tests.local.recording_app import RecordingApp

HOME = Path(__file__).parents[2]


def test_the_host_reports_that_it_is_running(url: str) -> None:
    assert requests.get(f"{url}/admin/host/status", timeout=5).json() == {"state": "Running"}


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_the_home_page_reports_that_the_app_is_running(url: str, method: str) -> None:
    answer = requests.request(method, url, timeout=5)

    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/html")
    assert ("up and running" in answer.text) == (method == "GET")


def test_the_home_page_can_be_disabled(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AzureWebJobsDisableHomepage", "True")

    assert requests.get(url, timeout=5).status_code == 204


def test_custom_headers_are_in_each_answer_unless_the_function_sets_them(recording: RecordingApp) -> None:
    host = FunctionsHost(recording.app, http={"customHeaders": {"X-Answered": "no", "X-Added": "yes"}})
    with host, Server(host) as server:
        answers = [requests.get(server.url + path, timeout=5) for path in ("/api/things/1", "/api/none")]

    assert [answer.headers["X-Answered"] for answer in answers] == ["yes", "no"]
    assert [answer.headers["X-Added"] for answer in answers] == ["yes", "yes"]


def test_a_timer_function_runs_on_request_and_gets_the_librarys_own_request(recording: RecordingApp, url: str) -> None:
    answer = requests.post(f"{url}/admin/functions/TICK", json={"input": None}, timeout=5)

    assert answer.status_code == 202
    (timer,) = recording.calls
    assert isinstance(timer, func.TimerRequest)
    assert timer.past_due is False


def test_an_event_grid_function_runs_on_request_with_the_given_input(recording: RecordingApp, url: str) -> None:
    answer = requests.post(f"{url}/admin/functions/text", json={"input": '{"a":1}'}, timeout=5)

    assert answer.status_code == 202
    assert recording.calls == ['{"a":1}']


def test_a_failure_of_a_timer_is_only_in_the_log(url: str, caplog: pytest.LogCaptureFixture) -> None:
    assert requests.post(f"{url}/admin/functions/broken", json={"input": ""}, timeout=5).status_code == 202
    assert "Functions.broken" in caplog.text


@pytest.mark.parametrize(
    ("name", "body", "status"), [("unknown", "{}", 404), ("tick", "", 400), ("tick", "[]", 400), ("tick", "x", 400)]
)
def test_a_wrong_request_runs_nothing(recording: RecordingApp, url: str, name: str, body: str, status: int) -> None:
    assert requests.post(f"{url}/admin/functions/{name}", body, timeout=5).status_code == status
    assert recording.calls == []


def test_a_timer_that_python_code_runs_raises_its_exception(recording: RecordingApp) -> None:
    with FunctionsHost(recording.app) as host, pytest.raises(ValueError, match="no time"):
        host.run("broken")


@pytest.mark.parametrize("options", [{"schedule": "0 0 0 1 1 *", "run_on_startup": True}, {"schedule": "* * * * * *"}])
def test_a_timer_runs_on_its_schedule_and_at_the_start_if_it_is_declared_so(options: dict[str, Any]) -> None:
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
def test_a_host_with_a_key_refuses_requests_without_it(url_with_key: str, method: str, path: str) -> None:
    def status(header: str | None = None, **query: Any) -> int:
        headers = {"aeg-event-type": "Notification", "x-functions-key": header}
        return requests.request(
            method, url_with_key + path, json={}, headers=headers, params=query, timeout=5
        ).status_code

    refused = {status(), status(header="wrong"), status(header=""), status(code="wrong"), status(code="")}
    assert refused == {401}
    assert {status(header="secret", code="wrong"), status(code="secret"), status(CODE="secret")} <= {200, 201, 202}
    assert {status(header="wrong", code="secret"), status(code=["wrong", "secret"])} == {401}


def test_an_anonymous_function_needs_no_key(url_with_key: str) -> None:
    assert requests.get(f"{url_with_key}/api/things/best", timeout=5).status_code == 200


APP = """
import logging, os
import azure.functions as func

app = func.FunctionApp()

@app.route("hello")
def hello(req: func.HttpRequest) -> str:
    logging.getLogger("app").info("said hello")
    logging.getLogger("app").debug("a detail")
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
    with command(tmp_path, "--no-timers", "--function-key", "secret", FROM_BOTH="environment") as process:
        assert process.stdout
        name, _, url = process.stdout.readline().strip().partition(": ")

        refused, answer = requests.get(url, timeout=5), requests.get(f"{url}?code=secret", timeout=5)
        process.send_signal(stop)
        _, errors = process.communicate(timeout=10)

    assert refused.status_code == 401
    assert (name, answer.text) == ("hello", "file environment")
    assert url.endswith("/x/hello")
    assert "INFO said hello" in errors
    assert "a detail" not in errors
    assert process.returncode == 0
    assert "Traceback" not in errors


def test_debug_logging_shows_details_and_the_stack_of_an_error(tmp_path: Path) -> None:
    (tmp_path / "function_app.py").write_text(f"{APP}\nlogging.debug('a detail')\nraise RuntimeError('a fault')")
    (tmp_path / "local.settings.json").write_text('{"Values": {"PYTHON_ENABLE_DEBUG_LOGGING": "1"}}')
    with command(tmp_path) as process:
        _, errors = process.communicate(timeout=20)

    assert "DEBUG a detail" in errors
    assert "Traceback" in errors


@pytest.mark.parametrize(
    ("app", "message"),
    [
        ("raise RuntimeError('a setting is missing')", "RuntimeError: a setting is missing"),
        ("not Python at all", "SyntaxError"),
        ("", "defines 0 instances of FunctionApp; define exactly one"),
        ("import azure.functions as func\na, b = func.FunctionApp(), func.FunctionApp()", "defines 2 instances"),
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
