"""The local custom topic accepts and refuses events as the real one does."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import requests

from local.event_grid_topic import EventGridTopic
from local.serving import Server
from tests.environment import sample_event

EVENT = sample_event("cloud-event.json")
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
