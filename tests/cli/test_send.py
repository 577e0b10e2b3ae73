"""The command in a terminal."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from local.azure_devops_faults import Fault
from local.event_grid_topic import EventGridTopic, Schema
from local.functions_host import FunctionsHost
from local.serving import Server
from model_release.__main__ import main
from model_release.domain.events import parse
from tests.environment import EVENTS, World, sample_event


@pytest.fixture
def url(world: World) -> Iterator[str]:
    host = FunctionsHost(world.function_app(), key="secret")
    with host, Server(host) as server:
        yield server.url


def test_a_dead_letter_goes_the_way_of_an_event(world: World, url: str) -> None:
    file = str(EVENTS / "dead-letter.json")

    for _ in range(2):
        done = CliRunner().invoke(main, ["send", file, "--url", url, "--key", "secret"])
        assert (done.exit_code, done.output) == (0, "models/fraud_model:4  202\n")

    assert {(line.subject, line.reason) for line in world.history} == {("models/fraud_model:4", "tag stage is missing")}


def test_every_sample_can_be_sent_at_once(world: World, url: str) -> None:
    files = [str(path) for path in sorted(EVENTS.glob("*.json"))]

    done = CliRunner(env={"EVENT_GRID_KEY": "secret"}).invoke(main, ["send", *files, "--url", url])

    assert done.exit_code == 0
    # The files go in the order of their names, and version 20 comes after 21.
    assert sorted(world.versions) == ["21", "3"]


def test_a_wrong_key_is_told(url: str) -> None:
    done = CliRunner().invoke(main, ["send", str(EVENTS / "cloud-event.json"), "--url", url, "--key", "wrong"])

    assert done.exit_code == 1
    assert "401" in done.output


@pytest.mark.parametrize(("text", "told"), [("no JSON", "is not JSON"), ("[1]", "does not hold events")])
def test_a_file_without_events_is_told(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "events.json").write_text(text)

    done = CliRunner().invoke(main, ["send", str(tmp_path / "events.json")])

    assert done.exit_code == 2
    assert told in done.output


def test_an_app_that_is_not_there_is_told() -> None:
    done = CliRunner().invoke(main, ["send", str(EVENTS / "cloud-event.json"), "--url", "http://127.0.0.1:9"])

    assert done.exit_code == 1
    assert "does not answer" in done.output


def test_what_was_answered_is_told_in_json(url: str) -> None:
    file = str(EVENTS / "cloud-event.json")

    done = CliRunner().invoke(main, ["send", file, "--url", url, "--key", "secret", "--json"])

    assert json.loads(done.stdout) == [{"subject": "models/sklearn_regression_model:21", "status": 202, "answer": ""}]


class Topic:
    """A local custom topic that takes one schema, or either."""

    def __init__(self, schema: Schema | None = None) -> None:
        self.topic = EventGridTopic(schema=schema)

    def send(self, *arguments: str, key: str = "a key") -> Result:
        env = {"EVENT_GRID_TOPIC_KEY": key}
        with Server(self.topic) as server:
            return CliRunner(env=env).invoke(main, ["send", *arguments, "--topic", f"{server.url}/api/events"])

    @property
    def events(self) -> list[dict[str, Any]]:
        return self.topic.events


def test_a_cloud_event_is_published_as_it_is() -> None:
    topic = Topic("CloudEventSchemaV1_0")

    done = topic.send(str(EVENTS / "cloud-event.json"))

    assert (done.exit_code, done.output) == (0, "models/sklearn_regression_model:21  200\n")
    (published,) = topic.events
    assert {**published, "time": ""} == {**sample_event("cloud-event.json"), "time": ""}
    assert published["time"][:26] == sample_event("cloud-event.json")["time"][:26]


def test_a_dead_letter_is_published_without_what_its_delivery_added() -> None:
    topic = Topic("EventGridSchema")

    done = topic.send(str(EVENTS / "dead-letter.json"))

    assert (done.exit_code, done.stdout) == (0, "models/fraud_model:4  200\n")
    assert "--cloud-events keeps the workspace" in done.stderr
    event = sample_event("dead-letter.json")
    kept = ("id", "subject", "eventType", "eventTime", "dataVersion", "data")
    assert topic.events == [{key: event[key] for key in kept}]


def test_a_dead_lettered_cloud_event_too(tmp_path: Path) -> None:
    event = sample_event("cloud-event.json")
    added = {"deadletterreason": "TimeToLiveExceeded", "deliveryattempts": 11, "lastdeliveryoutcome": "Busy"}
    (tmp_path / "dead.json").write_text(json.dumps([event | added | {"publishtime": event["time"], "kept": "yes"}]))
    topic = Topic()

    assert topic.send(str(tmp_path / "dead.json")).exit_code == 0

    assert set(topic.events[0]) == {*event, "kept"}


def test_as_a_cloud_event_it_still_says_whose_model_it_is() -> None:
    topic = Topic("CloudEventSchemaV1_0")

    done = topic.send(str(EVENTS / "dead-letter.json"), "--cloud-events")

    assert (done.exit_code, done.stderr) == (0, "")
    event, told = parse(json.dumps(topic.events[0])), parse(json.dumps(sample_event("dead-letter.json")))
    assert (event.id, event.workspace, event.model, event.version, event.tags) == (
        (told.id, told.workspace, told.model, told.version, told.tags)
    )


def test_what_a_topic_refuses_is_told_and_the_others_are_published() -> None:
    topic = Topic("EventGridSchema")
    files = [str(EVENTS / name) for name in ("cloud-event.json", "dead-letter.json")]

    done = topic.send(*files, "--json")

    assert done.exit_code == 1
    assert [(one["status"], one["answer"]) for one in json.loads(done.stdout)] == [
        (400, "This topic takes events of the schema EventGridSchema alone."),
        (200, ""),
    ]
    assert len(topic.events) == 1


def test_an_event_that_is_none_is_told_and_the_others_are_published(tmp_path: Path) -> None:
    (tmp_path / "events.json").write_text(json.dumps([{"specversion": "1.0"}, sample_event("cloud-event.json")]))
    topic = Topic()

    done = topic.send(str(tmp_path / "events.json"))

    assert (done.exit_code, len(topic.events)) == (1, 1)
    assert done.output.startswith("(no subject)  0 not published: ")


def test_a_wrong_key_of_a_topic_is_told() -> None:
    done = Topic().send(str(EVENTS / "cloud-event.json"), key="wrong")

    assert done.exit_code == 1
    assert "401 The request did not contain a valid authentication key" in done.output


@pytest.mark.parametrize("fault", [Fault(close="before"), Fault(close="after")])
def test_a_topic_that_hangs_up_is_told(fault: Fault) -> None:
    topic = Topic()
    topic.topic.misbehave(fault)

    done = topic.send(str(EVENTS / "cloud-event.json"))

    assert done.exit_code == 1
    assert "/api/events does not answer" in done.output


def test_a_busy_topic_is_told_and_asked_once() -> None:
    topic = Topic()
    topic.topic.misbehave(Fault(status=503, times=1, headers={"Retry-After": "60"}))

    done = topic.send(str(EVENTS / "cloud-event.json"))

    assert (done.exit_code, topic.events) == (1, [])
    assert "503" in done.output


def test_without_a_key_the_identity_signs_in_and_never_over_plain_http() -> None:
    topic = Topic()

    done = topic.send(str(EVENTS / "cloud-event.json"), key="")

    assert (done.exit_code, topic.events) == (1, [])
    assert "Bearer token authentication is not permitted for non-TLS" in done.output


def test_cloud_events_are_for_a_topic() -> None:
    done = CliRunner().invoke(main, ["send", str(EVENTS / "dead-letter.json"), "--cloud-events"])

    assert done.exit_code == 2
    assert "--cloud-events goes with --topic" in done.output
