"""Trouble that lasts: further tries, giving up, and leaving a throttled Azure DevOps alone."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from local.azure_devops_faults import Fault
from model_release.domain.claims import State
from model_release.flow.start_release import SWEEP_THREADS
from tests.environment import BOTH, Size, World, event, kept_world, multiply

SUCCESS_WITH_RETRY_AFTER = Fault(headers={"Retry-After": "30"}, times=1)


@BOTH
def test_a_refusal_is_tried_again_hourly_and_given_up_after_seven_days(world: World) -> None:
    world.azure_devops.misbehave(Fault(**world.requests.start, status=403, body={"message": "not allowed"}))
    world.app.registered(event())
    states = [decision.state for _ in range(3) for decision in world.later(hours=1)]
    states += [decision.state for wait in (3, 4) for decision in world.later(days=wait)]

    assert states == [State.REFUSED] * 4 + [State.ABANDONED]
    assert world.history[0].reason == "given up after 7 days, refused: not allowed"
    world.azure_devops.behave()
    assert world.later(days=1) == []
    assert world.app.registered(event())[0].state is State.ABANDONED
    assert world.versions == []


@BOTH
def test_what_is_never_seen_is_given_up_too(world: World) -> None:
    world.azure_devops.misbehave(
        Fault(**world.requests.start, close="before"), Fault(**world.requests.look, status=500)
    )
    world.app.registered(event())
    world.azure_devops.behave()
    world.azure_devops.misbehave(Fault(**world.requests.start, status=500), Fault(**world.requests.look, status=500))
    world.later(days=6)

    (decision,) = world.later(days=1, hours=1)

    assert decision.state is State.ABANDONED


@BOTH
@pytest.mark.parametrize("fault", [SUCCESS_WITH_RETRY_AFTER, Fault(status=429, headers={"Retry-After": "30"}, times=1)])
def test_when_azure_devops_asks_to_be_left_alone_every_instance_does(world: World, fault: Fault) -> None:
    world.azure_devops.misbehave(replace(fault, **world.requests.start))
    other = world.start()
    world.app.registered(event(model="sklearn_regression_model", version=20))
    asked = len(world.azure_devops.requests)

    (decision,) = other.registered(event(version=21))
    assert (decision.state, decision.reason) == (State.WAITING, "Azure DevOps asked to be left alone")
    world.later(seconds=29)
    assert len(world.azure_devops.requests) == asked

    world.later(seconds=60)
    world.later(seconds=60)
    assert world.versions[-1] == "21"


@BOTH
def test_what_may_exist_is_not_looked_for_while_azure_devops_asks_to_be_left_alone(world: World) -> None:
    fault = Fault(**world.requests.start, status=503, apply=True, headers={"Retry-After": "600"}, times=1)
    world.azure_devops.misbehave(fault)
    world.app.registered(event())
    asked = len(world.azure_devops.requests)

    world.later(minutes=9)
    assert len(world.azure_devops.requests) == asked

    world.later(minutes=2)
    assert world.history[0].state is State.STARTED
    assert world.versions == ["20"]


def test_a_shorter_wish_does_not_end_a_longer_one(world: World) -> None:
    world.app.ledger.hold_back(timedelta(minutes=10))
    world.start().ledger.hold_back(timedelta(minutes=1))

    assert world.start().ledger.held_until() == world.clock() + timedelta(minutes=10)


@BOTH
def test_many_claims_that_wait_are_started_by_sweeps_once_azure_devops_is_back(world: World, size: Size) -> None:
    count = size(60, 500)
    world.azure_devops_server.stop()
    for version in range(count):
        world.app.registered(event(model="sklearn_regression_model", version=f"v{version}"))
    world.azure_devops_server.start()
    world.azure_devops.misbehave(Fault(**world.requests.start, status=429, headers={"Retry-After": "120"}, times=1))

    world.later(minutes=2)
    during = len(world.azure_devops.requests)
    world.later(minutes=1)
    assert len(world.azure_devops.requests) == during
    for _ in range(5):
        world.later(minutes=3)

    assert len(world.versions) == count
    assert len(set(world.versions)) == count
    assert world.app.unfinished() == []
    assert 1 < world.most_at_once() <= SWEEP_THREADS


def test_a_sweep_asks_storage_as_often_whatever_was_finished_before(tmp_path: Path, size: Size) -> None:
    with kept_world(tmp_path) as world:
        world.azure_devops.misbehave(Fault(**world.requests.start, status=403))
        for version in range(10):
            world.app.registered(event(version=f"open{version}"))
    asked = []
    for hours, finished in ((1, 100), (2, size(2_000, 100_000))):
        multiply(tmp_path, "claim ", finished, state="started")
        with kept_world(tmp_path) as world:
            world.clock.advance(hours=hours)
            asked.append(_requests_of_a_sweep(world))

    assert asked[0] == asked[1]


def _requests_of_a_sweep(world: World) -> int:
    world.azure_devops.misbehave(Fault(**world.requests.start, status=403))
    before = len(world.storage.passed)
    assert len(world.app.unfinished()) == 10
    return len(world.storage.passed) - before
