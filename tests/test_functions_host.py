"""The local host answers as the Azure Functions host does."""

import threading
from collections.abc import Iterator
from typing import Any

import azure.functions as func
import pytest
import requests

from local.functions_host import FunctionsHost
from local.serving import Server

NOTIFICATION = {"aeg-event-type": "Notification"}


class App:
    """Functions that tell what they were given."""

    def __init__(self) -> None:
        self.got: list[Any] = []
        self.together = threading.Barrier(2, timeout=10)
        self.app = func.FunctionApp()
        self.app.event_grid_trigger(arg_name="event")(self.model_registered())
        self.app.timer_trigger(arg_name="timer", schedule="0 0 0 1 1 *")(self.tidy())
        self.app.route("things/{id}", methods=["POST"])(self.things())

    def model_registered(self) -> Any:
        def model_registered(event: str) -> Any:
            self.got.append(event)
            if "fail" in event:
                raise ValueError
            if "together" in event:
                self.together.wait()
            return "ok" if "return" in event else None

        return model_registered

    def tidy(self) -> Any:
        def tidy(timer: func.TimerRequest) -> None:
            self.got.append(timer.past_due)

        return tidy

    def things(self) -> Any:
        def things(req: func.HttpRequest) -> func.HttpResponse | None:
            if not req.get_body():
                return None
            told = f"{req.method} {req.route_params['id']} {req.params.get('q')} {req.get_body().decode()}"
            return func.HttpResponse(told, status_code=201, headers={"x-told": "yes"}, mimetype="text/plain")

        return things


@pytest.fixture
def app() -> App:
    return App()


@pytest.fixture
def url(app: App) -> Iterator[str]:
    host = FunctionsHost(app.app)
    with host, Server(host) as server:
        yield server.url


@pytest.fixture
def webhook(url: str) -> str:
    return f"{url}/runtime/webhooks/EventGrid?functionName=model_registered"


@pytest.mark.parametrize(
    ("body", "given"),
    [
        ('[{"id": "é"}]', ['{"id":"é"}']),
        ('{"specversion": "1.0"}', ['{"specversion":"1.0"}']),
        ("[]", []),
    ],
)
def test_a_notification_is_given_to_the_function_as_compact_text(
    app: App, webhook: str, body: str, given: list[str]
) -> None:
    answer = requests.post(webhook, data=body.encode(), headers=NOTIFICATION)

    assert (answer.status_code, answer.text) == (202, "")
    assert app.got == given


def test_the_events_of_a_batch_run_at_the_same_time(app: App, webhook: str) -> None:
    assert requests.post(webhook, json=[{"together": 1}, {"together": 2}], headers=NOTIFICATION).status_code == 202


def test_one_failure_makes_the_whole_batch_come_again(app: App, webhook: str) -> None:
    answer = requests.post(webhook, json=[{"a": 1}, {"fail": 1}], headers=NOTIFICATION)

    assert answer.status_code == 500
    assert "Functions.model_registered" in answer.text
    assert len(app.got) == 2


def test_a_returned_value_is_a_failure(webhook: str) -> None:
    assert requests.post(webhook, json={"return": 1}, headers=NOTIFICATION).status_code == 500


@pytest.mark.parametrize("body", ["no JSON", "[1]", '"text"'])
def test_what_is_no_event_is_a_server_error(app: App, webhook: str, body: str) -> None:
    assert requests.post(webhook, data=body, headers=NOTIFICATION).status_code == 500
    assert app.got == []


@pytest.mark.parametrize(
    ("header", "status"),
    [("Notification", 202), ("NOTIFICATION", 202), ("Unsubscribe", 202), ("Other", 400), (None, 400)],
)
def test_the_header_says_what_a_request_is(webhook: str, header: str | None, status: int) -> None:
    assert requests.post(webhook, json=[], headers={"aeg-event-type": header}).status_code == status


@pytest.mark.parametrize("body", [[{"data": {"validationCode": "7"}}], {"data": '{"validationCode": "7"}'}])
def test_the_handshake_of_the_event_grid_schema_is_answered(app: App, webhook: str, body: Any) -> None:
    answer = requests.post(webhook, json=body, headers={"aeg-event-type": "SubscriptionValidation"})

    assert answer.json() == {"validationResponse": "7"}
    assert app.got == []


@pytest.mark.parametrize(
    ("asked", "allowed"), [("eventgrid.azure.us", "eventgrid.azure.us"), ("evil.example", "eventgrid.azure.net")]
)
def test_the_handshake_of_cloud_events_is_answered(webhook: str, asked: str, allowed: str) -> None:
    answer = requests.options(webhook, headers={"WebHook-Request-Origin": asked})

    assert answer.headers["Webhook-Allowed-Origin"] == allowed


@pytest.mark.parametrize("name", ["Model_Registered", "tidy", "", "unknown"])
def test_only_an_event_grid_function_of_exactly_that_name_is_found(url: str, name: str) -> None:
    answer = requests.post(
        f"{url}/runtime/webhooks/EventGrid", params={"functionName": name}, json=[], headers=NOTIFICATION
    )

    assert (answer.status_code, answer.text) == (404, f"cannot find function: '{name}'")


def test_http_functions_get_the_request_and_give_the_answer(url: str) -> None:
    answer = requests.post(f"{url}/api/things/7?q=a", data="body")

    assert (answer.status_code, answer.text, answer.headers["x-told"]) == (201, "POST 7 a body", "yes")
    assert requests.get(f"{url}/api/things/7").status_code == 405
    assert requests.post(f"{url}/api/things/7").status_code == 500


def test_a_timer_function_runs_when_asked(app: App, url: str) -> None:
    assert requests.post(f"{url}/admin/functions/tidy", json={}).status_code == 202
    assert app.got == [False]
    assert requests.post(f"{url}/admin/functions/none", json={}).status_code == 404


def test_with_a_key_nobody_comes_in_without_it(app: App) -> None:
    host = FunctionsHost(app.app, key="secret")
    with host, Server(host) as server:
        hook = f"{server.url}/runtime/webhooks/EventGrid?functionName=model_registered"

        assert requests.post(hook, json=[], headers=NOTIFICATION).status_code == 401
        assert requests.post(f"{hook}&code=wrong", json=[], headers=NOTIFICATION).status_code == 401
        assert requests.post(f"{hook}&code=secret", json=[], headers=NOTIFICATION).status_code == 202
        assert requests.post(f"{server.url}/api/things/7", data="x").status_code == 401
        assert requests.post(f"{server.url}/admin/functions/tidy").status_code == 401


def test_timers_run_on_their_schedule() -> None:
    ran = threading.Event()
    app = func.FunctionApp()

    @app.timer_trigger(arg_name="timer", schedule="* * * * * *")
    def each_second(timer: func.TimerRequest) -> None:
        ran.set()

    with FunctionsHost(app, timers=True):
        assert ran.wait(10)
