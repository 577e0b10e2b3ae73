"""Events of any size that Event Grid delivers, kept in Table storage."""

import json
import random

import pytest

from local.azure_devops_faults import Fault
from model_release.domain.claims import State
from model_release.domain.events import parse
from tests.environment import FULL, Environment, event, sample_event
from tests.in_memory import incompressible

# Event Grid delivers at most 1 MB.
LARGEST = 1_047_000
KINDS = ("one value", "many values", "emoji", "any characters")
# Of all mixtures of characters, this one has the most information in each byte of UTF-8.
ANY_CHARACTERS = {0.809: (0x21, 0x7F), 0.145: (0x80, 0x800), 0.040: (0x800, 0xD800), 0.006: (0x10000, 0x110000)}


USUAL = ((33_000, "one value"), (200_000, "emoji"), (LARGEST, "any characters"))


def tags(kind: str, length: int) -> dict[str, str]:
    """Return tags of so many bytes that compress badly."""
    if kind == "emoji":
        return {"text": "".join(map(chr, random.Random(0).choices(range(0x1F300, 0x1F650), k=length // 4)))}
    if kind == "any characters":
        return {"text": any_characters(length)}
    text = incompressible(length)
    if kind == "one value":
        return {"text": text}
    return {text[at : at + 20]: text[at + 20 : at + 100] for at in range(0, length, 100)}


def any_characters(length: int) -> str:
    shuffled, ranges = random.Random(0), tuple(ANY_CHARACTERS.values())
    drawn = shuffled.choices(ranges, tuple(ANY_CHARACTERS), k=length)
    text = "".join(chr(begin + int(shuffled.random() * (end - begin))) for begin, end in drawn)
    return text.encode()[:length].decode(errors="ignore")


def large(length: int, kind: str = "one value", **data: object) -> str:
    """Build an event as Event Grid delivers it, with characters that are not escaped."""
    return json.dumps(json.loads(event(ModelTags=tags(kind, length), **data)), ensure_ascii=False)


@pytest.mark.parametrize(
    ("length", "kind"),
    [
        pytest.param(length, kind, marks=() if (length, kind) in USUAL else FULL)
        for length in (33_000, 200_000, 900_000, LARGEST)
        for kind in KINDS
    ],
)
def test_an_event_of_any_size_starts_one_release(env: Environment, length: int, kind: str) -> None:
    body = large(length, kind)
    assert length <= len(body.encode()) <= 1.2 * length
    env.azure_devops.misbehave(Fault(**env.requests.start, status=429, times=1))

    (first,) = env.registered(body)
    (swept,) = env.later(hours=1)
    (again,) = env.restart() or env.registered(body)

    assert [entry.state for entry in (first, swept, again)] == [State.WAITING, State.STARTED, State.STARTED]
    assert env.versions == ["20"]
    registered = parse(body)
    recorded = env.claims.recorded(registered.workspace, registered.model, "20")["20"]
    assert recorded.event == body
    assert [claim.event for claim in recorded.claims] == [body]


def test_an_ignored_event_of_any_size_is_kept(env: Environment) -> None:
    body = json.dumps(json.loads(large(900_000)) | {"subject": "models/churn:1"})
    body = body.replace('"sklearn_regression_model"', '"churn"')

    (entry,) = env.registered(body)

    assert entry.state is State.IGNORED
    registered = parse(body)
    assert env.claims.recorded(registered.workspace, "churn", registered.version)[registered.version].event == body


@pytest.mark.parametrize("time", ["", 1_700_000_000, "11/20/2026", "2026-11-20", None])
def test_an_event_with_an_unusual_time_starts_its_release(env: Environment, time: object) -> None:
    env.registered(json.dumps(json.loads(event(version=20)) | {"eventTime": time}))
    cloud = sample_event("cloud-event.json") | {"time": time}
    env.registered(json.dumps(cloud))

    assert env.versions == ["20", "21"]
