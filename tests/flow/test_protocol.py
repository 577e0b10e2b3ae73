"""The protocol: one deadline, one request in flight on a line, and records that survive at any moment."""

from contextlib import nullcontext
from dataclasses import replace
from datetime import timedelta
from itertools import count

import pytest
from azure.core.exceptions import AzureError

from local.azure_devops_faults import Fault
from local.serving import HangUp
from model_release.app import Services
from model_release.domain.claims import State
from model_release.domain.events import parse
from model_release.errors import ClaimLeasedError
from tests.environment import (
    IN_AZURITE,
    IN_MEMORY,
    USUALLY_A_PIPELINE,
    USUALLY_A_RELEASE,
    Environment,
    event,
    in_turn,
    register,
)
from tests.flow.interruptions import (
    Killed,
    at_azure_devops,
    at_storage,
    claims_of,
    kill,
    land,
    lose_the_answer,
    lose_the_request,
    restart,
)

pytestmark = IN_MEMORY

# One deadline


@pytest.mark.parametrize(
    ("timeout", "seconds", "sent"), [("20", 90, True), ("20", 91, False), ("60", 30, True), ("60", 31, False)]
)
def test_a_request_is_sent_only_if_it_ends_a_third_of_the_lease_before_the_lease(
    env: Environment, timeout: str, seconds: int, *, sent: bool
) -> None:
    env.restart(AZURE_DEVOPS_TIMEOUT_SECONDS=timeout)
    env.registered(event(version=19))
    slow = at_azure_devops(env.app, "before", "create", lambda: env.clock.advance(seconds=seconds))

    (entry,) = slow.start_release.registered(event(version=20))

    assert entry.state is (State.STARTED if sent else State.WAITING)
    assert env.versions == ["19", "20"][: 1 + sent]


@in_turn("ahead", {str(ahead): (ahead,) for ahead in (0, 178)})
def test_a_request_that_lands_in_time_is_neither_doubled_nor_overtaken(env: Environment, ahead: int) -> None:
    other, landing = env.start(ahead=timedelta(seconds=ahead)), 179 - ahead
    env.registered(event(version=19))
    lose_the_request(env)
    at_the_last_moment = at_azure_devops(env.app, "before", "create", lambda: env.clock.advance(seconds=105))
    assert [one.state for one in at_the_last_moment.start_release.registered(event(version=20))] == [State.UNKNOWN]
    assert [one.state for one in other.start_release.registered(event(version=21))] == [State.WAITING]
    for _ in range(5):
        env.clock.advance(seconds=landing / 5)
        other.sweep.run()

    land(env)

    for _ in range(3):
        env.clock.advance(minutes=5)
        other.sweep.run()
    assert env.versions == ["19", "20", "21"]


@USUALLY_A_RELEASE
def test_a_search_that_takes_longer_than_the_lease_ends_and_nothing_is_sent(env: Environment) -> None:
    azure_devops = env.app.start_release.attempts.azure_devops
    env.azure_devops.misbehave(Fault(**env.requests.start, close="after", times=1))
    env.registered(event())
    (created,) = env.started
    env.started.extend(
        {**created, "id": number, "description": "", "templateParameters": {}} for number in range(2, 999)
    )

    def one_page_a_minute() -> float:
        env.clock.advance(minutes=1)
        return env.clock.monotonic()

    azure_devops._monotonic = one_page_a_minute
    (entry,) = env.later(minutes=10)

    assert (entry.state, entry.reason) == (
        State.UNKNOWN,
        "cannot check whether the release exists: searching all releases took longer than the lease",
    )
    azure_devops._monotonic = env.clock.monotonic
    assert [entry.state for entry in env.later(hours=1)] == [State.STARTED]
    assert sum(request.method == "POST" for request in env.azure_devops.requests) == 1


# One request in flight on a line


@IN_AZURITE
@USUALLY_A_PIPELINE
def test_an_overtaken_attempt_does_not_shorten_the_time_of_a_request_in_flight(env: Environment) -> None:
    other = env.start()
    env.registered(event(version=19))

    def overtake() -> None:
        env.clock.advance(minutes=6)
        lose_the_request(env)
        assert [one.state for one in other.start_release.registered(event(version=20))] == [State.UNKNOWN]

    overtaken = at_azure_devops(env.app, "before", "identify", overtake)
    with pytest.raises(ClaimLeasedError):
        overtaken.start_release.registered(event(version=20))

    assert [one.state for one in env.registered(event(version=21))] == [State.WAITING]
    land(env)
    env.later(minutes=7)
    env.later(minutes=7)
    assert env.versions == ["19", "20", "21"]


