"""The log lines that monitoring reads, through the local host and Microsoft's own worker."""

import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import requests

from local import functions_worker
from local.azure_devops_faults import Fault
from local.azure_ml import AzureMl
from local.serving import Server
from model_release.app import HOME
from model_release.domain.claims import NEVER, State
from tests.environment import WORKSPACE, Environment, event
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
    "definition_id",
    "state",
    "reason",
    "release_id",
    "attempt",
    "milliseconds",
}
PAT = "a-secret-token"
TAGS = {"stage": "production", "note": "a-secret-tag-value"}


class Lines(logging.Handler):
    """Keeps each JSON line with the ID of the invocation that wrote it, as the worker does."""

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


def test_each_history_entry_is_one_line_with_all_values_and_its_invocation(env: Environment, lines: Lines) -> None:
    env.restart(AZURE_DEVOPS_PAT=PAT)
    with served(env.function_app()) as host:
        deliver(host, event(version=20, ModelTags=TAGS))
        deliver(host, event(version=19, ModelTags=TAGS))
        deliver(host, event(model="churn", ModelTags=TAGS))
        deliver(host, '{"no": "event"}')
        for version, fault in ((21, {"status": 429}), (22, {"status": 400}), (23, {"close": "after"})):
            env.azure_devops.misbehave(Fault(**POST, **fault))
            deliver(host, event(version=version, ModelTags=TAGS))
            env.azure_devops.behave()
            env.clock.advance(minutes=4)

    entries = lines.of("history_entry")
    assert [line["state"] for line in entries] == [
        State.STARTED,
        State.SUPERSEDED,
        State.IGNORED,
        State.IGNORED,
        State.WAITING,
        State.REFUSED,
        State.UNKNOWN,
    ]
    assert {frozenset(line) for line in entries} == {frozenset(KEYS)}
    assert len(set(lines.invocations)) == len(lines.lines)
    assert all(lines.invocations)
    assert entries[0] | {"milliseconds": 0} == {
        "event": "history_entry",
        "state": "started",
        "model": "sklearn_regression_model",
        "version": "20",
        "target": "fraud/1",
        "definition_id": 1,
        "reason": "route sklearn_regression_model matches sklearn_regression_model:20",
        "route": "sklearn_regression_model",
        "release_id": 1,
        "attempt": 1,
        "milliseconds": 0,
        "workspace": WORKSPACE.lower(),
        "event_id": "event of sklearn_regression_model 20",
    }
    assert (entries[2]["target"], entries[2]["release_id"], entries[2]["attempt"]) == ("", None, 0)
    assert (entries[3]["model"], entries[3]["version"]) == ("", "")
    assert not [text for text in lines.texts if PAT in text or TAGS["note"] in text]


def test_the_reason_distinguishes_a_redelivered_event_and_a_restart(env: Environment, lines: Lines) -> None:
    env.azure_devops.misbehave(Fault(**POST, status=429, times=1))
    env.registered(event(version=20))
    env.registered(event(version=20))
    (claim,) = claims(env)
    env.app.start_release.try_now(claim)
    (claim,) = claims(env)
    env.app.start_release.restart(claim, "an-idempotency-key")

    matched = "route sklearn_regression_model matches sklearn_regression_model:20"
    assert [(line["state"], line["reason"]) for line in lines.of("history_entry")] == [
        ("waiting", "Azure DevOps is throttling requests (429)"),
        ("waiting", "already recorded"),
        ("started", matched),
        ("started", f"restarted manually; {matched}"),
    ]


def test_a_sweep_logs_its_entries_and_the_pending_claims_in_its_own_invocation(env: Environment, lines: Lines) -> None:
    env.azure_devops.misbehave(Fault(**POST, status=429, times=2))
    with served(env.function_app()) as host:
        deliver(host, event(version=20))
        for minutes in (1, 5):
            env.clock.advance(minutes=minutes)
            sweep(host)

    assert [(line["state"], line["attempt"]) for line in lines.of("history_entry")] == [
        ("waiting", 1),
        ("waiting", 2),
        ("started", 3),
    ]
    assert [(line["pending"], line["oldest_pending_seconds"]) for line in lines.of("sweep")] == [(1, 60), (0, None)]
    # The delivery, and each sweep with its history entry.
    assert len(set(lines.invocations)) == 3
    assert all(lines.invocations)


