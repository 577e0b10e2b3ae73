"""Outcome events: each is published at least once, with the same ID."""

from dataclasses import replace
from typing import Any

import pytest
from azure.core.credentials import AccessToken
from werkzeug.wrappers import Request, Response

from local.serving import Server
from model_release.domain.claims import Attempt, AttemptResult, Claim, State, digest
from model_release.flow.publish import Publisher, Topic, TopicError, outcome_event
from model_release.reason import Reason, ReasonKind
from tests.in_memory import CREATED, MINUTE, NOON, WORKSPACE, Process, event_body


@pytest.fixture
def process() -> Process:
    return Process()


def recorded(process: Process, version: str = "20", state: State = State.STARTED) -> Claim:
    claim = process.inserted(version)
    created = CREATED if state is State.STARTED else None
    process.recorder.record(
        claim, AttemptResult(state, Reason(ReasonKind.REFUSED, "why"), NOON + MINUTE, created=created)
    )
    return process.claims.get(claim.partition, claim.row)


def publish(process: Process, *, has_time: bool = True) -> list[list[str]]:
    """Publish, and return the versions of each request."""
    process.sent.clear()
    process.publisher.publish(lambda: has_time)
    return [[event["data"]["version"] for event in events] for events in process.sent]


def test_an_event_is_built_as_documented(process: Process) -> None:
    claim = recorded(process)

    assert outcome_event(claim, claim.attempts[0]) == {
        "specversion": "1.0",
        "id": f"{claim.key}-started",
        "type": "ModelRelease.Started",
        "source": WORKSPACE.id,
        "subject": "models/churn:20",
        "time": "2030-01-01T12:00:00Z",
        "datacontenttype": "application/json",
        "data": {
            "workspace": WORKSPACE.id,
            "model": "churn",
            "version": "20",
            "route": "churn",
            "target": "p/train",
            "state": "started",
            "reason": "why",
            "attempt": 1,
            "release": {"id": 9, "name": "Release-9", "url": "https://release/9"},
            "event_id": "event of 20",
            "by": None,
            "by_verified": False,
            "comment": None,
        },
    }


@pytest.mark.parametrize(("state", "kind"), [(State.REFUSED, "Refused"), (State.ABANDONED, "Abandoned")])
def test_an_event_without_a_release_has_none(process: Process, state: State, kind: str) -> None:
    claim = replace(process.new().claim, release_id=9)

    event = outcome_event(claim, Attempt(3, NOON, state, "why"))

    assert (event["type"], event["data"]["release"], event["data"]["attempt"]) == (f"ModelRelease.{kind}", None, 3)


def test_an_event_names_the_person_and_hides_values_of_tags_in_a_refusal_only(process: Process) -> None:
    event = event_body("20", stage="secret-stage")
    claim = replace(process.inserted(), event=event, by="alice", by_verified=True, comment="again")

    started, refused = (
        outcome_event(claim, Attempt(1, NOON, state, "stage is secret-stage"))["data"]
        for state in (State.STARTED, State.REFUSED)
    )

    assert (started["by"], started["by_verified"], started["comment"]) == ("alice", True, "again")
    assert started["reason"] == "stage is secret-stage"
    assert refused["reason"] == "stage is [hidden]"


def test_outcomes_are_published_once_in_batches(process: Process) -> None:
    for version in ("1", "2", "3"):
        recorded(process, version)

    assert sorted(len(batch) for batch in publish(process)) == [1, 2]
    assert publish(process) == []
    assert process.rows("outbox") == {}


def test_one_batch_is_published_without_time(process: Process) -> None:
    for version in ("1", "2", "3"):
        recorded(process, version)

    assert len(publish(process, has_time=False)[0]) == 2
    assert len(process.sent) == 1
    assert len(process.rows("outbox")) == 1


def test_100_events_are_published_at_once_by_default(process: Process) -> None:
    for number in range(101):
        recorded(process, str(number))
    process.publisher = Publisher(process.outbox, process.claims, process)

    assert [len(batch) for batch in publish(process)] == [100, 1]


def test_what_the_topic_does_not_accept_is_left_for_the_next_sweep(
    process: Process, caplog: pytest.LogCaptureFixture
) -> None:
    recorded(process)
    process.sending = [TopicError("1 events were not published: the topic is throttling")]

    assert publish(process) == []
    assert caplog.messages == ["1 events were not published: the topic is throttling; the next sweep tries again"]
    assert publish(process) == [["20"]]


def test_a_row_whose_claim_does_not_record_it_waits_for_the_claim(process: Process) -> None:
    claim = process.inserted()
    process.outbox.put(claim, Attempt(1, NOON, State.STARTED, "why"))

    assert publish(process) == []
    assert len(process.rows("outbox")) == 1
    process.claims.update(claim, replace(claim, state=State.WITHDRAWN))

    assert publish(process) == []
    assert process.rows("outbox") == {}


def test_a_row_without_a_claim_is_deleted(process: Process) -> None:
    process.outbox.put(process.new().claim, Attempt(1, NOON, State.STARTED, "why"))

    assert publish(process) == []
    assert process.rows("outbox") == {}


def test_a_refusal_is_published_while_its_claim_continues(process: Process) -> None:
    claim = recorded(process, state=State.REFUSED)

    assert publish(process) == [["20"]]
    assert process.sent[0][0]["id"] == f"{claim.key}-refused-{digest('why')}"


class Credential:
    def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        assert scopes == ("https://eventgrid.azure.net/.default",)
        return AccessToken("token", 2**31)


def test_a_request_is_not_repeated_and_has_the_documented_form() -> None:
    received: list[Request] = []
    with Server(lambda request: received.append(request) or Response(status=503)) as server:
        topic = Topic(f"{server.url}/api/events", Credential())
        with pytest.raises(TopicError, match=r"^1 events were not published: the outcome topic answered 503"):
            topic.send([{"id": "1"}])

    (request,) = received
    assert (request.method, request.full_path) == ("POST", "/api/events?api-version=2018-01-01")
    assert request.get_json(force=True) == [{"id": "1"}]
    assert request.headers["Content-Type"] == "application/cloudevents-batch+json; charset=utf-8"
    assert request.headers["Authorization"] == "Bearer token"
    assert request.headers["User-Agent"] == "model-release"


def test_only_the_documented_answer_is_a_success() -> None:
    status = 200
    with Server(lambda _: Response(status=status)) as server:
        topic = Topic(f"{server.url}/api/events", Credential())
        topic.send([{}])
        for status in (201, 202, 302):
            with pytest.raises(TopicError, match=f"answered {status}"):
                topic.send([{}])


@pytest.mark.parametrize(
    ("endpoint", "reason"),
    [
        ("http://127.0.0.1:9/api/events", "connection refused"),
        ("http://topic.invalid/api/events", "Bearer token authentication is not permitted for non-TLS"),
        ("https://topic.invalid/api/events", "host name not found"),
    ],
)
def test_a_topic_that_fails_reports_how_many_events(endpoint: str, reason: str) -> None:
    with pytest.raises(TopicError, match=rf"^2 events were not published: the outcome topic cannot be .*{reason}"):
        Topic(endpoint, Credential(), timeout=5).send([{}, {}])
