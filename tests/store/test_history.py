"""The history, the records of a model version, and restarts."""

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from local.azure_devops_faults import Fault
from model_release.domain.claims import AttemptResult, Claim, State
from model_release.domain.events import Workspace
from model_release.domain.history import HistoryEntry, HistoryQuery
from model_release.errors import ClaimLeasedError, RefusedError
from model_release.reason import Reason, ReasonKind
from model_release.store.history import History
from tests.environment import BOTH, IN_AZURITE, IN_MEMORY, WORKSPACE, Environment, event, register

pytestmark = IN_MEMORY

MODEL = "sklearn_regression_model"
IDEMPOTENCY_KEY = "5f0c9d3e-0d53-4d0e-9a53-3d1f6f3f2b11"


@pytest.fixture
def history(env: Environment) -> History:
    return env.start().sweep.history


def claims(env: Environment, version: str = "20") -> tuple[Claim, ...]:
    return env.claims.recorded(Workspace.parse(WORKSPACE), MODEL, version)[version].claims


def versions(history: History, query: HistoryQuery) -> list[str]:
    return [entry.subject.partition(":")[2] for entry in history.page(query).entries]


def restart(env: Environment, claim: Claim, idempotency_key: str = IDEMPOTENCY_KEY) -> HistoryEntry:
    (entry,) = env.app.start_release.restart(claim, idempotency_key)
    return entry


def interrupted_restart(env: Environment, claim: Claim) -> Claim:
    """Claim a restart as a process that dies afterwards."""
    plan, registered = env.plan(claim.event)
    target = env.app.start_release.targets.last_resolved(plan.target)
    new = env.claims.new(plan, registered, target, (), IDEMPOTENCY_KEY).claim
    env.app.start_release.pending.put(new, new.lease_until)
    return env.claims.insert(new)[0]


# Entries


@IN_AZURITE
def test_pages_have_no_gap_and_no_overlap(env: Environment, history: History) -> None:
    register(env, *range(1, 8))
    seen, query, pages = [], HistoryQuery(limit=3), 0

    while True:
        page = history.page(query)
        seen += [entry.subject for entry in page.entries]
        pages += 1
        if not page.continuation:
            break
        query = HistoryQuery(continuation=page.continuation, limit=3)

    assert seen == [f"models/{MODEL}:{version}" for version in range(7, 0, -1)]
    assert pages == 3


@IN_AZURITE
def test_ignored_events_are_merged_by_time_if_they_are_included(env: Environment, history: History) -> None:
    register(env, 1)
    register(env, 2, model="churn")
    register(env, 3)
    register(env, 4, model="churn")

    assert versions(history, HistoryQuery()) == ["3", "1"]
    assert versions(history, HistoryQuery(ignored=True)) == ["4", "3", "2", "1"]
    first = history.page(HistoryQuery(ignored=True, limit=2))
    assert [entry.subject[-1] for entry in first.entries] == ["4", "3"]
    second = HistoryQuery(ignored=True, continuation=first.continuation, limit=2)
    assert versions(history, second) == ["2", "1"]
    assert versions(history, HistoryQuery(state=State.IGNORED)) == ["4", "2"]


def test_an_event_that_cannot_be_read_is_found_by_its_model(env: Environment, history: History) -> None:
    env.registered(event(model="churn", version="1/2"))
    env.registered(event(model="churn", version=3, ModelTags=1))
    env.registered(event(model="churn", version=4).replace("workspaces/prod", "workspaces/other"))

    entries = history.page(HistoryQuery(model="churn", ignored=True)).entries

    assert {entry.subject: entry.event_id for entry in entries} == {
        f"models/churn:{version}": f"event of churn {version}" for version in ("1/2", "3", "4")
    }


@IN_AZURITE
def test_state_and_time_filter_the_entries(env: Environment, history: History) -> None:
    register(env, 21)
    began = env.clock()
    register(env, 20, 22)

    assert versions(history, HistoryQuery(state=State.SUPERSEDED)) == ["20"]
    assert versions(history, HistoryQuery(since=began)) == ["22", "20"]
    assert versions(history, HistoryQuery(until=began)) == ["20", "21"]
    assert versions(history, HistoryQuery(since=began, until=began)) == ["20"]
    assert versions(history, HistoryQuery(since=began + timedelta(hours=1))) == []


@IN_AZURITE
def test_the_sweep_deletes_entries_after_90_days(env: Environment, history: History) -> None:
    register(env, 1)
    register(env, 2, model="churn")
    env.clock.advance(days=91)
    register(env, 3)

    env.sweep()

    assert versions(history, HistoryQuery(ignored=True)) == ["3"]


# The records of a model version


@BOTH
def test_each_attempt_is_recorded_with_its_state_and_reason(env: Environment) -> None:
    env.azure_devops.misbehave(
        Fault(**env.requests.start, status=429, times=1),
        Fault(**env.requests.start, status=403, body={"message": "No."}, times=1),
    )
    register(env, 20)
    env.later(minutes=2)
    env.later(hours=2)

    (claim,) = claims(env)
    assert [(attempt.number, attempt.state) for attempt in claim.attempts] == [
        (1, State.WAITING),
        (2, State.REFUSED),
        (3, State.STARTED),
    ]
    assert claim.attempts[1].reason == "No."
    assert claim.attempts[2].time == env.clock()


