"""Outcome events: each reaches the topic at least once, and a broken topic delays no release."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from types import SimpleNamespace

import pytest
from jsonschema import Draft202012Validator

from local.azure_devops_faults import Fault
from local.azure_ml import AzureMl
from local.event_grid_topic import EventGridTopic
from local.serving import HangUp, Server
from model_release.app import HOME, Services
from model_release.domain.claims import State
from model_release.flow.publish import Publisher, Topic
from model_release.store.outbox import Outbox
from tests.environment import BOTH, IN_AZURITE, IN_MEMORY, Environment, event
from tests.in_memory import CREDENTIAL

pytestmark = IN_MEMORY

PATH = "/api/events"
SCHEMA = Draft202012Validator(json.loads((HOME / "docs/outcome-event.schema.json").read_text()))


@dataclass
class Subscription:
    """A local topic, and the app that publishes to it."""

    env: Environment
    topic: EventGridTopic
    server: Server

    def start(self, timeout: float = 30) -> Services:
        """Build the services as a new process does; a request to the topic ends after the timeout in seconds."""
        endpoint = self.server.url + PATH
        app = self.env.start(OUTCOME_TOPIC_ENDPOINT=endpoint)
        publisher = self.publisher(app, Topic(endpoint, CREDENTIAL, timeout=timeout))
        return app._replace(sweep=replace(app.sweep, publisher=publisher))

    def publisher(self, app: Services, topic: Topic, **options: int) -> Publisher:
        """Return a publisher of the app's outbox to this topic."""
        return Publisher(Outbox(app.sweep.history._table), app.sweep.claims, topic, **options)

    @property
    def types(self) -> list[str]:
        """The types of the events that were published."""
        return [one["type"] for one in self.topic.events]


@pytest.fixture
def subscription(env: Environment) -> Iterator[Subscription]:
    topic = EventGridTopic()
    with Server(topic) as server:
        subscription = Subscription(env, topic, server)
        env.app = subscription.start()
        yield subscription


@IN_AZURITE
@BOTH
def test_a_started_release_is_published_as_documented(env: Environment, subscription: Subscription) -> None:
    (entry,) = env.registered(event())
    assert subscription.topic.events == []

    env.later(minutes=1)

    (published,) = subscription.topic.events
    SCHEMA.validate(published)
    assert (published["type"], published["subject"]) == ("ModelRelease.Started", "models/sklearn_regression_model:20")
    assert published["data"]["state"] == "started"
    assert published["data"]["release"] == {"id": 1, "name": env.started[0]["name"], "url": entry.release_url}
    assert published["data"]["event_id"] == "event of sklearn_regression_model 20"


def test_a_published_event_is_not_published_again(env: Environment, subscription: Subscription) -> None:
    env.registered(event())
    env.later(minutes=1)
    env.registered(event())

    env.later(minutes=1)

    assert subscription.types == ["ModelRelease.Started"]


def test_the_documented_event_matches_the_schema() -> None:
    document = (HOME / "docs/outcome-events.md").read_text()
    (shown,) = re.findall(r"```json\n(.*?)```", document, re.DOTALL)

    SCHEMA.validate(json.loads(shown))


@BOTH
def test_a_refusal_is_published_once_for_each_reason(env: Environment, subscription: Subscription) -> None:
    env.azure_devops.misbehave(Fault(**env.requests.start, status=400, body={"message": "no queue"}))
    env.registered(event())
    for _ in range(3):
        env.later(hours=1)
    env.azure_devops.behave()
    env.azure_devops.misbehave(Fault(**env.requests.start, status=403, body={"message": "not allowed"}))
    env.later(hours=1)
    env.azure_devops.behave()
    env.later(hours=1)
    env.later(minutes=1)

    published = subscription.topic.events
    assert subscription.types == ["ModelRelease.Refused", "ModelRelease.Refused", "ModelRelease.Started"]
    assert len({one["id"] for one in published}) == 3
    assert ["no queue" in one["data"]["reason"] for one in published] == [True, False, False]
    assert [one["data"]["release"] is None for one in published] == [True, True, False]
    for one in published:
        SCHEMA.validate(one)


@BOTH
def test_an_abandoned_claim_is_published(env: Environment, subscription: Subscription) -> None:
    env.azure_devops.misbehave(Fault(**env.requests.start, status=429))
    env.registered(event())

    env.later(days=7)
    env.later(minutes=1)

    assert subscription.types == ["ModelRelease.Abandoned"]
    SCHEMA.validate(subscription.topic.events[0])


def test_superseded_and_ignored_versions_are_not_published(env: Environment, subscription: Subscription) -> None:
    env.registered(event(version=20))
    env.registered(event(version=19))
    env.registered(event(model="churn"))
    env.later(minutes=1)

    assert sorted(entry.state for entry in env.history) == [State.IGNORED, State.STARTED, State.SUPERSEDED]
    assert subscription.types == ["ModelRelease.Started"]


