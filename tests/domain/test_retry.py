"""When a claim is attempted again, and when it is abandoned."""

from dataclasses import replace
from datetime import timedelta

import pytest

from model_release.domain.claims import NEVER, AttemptResult, State
from model_release.domain.retry import abandon, pause
from model_release.errors import AzureDevOpsError, RefusedError, TemporaryError, UnknownOutcomeError
from tests.domain.test_claims import NOW, a_claim

MINUTE, HOUR, WEEK = timedelta(minutes=1), timedelta(hours=1), timedelta(days=7)
NOTHING_CREATED = (State.WAITING, State.REFUSED)


@pytest.mark.parametrize("error", [TemporaryError, UnknownOutcomeError])
def test_the_pause_doubles_up_to_an_hour(error: type[AzureDevOpsError]) -> None:
    pauses = [pause(error("a problem"), attempt, MINUTE) for attempt in (1, 2, 3, 6, 7, 8, 1_000_000)]

    assert pauses == [MINUTE, 2 * MINUTE, 4 * MINUTE, 32 * MINUTE, HOUR, HOUR, HOUR]


def test_a_refused_claim_is_attempted_hourly_from_the_first_attempt_on() -> None:
    assert [pause(RefusedError("a problem"), attempt, MINUTE) for attempt in (1, 2, 9)] == [HOUR] * 3


def test_the_pause_is_at_most_an_hour_whatever_the_first_pause_is() -> None:
    assert pause(TemporaryError("a problem"), 1, 3 * HOUR) == HOUR


@pytest.mark.parametrize(
    ("retry_after", "expected"), [(MINUTE, 4 * MINUTE), (5 * MINUTE, 5 * MINUTE), (3 * HOUR, 3 * HOUR)]
)
def test_the_pause_is_not_shorter_than_retry_after(retry_after: timedelta, expected: timedelta) -> None:
    assert pause(TemporaryError("a problem", retry_after=retry_after), 3, MINUTE) == expected


@pytest.mark.parametrize("state", NOTHING_CREATED)
def test_a_claim_is_abandoned_after_seven_days_with_the_last_reason(state: State) -> None:
    result = AttemptResult(state, "why", NOW + WEEK)
    claim = replace(a_claim(), in_flight_until=NEVER)

    assert abandon(claim, result, NOW + WEEK - timedelta(seconds=1)) is result
    assert abandon(claim, result, NOW + WEEK) == AttemptResult(
        State.ABANDONED, f"all attempts failed for 7 days; last: {state}: why"
    )


@pytest.mark.parametrize("state", [state for state in State if state.final])
def test_a_final_result_is_never_replaced(state: State) -> None:
    result = AttemptResult(state, "why")

    assert abandon(a_claim(), result, NOW + 2 * WEEK) is result


def test_a_claim_is_not_abandoned_while_its_release_may_exist() -> None:
    result = AttemptResult(State.UNKNOWN, "why", NOW + WEEK)

    assert abandon(replace(a_claim(), in_flight_until=NEVER), result, NOW + 2 * WEEK) is result


@pytest.mark.parametrize("state", [State.WAITING, State.REFUSED])
def test_a_result_that_proves_that_nothing_was_created_has_nothing_in_flight(state: State) -> None:
    now = NOW + WEEK

    abandoned = abandon(replace(a_claim(), in_flight_until=now + MINUTE), AttemptResult(state, "why"), now)

    assert abandoned.state is State.ABANDONED
