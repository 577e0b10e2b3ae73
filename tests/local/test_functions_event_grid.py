"""The webhook of the local Functions host answers Event Grid as the real extension does."""

import json
from typing import Any

import azure.functions as func
import pytest
import requests

from tests.local.recording_app import RecordingApp

EVENT = {"id": "1", "topic": "/t", "subject": "größe", "eventType": "A.B", "data": {"a": 1}, "dataVersion": ""}
CLOUD_EVENT = {"specversion": "1.0", "id": "1", "source": "/t", "type": "A.B", "data": {"a": [1]}, "extra": "kept"}
WEBHOOK = "/runtime/webhooks/EventGrid?functionName="


def deliver(url: str, name: str, body: Any, **headers: str) -> requests.Response:
    content = body if isinstance(body, str) else json.dumps(body)
    headers = {"aeg-event-type": "Notification"} | headers
    return requests.post(f"{url}{WEBHOOK}{name}", content.encode(), headers=headers, timeout=20)


@pytest.mark.parametrize("event", [EVENT, CLOUD_EVENT], ids=["Event Grid's schema", "CloudEvents"])
@pytest.mark.parametrize("batch", [False, True], ids=["alone", "in an array"])
def test_a_function_with_a_str_parameter_gets_the_whole_event_as_compact_json(
    recording: RecordingApp, url: str, *, event: dict[str, Any], batch: bool
) -> None:
    answer = deliver(url, "text", [event] if batch else event)

    assert (answer.status_code, answer.text) == (202, "")
    assert "Content-Type" not in answer.headers
    assert recording.calls == [json.dumps(event, separators=(",", ":"), ensure_ascii=False)]


def test_other_functions_get_the_librarys_own_event(recording: RecordingApp, url: str) -> None:
    deliver(url, "typed", [EVENT, CLOUD_EVENT])

    assert {type(event) for event in recording.calls} == {func.EventGridEvent, func.CloudEvent}
    assert {event.subject for event in recording.calls} == {"größe", None}


def test_the_events_of_a_batch_run_at_the_same_time(url: str) -> None:
    assert deliver(url, "parallel", [{}, {}, {}]).status_code == 202


def test_one_failure_fails_the_batch_after_all_have_run(recording: RecordingApp, url: str) -> None:
    answer = deliver(url, "text", [{"a": "fail"}, {"a": 1}])

    assert (answer.status_code, answer.text) == (500, "Exception while executing function: Functions.text")
    assert sorted(recording.calls) == ['{"a":"fail"}', '{"a":1}']


def test_an_event_grid_function_that_returns_a_value_fails(url: str) -> None:
    assert deliver(url, "returning", {}).status_code == 500


def test_an_empty_array_is_accepted(recording: RecordingApp, url: str) -> None:
    assert deliver(url, "text", []).status_code == 202
    assert recording.calls == []


def test_a_byte_order_mark_is_ignored(recording: RecordingApp, url: str) -> None:
    assert deliver(url, "text", "\ufeff[{}]").status_code == 202
    assert recording.calls == ["{}"]


@pytest.mark.parametrize("body", ["no JSON", "[{}, 1]", '"text"', "7", "", "\ufeff", "[" * 100_000])
def test_a_body_without_events_is_a_server_error_without_content(recording: RecordingApp, url: str, body: str) -> None:
    answer = deliver(url, "text", body)

    assert (answer.status_code, answer.text) == (500, "")
    assert recording.calls == []


@pytest.mark.parametrize("content_type", ["application/cloudevents+json", "application/cloudevents-batch+json", "x/y"])
def test_the_content_type_is_ignored(url: str, content_type: str) -> None:
    assert deliver(url, "text", {}, **{"Content-Type": content_type}).status_code == 202


@pytest.mark.parametrize("body", [[{"data": {"validationCode": "x"}}], {"data": '{"validationCode":"x"}'}])
@pytest.mark.parametrize("header", ["SubscriptionValidation", "subscriptionvalidation"])
def test_a_subscription_is_validated_without_a_call_of_the_function(
    recording: RecordingApp, url: str, body: Any, header: str
) -> None:
    answer = deliver(url, "text", body, **{"aeg-event-type": header})

    assert (answer.status_code, answer.text) == (200, '{"validationResponse":"x"}')
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert recording.calls == []


@pytest.mark.parametrize("body", [[], [{}], [{"data": {}}], [{"data": None}]])
def test_a_validation_without_a_code_is_a_server_error(url: str, body: Any) -> None:
    assert deliver(url, "text", body, **{"aeg-event-type": "SubscriptionValidation"}).status_code == 500


@pytest.mark.parametrize("origin", [None, "eventgrid.azure.net", "eventgrid.azure.us", "example.org"])
def test_the_handshake_of_cloud_events_allows_event_grid_whatever_the_origin(url: str, origin: str | None) -> None:
    answer = requests.options(f"{url}{WEBHOOK}text", headers={"WebHook-Request-Origin": origin}, timeout=5)

    assert (answer.status_code, answer.headers["Webhook-Allowed-Origin"]) == (200, "eventgrid.azure.net")


@pytest.mark.parametrize(("header", "status"), [("Unsubscribe", 202), ("Other", 400), ("", 400)])
def test_other_messages_of_event_grid_do_not_reach_the_function(
    recording: RecordingApp, url: str, header: str, status: int
) -> None:
    assert deliver(url, "text", {}, **{"aeg-event-type": header}).status_code == status
    assert recording.calls == []


@pytest.mark.parametrize(("method", "status"), [("PUT", 202), ("GET", 500), ("DELETE", 500), ("PATCH", 404)])
def test_the_webhook_has_the_methods_of_the_extension(url: str, method: str, status: int) -> None:
    body = "{}" if method in ("PUT", "PATCH") else None
    answer = requests.request(
        method, f"{url}{WEBHOOK}text", data=body, headers={"aeg-event-type": "Notification"}, timeout=5
    )

    assert answer.status_code == status


@pytest.mark.parametrize("name", ["", "TEXT", "tick", "things", "unknown"])
@pytest.mark.parametrize("event_type", ["Notification", "SubscriptionValidation"])
def test_only_an_event_grid_function_of_exactly_this_name_is_found(url: str, name: str, event_type: str) -> None:
    answer = deliver(url, name, {}, **{"aeg-event-type": event_type})

    assert (answer.status_code, answer.text) == (404, f"cannot find function: '{name}'")


def test_a_function_name_that_is_sent_twice_is_not_found(url: str) -> None:
    answer = deliver(url, "text&functionName=text", {})

    assert (answer.status_code, answer.text) == (404, "cannot find function: 'text,text'")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/Runtime/WebHooks/eventgrid?functionName=text", 202),
        ("/runtime/webhooks/EVENTGRID/?functionname=text", 202),
        ("/runtime/webhooks/EventGrid/deeper?functionName=text", 202),
        ("/runtime/webhooks/blobs?functionName=text", 404),
    ],
)
def test_the_webhook_path_is_case_insensitive(url: str, path: str, status: int) -> None:
    answer = requests.post(url + path, "{}", headers={"aeg-event-type": "Notification"}, timeout=5)

    assert answer.status_code == status
