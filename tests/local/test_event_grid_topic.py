"""The local custom topic accepts and refuses events as the real one does."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import requests

from local.event_grid_topic import EVENT_GRID_SCHEMA, EventGridTopic
from local.serving import Server
from tests.environment import sample_event

EVENT = sample_event("cloud-event.json")
EVENT_GRID_EVENT = sample_event("event-grid-pascal.json")
KEY = {"aeg-sas-key": "a key"}
ONE = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"


@dataclass
class ServedTopic:
    url: str
    topic: EventGridTopic

    def post(self, body: Any, kind: str = BATCH, headers: dict[str, str] = KEY, path: str = "/api/events") -> int:
        headers = {**headers, "Content-Type": f"{kind}; charset=utf-8"}
        return requests.post(self.url + path, json.dumps(body), headers=headers, timeout=5).status_code


@pytest.fixture
def served() -> Iterator[ServedTopic]:
    topic = EventGridTopic()
    with Server(topic) as server:
        yield ServedTopic(server.url, topic)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (KEY, 200),
        ({"Authorization": "Bearer token"}, 200),
        ({"Authorization": "Bearer "}, 401),
        ({"aeg-sas-key": "wrong", "Authorization": "Bearer token"}, 401),
        ({}, 401),
    ],
)
def test_events_are_kept_with_the_key_or_a_token(served: ServedTopic, headers: dict[str, str], status: int) -> None:
    assert served.post([EVENT], headers=headers) == status
    assert served.topic.events == ([EVENT] if status == 200 else [])


def test_one_event_has_its_own_content_type(served: ServedTopic) -> None:
    assert served.post(EVENT, ONE) == 200
    assert served.topic.events == [EVENT]


@pytest.mark.parametrize(
    ("body", "options", "status"),
    [
        ([{"id": "1"}], {}, 400),
        ([1], {}, 400),
        ([EVENT], {"kind": ONE}, 400),
        ([EVENT, {**EVENT, "deadLetterReason": "x"}], {}, 400),
        ([EVENT], {"kind": "application/json"}, 400),
        ([], {}, 400),
        (EVENT, {}, 400),
        ([{**EVENT, "data": "x" * 1024 * 1024}], {}, 413),
        ([EVENT], {"path": "/events"}, 404),
    ],
)
def test_a_wrong_request_is_refused_as_a_whole(
    served: ServedTopic, body: Any, options: dict[str, str], status: int
) -> None:
    assert served.post(body, **options) == status
    assert served.topic.events == []


@pytest.fixture
def served_with_event_grid_schema() -> Iterator[ServedTopic]:
    topic = EventGridTopic(schema=EVENT_GRID_SCHEMA)
    with Server(topic) as server:
        yield ServedTopic(server.url, topic)


@pytest.mark.parametrize("missing", ["dataVersion", "metadataVersion", "topic"])
def test_what_event_grid_stamps_may_be_missing_in_an_event_of_its_schema(
    served_with_event_grid_schema: ServedTopic, missing: str
) -> None:
    served = served_with_event_grid_schema
    event = {name: value for name, value in EVENT_GRID_EVENT.items() if name != missing}

    assert served.post([event], "application/json") == 200
    (kept,) = served.topic.events
    assert kept == {"dataVersion": "", "metadataVersion": "1"} | event


@pytest.mark.parametrize("missing", ["id", "subject", "eventType", "eventTime"])
def test_an_event_of_event_grids_schema_lacks_nothing_else(
    served_with_event_grid_schema: ServedTopic, missing: str
) -> None:
    event = {name: value for name, value in EVENT_GRID_EVENT.items() if name != missing}

    assert served_with_event_grid_schema.post([event], "application/json") == 400


@pytest.mark.parametrize("kind", [ONE, BATCH, "text/plain", ""])
def test_a_topic_of_event_grids_schema_accepts_no_other(served_with_event_grid_schema: ServedTopic, kind: str) -> None:
    assert served_with_event_grid_schema.post([EVENT_GRID_EVENT], kind) == 400


@pytest.mark.parametrize("time", ["2026-11-20T18:41:00Z", "2026-11-20T18:41:00.9584103+02:00", "2026-11-20T18:41:00"])
def test_a_time_is_accepted(served: ServedTopic, served_with_event_grid_schema: ServedTopic, time: str) -> None:
    assert served.post([EVENT | {"time": time}]) == 200
    assert served_with_event_grid_schema.post([EVENT_GRID_EVENT | {"eventTime": time}], "application/json") == 200


@pytest.mark.parametrize("time", ["", "now", "11/20/2026 18:41:00", "2026-13-20T18:41:00Z", "٢٠٢٦-11-20T18:41:00Z", 7])
def test_what_is_not_a_time_is_refused(
    served: ServedTopic, served_with_event_grid_schema: ServedTopic, time: Any
) -> None:
    assert served.post([EVENT, EVENT | {"time": time}]) == 400
    answer = served_with_event_grid_schema.post([EVENT_GRID_EVENT | {"eventTime": time}], "application/json")
    assert answer == 400
    assert served.topic.events == []