@IN_AZURITE
def test_the_last_20_attempts_are_kept_whatever_their_reasons_contain(env: Environment) -> None:
    env.azure_devops.misbehave(
        Fault(**env.requests.start, status=403, body={"message": "\n".join(['"\\\N{GRINNING FACE}' * 60] * 12)})
    )
    register(env, 20)
    (claim,) = claims(env)
    refused = AttemptResult(State.REFUSED, Reason(claim.reason_kind, claim.reason), env.clock())
    for _ in range(21):
        env.clock.advance(hours=2)
        leased = env.claims.acquire(claim)
        env.app.start_release.recorder.record(leased.claim, refused)
        (claim,) = claims(env)

    assert [attempt.number for attempt in claim.attempts] == list(range(3, 23))


def test_an_ignored_event_is_recorded_with_its_reason(env: Environment) -> None:
    register(env, 1, model="churn")

    recorded = env.claims.recorded(Workspace.parse(WORKSPACE), "churn", "1")["1"]

    assert recorded.ignored == Reason(ReasonKind.MODEL_NOT_NAMED, "no route names the model churn")
    assert recorded.claims == ()


@IN_AZURITE
def test_a_version_is_distinguished_from_versions_with_the_same_beginning(env: Environment) -> None:
    register(env, "1", "1-a", "1.0", "10")

    assert set(env.claims.recorded(Workspace.parse(WORKSPACE), MODEL, "1")) == {"1"}


# Restart and try now


@IN_AZURITE
@BOTH
def test_each_idempotency_key_restarts_a_version_once(env: Environment) -> None:
    register(env, 20)

    for key in (IDEMPOTENCY_KEY, IDEMPOTENCY_KEY, "another-key"):
        entry = restart(env, claims(env)[0], key)
        assert entry.state is State.STARTED
        assert "restarted manually" in entry.reason

    assert env.versions == ["20"] * 3
    assert [claim.idempotency_key for claim in claims(env)] == ["", IDEMPOTENCY_KEY, "another-key"]
    assert env.sweep() == []


@BOTH
def test_an_older_version_is_restarted_after_a_newer_one(env: Environment) -> None:
    register(env, 21, 20)
    (superseded,) = claims(env)

    assert restart(env, superseded).state is State.STARTED

    assert env.versions == ["21", "20"]


@BOTH
def test_the_sweep_starts_a_restart_that_waits(env: Environment) -> None:
    register(env, 21, 20)
    env.azure_devops.misbehave(Fault(**env.requests.start, status=429, times=1))

    assert restart(env, claims(env)[0]).state is State.WAITING
    env.later(minutes=2)

    assert env.versions == ["21", "20"]
    assert env.sweep() == []


@BOTH
def test_the_sweep_starts_an_interrupted_restart_once(env: Environment) -> None:
    register(env, 20)
    interrupted_restart(env, claims(env)[0])

    assert env.later(minutes=2) == []
    assert [entry.state for entry in env.later(minutes=2)] == [State.UNKNOWN]
    assert [entry.state for entry in env.later(minutes=2)] == [State.STARTED]

    assert env.versions == ["20"] * 2
    assert list(env.app.sweep.pending.due()) == []


def test_a_restart_that_was_interrupted_before_its_claim_starts_nothing(env: Environment) -> None:
    register(env, 20)
    (claim,) = claims(env)
    env.app.sweep.pending.put(replace(claim, row=f"{claim.row} {IDEMPOTENCY_KEY}", created=env.clock()), env.clock())

    assert env.later(minutes=30) == []
    assert list(env.app.sweep.pending.due()) == []
    assert env.versions == ["20"]


def test_a_repeated_restart_fails_while_the_first_is_processed(env: Environment) -> None:
    register(env, 20)
    (claim,) = claims(env)
    interrupted_restart(env, claim)

    with pytest.raises(ClaimLeasedError):
        restart(env, claim)


def test_a_version_without_a_route_is_not_restarted(env: Environment, tmp_path: Path) -> None:
    register(env, 20)
    (claim,) = claims(env)
    route = {"model": "other", "release": {"project": "p", "definition": 1}}
    (tmp_path / "map.yaml").write_text(json.dumps({"version": 1, "routes": [route]}))
    env.restart(RELEASE_MAP=str(tmp_path / "map.yaml"))

    with pytest.raises(RefusedError, match=f"no route names the model {MODEL}"):
        restart(env, claim)

    assert env.versions == ["20"]


@BOTH
def test_a_refused_claim_is_tried_now(env: Environment) -> None:
    env.azure_devops.misbehave(Fault(**env.requests.start, status=403, times=1))
    register(env, 20)
    (claim,) = claims(env)

    (entry,) = env.app.start_release.try_now(claim)

    assert entry.state is State.STARTED
    assert env.versions == ["20"]


@BOTH
def test_trying_now_finds_a_release_that_exists_already(env: Environment) -> None:
    env.azure_devops.misbehave(Fault(**env.requests.start, status=503, apply=True, times=1))
    register(env, 20)

    (entry,) = env.app.start_release.try_now(claims(env)[0])

    assert entry.state is State.STARTED
    assert env.versions == ["20"]