def test_milliseconds_are_of_this_attempt(env: Environment, lines: Lines) -> None:
    ticks = iter([5.0, 5.25, 5.5, 7.5])
    env.azure_devops.misbehave(Fault(**POST, status=429, times=1))
    start_release = replace(env.app.start_release, monotonic=lambda: next(ticks, 9.0))

    start_release.registered(event())
    env.clock.advance(minutes=1)
    replace(env.app.sweep, start_release=start_release).run()

    assert [line["milliseconds"] for line in lines.of("history_entry")] == [250, 1500]


def test_a_catch_up_of_a_workspace_is_one_line(env: Environment, lines: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    azure_ml = AzureMl([WORKSPACE])
    with Server(azure_ml) as azure:
        monkeypatch.setenv("IDENTITY_ENDPOINT", f"{azure.url}/msi/token")
        monkeypatch.setenv("IDENTITY_HEADER", "local")
        catch_up = env.start(AZURE_RESOURCE_MANAGER_URL=azure.url).catch_up
        catch_up.run()
        env.clock.advance(minutes=1)
        for model, version in (("sklearn_regression_model", "20"), ("churn", "1")):
            azure_ml.add_version(WORKSPACE, model, version, created=env.clock(), tags=TAGS)
        env.clock.advance(hours=1)
        catch_up.run()
        azure_ml.misbehave(Fault(status=403))
        env.clock.advance(hours=1)
        catch_up.run()

    runs = [{name: line[name] for name in ("listed", "started", "complete")} for line in lines.of("catch_up")]
    assert runs == [
        {"listed": 0, "started": 0, "complete": True},
        {"listed": 2, "started": 1, "complete": True},
        {"listed": 0, "started": 0, "complete": False},
    ]
    assert {line["workspace"] for line in lines.of("catch_up")} == {WORKSPACE.lower()}
    assert not [text for text in lines.texts if TAGS["note"] in text]


def test_a_mismatch_is_logged_without_the_values_of_tags(env: Environment, lines: Lines, tmp_path: Path) -> None:
    release = {"project": "fraud", "definition": 1}
    route = {"model": "sklearn_regression_model", "tags": {"stage": "a-secret-wanted-value"}, "release": release}
    (tmp_path / "map.yaml").write_text(json.dumps({"version": 1, "routes": [route]}))
    env.azure_devops.misbehave(Fault(**POST, status=429, times=1))
    tags = {"stage": "a-secret-found-value"}
    env.registered(event(version=20, ModelTags=tags))
    env.restart(RELEASE_MAP=str(tmp_path / "map.yaml"))
    env.clock.advance(seconds=1)

    env.registered(event(version=21, ModelTags=tags))
    env.later(minutes=1)

    reason = "tag stage is 'a-secret-found-value', not 'a-secret-wanted-value'"
    assert [(entry.state, entry.reason) for entry in env.history] == [
        (State.WITHDRAWN, reason),
        (State.IGNORED, reason),
    ]
    assert [(line["state"], line["reason"]) for line in lines.of("history_entry")[1:]] == [
        ("ignored", "tag stage has another value"),
        ("withdrawn", "tag stage has another value"),
    ]
    assert not [text for text in lines.texts if "a-secret" in text]


def test_microsofts_own_worker_keeps_the_lines_of_a_delivery_and_of_a_sweep(env: Environment) -> None:
    pytest.importorskip("azure_functions_runtime", reason="the worker is a library from Python 3.13 on")
    env.azure_devops.misbehave(Fault(**POST, status=403, times=1))
    app = FunctionsRuntime(HOME, env.settings(AZURE_DEVOPS_PAT=PAT, PYTHON_ENABLE_DEBUG_LOGGING="1"))

    delivered = app.invoke("model_registered", event(ModelTags=TAGS))
    ignored = app.invoke("model_registered", event(model="churn", ModelTags=TAGS))
    (refused,) = claims(env)
    env.claims.update(refused, replace(refused, next_attempt=NEVER))
    env.app.sweep.pending.put(refused, NEVER)
    invocations = (delivered, ignored, app.invoke("unfinished_releases"))

    texts = [text for invocation in invocations for text in invocation.logs]
    logged = [json.loads(text) for text in texts if text.startswith("{")]
    assert [line["event"] for line in logged] == ["history_entry", "history_entry", "history_entry", "sweep"]
    assert [line["state"] for line in logged[:3]] == ["refused", "ignored", "started"]
    assert {frozenset(line) for line in logged[:3]} == {frozenset(KEYS)}
    assert not [text for text in texts if PAT in text or TAGS["note"] in text]