def _send(env: Environment, app: Services, start: str) -> tuple[State, str]:
    """Send a version by an event or by hand, such as `event 21`; return state and reason."""
    how, _, version = start.partition(" ")
    if how == "event":
        (entry,) = app.start_release.registered(event(version=version))
    else:
        entry = restart(env, int(version), f"by-hand-{version}", app)
    return entry.state, entry.reason.partition("; matched with")[0]


TWO_STARTS = in_turn(
    "first second",
    {
        f"{first} and {second}": (first, second)
        for first, second in (
            ("hand 19", "hand 20"),
            ("hand 20", "hand 19"),
            ("hand 20", "event 21"),
            ("event 21", "hand 20"),
        )
    },
)


@TWO_STARTS
def test_two_requests_are_never_in_flight_on_a_line(env: Environment, first: str, second: str) -> None:
    register(env, 19, 20)
    lose_the_request(env)
    assert _send(env, env.app, first)[0] is State.UNKNOWN

    in_flight = first.partition(" ")[2]
    assert _send(env, env.app, second) == (State.WAITING, f"version {in_flight} is still being created")

    land(env)
    env.later(minutes=7)
    env.later(minutes=7)
    assert env.versions == ["19", "20", in_flight, second.partition(" ")[2]]


@TWO_STARTS
def test_a_claim_that_reads_the_mark_just_before_another_is_written_waits(
    env: Environment, first: str, second: str
) -> None:
    other = env.start()
    register(env, 19, 20)

    def send_first() -> None:
        lose_the_request(env)
        assert _send(env, other, first)[0] is State.UNKNOWN

    at_storage(env.app, "before", "update_entity", send_first, "in_flight'")

    assert _send(env, env.app, second) == (State.WAITING, f"version {first.partition(' ')[2]} is still being created")


def _refuse_before_it_is_sent(env: Environment, version: int) -> None:
    """Register a version while its definition does not exist, so that it does not reach the high-water mark."""
    definition = env.azure_devops._definitions.pop(1)
    assert [entry.state for entry in env.registered(event(version=version))] == [State.REFUSED]
    env.azure_devops._definitions[1] = definition


def test_a_start_by_hand_supersedes_an_older_version_that_is_registered_later(env: Environment) -> None:
    _refuse_before_it_is_sent(env, 26)
    assert restart(env, 26).state is State.STARTED

    (late,) = env.registered(event(version=25))

    assert (late.state, late.reason) == (State.SUPERSEDED, "version 26 was sent first")
    assert env.versions == ["26"]


def test_a_registered_version_that_a_person_started_already_is_superseded(env: Environment) -> None:
    _refuse_before_it_is_sent(env, 26)
    restart(env, 26)

    (entry,) = env.later(hours=1)

    assert (entry.state, entry.reason) == (State.SUPERSEDED, "version 26 was sent manually")
    assert env.versions == ["26"]


def test_a_registered_version_waits_while_a_start_of_it_by_hand_is_in_flight(env: Environment) -> None:
    _refuse_before_it_is_sent(env, 26)
    lose_the_request(env)
    restart(env, 26)

    (entry,) = env.app.start_release.try_now(claims_of(env, 26)[0])

    assert (entry.state, entry.reason) == (State.WAITING, "version 26 is still being created")
    land(env)
    env.later(minutes=7)
    env.later(minutes=7)
    assert [claim.state for claim in claims_of(env, 26)] == [State.SUPERSEDED, State.STARTED]
    assert env.versions == ["26"]


def test_a_registered_version_starts_if_a_start_of_it_by_hand_was_refused(env: Environment) -> None:
    _refuse_before_it_is_sent(env, 26)
    env.azure_devops.misbehave(Fault(**env.requests.start, status=403, times=1))
    assert restart(env, 26).state is State.REFUSED

    (entry,) = env.app.start_release.try_now(claims_of(env, 26)[0])

    assert entry.state is State.STARTED


# Refused, old and final claims


