"""The way of an event, with the SDK talking to a local Azure DevOps."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from azure.core.exceptions import AzureError

from local.azure_devops_faults import Fault
from model_release.domain.claims import State
from model_release.domain.events import ModelRegistered
from model_release.domain.history import ByHand
from model_release.domain.routing import Routing
from model_release.domain.targets import Created, Plan
from model_release.errors import ClaimLeasedError
from model_release.flow.attempt import OpenAttempt
from model_release.flow.confirm import Confirmed
from model_release.flow.steer import set_mark_back
from model_release.reason import Reason, ReasonKind
from tests.environment import (
    BOTH,
    EVENTS,
    IN_AZURITE,
    IN_MEMORY,
    USUALLY_A_PIPELINE,
    USUALLY_A_RELEASE,
    Environment,
    Size,
    event,
    in_turn,
    sample_event,
)
from tests.in_memory import incompressible

pytestmark = IN_MEMORY


def version_of(release: dict) -> tuple[str, str]:
    artifact = release["artifacts"][0]["definitionReference"]["version"]["name"] if release["artifacts"] else ""
    return artifact, release["variables"]["ModelVersion"]["value"]


@IN_AZURITE
def test_a_registered_model_starts_its_release_with_exactly_that_version(env: Environment) -> None:
    (entry,) = env.registered(event(version=20))

    assert entry.state is State.STARTED
    assert [version_of(release) for release in env.azure_devops.releases] == [("20", "20")]
    assert env.azure_devops.releases[0]["variables"]["ModelName"]["value"] == "sklearn_regression_model"
    assert env.azure_devops.releases[0]["variables"]["ModelWorkspace"]["value"] == "prod"
    assert entry.release_url == env.azure_devops.releases[0]["_links"]["web"]["href"]


def test_the_route_passes_tags_and_makes_stages_manual(env: Environment) -> None:
    env.registered(json.dumps(sample_event("event-grid-camel.json")))

    (release,) = env.azure_devops.releases
    assert release["releaseDefinition"]["id"] == 42
    assert release["variables"]["Stage"]["value"] == "production"
    assert release["description"].startswith("fraud_model 3 [model-release ")
    assert [stage["name"] for stage in release["environments"] if not stage["conditions"]] == ["Production"]


@IN_AZURITE
@BOTH
def test_a_redelivered_event_starts_nothing(env: Environment) -> None:
    env.registered(event())

    (again,) = env.registered(event())

    assert (again.state, again.reason[:16]) == (State.STARTED, "already recorded")
    assert env.versions == ["20"]


@USUALLY_A_PIPELINE
def test_another_process_starts_nothing_again(env: Environment) -> None:
    env.registered(event())

    env.start().start_release.registered(event())

    assert env.versions == ["20"]


def test_a_model_without_a_route_is_recorded_with_the_reason(env: Environment) -> None:
    (entry,) = env.registered(json.dumps(sample_event("null-tags.json")))

    assert (entry.state, entry.reason) == (State.IGNORED, "no route names the model churn")
    assert env.history == [entry]
    assert env.started == []


@IN_AZURITE
@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (event().replace("workspaces/prod", "workspaces/other"), "is not in AML_WORKSPACES"),
        (
            event().replace("ModelRegistered", "RunCompleted"),
            "event type is 'Microsoft.MachineLearningServices.RunCompleted', not",
        ),
        ("no JSON", "the event is not JSON"),
        ("[]", "the event is not a JSON object"),
        (event(ModelTags={"big": incompressible(1_350_000)}), "after compression; the limit is 960,000"),
        (event(model="../other"), "the model name is '../other'; expected up to 255 letters"),
        (event(model="a'b or 1 eq 1"), "expected up to 255 letters"),
        (event(model="name\u202e\u0000"), "expected up to 255 letters"),
        (event(version="1/../2"), "the model version is '1/../2'; expected"),
    ],
)
def test_an_event_that_cannot_be_used_is_recorded_and_starts_nothing(env: Environment, body: str, reason: str) -> None:
    env.registered(body)

    (line,) = env.history
    assert line.state is State.IGNORED
    assert reason in line.reason
    assert env.started == []


@USUALLY_A_RELEASE
def test_an_older_version_does_not_start_after_a_newer_one(env: Environment) -> None:
    env.registered(event(version=20))

    (late,) = env.registered(event(version=19))

    assert (late.state, late.reason) == (State.SUPERSEDED, "version 20 was sent first")
    assert env.versions == ["20"]


@USUALLY_A_PIPELINE
def test_versions_are_compared_as_numbers(env: Environment) -> None:
    env.registered(event(version=9))
    env.registered(event(version=10))

    assert env.versions == ["9", "10"]


@USUALLY_A_RELEASE
def test_versions_that_are_not_whole_numbers_have_no_order(env: Environment) -> None:
    env.registered(event(version="b"))
    env.registered(event(version="a"))

    assert env.versions == ["b", "a"]


@USUALLY_A_PIPELINE
def test_a_waiting_version_is_superseded_by_a_newer_one(env: Environment) -> None:
    env.azure_devops.misbehave(Fault(**env.requests.start, status=429, times=1))
    env.registered(event(version=20))
    env.registered(event(version=21))

    (entry,) = env.later(minutes=2)

    assert entry.state is State.SUPERSEDED
    assert env.versions == ["21"]


@USUALLY_A_RELEASE
def test_a_newer_version_waits_for_the_version_in_flight_although_another_was_superseded(env: Environment) -> None:
    env.azure_devops.misbehave(Fault(**env.requests.start, close="before", times=1))

    states = [env.registered(event(version=version))[0].state for version in (21, 20, 22)]

    assert states == [State.UNKNOWN, State.SUPERSEDED, State.WAITING]


@USUALLY_A_PIPELINE
def test_a_newer_version_waits_until_the_request_of_an_older_one_is_over(env: Environment) -> None:
    env.azure_devops.misbehave(Fault(**env.requests.start, close="before", times=1))
    env.registered(event(version=20))

    (newer,) = env.registered(event(version=21))

    assert (newer.state, newer.reason) == (State.WAITING, "version 20 is still being created")
    env.later(minutes=5)
    env.later(minutes=5)
    env.later(minutes=5)
    assert env.versions in (["20", "21"], ["21"])


@USUALLY_A_RELEASE
@pytest.mark.parametrize("seconds", [61, 200])
def test_a_newer_version_starts_after_an_older_one(env: Environment, seconds: int) -> None:
    env.registered(event(version=20))
    env.clock.advance(seconds=seconds)
    env.registered(event(version=21))

    assert env.versions == ["20", "21"]


FAULTS = {
    "429": Fault(status=429, headers={"Retry-After": "30"}, times=1),
    "500 before": Fault(status=500, times=1),
    "500 after": Fault(status=500, apply=True, times=1),
    "503": Fault(status=503, times=1),
    "408": Fault(status=408, times=1),
    "sign-in page": Fault(sign_in=True, times=1),
    "302": Fault(status=302, headers={"Location": "/signin"}, times=1),
    "401": Fault(status=401, times=1),
    "closed before": Fault(close="before", times=1),
    "closed after": Fault(close="after", times=1),
    # Dropped in the end: the clock is moved past any moment at which it could still arrive.
    "timed out": Fault(delay=1.5, close="before", times=1),
    "truncated": Fault(truncate=True, times=1),
    "half the JSON": Fault(unparsable=True, times=1),
}


FAULTS_IN_TURN = in_turn("fault", {name: (fault,) for name, fault in FAULTS.items()})


def inject(env: Environment, fault: Fault) -> None:
    if fault.delay:
        env.restart(AZURE_DEVOPS_TIMEOUT_SECONDS="1")
    env.azure_devops.misbehave(fault)


@FAULTS_IN_TURN
def test_after_a_fault_the_sweep_creates_one_release(env: Environment, fault: Fault) -> None:
    inject(env, replace(fault, **env.requests.start))

    (entry,) = env.registered(event())
    assert not entry.state.final

    while entry.state is not State.STARTED:
        (entry,) = env.later(hours=1)
    assert env.versions == ["20"]
    assert env.later(hours=1) == []


@FAULTS_IN_TURN
def test_a_fault_of_the_target_search_starts_nothing_twice(env: Environment, fault: Fault) -> None:
    inject(env, replace(fault, **env.requests.find, close=fault.close and "before"))

    (entry,) = env.registered(event())

    while entry.state is not State.STARTED:
        (entry,) = env.later(hours=1)
    assert env.versions == ["20"]


@USUALLY_A_PIPELINE
def test_a_failed_search_for_the_marker_leaves_the_claim_unknown_and_creates_nothing(env: Environment) -> None:
    env.azure_devops.misbehave(Fault(**env.requests.start, close="after", times=1))
    env.registered(event())
    env.azure_devops.misbehave(Fault(**env.requests.look, status=500))

    (entry,) = env.later(minutes=5)

    assert entry.state is State.UNKNOWN
    assert "cannot check whether the release exists" in entry.reason
    env.azure_devops.behave()
    env.later(hours=1)
    assert env.versions == ["20"]


@USUALLY_A_RELEASE
def test_a_release_whose_answer_was_lost_is_found_by_its_marker(env: Environment) -> None:
    env.azure_devops.misbehave(Fault(**env.requests.start, close="after", times=1))
    env.registered(event())

    (entry,) = env.later(minutes=1)

    assert entry.reason == f"{env.started[0]['name']} was found; an earlier attempt created it"
    assert entry.release_id == 1


@USUALLY_A_PIPELINE
def test_a_request_in_flight_is_waited_for(env: Environment) -> None:
    env.azure_devops.misbehave(Fault(**env.requests.start, close="before", times=1))
    env.registered(event())
    until = env.clock.now + timedelta(minutes=6)

    (early,) = env.later(minutes=4)
    assert (early.state, early.reason) == (
        State.UNKNOWN,
        f"not found yet; the earlier request may still complete until {until:%H:%M:%S} UTC",
    )

    (entry,) = env.later(minutes=2)
    assert entry.state is State.STARTED
    assert env.versions == ["20"]


@USUALLY_A_RELEASE
def test_an_attempt_follows_each_minute_and_after_retry_after(env: Environment) -> None:
    env.azure_devops.misbehave(Fault(**env.requests.start, status=429))
    waits = []
    env.registered(event())
    for _ in range(4):
        wait = env.history[0].next_attempt - env.clock()
        waits.append(wait.total_seconds())
        env.later(seconds=wait.total_seconds())
    env.azure_devops.behave()
    env.azure_devops.misbehave(Fault(**env.requests.start, status=429, headers={"Retry-After": "3000"}))
    env.later(hours=1)

    assert waits == [60, 60, 60, 60]
    assert (env.history[0].next_attempt - env.clock()).total_seconds() == 3000


@USUALLY_A_PIPELINE
def test_a_claim_waits_while_azure_devops_cannot_be_reached(env: Environment) -> None:
    app = env.start(AZURE_DEVOPS_URL="http://127.0.0.1:9/contoso")

    (entry,) = app.start_release.registered(event())

    assert entry.state is State.WAITING
    assert "cannot be reached" in entry.reason
    env.later(minutes=2)
    assert env.versions == ["20"]


@USUALLY_A_RELEASE
def test_a_pending_claim_is_acknowledged_and_left_to_the_sweep(env: Environment) -> None:
    env.azure_devops.misbehave(Fault(**env.requests.start, status=429, times=1))
    env.registered(event())

    (again,) = env.registered(event())

    assert again.state is State.WAITING
    assert env.versions == []


@IN_AZURITE
@USUALLY_A_PIPELINE
def test_nothing_is_started_while_storage_is_unavailable(env: Environment) -> None:
    env.storage.down = True
    with pytest.raises(AzureError):
        env.registered(event())
    assert env.started == []

    env.storage.down = False
    env.registered(event())

    assert env.versions == ["20"]


@USUALLY_A_RELEASE
def test_a_delivery_fails_while_another_worker_has_the_lease(env: Environment) -> None:
    env.azure_devops.misbehave(Fault(**env.requests.start, close="after", times=1))
    env.claim(event())

    with pytest.raises(ClaimLeasedError):
        env.registered(event())

    env.clock.advance(minutes=4)
    env.registered(event())
    env.later(hours=1)
    assert env.versions == ["20"]


@IN_AZURITE
@USUALLY_A_PIPELINE
def test_deliveries_16_at_a_time_to_two_processes_start_one_release(env: Environment, size: Size) -> None:
    processes = [env.app, env.start()]

    def deliver(number: int) -> bool:
        for _ in range(100):
            try:
                processes[number % 2].start_release.registered(event())
            except ClaimLeasedError:
                continue
            return True
        return False

    with ThreadPoolExecutor(16) as pool:
        acknowledged = list(pool.map(deliver, range(size(20, 50))))

    assert env.versions == ["20"]
    assert all(acknowledged)


@IN_AZURITE
@USUALLY_A_RELEASE
def test_versions_registered_at_once_never_start_backwards(env: Environment) -> None:
    processes = [env.app, env.start()]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: processes[n % 2].start_release.registered(event(version=20 + n)), range(8)))
    for _ in range(10):
        env.later(hours=1)

    assert env.versions == sorted(env.versions)
    assert env.versions[-1] == "27"
    assert {line.state for line in env.history} <= {State.STARTED, State.SUPERSEDED}


@IN_AZURITE
@BOTH
def test_two_sweeps_at_once_start_one_release(env: Environment) -> None:
    env.azure_devops.misbehave(Fault(**env.requests.start, status=429, times=1))
    env.registered(event())
    env.clock.advance(minutes=2)
    processes = [env.start() for _ in range(4)]

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda process: process.sweep.run(), processes))

    assert env.versions == ["20"]


@IN_AZURITE
def test_a_release_costs_one_request_and_five_storage_operations_once_the_definition_is_known(env: Environment) -> None:
    env.registered(event(version=20))
    env.clock.advance(minutes=4)
    requests, operations = len(env.azure_devops.requests), len(env.storage.passed)

    env.registered(event(version=21))

    assert [request.method for request in env.azure_devops.requests[requests:]] == ["POST"]
    assert len(env.storage.passed[operations:]) <= 5
    assert not any("$filter" in path for _, path in env.storage.passed[operations:])


def a_map(path: Path, *definitions: str) -> str:
    routes = [
        {"model": "sklearn_*", "release": {"project": "fraud", "definition": definition}} for definition in definitions
    ]
    path.write_text(json.dumps({"version": 1, "routes": routes}))
    return str(path)


def test_a_pending_claim_moves_to_the_target_of_a_changed_map(env: Environment, tmp_path: Path) -> None:
    env.start(RELEASE_MAP=a_map(tmp_path / "wrong.yaml", "Deploy sklaern model")).start_release.registered(event())

    entries = env.later(hours=1)

    assert [entry.state for entry in entries] == [State.STARTED, State.WITHDRAWN]
    assert entries[1].reason == "the route's target is now fraud/1"
    assert env.versions == ["20"]
    assert env.later(hours=2) == []


@USUALLY_A_RELEASE
def test_a_pending_claim_without_a_route_is_withdrawn_with_the_reason(env: Environment, tmp_path: Path) -> None:
    env.azure_devops.misbehave(Fault(**env.requests.start, status=429))
    env.registered(event())
    path = tmp_path / "map.yaml"
    a_map(path, "Other")
    path.write_text(path.read_text().replace("sklearn_*", "churn"))
    env.restart(RELEASE_MAP=str(path))

    (entry,) = env.later(hours=1)

    assert (entry.state, entry.reason) == (State.WITHDRAWN, "no route names the model sklearn_regression_model")


@USUALLY_A_PIPELINE
def test_a_release_that_may_exist_is_searched_although_the_map_changed(env: Environment, tmp_path: Path) -> None:
    env.azure_devops.misbehave(Fault(**env.requests.start, close="after", times=1))
    env.registered(event())
    env.restart(RELEASE_MAP=a_map(tmp_path / "map.yaml", "Other"))

    (entry,) = env.later(hours=1)

    assert entry.state is State.STARTED
    assert env.versions == ["20"]


def test_a_leased_target_does_not_stop_the_other_targets(env: Environment, tmp_path: Path) -> None:
    env.azure_devops.add_definition("fraud", "Second", variables={"ModelVersion": ""})
    env.restart(RELEASE_MAP=a_map(tmp_path / "map.yaml", "Deploy sklearn model", "Second"))
    env.claim(event())

    with pytest.raises(ClaimLeasedError):
        env.registered(event())

    assert [release["releaseDefinition"]["name"] for release in env.azure_devops.releases] == ["Second"]


@USUALLY_A_RELEASE
def test_a_release_that_was_created_despite_a_refusal_is_found_and_not_created_again(env: Environment) -> None:
    env.azure_devops.misbehave(Fault(**env.requests.start, status=400, body={"message": "no"}, apply=True))
    env.registered(event())

    env.later(hours=2)
    env.later(hours=2)

    assert env.versions == ["20"]
    assert env.history[0].state is State.STARTED


class Slow:
    """An Azure DevOps that needs 30 seconds to create something."""

    def __init__(self, env: Environment) -> None:
        self.env = env
        self.azure_devops = env.app.start_release.attempts.azure_devops
        self.identify = self.azure_devops.identify

    def create(self, *request: Any) -> Created:
        self.env.clock.advance(seconds=30)
        return self.azure_devops.create(*request)


def test_a_sweep_leaves_claims_to_the_next_when_its_time_is_over(env: Environment) -> None:
    env.azure_devops.misbehave(Fault(**env.requests.start, status=429, times=5))
    for number in range(5):
        env.registered(event(model=f"fraud_{number}", ModelTags={"stage": "production"}))
    one_thread = env.sweep_with(Slow(env), threads=lambda: ThreadPoolExecutor(1))

    started = []
    for _ in range(3):
        env.clock.advance(hours=1)
        started.append(sum(entry.state is State.STARTED for entry in one_thread.run()))

    assert started == [2, 2, 1]


def test_the_pause_is_at_most_an_hour(env: Environment) -> None:
    env.azure_devops.misbehave(Fault(**env.requests.start, status=403))
    env.registered(event())

    for _ in range(8):
        env.later(hours=1)

    assert env.history[0].attempt == 9
    assert env.history[0].next_attempt - env.clock() == timedelta(hours=1)


def test_a_release_is_found_although_the_clock_of_azure_devops_is_behind(env: Environment) -> None:
    env.azure_devops.misbehave(Fault(**env.requests.start, close="after", times=1))
    env.registered(event())
    env.azure_devops.releases[0]["createdOn"] = (env.clock.now - timedelta(minutes=4)).isoformat()

    env.later(minutes=4)

    assert env.versions == ["20"]


def test_a_claim_is_not_withdrawn_before_its_version_has_moved(env: Environment, tmp_path: Path) -> None:
    env.start(RELEASE_MAP=a_map(tmp_path / "wrong.yaml", "Deploy sklaern model")).start_release.registered(event())
    _, parsed = env.plan(event())
    env.clock.advance(minutes=59)
    env.claim(event())

    assert env.later(minutes=1) == []

    claims = env.claims.recorded(parsed.workspace, parsed.model)["20"].claims
    assert {claim.target.definition: claim.state for claim in claims} == {
        "Deploy sklaern model": State.STARTING,
        1: State.STARTING,
    }


@USUALLY_A_PIPELINE
def test_a_release_that_may_exist_is_searched_before_the_claim_is_abandoned(env: Environment) -> None:
    env.azure_devops.misbehave(Fault(**env.requests.start, close="after", times=1))
    env.azure_devops.misbehave(Fault(**env.requests.look, status=500, times=1))
    env.registered(event())
    assert [entry.state for entry in env.later(hours=1)] == [State.UNKNOWN]

    assert [entry.state for entry in env.later(days=7)] == [State.STARTED]
    assert env.versions == ["20"]


@IN_AZURITE
@USUALLY_A_RELEASE
def test_a_pending_row_of_a_final_claim_is_deleted(env: Environment) -> None:
    env.azure_devops.misbehave(Fault(**env.requests.start, status=429, times=1))
    env.registered(event())
    env.clock.advance(minutes=2)
    reopen = env.table.upsert_entity
    open_row = next(env.table.query_entities("PartitionKey eq 'pending'"))
    env.sweep()

    reopen(open_row)

    assert env.later(hours=1) == []
    assert list(env.app.sweep.pending.due()) == []
    assert env.versions == ["20"]


@USUALLY_A_PIPELINE
def test_an_attempt_that_used_up_its_lease_sends_nothing(env: Environment) -> None:
    plan, parsed = env.plan(event())
    target = env.app.start_release.targets.last_resolved(plan.target)
    leased = env.claims.new(plan, parsed, target, (), "")
    claim, _ = env.claims.insert(leased.claim)
    attempt = OpenAttempt(
        claim, None, leased.deadline, parsed, lambda: Confirmed(parsed, Routing((plan,), Reason(ReasonKind.NONE, "")))
    )
    env.clock.advance(seconds=106)

    _, result = env.app.start_release.attempts.run(attempt)

    assert (result.state, result.reason.text) == (
        State.WAITING,
        "preparing the request used up the lease; trying again",
    )
    assert env.versions == []


@USUALLY_A_RELEASE
def test_a_claim_that_fails_unexpectedly_is_left_to_the_next_sweep(env: Environment) -> None:
    env.azure_devops.misbehave(Fault(**env.requests.start, status=429, times=2))
    env.registered(event(version=20))
    env.registered(json.dumps(sample_event("event-grid-camel.json")))
    failing = env.sweep_with(Failing(env))
    env.clock.advance(hours=1)

    entries = failing.run()

    assert [entry.subject for entry in entries] == ["models/fraud_model:3"]
    env.later(hours=1)
    assert sorted(env.versions) == ["20", "3"]


class Failing:
    """An Azure DevOps whose client has a bug for all models but one."""

    def __init__(self, env: Environment) -> None:
        self.azure_devops = env.app.start_release.attempts.azure_devops
        self.identify = self.azure_devops.identify

    def create(self, plan: Plan, registered: ModelRegistered, marker: str, *limits: float) -> Created:
        if registered.model != "fraud_model":
            raise ZeroDivisionError
        return self.azure_devops.create(plan, registered, marker, *limits)


@IN_AZURITE
def test_old_history_entries_are_deleted(env: Environment) -> None:
    env.registered("no event")
    env.clock.advance(days=91)
    env.registered(event())

    env.sweep()

    assert [line.state for line in env.history] == [State.STARTED]


@pytest.mark.parametrize("name", [path.name for path in EVENTS.glob("*.json")])
def test_each_sample_event_ends_in_one_history_entry(env: Environment, name: str) -> None:
    entries = env.registered(json.dumps(sample_event(name)))

    assert len(entries) == 1
    assert env.history == entries


@USUALLY_A_PIPELINE
def test_a_version_that_was_registered_by_mistake_supersedes_nothing_after_the_mark_is_set_back(
    env: Environment,
) -> None:
    remembers_the_mark = env.start()
    env.azure_devops.misbehave(Fault(**env.requests.start, status=400, body={"message": "No such version."}, times=1))
    (mistake,) = remembers_the_mark.start_release.registered(event(version=99999))
    (late,) = env.registered(event(version=25))
    assert (mistake.state, late.reason) == (State.REFUSED, "version 99999 was sent first")
    env.clock.advance(minutes=5)

    _, registered = env.plan(event(version=25))
    (claim,) = env.claims.recorded(registered.workspace, registered.model, "25")["25"].claims
    entry, withdrawn = set_mark_back(claim, ByHand("Ada", comment="a typing error"), env.app.start_release)
    assert env.later(hours=2) == []
    (newer,) = remembers_the_mark.start_release.registered(event(version=26))

    assert (newer.state, env.versions) == (State.STARTED, ["26"])
    assert {entry, withdrawn} <= set(env.history)
    assert (withdrawn.state, withdrawn.subject) == (State.WITHDRAWN, "models/sklearn_regression_model:99999")
    assert withdrawn.reason == "high-water mark set back to version 25 by Ada: a typing error"
    assert entry.time == env.clock() - timedelta(hours=2)
    assert entry.reason == "high-water mark set back from version 99999 by Ada: a typing error"
