"""The sweep: attempts again, abandons claims, and keeps the pause that Azure DevOps asked for."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from local.azure_devops_faults import Fault
from model_release.domain.claims import State
from model_release.flow.sweep import SWEEP_THREADS
from tests.environment import (
    BOTH,
    FULL,
    IN_AZURITE,
    IN_MEMORY,
    Environment,
    Size,
    event,
    in_turn,
    kept_environment,
    multiply,
)
from tests.flow.interruptions import at_storage

pytestmark = IN_MEMORY

SUCCESS_WITH_RETRY_AFTER = Fault(headers={"Retry-After": "30"}, times=1)
THROTTLED = Fault(status=429, headers={"Retry-After": "30"}, times=1)


@BOTH
def test_a_refused_claim_is_attempted_hourly_and_abandoned_after_seven_days(env: Environment) -> None:
    env.azure_devops.misbehave(Fault(**env.requests.start, status=403, body={"message": "not allowed"}))
    env.registered(event())
    states = [entry.state for _ in range(3) for entry in env.later(hours=1)]
    states += [entry.state for wait in (3, 4) for entry in env.later(days=wait)]

    assert states == [State.REFUSED] * 4 + [State.ABANDONED]
    assert env.history[0].reason == "all attempts failed for 7 days; last: refused: not allowed"
    env.azure_devops.behave()
    assert env.later(days=1) == []
    assert env.registered(event())[0].state is State.ABANDONED
    assert env.versions == []


@in_turn("status state", {"500": (500, State.UNKNOWN), "403": (403, State.ABANDONED)})
def test_a_claim_whose_release_may_exist_is_abandoned_only_if_the_search_is_refused(
    env: Environment, status: int, state: State
) -> None:
    env.azure_devops.misbehave(Fault(**env.requests.start, close="before", times=1))
    env.registered(event())
    env.azure_devops.misbehave(Fault(**env.requests.look, status=status))
    env.later(days=6)

    (entry,) = env.later(days=1, hours=1)

    assert entry.state is state
    assert "cannot check whether the release exists" in entry.reason


@in_turn("fault", {"success": (SUCCESS_WITH_RETRY_AFTER,), "429": (THROTTLED,)})
def test_every_instance_pauses_after_a_retry_after(env: Environment, fault: Fault) -> None:
    env.azure_devops.misbehave(replace(fault, **env.requests.start))
    other = env.start()
    env.registered(event(version=20))
    sent = len(env.azure_devops.requests)
    until = env.clock() + timedelta(seconds=30)

    (entry,) = other.start_release.registered(event(version=21))
    assert (entry.state, entry.reason) == (
        State.WAITING,
        f"Azure DevOps is throttling requests; next attempt at {until:%H:%M:%S} UTC",
    )
    env.later(seconds=29)
    assert len(env.azure_devops.requests) == sent

    env.later(seconds=60)
    env.later(seconds=60)
    assert env.versions[-1] == "21"


@IN_AZURITE
@BOTH
def test_a_release_that_may_exist_is_not_searched_for_while_azure_devops_is_throttling(env: Environment) -> None:
    fault = Fault(**env.requests.start, status=503, apply=True, headers={"Retry-After": "600"}, times=1)
    env.azure_devops.misbehave(fault)
    env.registered(event())
    sent = len(env.azure_devops.requests)

    env.later(minutes=9)
    assert len(env.azure_devops.requests) == sent

    env.later(minutes=2)
    assert env.history[0].state is State.STARTED
    assert env.versions == ["20"]


def test_a_shorter_pause_does_not_end_a_longer_one(env: Environment) -> None:
    env.app.sweep.throttle.extend(timedelta(minutes=10))
    env.start().sweep.throttle.extend(timedelta(minutes=1))

    assert env.start().sweep.throttle.throttled_until() == env.clock() + timedelta(minutes=10)


@IN_AZURITE
@pytest.mark.parametrize("in_between", [True, False])
def test_a_shorter_pause_of_another_instance_does_not_end_a_longer_one(env: Environment, *, in_between: bool) -> None:
    other = env.start()
    assert other.sweep.throttle.throttled_until() < env.clock()

    def pause_for_an_hour() -> None:
        env.app.sweep.throttle.extend(timedelta(hours=1))

    if in_between:
        at_storage(other, "before", "create_entity", pause_for_an_hour, "throttle")
    else:
        pause_for_an_hour()
    other.sweep.throttle.extend(timedelta(minutes=1))

    for app in (other, env.app, env.start()):
        env.clock.advance(seconds=6)
        assert app.sweep.throttle.throttled_until() >= env.clock() + timedelta(minutes=59)


@BOTH
def test_sweeps_start_many_pending_claims_once_azure_devops_is_available_again(env: Environment, size: Size) -> None:
    count = size(20, 500)
    env.azure_devops_server.stop()
    for version in range(count):
        env.registered(event(version=f"v{version}"))
    env.azure_devops_server.start()
    env.azure_devops.misbehave(replace(THROTTLED, **env.requests.start, headers={"Retry-After": "120"}))

    env.later(minutes=2)
    sent = len(env.azure_devops.requests)
    env.later(minutes=1)
    assert len(env.azure_devops.requests) == sent
    for _ in range(5):
        env.later(minutes=3)

    assert len(env.versions) == count
    assert len(set(env.versions)) == count
    assert env.sweep() == []
    assert 1 < env.most_at_once() <= SWEEP_THREADS


@FULL
def test_the_storage_operations_of_a_sweep_do_not_grow_with_the_number_of_final_claims(
    tmp_path: Path, size: Size
) -> None:
    with kept_environment(tmp_path) as env:
        env.azure_devops.misbehave(Fault(**env.requests.start, status=403))
        for version in range(10):
            env.registered(event(version=f"pending{version}"))
        env.restart()
        without_final_claims = _storage_operations_of_a_sweep(env, hours=1)
    # Storage answers with at most 1,000 rows.
    multiply(tmp_path, "claim ", size(1_100, 100_000), state="started")
    with kept_environment(tmp_path) as env:
        env.azure_devops.misbehave(Fault(**env.requests.start, status=403))
        assert _storage_operations_of_a_sweep(env, hours=2) == without_final_claims


def _storage_operations_of_a_sweep(env: Environment, hours: int) -> int:
    env.clock.advance(hours=hours)
    before = len(env.storage.passed)
    # Threads would resolve the same target at once, each with its own requests.
    assert len(replace(env.app.sweep, threads=lambda: ThreadPoolExecutor(1)).run()) == 10
    return len(env.storage.passed) - before