@USUALLY_A_RELEASE
def test_a_refused_claim_whose_search_fails_stays_refused_and_is_not_sent(env: Environment) -> None:
    env.azure_devops.misbehave(Fault(**env.requests.start, status=400, body={"message": "no"}, apply=True, times=1))
    env.registered(event())
    env.azure_devops.misbehave(Fault(**env.requests.look, status=503, times=1))

    (entry,) = env.later(hours=1)

    assert (entry.state, entry.reason) == (
        State.REFUSED,
        "cannot check whether the release exists: Azure DevOps answered 503",
    )
    assert [entry.state for entry in env.later(hours=1)] == [State.STARTED]
    assert env.versions == ["20"]


@in_turn(
    "fault",
    {"waiting": (Fault(status=429),), "refused": (Fault(status=403),), "unknown": (Fault(close="before"),)},
)
def test_a_claim_that_is_older_than_seven_days_creates_nothing(env: Environment, fault: Fault) -> None:
    env.azure_devops.misbehave(Fault(**env.requests.start, status=fault.status, close=fault.close, times=1))
    (entry,) = env.registered(event())

    (last,) = env.later(days=7)

    assert (last.state, last.reason) == (
        State.ABANDONED,
        f"all attempts failed for 7 days; last: {entry.state}: {entry.reason}",
    )
    assert env.versions == []


@USUALLY_A_PIPELINE
def test_a_claim_whose_process_died_creates_nothing_after_seven_days(env: Environment) -> None:
    with pytest.raises(Killed):
        at_azure_devops(env.app, "before", "create", kill).start_release.registered(event())
    env.clock.advance(days=7)

    assert [entry.state for entry in env.registered(event())] == [State.ABANDONED]
    assert env.versions == []


# Records


def _find_it_in_another_process(env: Environment) -> None:
    """Let a person try the claim again, in another process, which finds the release that got no answer."""
    env.clock.advance(minutes=2)
    (claim,) = claims_of(env, 20)
    assert [entry.state for entry in env.start().start_release.try_now(claim)] == [State.STARTED]


@IN_AZURITE
@USUALLY_A_RELEASE
def test_a_slow_first_history_write_does_not_replace_a_newer_entry(env: Environment) -> None:
    env.azure_devops.misbehave(Fault(**env.requests.start, close="after", times=1))
    at_storage(
        env.app, "before", "create_entity", lambda: _find_it_in_another_process(env), "'PartitionKey': 'history'"
    )

    assert [entry.state for entry in env.registered(event())] == [State.UNKNOWN]

    assert [entry.state for entry in env.history] == [State.STARTED]


@USUALLY_A_PIPELINE
def test_a_slow_later_history_write_does_not_replace_a_newer_entry(env: Environment) -> None:
    env.azure_devops.misbehave(Fault(**env.requests.start, status=429, times=1))
    env.registered(event())
    env.azure_devops.misbehave(Fault(**env.requests.start, close="after", times=1))
    at_storage(
        env.app, "before", "submit_transaction", lambda: _find_it_in_another_process(env), "'PartitionKey': 'history'"
    )

    assert [entry.state for entry in env.later(minutes=1)] == [State.UNKNOWN]

    assert [entry.state for entry in env.history] == [State.STARTED]


@USUALLY_A_RELEASE
@pytest.mark.parametrize("killed", [False, True])
def test_a_history_write_that_storage_carries_out_late_is_replaced(env: Environment, *, killed: bool) -> None:
    env.azure_devops.misbehave(Fault(**env.requests.start, close="after", times=1))
    at_storage(env.app, "before", "create_entity", kill, "'PartitionKey': 'history'")
    with pytest.raises(Killed):
        env.registered(event())
    (unknown,) = claims_of(env, 20)

    def carry_it_out() -> None:
        env.app.sweep.history.write(unknown)
        if killed:
            kill()

    env.restart()
    at_storage(env.app, "before", "submit_transaction", carry_it_out, "'PartitionKey': 'history'")
    with pytest.raises(Killed) if killed else nullcontext():
        env.later(minutes=1)
    assert [entry.state for entry in env.history] == [State.UNKNOWN if killed else State.STARTED]

    # A sweep that was killed ends with its lease.
    env.later(minutes=4 if killed else 1)
    assert [claim.state for claim in claims_of(env, 20)] == [State.STARTED]
    assert [entry.state for entry in env.history] == [State.STARTED]
    assert env.app.sweep.pending.count().claims == 0


