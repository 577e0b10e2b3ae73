"""Outcome events: what became of a model version reaches a topic at least once, and never gets in the way."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from types import SimpleNamespace

import pytest
from azure.core.credentials import AccessToken
from jsonschema import Draft202012Validator

from local.azure_devops_faults import Fault
from local.azure_ml import AzureMl
from local.event_grid_topic import EventGridTopic
from local.serving import Server
from model_release import app as wiring
from model_release.domain.claims import State
from model_release.flow.start_release import StartRelease
from model_release.store.outcomes import Publisher, Topic
from tests.environment import BOTH, World, event

PATH = "/api/events"
SCHEMA = Draft202012Validator(json.loads((wiring.HOME / "docs/outcome-event.schema.json").read_text()))


class Credential:
    """An identity that any topic on this machine knows."""

    def get_token(self, *_scopes: str, **_options: object) -> AccessToken:
        return AccessToken("local", 2**31)


@dataclass
class Site:
    """A topic, and the app of a world that tells it what became of each model version."""

    world: World
    topic: EventGridTopic
    server: Server

    def start(self) -> StartRelease:
        """The app as a new process has it, with little patience for the topic."""
        endpoint = self.server.url + PATH
        app = self.world.start(OUTCOME_TOPIC_ENDPOINT=endpoint)
        outbox = app.outcomes._outbox
        return replace(app, outcomes=Publisher(outbox, app.ledger.owed, Topic(endpoint, Credential(), timeout=0.2)))

    @property
    def told(self) -> list[str]:
        """The types of what was published."""
        return [one["type"] for one in self.topic.events]


@pytest.fixture
def site(world: World) -> Iterator[Site]:
    topic = EventGridTopic()
    with Server(topic) as server:
        site = Site(world, topic, server)
        world.app = site.start()
        yield site


@BOTH
def test_a_started_release_is_told_as_documented(world: World, site: Site) -> None:
    (decision,) = world.app.registered(event())
    assert site.topic.events == []

    world.later(minutes=1)

    (told,) = site.topic.events
    SCHEMA.validate(told)
    assert (told["type"], told["subject"]) == ("ModelRelease.Started", "models/sklearn_regression_model:20")
    assert told["data"]["release"] == {"id": 1, "name": world.started[0]["name"], "url": decision.release_url}
    assert told["data"]["event_id"] == "event of sklearn_regression_model 20"


def test_what_was_told_is_not_told_again(world: World, site: Site) -> None:
    world.app.registered(event())
    world.later(minutes=1)
    world.app.registered(event())

    world.later(minutes=1)

    assert site.told == ["ModelRelease.Started"]


def test_the_event_in_the_documentation_is_one_of_the_schema() -> None:
    document = (wiring.HOME / "docs/outcome-events.md").read_text()
    (shown,) = re.findall(r"```json\n(.*?)```", document, re.DOTALL)

    SCHEMA.validate(json.loads(shown))


@BOTH
def test_a_refusal_is_told_once_for_each_reason(world: World, site: Site) -> None:
    world.azure_devops.misbehave(Fault(**world.requests.start, status=400, body={"message": "no queue"}))
    world.app.registered(event())
    for _ in range(3):
        world.later(hours=1)
    world.azure_devops.behave()
    world.azure_devops.misbehave(Fault(**world.requests.start, status=403, body={"message": "not allowed"}))
    world.later(hours=1)
    world.azure_devops.behave()
    world.later(hours=1)
    world.later(minutes=1)

    assert site.told == ["ModelRelease.Refused", "ModelRelease.Refused", "ModelRelease.Started"]
    assert len({one["id"] for one in site.topic.events}) == 3
    assert ["no queue" in one["data"]["reason"] for one in site.topic.events] == [True, False, False]
    assert [one["data"]["release"] is None for one in site.topic.events] == [True, True, False]
    for one in site.topic.events:
        SCHEMA.validate(one)


@BOTH
def test_what_is_given_up_is_told(world: World, site: Site) -> None:
    world.azure_devops.misbehave(Fault(**world.requests.start, status=429))
    world.app.registered(event())

    world.later(days=7)
    world.later(minutes=1)

    assert site.told == ["ModelRelease.Abandoned"]
    SCHEMA.validate(site.topic.events[0])


def test_what_starts_nothing_and_nobody_must_act_on_is_not_told(world: World, site: Site) -> None:
    world.app.registered(event(version=20))
    world.app.registered(event(version=19))
    world.app.registered(event(model="churn"))
    world.later(minutes=1)

    assert [line.state for line in world.history].count(State.STARTED) == 1
    assert site.told == ["ModelRelease.Started"]


TROUBLE = {
    "refuses the sign-in": Fault(status=401),
    "forbids": Fault(status=403),
    "is busy": Fault(status=429, headers={"Retry-After": "3600"}),
    "tells nonsense": Fault(status=503, headers={"Retry-After": "soon"}),
    "hangs up": Fault(close="before"),
    "is slow": Fault(delay=0.4, close="before"),
}


@pytest.mark.parametrize("fault", TROUBLE.values(), ids=TROUBLE)
def test_while_the_topic_is_in_trouble_releases_go_on_and_are_told_after(
    world: World, site: Site, fault: Fault, caplog: pytest.LogCaptureFixture
) -> None:
    site.topic.misbehave(fault)
    world.azure_devops.misbehave(Fault(**world.requests.start, status=429, times=1))
    world.app.registered(event(version=20))
    world.later(minutes=1)
    world.later(minutes=1)
    world.app.registered(event(version=21))
    assert world.versions == ["20", "21"]
    assert site.told == []
    assert "outcomes are left for the next sweep: the outcome topic did not take 1 events" in caplog.text

    site.topic.behave()
    world.later(minutes=1)

    assert sorted(one["subject"][-2:] for one in site.topic.events) == ["20", "21"]


def test_a_topic_that_is_down_is_told_when_it_is_up_again(world: World, site: Site) -> None:
    site.server.stop()
    world.app.registered(event())
    world.later(minutes=1)
    assert world.versions == ["20"]

    site.server.start()
    world.later(minutes=1)

    assert site.told == ["ModelRelease.Started"]


def test_when_the_topics_answer_is_lost_the_same_id_comes_again(world: World, site: Site) -> None:
    site.topic.misbehave(Fault(close="after", times=1))
    world.app.registered(event())

    world.later(minutes=1)
    world.later(minutes=1)

    first, second = site.topic.events
    assert first == second


def test_what_waits_goes_in_one_request_and_the_rest_while_there_is_time(world: World, site: Site) -> None:
    batches: list[int] = []
    sink = SimpleNamespace(send=lambda events: batches.append(len(events)))
    for version in range(20, 23):
        world.app.registered(event(version=version))
    outbox = world.app.outcomes._outbox

    Publisher(outbox, world.app.ledger.owed, sink, at_once=2).publish(lambda: False)
    assert batches == [2]
    Publisher(outbox, world.app.ledger.owed, sink).publish(lambda: True)

    assert batches == [2, 1]


def test_an_outcome_costs_one_storage_operation_and_without_the_setting_none(world: World, site: Site) -> None:
    costs = []
    for app, versions in ((world.start(), (20, 21)), (site.start(), (22, 23))):
        app.registered(event(version=versions[0]))
        world.clock.advance(minutes=4)
        before = len(world.storage.passed)
        app.registered(event(version=versions[1]))
        costs.append(len(world.storage.passed) - before)

    assert costs == [5, 6]


def test_a_claim_that_is_gone_does_not_stop_the_others(world: World, site: Site) -> None:
    world.app.registered(event(version=20))
    world.app.registered(event(version=21))
    table = world.app.ledger._table.client
    gone = next(row for row in table.query_entities("state eq 'started' and version eq '20'"))
    table.delete_entity(gone["PartitionKey"], gone["RowKey"])

    world.later(minutes=1)

    assert [one["data"]["version"] for one in site.topic.events] == ["21"]
    assert list(table.query_entities("PartitionKey eq 'outcome'")) == []


def test_the_app_signs_in_to_the_topic_with_its_identity(
    world: World, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Server(AzureMl([])) as azure:
        monkeypatch.setenv("IDENTITY_ENDPOINT", f"{azure.url}/msi/token")
        monkeypatch.setenv("IDENTITY_HEADER", "local")
        app = world.start(OUTCOME_TOPIC_ENDPOINT=site.server.url + PATH)
        app.registered(event())

        app.unfinished()

    assert site.told == ["ModelRelease.Started"]
