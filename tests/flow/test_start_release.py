"""The way of an event, against Azurite and the SDK talking to a local Azure DevOps."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from azure.core.exceptions import AzureError
from azure.data.tables import UpdateMode

from local.azure_devops_faults import Fault
from model_release.azure_devops.client import AzureDevOps
from model_release.domain.claims import State
from model_release.domain.events import ModelRegistered, parse
from model_release.domain.release_map import Start, StartedRelease, judge, starts
from model_release.errors import ClaimHeld
from tests.environment import BOTH, EVENTS, World, event, sample_event


def version_of(release: dict) -> tuple[str, str]:
    artifact = release["artifacts"][0]["definitionReference"]["version"]["name"] if release["artifacts"] else ""
    return artifact, release["variables"]["ModelVersion"]["value"]


def test_a_registered_model_starts_its_release_with_exactly_that_version(world: World) -> None:
    (decision,) = world.app.registered(event(version=20))

    assert decision.state is State.STARTED
    assert [version_of(release) for release in world.azure_devops.releases] == [("20", "20")]
    assert world.azure_devops.releases[0]["variables"]["ModelName"]["value"] == "sklearn_regression_model"
    assert world.azure_devops.releases[0]["variables"]["ModelWorkspace"]["value"] == "prod"
    assert decision.release_url == world.azure_devops.releases[0]["_links"]["web"]["href"]


def test_the_route_hands_over_tags_and_makes_stages_wait(world: World) -> None:
    world.app.registered(json.dumps(sample_event("event-grid-camel.json")))

    (release,) = world.azure_devops.releases
    assert release["releaseDefinition"]["id"] == 42
    assert release["variables"]["Stage"]["value"] == "production"
    assert release["description"].startswith("fraud_model 3 [model-release ")
    assert [stage["name"] for stage in release["environments"] if not stage["conditions"]] == ["Production"]


@BOTH
def test_the_same_event_again_starts_nothing(world: World) -> None:
    world.app.registered(event())

    (again,) = world.app.registered(event())

    assert (again.state, again.reason[:15]) == (State.STARTED, "known already, ")
    assert world.versions == ["20"]


@BOTH
def test_another_process_knows_what_was_started(world: World) -> None:
    world.app.registered(event())

    world.start().registered(event())

    assert world.versions == ["20"]


def test_a_model_without_a_route_is_recorded_with_the_reason(world: World) -> None:
    (decision,) = world.app.registered(json.dumps(sample_event("null-tags.json")))

    assert (decision.state, decision.reason) == (State.IGNORED, "no route names churn")
    assert world.history == [decision]
    assert world.started == []


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (event().replace("workspaces/prod", "workspaces/other"), "is not in AML_WORKSPACES"),
        (event().replace("ModelRegistered", "RunCompleted"), "'Microsoft.MachineLearningServices.RunCompleted' is not"),
        ("no JSON", "the event is not JSON text"),
        ("[]", "the event is not a JSON object"),
        (event(ModelTags={"big": "x" * 1_000_000}), "at most 32,000 are accepted"),
        (event(model="../other"), "the model name '../other' is not letters"),
        (event(model="a'b or 1 eq 1"), "is not letters"),
        (event(model="name\u202e\u0000"), "is not letters"),
        (event(version="1/../2"), "the model version '1/../2' is not letters"),
    ],
)
def test_what_is_no_event_of_ours_is_recorded_and_starts_nothing(world: World, body: str, reason: str) -> None:
    world.app.registered(body)

    (line,) = world.history
    assert line.state is State.IGNORED
    assert reason in line.reason
    assert world.started == []


@BOTH
def test_an_older_version_does_not_start_after_a_newer_one(world: World) -> None:
    world.app.registered(event(version=20))

    (late,) = world.app.registered(event(version=19))

    assert (late.state, late.reason) == (State.SUPERSEDED, "version 20 is newer and came first")
    assert world.versions == ["20"]


@BOTH
def test_versions_are_compared_as_numbers(world: World) -> None:
    world.app.registered(event(version=9))
    world.app.registered(event(version=10))

    assert world.versions == ["9", "10"]


@BOTH
def test_versions_that_are_no_whole_numbers_have_no_order(world: World) -> None:
    world.app.registered(event(version="b"))
    world.app.registered(event(version="a"))

    assert world.versions == ["b", "a"]


@BOTH
def test_an_older_version_that_waits_gives_way_to_a_newer_one(world: World) -> None:
    world.azure_devops.misbehave(Fault(**world.requests.start, status=429, times=1))
    world.app.registered(event(version=20))
    world.app.registered(event(version=21))

    (decision,) = world.later(minutes=2)

    assert decision.state is State.SUPERSEDED
    assert world.versions == ["21"]


@BOTH
def test_a_superseded_version_does_not_let_a_newer_one_overtake_the_one_that_is_starting(world: World) -> None:
    world.azure_devops.misbehave(Fault(**world.requests.start, close="before", times=1))

    states = [world.app.registered(event(version=version))[0].state for version in (21, 20, 22)]

    assert states == [State.UNKNOWN, State.SUPERSEDED, State.WAITING]


@BOTH
def test_a_newer_version_waits_until_it_is_known_what_became_of_an_older_one(world: World) -> None:
    world.azure_devops.misbehave(Fault(**world.requests.start, close="before", times=1))
    world.app.registered(event(version=20))

    (newer,) = world.app.registered(event(version=21))

    assert (newer.state, newer.reason) == (State.WAITING, "version 20 is still being started")
    world.later(minutes=5)
    world.later(minutes=5)
    assert world.versions in (["20", "21"], ["21"])


@BOTH
@pytest.mark.parametrize("seconds", [61, 200])
def test_the_line_moves_on_once_the_older_version_is_out_of_it(world: World, seconds: int) -> None:
    world.app.registered(event(version=20))
    world.clock.advance(seconds=seconds)
    world.app.registered(event(version=21))

    assert world.versions == ["20", "21"]


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


def begin_trouble(world: World, fault: Fault) -> None:
    if fault.delay:
        world.app = world.start(AZURE_DEVOPS_TIMEOUT_SECONDS="1")
    world.azure_devops.misbehave(fault)


@BOTH
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_after_trouble_the_sweep_brings_it_to_one_release(world: World, fault: Fault) -> None:
    begin_trouble(world, replace(fault, **world.requests.start))

    (decision,) = world.app.registered(event())
    assert not decision.state.final

    for _ in range(4):
        world.later(hours=1)
    assert world.versions == ["20"]
    assert world.history[0].state is State.STARTED
    assert world.later(hours=1) == []


@BOTH
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_trouble_while_looking_for_the_target_starts_nothing_twice(world: World, fault: Fault) -> None:
    begin_trouble(world, replace(fault, **world.requests.find, close=fault.close and "before"))

    world.app.registered(event())

    for _ in range(3):
        world.later(hours=1)
    assert world.versions == ["20"]


@BOTH
def test_a_look_that_fails_leaves_it_unknown_and_sends_nothing(world: World) -> None:
    world.azure_devops.misbehave(Fault(**world.requests.start, close="after", times=1))
    world.app.registered(event())
    world.azure_devops.misbehave(Fault(**world.requests.look, status=500))

    (decision,) = world.later(minutes=5)

    assert decision.state is State.UNKNOWN
    assert "whether it started cannot be seen" in decision.reason
    world.azure_devops.behave()
    world.later(hours=1)
    assert world.versions == ["20"]


@BOTH
def test_what_no_answer_became_of_is_found_by_its_marker(world: World) -> None:
    world.azure_devops.misbehave(Fault(**world.requests.start, close="after", times=1))
    world.app.registered(event())

    (decision,) = world.later(minutes=1)

    assert decision.reason == f"{world.started[0]['name']} was found: an earlier attempt started it"
    assert decision.release_id == 1


@BOTH
def test_a_release_that_may_still_come_is_waited_for(world: World) -> None:
    world.azure_devops.misbehave(Fault(**world.requests.start, close="before", times=1))
    world.app.registered(event())

    (early,) = world.later(seconds=61)
    assert (early.state, early.reason) == (State.UNKNOWN, "it is not seen yet, and may still come")

    (decision,) = world.later(seconds=120)
    assert decision.state is State.STARTED
    assert world.versions == ["20"]


@BOTH
def test_further_tries_double_and_retry_after_is_kept(world: World) -> None:
    world.azure_devops.misbehave(Fault(**world.requests.start, status=429))
    waits = []
    world.app.registered(event())
    for _ in range(4):
        wait = world.history[0].next_try - world.clock()
        waits.append(wait.total_seconds())
        world.later(seconds=wait.total_seconds())
    world.azure_devops.behave()
    world.azure_devops.misbehave(Fault(**world.requests.start, status=429, headers={"Retry-After": "3000"}))
    world.later(hours=1)

    assert waits == [60, 120, 240, 480]
    assert (world.history[0].next_try - world.clock()).total_seconds() == 3000


@BOTH
def test_an_unreachable_azure_devops_makes_it_wait(world: World) -> None:
    app = world.start(AZURE_DEVOPS_URL="http://127.0.0.1:9/contoso")

    (decision,) = app.registered(event())

    assert decision.state is State.WAITING
    assert "cannot be reached" in decision.reason
    world.later(minutes=2)
    assert world.versions == ["20"]


@BOTH
def test_an_unfinished_claim_is_acknowledged_and_left_to_the_sweep(world: World) -> None:
    world.azure_devops.misbehave(Fault(**world.requests.start, status=429, times=1))
    world.app.registered(event())

    (again,) = world.app.registered(event())

    assert again.state is State.WAITING
    assert world.versions == []


@BOTH
def test_nothing_is_started_while_the_ledger_cannot_be_written(world: World) -> None:
    world.storage.down = True
    with pytest.raises(AzureError):
        world.app.registered(event())
    assert world.started == []

    world.storage.down = False
    world.app.registered(event())

    assert world.versions == ["20"]


@BOTH
def test_an_event_is_asked_for_again_while_its_claim_is_in_other_hands(world: World) -> None:
    held = world.app.ledger.claim
    world.azure_devops.misbehave(Fault(**world.requests.start, close="after", times=1))
    start, parsed = _first_start(world)
    held(start, parsed)

    with pytest.raises(ClaimHeld):
        world.app.registered(event())

    world.clock.advance(minutes=4)
    world.app.registered(event())
    world.later(hours=1)
    assert world.versions == ["20"]


@BOTH
def test_50_deliveries_16_at_a_time_to_two_processes_start_one_release(world: World) -> None:
    processes = [world.app, world.start()]

    def deliver(number: int) -> bool:
        for _ in range(100):
            try:
                processes[number % 2].registered(event())
            except ClaimHeld:
                continue
            return True
        return False

    with ThreadPoolExecutor(16) as pool:
        acknowledged = list(pool.map(deliver, range(50)))

    assert world.versions == ["20"]
    assert all(acknowledged)


@BOTH
def test_versions_registered_at_once_never_start_backwards(world: World) -> None:
    processes = [world.app, world.start()]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: processes[n % 2].registered(event(version=20 + n)), range(8)))
    for _ in range(10):
        world.later(hours=1)

    assert world.versions == sorted(world.versions)
    assert world.versions[-1] == "27"
    assert {line.state for line in world.history} <= {State.STARTED, State.SUPERSEDED}


@BOTH
def test_two_sweeps_at_once_start_one_release(world: World) -> None:
    world.azure_devops.misbehave(Fault(**world.requests.start, status=429, times=1))
    world.app.registered(event())
    world.clock.advance(minutes=2)
    processes = [world.start() for _ in range(4)]

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda process: process.unfinished(), processes))

    assert world.versions == ["20"]


def test_a_release_costs_one_request_and_five_storage_operations_once_the_definition_is_known(world: World) -> None:
    world.app.registered(event(version=20))
    world.clock.advance(minutes=4)
    requests, operations = len(world.azure_devops.requests), len(world.storage.passed)

    world.app.registered(event(version=21))

    assert [request.method for request in world.azure_devops.requests[requests:]] == ["POST"]
    assert len(world.storage.passed[operations:]) <= 5
    assert not any("$filter" in path for _, path in world.storage.passed[operations:])


def a_map(path: Path, *definitions: str) -> str:
    routes = [
        {"model": "sklearn_*", "release": {"project": "fraud", "definition": definition}} for definition in definitions
    ]
    path.write_text(json.dumps({"version": 1, "routes": routes}))
    return str(path)


def test_an_unfinished_claim_follows_the_map(world: World, tmp_path: Path) -> None:
    world.start(RELEASE_MAP=a_map(tmp_path / "wrong.yaml", "Deploy sklaern model")).registered(event())

    decisions = world.later(hours=1)

    assert [decision.state for decision in decisions] == [State.STARTED, State.WITHDRAWN]
    assert decisions[1].reason == "the release map leads elsewhere now: fraud/Deploy sklearn model"
    assert world.versions == ["20"]
    assert world.later(hours=2) == []


@BOTH
def test_an_unfinished_claim_that_no_route_takes_any_more_is_withdrawn_with_the_reason(
    world: World, tmp_path: Path
) -> None:
    world.azure_devops.misbehave(Fault(**world.requests.start, status=429))
    world.app.registered(event())
    path = tmp_path / "map.yaml"
    a_map(path, "Other")
    path.write_text(path.read_text().replace("sklearn_*", "churn"))
    world.app = world.start(RELEASE_MAP=str(path))

    (decision,) = world.later(hours=1)

    assert (decision.state, decision.reason) == (State.WITHDRAWN, "no route names sklearn_regression_model")


@BOTH
def test_a_release_that_may_exist_is_looked_for_even_if_the_map_leads_elsewhere(world: World, tmp_path: Path) -> None:
    world.azure_devops.misbehave(Fault(**world.requests.start, close="after", times=1))
    world.app.registered(event())
    world.app = world.start(RELEASE_MAP=a_map(tmp_path / "map.yaml", "Other"))

    (decision,) = world.later(hours=1)

    assert decision.state is State.STARTED
    assert world.versions == ["20"]


def test_each_target_has_its_chance_before_the_event_is_asked_for_again(world: World, tmp_path: Path) -> None:
    world.azure_devops.add_definition("fraud", "Second", variables={"ModelVersion": ""})
    world.app = world.start(RELEASE_MAP=a_map(tmp_path / "map.yaml", "Deploy sklearn model", "Second"))
    start, parsed = _first_start(world)
    world.app.ledger.claim(start, parsed)

    with pytest.raises(ClaimHeld):
        world.app.registered(event())

    assert [release["releaseDefinition"]["name"] for release in world.azure_devops.releases] == ["Second"]


@BOTH
def test_a_release_that_was_created_in_spite_of_a_refusal_is_found_and_not_created_each_hour(world: World) -> None:
    world.azure_devops.misbehave(Fault(**world.requests.start, status=400, body={"message": "no"}, apply=True))
    world.app.registered(event())

    world.later(hours=2)
    world.later(hours=2)

    assert world.versions == ["20"]
    assert world.history[0].state is State.STARTED


class Slow:
    """An Azure DevOps that takes 30 seconds to start something."""

    def __init__(self, world: World) -> None:
        self.world = world

    def start(self, *request: object) -> StartedRelease:
        self.world.clock.advance(seconds=30)
        return self.world.app.azure_devops.start(*request)

    def look(self, *request: object) -> StartedRelease | None:
        return self.world.app.azure_devops.look(*request)


def test_a_sweep_leaves_what_it_has_no_time_for_to_the_next(world: World) -> None:
    world.azure_devops.misbehave(Fault(**world.requests.start, status=429, times=5))
    for number in range(5):
        world.app.registered(event(model=f"fraud_{number}", ModelTags={"stage": "production"}))
    one_thread = replace(world.app, azure_devops=Slow(world), threads=lambda: ThreadPoolExecutor(1))

    started = []
    for _ in range(3):
        world.clock.advance(hours=1)
        started.append(sum(decision.state is State.STARTED for decision in one_thread.unfinished()))

    assert started == [2, 2, 1]


def test_after_many_tries_the_next_comes_within_an_hour(world: World) -> None:
    world.azure_devops.misbehave(Fault(**world.requests.start, status=429))
    world.app.registered(event())

    for _ in range(45):
        world.later(hours=1)

    assert world.history[0].attempts > 41
    assert world.history[0].next_try - world.clock() == timedelta(hours=1)


def test_a_release_is_found_although_the_clock_of_azure_devops_is_behind(world: World) -> None:
    world.azure_devops.misbehave(Fault(**world.requests.start, close="after", times=1))
    world.app.registered(event())
    world.azure_devops.releases[0]["createdOn"] = (world.clock.now - timedelta(minutes=4)).isoformat()

    world.later(minutes=4)

    assert world.versions == ["20"]


def test_a_claim_is_not_withdrawn_before_its_version_has_moved(world: World, tmp_path: Path) -> None:
    world.start(RELEASE_MAP=a_map(tmp_path / "wrong.yaml", "Deploy sklaern model")).registered(event())
    start, parsed = _first_start(world)
    world.clock.advance(minutes=59)
    world.app.ledger.claim(start, parsed)

    assert world.later(minutes=1) == []

    claims = world.app.ledger.known(parsed.workspace, parsed.model)["20"].claims
    assert {claim.target.definition: claim.state for claim in claims} == {
        "Deploy sklaern model": State.STARTING,
        "Deploy sklearn model": State.STARTING,
    }


@BOTH
def test_what_may_have_started_at_the_last_moment_is_looked_for_before_it_is_given_up(world: World) -> None:
    world.azure_devops.misbehave(Fault(**world.requests.start, status=429))
    world.app.registered(event())
    world.clock.advance(days=7)
    world.azure_devops.behave()
    world.azure_devops.misbehave(Fault(**world.requests.start, close="after", times=1))

    assert [decision.state for decision in world.app.unfinished()] == [State.UNKNOWN]

    assert [decision.state for decision in world.later(hours=1)] == [State.STARTED]
    assert world.versions == ["20"]


@BOTH
def test_a_crash_after_the_claim_was_closed_leaves_nothing_for_the_sweep_in_the_end(world: World) -> None:
    world.azure_devops.misbehave(Fault(**world.requests.start, status=429, times=1))
    world.app.registered(event())
    world.clock.advance(minutes=2)
    reopen = world.app.ledger._table.client.upsert_entity
    open_row = next(world.app.ledger._table.client.query_entities("PartitionKey eq 'open'"))
    world.app.unfinished()

    reopen(open_row)

    assert world.later(hours=1) == []
    assert list(world.app.ledger.due()) == []
    assert world.versions == ["20"]


def test_a_claim_from_before_there_were_pipelines_is_on_a_release_definition(world: World) -> None:
    world.azure_devops.misbehave(Fault(**world.requests.start, close="after", times=1))
    world.app.registered(event())
    table = world.app.ledger._table.client
    (row,) = (dict(row) for row in table.query_entities("state eq 'unknown' and PartitionKey lt 'open'"))
    del row["kind"]
    table.upsert_entity(row, mode=UpdateMode.REPLACE)

    (decision,) = world.later(minutes=1)

    assert (decision.state, decision.target) == (State.STARTED, "fraud/Deploy sklearn model")
    assert world.versions == ["20"]


def test_an_attempt_that_took_too_long_sends_nothing(world: World) -> None:
    world.azure_devops.misbehave(Fault(**world.requests.start, status=429, times=1))
    world.app.registered(event())
    world.clock.advance(minutes=2)
    (place,) = world.app.ledger.due()
    taken = world.app.ledger.take(world.app.ledger.get(*place))
    world.clock.advance(seconds=61)

    assert not world.app.ledger.has_time(taken)


@BOTH
def test_a_claim_that_fails_unexpectedly_is_left_for_the_next_sweep(world: World) -> None:
    world.azure_devops.misbehave(Fault(**world.requests.start, status=429, times=2))
    world.app.registered(event(version=20))
    world.app.registered(json.dumps(sample_event("event-grid-camel.json")))
    failing = replace(world.app, azure_devops=Failing(world.app.azure_devops))
    world.clock.advance(hours=1)

    decisions = failing.unfinished()

    assert [decision.subject for decision in decisions] == ["models/fraud_model:3"]
    world.later(hours=1)
    assert sorted(world.versions) == ["20", "3"]


class Failing:
    """Azure DevOps behind a client with a mistake in it."""

    def __init__(self, azure_devops: AzureDevOps) -> None:
        self.look = azure_devops.look
        self._azure_devops = azure_devops

    def start(self, start: Start, registered: ModelRegistered, marker: str) -> StartedRelease:
        if registered.model != "fraud_model":
            raise ZeroDivisionError
        return self._azure_devops.start(start, registered, marker)


def test_the_history_is_pruned_when_its_time_is_over(world: World) -> None:
    world.app.registered("no event")
    world.clock.advance(days=91)
    world.app.registered(event())

    world.app.unfinished()

    assert [line.state for line in world.history] == [State.STARTED]


@pytest.mark.parametrize("name", [path.name for path in EVENTS.glob("*.json")])
def test_each_sample_event_ends_in_one_decision(world: World, name: str) -> None:
    decisions = world.app.registered(json.dumps(sample_event(name)))

    assert len(decisions) == 1
    assert world.history == decisions


def _first_start(world: World) -> tuple[Start, ModelRegistered]:
    parsed = parse(event())
    return starts(judge(world.app.release_map, parsed), parsed)[0], parsed
