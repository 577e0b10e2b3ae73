"""The local custom topic: what it takes, and what it refuses as the real one does."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from local.event_grid_topic import EventGridTopic
from local.serving import Server
from tests.environment import sample_event

CLOUD = sample_event("cloud-event.json")
GRID = {key: value for key, value in sample_event("event-grid-pascal.json").items() if key != "topic"}
KEY = {"aeg-sas-key": "a key"}
BATCH = "application/cloudevents-batch+json"


class Site:
    def __init__(self, url: str, topic: EventGridTopic) -> None:
        self.url = url
        self.topic = topic

    def post(self, body: Any, kind: str = "application/json", headers: dict[str, str] = KEY) -> int:
        headers = {**headers, "Content-Type": f"{kind}; charset=utf-8"}
        return requests.post(f"{self.url}/api/events", json.dumps(body), headers=headers, timeout=5).status_code


@pytest.fixture
def site() -> Iterator[Site]:
    topic = EventGridTopic()
    with Server(topic) as server:
        yield Site(server.url, topic)


@pytest.mark.parametrize(
    ("body", "kind"),
    [([GRID], "application/json"), ([CLOUD], BATCH), (CLOUD, "application/cloudevents+json")],
    ids=["Event Grid", "CloudEvents", "one CloudEvent"],
)
def test_each_schema_is_taken_in_its_content_type(site: Site, body: Any, kind: str) -> None:
    assert site.post(body, kind) == 200
    assert site.topic.events == (body if isinstance(body, list) else [body])
    assert requests.get(f"{site.url}/_local/events", timeout=5).json() == site.topic.events


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Authorization": "Bearer token"}, 200),
        ({"Authorization": "Bearer "}, 401),
        ({"aeg-sas-key": "wrong", "Authorization": "Bearer token"}, 401),
        ({}, 401),
    ],
)
def test_the_key_or_a_token_lets_in(site: Site, headers: dict[str, str], status: int) -> None:
    assert site.post([GRID], headers=headers) == status


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        ([GRID, {**GRID, "topic": "/subscriptions/1"}], "application/json", 400),
        ([{**GRID, "metadataVersion": "2"}], "application/json", 400),
        ([{"id": "1"}], "application/json", 400),
        ([{**CLOUD, "deadLetterReason": "x"}], BATCH, 400),
        ([CLOUD], "application/json", 400),
        ([], "application/json", 400),
        (GRID, "application/json", 400),
        ([{**GRID, "data": "x" * 1024 * 1024}], "application/json", 413),
    ],
)
def test_what_it_refuses_it_refuses_whole(site: Site, body: Any, kind: str, status: int) -> None:
    assert site.post(body, kind) == status
    assert site.topic.events == []
