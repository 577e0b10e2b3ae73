"""The log lines that monitoring reads, through the local host and Microsoft's own worker."""

import json
import logging
from collections.abc import Iterator
from dataclasses import replace

import pytest
import requests

from local import functions_worker
from local.azure_devops_faults import Fault
from model_release import app as wiring
from model_release.domain.claims import State
from tests.environment import WORKSPACE, World, event
from tests.flow.test_catch_up import Azure, azure  # noqa: F401  a fixture
from tests.functions_runtime import FunctionsRuntime
from tests.store.test_history import claims
from tests.test_app import deliver, served

POST = {"method": "POST", "path": "/releases"}
KEYS = {
    "event",
    "event_id",
    "workspace",
    "model",
    "version",
    "route",
    "target",
    "decision",
    "reason",
    "release_id",
    "attempt",
    "milliseconds",
}
PAT = "a-token-that-nobody-may-see"
TAGS = {"stage": "production", "note": "a-tag-value-that-nobody-may-see"}


class Lines(logging.Handler):
    """Keeps each JSON line with the id of the invocation that wrote it, as the worker would."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.lines: list[dict] = []
        self.invocations: list[str | None] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(self.format(record))
        if record.getMessage().startswith("{"):
            self.lines.append(json.loads(record.getMessage()))
            self.invocations.append(getattr(functions_worker._thread_local_storage, "invocation_id", None))

    def of(self, event: str) -> list[dict]:
        return [line for line in self.lines if line["event"] == event]


@pytest.fixture
def lines() -> Iterator[Lines]:
    root, lines = logging.getLogger(), Lines()
    level = root.level
    root.addHandler(lines)
    root.setLevel(logging.INFO)
    yield lines
    root.removeHandler(lines)
    root.setLevel(level)


def sweep(host: str) -> None:
    assert requests.post(f"{host}/admin/functions/unfinished_releases", json={}).status_code == 202


def test_each_decision_is_one_line_with_all_its_values_and_its_invocation(world: World, lines: Lines) -> None:
    world.app = world.start(AZURE_DEVOPS_PAT=PAT)
    with served(world.function_app()) as host:
        deliver(host, event(version=20, ModelTags=TAGS))
        deliver(host, event(version=19, ModelTags=TAGS))
        deliver(host, event(model="churn", ModelTags=TAGS))
        deliver(host, '{"no": "event"}')
        for version, fault in ((21, {"status": 429}), (22, {"status": 400}), (23, {"close": "after"})):
            world.azure_devops.misbehave(Fault(**POST, **fault))
            deliver(host, event(version=version, ModelTags=TAGS))
            world.azure_devops.behave()
            world.clock.advance(minutes=4)

    decisions = lines.of("decision")
    assert [line["decision"] for line in decisions] == [
        State.STARTED,
        State.SUPERSEDED,
        State.IGNORED,
        State.IGNORED,
        State.WAITING,
        State.REFUSED,
        State.UNKNOWN,
    ]
    assert {frozenset(line) for line in decisions} == {frozenset(KEYS)}
    assert len(set(lines.invocations)) == len(lines.lines)
    assert all(lines.invocations)
    assert decisions[0] | {"milliseconds": 0} == {
        "event": "decision",
        "decision": "started",
        "model": "sklearn_regression_model",
        "version": "20",
        "target": "fraud/Deploy sklearn model",
        "reason": "route sklearn_regression_model takes sklearn_regression_model 20",
        "route": "sklearn_regression_model",
        "release_id": 1,
        "attempt": 1,
        "milliseconds": 0,
        "workspace": WORKSPACE.lower(),
        "event_id": "event of sklearn_regression_model 20",
    }
    assert (decisions[2]["target"], decisions[2]["release_id"], decisions[2]["attempt"]) == ("", None, 0)
    assert (decisions[3]["model"], decisions[3]["version"]) == ("", "")
    assert not [text for text in lines.texts if PAT in text or TAGS["note"] in text]


def test_what_comes_again_and_what_a_person_does_is_told_as_such(world: World, lines: Lines) -> None:
    world.azure_devops.misbehave(Fault(**POST, status=429, times=1))
    world.app.registered(event(version=20))
    world.app.registered(event(version=20))
    (claim,) = claims(world)
    world.app.try_now(claim)
    (claim,) = claims(world)
    world.app.again(claim, "a-wish-for-it")

    assert [(line["decision"], line["reason"][:13]) for line in lines.of("decision")] == [
        ("waiting", "Azure DevOps "),
        ("waiting", "known already"),
        ("started", "route sklearn"),
        ("started", "started again"),
    ]


def test_a_sweep_tells_what_it_decided_and_what_is_open_in_its_own_invocation(world: World, lines: Lines) -> None:
    world.azure_devops.misbehave(Fault(**POST, status=429, times=2))
    with served(world.function_app()) as host:
        deliver(host, event(version=20))
        for minutes in (1, 5):
            world.clock.advance(minutes=minutes)
            sweep(host)

    assert [(line["decision"], line["attempt"]) for line in lines.of("decision")] == [
        ("waiting", 1),
        ("waiting", 2),
        ("started", 3),
    ]
    assert [(line["open"], line["oldest_open_seconds"]) for line in lines.of("sweep")] == [(1, 60), (0, None)]
    # The delivery, and each sweep with its decision.
    assert len(set(lines.invocations)) == 3
    assert all(lines.invocations)


def test_milliseconds_are_of_this_attempt(world: World, lines: Lines) -> None:
    ticks = iter([5.0, 5.25, 5.5, 7.5])
    world.azure_devops.misbehave(Fault(**POST, status=429, times=1))
    world.app = replace(world.app, monotonic=lambda: next(ticks, 9.0))

    world.app.registered(event())
    world.clock.advance(minutes=1)
    world.app.unfinished()

    assert [line["milliseconds"] for line in lines.of("decision")] == [250, 1500]


def test_a_look_at_a_workspace_is_one_line(azure: Azure, world: World, lines: Lines) -> None:  # noqa: F811
    azure.missed()
    world.clock.advance(minutes=1)
    azure.register(20)
    azure.register(1, "churn")
    azure.missed(hours=1)
    azure.azure_ml.misbehave(Fault(status=403))
    azure.missed(hours=1)

    looks = [{name: line[name] for name in ("listed", "released", "complete")} for line in lines.of("catch-up")]
    assert looks == [
        {"listed": 0, "released": 0, "complete": True},
        {"listed": 2, "released": 1, "complete": True},
        {"listed": 0, "released": 0, "complete": False},
    ]
    assert {line["workspace"] for line in lines.of("catch-up")} == {WORKSPACE.lower()}


def test_microsofts_own_worker_keeps_the_lines_of_a_delivery_and_of_a_sweep(world: World) -> None:
    pytest.importorskip("azure_functions_runtime", reason="the worker is a library from Python 3.13 on")
    world.azure_devops.misbehave(Fault(**POST, status=429, times=1))
    app = FunctionsRuntime(
        wiring.HOME, world.environment(AZURE_DEVOPS_PAT=PAT, FIRST_RETRY_SECONDS="1", PYTHON_ENABLE_DEBUG_LOGGING="1")
    )

    delivery = app.invoke("model_registered", event(ModelTags=TAGS))
    again = app.invoke("model_registered", event(model="churn", ModelTags=TAGS))
    sweep = app.invoke("unfinished_releases")

    told = [json.loads(text) for run in (delivery, again, sweep) for text in run.logs if text.startswith("{")]
    assert [line["event"] for line in told] == ["decision", "decision", "decision", "sweep"]
    assert [line["decision"] for line in told[:3]] == ["waiting", "ignored", "started"]
    assert {frozenset(line) for line in told[:3]} == {frozenset(KEYS)}
    assert not [text for run in (delivery, again, sweep) for text in run.logs if PAT in text or TAGS["note"] in text]