def _match_again(app: Services) -> object:
    return app.start_release.match_again(parse(event()))


@USUALLY_A_PIPELINE
def test_what_nobody_delivers_again_is_pending_before_it_is_claimed(env: Environment) -> None:
    with pytest.raises(Killed):
        _match_again(at_azure_devops(env.app, "before", "identify", kill))
    assert env.app.sweep.pending.count().claims == 1

    assert [entry.state for entry in env.later(minutes=3)] == [State.STARTED]
    assert env.versions == ["20"]
    assert env.app.sweep.pending.count().claims == 0


@USUALLY_A_RELEASE
def test_a_pending_row_whose_claim_was_never_inserted_is_deleted_after_half_an_hour(env: Environment) -> None:
    at_storage(env.app, "before", "create_entity", kill, "'PartitionKey': 'claim ")
    with pytest.raises(Killed):
        _match_again(env.app)
    assert env.app.sweep.pending.count().claims == 1

    assert env.later(minutes=29) == []
    assert env.app.sweep.pending.count().claims == 1
    assert env.later(minutes=1) == []
    assert env.app.sweep.pending.count().claims == 0
    assert env.versions == []


@IN_AZURITE
@USUALLY_A_PIPELINE
def test_a_pending_row_that_is_written_again_meanwhile_is_kept(env: Environment) -> None:
    env.registered(event())
    at_storage(env.app, "before", "create_entity", kill, f"{claims_of(env, 20)[0].row} ")
    with pytest.raises(Killed):
        restart(env, 20)

    def restart_and_die() -> None:
        with pytest.raises(Killed):
            restart(env, 20, app=at_azure_devops(env.start(), "before", "identify", kill))

    env.restart()
    at_storage(env.app, "before", "delete_entity", restart_and_die, "pending")
    assert env.later(minutes=30) == []

    env.later(minutes=7)
    env.later(minutes=7)
    assert [claim.state for claim in claims_of(env, 20)] == [State.STARTED] * 2
    assert env.versions == ["20"] * 2


@USUALLY_A_RELEASE
def test_a_restart_that_is_repeated_each_minute_is_attempted_when_it_is_due(env: Environment) -> None:
    env.registered(event())
    env.azure_devops.misbehave(Fault(**env.requests.start, status=429, times=1))
    assert restart(env, 20).state is State.WAITING

    states = []
    for _ in range(3):
        env.clock.advance(seconds=30)
        restart(env, 20)
        states += [entry.state for entry in env.later(seconds=30)]

    assert states == [State.STARTED]
    assert env.versions == ["20"] * 2


# Storage


@IN_AZURITE
@USUALLY_A_PIPELINE
def test_a_claim_that_storage_inserted_without_an_answer_is_taken_over_by_its_process_at_once(env: Environment) -> None:
    at_storage(env.app, "after", "create_entity", lose_the_answer, "'PartitionKey': 'claim ")
    with pytest.raises(AzureError):
        env.registered(event())
    with pytest.raises(ClaimLeasedError):
        env.start().start_release.registered(event())

    assert [entry.state for entry in env.registered(event())] == [State.STARTED]
    assert env.versions == ["20"]


class LostAnswer:
    """A gate that drops one answer, counted from 1."""

    def __init__(self, number: int) -> None:
        self.left = number

    def __call__(self, *request: str) -> None:
        self.left -= request[-1] == "after"
        if self.left == 0:
            self.left = -1_000
            raise HangUp


@IN_AZURITE
@USUALLY_A_RELEASE
def test_a_dropped_answer_of_storage_is_repeated_within_the_delivery(env: Environment) -> None:
    for number in count(1):
        env.storage.gate = lost = LostAnswer(number)
        (entry,) = env.start().start_release.registered(event(version=number))
        assert entry.state is State.STARTED
        if lost.left > 0:
            break

    assert env.versions == [str(version) for version in range(1, number + 1)]
    assert number > 5


@pytest.mark.parametrize("state", [state for state in State if state.final])
def test_a_final_claim_is_never_acquired(env: Environment, state: State) -> None:
    claim = replace(env.claim(event()), state=state)

    with pytest.raises(AssertionError, match=f"is {state}"):
        env.claims.acquire(claim)

    assert claims_of(env, 20)[0].attempt == 1
