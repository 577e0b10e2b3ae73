"""What the history tells, and starting again on purpose."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from local.azure_devops_faults import Fault
from model_release.domain.claims import Claim, State
from model_release.domain.events import Workspace, parse
from model_release.domain.release_map import judge, starts
from model_release.errors import ClaimHeld, Refused
from model_release.store.history import History, Wanted
from tests.environment import BOTH, WORKSPACE, World, register

MODEL = "sklearn_regression_model"
WISH = "5f0c9d3e-0d53-4d0e-9a53-3d1f6f3f2b11"


@pytest.fixture
def history(world: World) -> History:
    return world.build().history


def claims(world: World, version: str = "20") -> tuple[Claim, ...]:
    return world.app.ledger.known(Workspace.parse(WORKSPACE), MODEL, version)[version].claims


def versions(history: History, wanted: Wanted) -> list[str]:
    return [line.subject.partition(":")[2] for line in history.page(wanted).decisions]


# Lines


def test_pages_follow_one_another_without_gap_or_overlap(world: World, history: History) -> None:
    register(world, *range(1, 8))
    seen, wanted, pages = [], Wanted(count=3), 0

    while True:
        page = history.page(wanted)
        seen += [line.subject for line in page.decisions]
        pages += 1
        if not page.older:
            break
        wanted = Wanted(place=page.older, count=3)

    assert seen == [f"models/{MODEL}:{version}" for version in range(7, 0, -1)]
    assert pages == 3


def test_ignored_events_are_told_among_the_others_when_they_are_wanted(world: World, history: History) -> None:
    register(world, 1)
    register(world, 2, model="churn")
    register(world, 3)
    register(world, 4, model="churn")

    assert versions(history, Wanted()) == ["3", "1"]
    assert versions(history, Wanted(ignored=True)) == ["4", "3", "2", "1"]
    first = history.page(Wanted(ignored=True, count=2))
    assert [line.subject[-1] for line in first.decisions] == ["4", "3"]
    assert versions(history, Wanted(ignored=True, place=first.older, count=2)) == ["2", "1"]
    assert versions(history, Wanted(state=State.IGNORED)) == ["4", "2"]


@pytest.mark.parametrize(
    ("model", "found"), [("fraud_a", ["1"]), ("fraud_*", ["3", "2", "1"]), ("fraud", []), ("*", ["3", "2", "1"])]
)
def test_a_model_is_named_whole_or_by_its_beginning(
    world: World, history: History, model: str, found: list[str]
) -> None:
    for version, name in enumerate(("fraud_a", "fraud_ab", "fraud_B"), 1):
        register(world, version, model=name)

    assert versions(history, Wanted(model=model, state=State.IGNORED)) == found


def test_state_and_time_narrow_the_lines(world: World, history: History) -> None:
    register(world, 21)
    began = world.clock()
    register(world, 20, 22)

    assert versions(history, Wanted(state=State.SUPERSEDED)) == ["20"]
    assert versions(history, Wanted(since=began)) == ["22", "20"]
    assert versions(history, Wanted(until=began)) == ["20", "21"]
    assert versions(history, Wanted(since=began, until=began)) == ["20"]
    assert versions(history, Wanted(since=began + timedelta(hours=1))) == []


def test_lines_are_gone_after_90_days(world: World, history: History) -> None:
    register(world, 1)
    register(world, 2, model="churn")
    world.clock.advance(days=91)
    register(world, 3)

    world.app.unfinished()

    assert versions(history, Wanted(ignored=True)) == ["3"]


# What is known of one model version


@BOTH
def test_each_attempt_is_kept_with_its_answer(world: World) -> None:
    world.azure_devops.misbehave(
        Fault(**world.requests.start, status=429, times=1),
        Fault(**world.requests.start, status=403, body={"message": "No."}, times=1),
    )
    register(world, 20)
    world.later(minutes=2)
    world.later(hours=2)

    (claim,) = claims(world)
    assert [(answer.attempt, answer.state) for answer in claim.answers] == [
        (1, State.WAITING),
        (2, State.REFUSED),
        (3, State.STARTED),
    ]
    assert claim.answers[1].reason == "No."
    assert claim.answers[2].when == world.clock()


def test_of_many_attempts_the_last_are_kept_whatever_their_answers_hold(world: World) -> None:
    world.azure_devops.misbehave(
        Fault(**world.requests.start, status=403, body={"message": "\n".join(['"\\\N{GRINNING FACE}' * 60] * 12)})
    )
    register(world, 20)
    for _ in range(30):
        world.later(hours=2)

    (claim,) = claims(world)
    assert [answer.attempt for answer in claim.answers] == list(range(12, 32))


def test_an_ignored_event_is_known_with_its_reason(world: World) -> None:
    register(world, 1, model="churn")

    known = world.app.ledger.known(Workspace.parse(WORKSPACE), "churn", "1")["1"]

    assert known.ignored == "no route names churn"
    assert known.claims == ()


def test_one_version_is_not_taken_for_another_that_begins_alike(world: World) -> None:
    register(world, "1", "1-a", "1.0", "10")

    assert set(world.app.ledger.known(Workspace.parse(WORKSPACE), MODEL, "1")) == {"1"}


# Starting again


@BOTH
def test_a_started_version_is_started_again_on_purpose_once_for_each_wish(world: World) -> None:
    register(world, 20)

    for wish in (WISH, WISH, "another-wish"):
        decision = world.app.again(claims(world)[0], wish)
        assert decision.state is State.STARTED
        assert "started again on purpose" in decision.reason

    assert world.versions == ["20"] * 3
    assert [claim.again for claim in claims(world)] == ["", WISH, "another-wish"]
    assert world.app.unfinished() == []


@BOTH
def test_an_older_version_goes_again_although_a_newer_one_went(world: World) -> None:
    register(world, 21, 20)
    (superseded,) = claims(world)

    assert world.app.again(superseded, WISH).state is State.STARTED

    assert world.versions == ["21", "20"]


@BOTH
def test_a_wish_that_waits_is_fulfilled_by_the_sweep(world: World) -> None:
    register(world, 21, 20)
    world.azure_devops.misbehave(Fault(**world.requests.start, status=429, times=1))

    assert world.app.again(claims(world)[0], WISH).state is State.WAITING
    world.later(minutes=2)

    assert world.versions == ["21", "20"]
    assert world.app.unfinished() == []


@BOTH
def test_a_wish_whose_process_died_is_fulfilled_once_by_the_sweep(world: World) -> None:
    register(world, 20)
    (claim,) = claims(world)
    ledger, registered = world.app.ledger, parse(claim.event)
    ledger.claim(starts(judge(world.app.release_map, registered), registered)[0], registered, WISH)

    assert world.later(minutes=2) == []
    (decision,) = world.later(minutes=2)

    assert decision.state is State.STARTED
    assert world.versions == ["20"] * 2
    assert list(ledger.due()) == []


def test_a_wish_that_was_cut_off_before_its_claim_is_forgotten(world: World) -> None:
    register(world, 20)
    (claim,) = claims(world)
    world.app.ledger._open(replace(claim, row=f"{claim.row} {WISH}"), world.clock())

    assert world.later(minutes=2) == []
    assert list(world.app.ledger.due()) == []
    assert world.versions == ["20"]


def test_the_same_wish_twice_at_once_is_held(world: World) -> None:
    register(world, 20)
    (claim,) = claims(world)
    registered = parse(claim.event)
    world.app.ledger.claim(starts(judge(world.app.release_map, registered), registered)[0], registered, WISH)

    with pytest.raises(ClaimHeld):
        world.app.again(claim, WISH)


def test_what_no_route_leads_to_is_not_started_again(world: World, tmp_path: Path) -> None:
    register(world, 20)
    (claim,) = claims(world)
    (tmp_path / "map.yaml").write_text("{version: 1, routes: [{model: other, release: {project: p, definition: 1}}]}")

    with pytest.raises(Refused, match=f"no route names {MODEL}"):
        world.start(RELEASE_MAP=str(tmp_path / "map.yaml")).again(claim, WISH)

    assert world.versions == ["20"]


@BOTH
def test_what_waits_is_tried_now(world: World) -> None:
    world.azure_devops.misbehave(Fault(**world.requests.start, status=403, times=1))
    register(world, 20)
    (claim,) = claims(world)

    (decision,) = world.app.try_now(claim)

    assert decision.state is State.STARTED
    assert world.versions == ["20"]


@BOTH
def test_what_may_exist_is_looked_for_before_it_is_tried_now(world: World) -> None:
    world.azure_devops.misbehave(Fault(**world.requests.start, status=503, apply=True, times=1))
    register(world, 20)

    (decision,) = world.app.try_now(claims(world)[0])

    assert decision.state is State.STARTED
    assert world.versions == ["20"]