TOPIC_FAULTS = {
    "refuses the sign-in": (Fault(status=401), "answered 401 (Unauthorized)"),
    "refuses the permission": (Fault(status=403), "answered 403 (Forbidden)"),
    "is throttling": (Fault(status=429, headers={"Retry-After": "3600"}), "answered 429 (Too Many Requests)"),
    "sends an invalid Retry-After": (
        Fault(status=503, headers={"Retry-After": "soon"}),
        "answered 503 (Service Unavailable)",
    ),
    "closes the connection": (Fault(close="before"), "cannot be reached: connection closed before the answer"),
    "is slow": (Fault(delay=0.4, close="before"), "cannot be reached: no answer in time"),
}


@pytest.mark.parametrize(("fault", "problem"), TOPIC_FAULTS.values(), ids=TOPIC_FAULTS)
def test_while_the_topic_fails_releases_continue_and_are_published_later(
    env: Environment, subscription: Subscription, fault: Fault, problem: str, caplog: pytest.LogCaptureFixture
) -> None:
    if fault.delay:
        env.app = subscription.start(timeout=0.2)
    subscription.topic.misbehave(fault)
    env.azure_devops.misbehave(Fault(**env.requests.start, status=429, times=1))
    env.registered(event(version=20))
    env.later(minutes=1)
    env.later(minutes=1)
    env.registered(event(version=21))
    assert env.versions == ["20", "21"]
    assert subscription.types == []
    (warning,) = {record.getMessage() for record in caplog.records if record.name == "model_release.flow.publish"}
    assert warning == f"1 events were not published: the outcome topic {problem}; the next sweep tries again"

    subscription.topic.behave()
    env.app = subscription.start()
    env.later(minutes=1)

    assert sorted(one["subject"][-2:] for one in subscription.topic.events) == ["20", "21"]


def test_events_are_published_once_the_topic_is_available_again(env: Environment, subscription: Subscription) -> None:
    subscription.server.stop()
    env.registered(event())
    env.later(minutes=1)
    assert env.versions == ["20"]

    subscription.server.start()
    env.later(minutes=1)

    assert subscription.types == ["ModelRelease.Started"]


def test_an_event_whose_answer_was_lost_is_published_again_with_the_same_id(
    env: Environment, subscription: Subscription
) -> None:
    subscription.topic.misbehave(Fault(close="after", times=1))
    env.registered(event())

    env.later(minutes=1)
    env.later(minutes=1)

    first, second = subscription.topic.events
    assert first == second


def test_events_are_published_in_batches_while_there_is_time(env: Environment, subscription: Subscription) -> None:
    batches: list[int] = []
    topic = SimpleNamespace(send=lambda events: batches.append(len(events)))
    for version in range(20, 23):
        env.registered(event(version=version))

    subscription.publisher(env.app, topic, batch=2).publish(lambda: False)
    assert batches == [2]
    subscription.publisher(env.app, topic).publish(lambda: True)

    assert batches == [2, 1]


@IN_AZURITE
def test_an_outcome_costs_one_storage_operation_and_none_without_the_setting(
    env: Environment, subscription: Subscription
) -> None:
    costs = []
    for app, versions in ((env.start(), (20, 21)), (subscription.start(), (22, 23))):
        app.start_release.registered(event(version=versions[0]))
        env.clock.advance(minutes=4)
        before = len(env.storage.passed)
        app.start_release.registered(event(version=versions[1]))
        costs.append(len(env.storage.passed) - before)

    assert costs == [5, 6]


@IN_AZURITE
@pytest.mark.parametrize("answer", ["lost", "503"])
def test_a_failed_deletion_of_old_history_entries_does_not_delay_events(
    env: Environment, subscription: Subscription, answer: str
) -> None:
    env.registered("not an event")
    env.clock.advance(days=91)
    env.registered(event())

    def fail(_server: str, _method: str, path: str, when: str) -> None:
        if path.endswith("$batch") and when == "after":
            env.storage.gate = None
            raise HangUp(b"" if answer == "lost" else b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")

    env.storage.gate = fail
    env.sweep()

    assert env.storage.gate is None
    assert subscription.types == ["ModelRelease.Started"]
    assert [entry.state for entry in env.history] == [State.STARTED]


@IN_AZURITE
def test_a_deleted_claim_does_not_stop_the_other_events(env: Environment, subscription: Subscription) -> None:
    env.registered(event(version=20))
    env.registered(event(version=21))
    deleted = next(env.table.query_entities("state eq 'started' and version eq '20'"))
    env.table.delete_entity(deleted["PartitionKey"], deleted["RowKey"])

    env.later(minutes=1)

    assert [one["data"]["version"] for one in subscription.topic.events] == ["21"]
    assert list(env.table.query_entities("PartitionKey eq 'outbox'")) == []


def test_the_app_signs_in_to_the_topic_with_its_identity(
    env: Environment, subscription: Subscription, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Server(AzureMl([])) as azure:
        monkeypatch.setenv("IDENTITY_ENDPOINT", f"{azure.url}/msi/token")
        monkeypatch.setenv("IDENTITY_HEADER", "local")
        app = env.start(OUTCOME_TOPIC_ENDPOINT=subscription.server.url + PATH)
        app.start_release.registered(event())

        app.sweep.run()

    assert subscription.types == ["ModelRelease.Started"]
