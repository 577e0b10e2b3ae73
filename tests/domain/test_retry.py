"""When a claim is attempted again, and when it is abandoned."""

from dataclasses import replace
from datetime import timedelta

import pytest

from model_release.domain.claims import NEVER, Attempt, AttemptResult, Claim, State
from model_release.domain.retry import Availability, abandon, pause
from model_release.errors import AzureDevOpsError, RefusedError, TemporaryError, UnknownOutcomeError
from model_release.reason import Reason, ReasonKind
from tests.domain.test_claims import NOW, a_claim

SECOND, MINUTE, HOUR, WEEK = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1), timedelta(days=7)
WHY = Reason(ReasonKind.UNAVAILABLE, "why")
NOTHING_CREATED = (State.WAITING, State.REFUSED)


def a_claim_with(*states: State) -> Claim:
    attempts = (Attempt(number, NOW, state, "why") for number, state in enumerate(states, 1))
    return replace(a_claim(), attempts=tuple(attempts))


@pytest.mark.parametrize("error", [TemporaryError, UnknownOutcomeError])
def test_no_claim_waits_longer_because_azure_devops_was_unavailable(error: type[AzureDevOpsError]) -> None:
    claim = a_claim_with(*[State.WAITING] * 20)

    assert pause(error("a problem"), claim, MINUTE) == MINUTE


def test_the_pause_after_a_refusal_doubles_up_to_an_hour() -> None:
    claims = [a_claim_with(*[State.REFUSED] * count) for count in (0, 1, 2, 5, 6, 45)]

    pauses = [pause(RefusedError("a problem"), claim, MINUTE) for claim in claims]

    assert pauses == [MINUTE, 2 * MINUTE, 4 * MINUTE, 32 * MINUTE, HOUR, HOUR]


def test_only_the_refusals_in_a_row_count() -> None:
    claim = a_claim_with(State.REFUSED, State.REFUSED, State.WAITING, State.REFUSED)

    assert pause(RefusedError("a problem"), claim, MINUTE) == 2 * MINUTE


@pytest.mark.parametrize("error", [TemporaryError, RefusedError])
def test_the_pause_is_at_most_an_hour_whatever_the_first_pause_is(error: type[AzureDevOpsError]) -> None:
    assert pause(error("a problem"), a_claim(), 3 * HOUR) == HOUR


@pytest.mark.parametrize("retry_after", [SECOND, 5 * MINUTE, 3 * HOUR])
def test_the_pause_that_azure_devops_asked_for_is_kept(retry_after: timedelta) -> None:
    assert pause(TemporaryError("a problem", retry_after=retry_after), a_claim(), MINUTE) == retry_after
    refused = pause(RefusedError("a problem", retry_after=retry_after), a_claim(), MINUTE)
    assert refused == max(retry_after, MINUTE)


def test_azure_devops_is_unavailable_after_three_attempts_in_a_row_that_it_does_not_answer() -> None:
    availability = Availability()
    seen = []
    for unavailable in (True, True, False, True, True, True):
        availability.note(unavailable=unavailable)
        seen.append((availability.answers, availability.is_unavailable))

    assert seen == [(False, False), (False, False), (True, False), (False, False), (False, False), (False, True)]


@pytest.mark.parametrize("state", NOTHING_CREATED)
def test_a_claim_is_abandoned_after_seven_days_with_the_last_reason(state: State) -> None:
    result = AttemptResult(state, WHY, NOW + WEEK)
    claim = replace(a_claim(), in_flight_until=NEVER)

    assert abandon(claim, result, NOW + WEEK - timedelta(seconds=1)) is result
    assert abandon(claim, result, NOW + WEEK) == AttemptResult(
        State.ABANDONED, Reason(WHY.kind, f"all attempts failed for 7 days; last: {state}: why")
    )


def test_the_last_reason_of_an_abandoned_claim_has_its_own_text_in_the_log() -> None:
    reason = Reason(ReasonKind.UNAVAILABLE, "why", "for the log")

    abandoned = abandon(a_claim(), AttemptResult(State.WAITING, reason, NOW + WEEK), NOW + WEEK)

    assert abandoned.reason.log == "all attempts failed for 7 days; last: waiting: for the log"


@pytest.mark.parametrize("state", [state for state in State if state.final])
def test_a_final_result_is_never_replaced(state: State) -> None:
    result = AttemptResult(state, WHY)

    assert abandon(a_claim(), result, NOW + 2 * WEEK) is result


def test_a_claim_is_not_abandoned_while_its_release_may_exist() -> None:
    result = AttemptResult(State.UNKNOWN, WHY, NOW + WEEK)

    assert abandon(replace(a_claim(), in_flight_until=NEVER), result, NOW + 2 * WEEK) is result


@pytest.mark.parametrize(
    ("state", "kind", "is_abandoned"),
    [
        (State.REFUSED, ReasonKind.SEARCH_FAILED, False),
        (State.REFUSED, ReasonKind.THROTTLED, False),
        (State.REFUSED, ReasonKind.REFUSED, True),
        (State.WAITING, ReasonKind.THROTTLED, True),
    ],
)
def test_a_refused_claim_is_abandoned_only_after_a_search(
    state: State, kind: ReasonKind, *, is_abandoned: bool
) -> None:
    result = AttemptResult(state, Reason(kind, "why"), NOW + HOUR)

    after = abandon(a_claim(), result, NOW + WEEK)

    assert (after.state is State.ABANDONED) == is_abandoned
    assert is_abandoned or after == result


def test_a_claim_that_a_pin_keeps_back_is_not_abandoned() -> None:
    result = AttemptResult(State.HELD, Reason(ReasonKind.PINNED, "why"), NOW + HOUR)

    assert abandon(a_claim(), result, NOW + WEEK) is result


@pytest.mark.parametrize("state", [State.WAITING, State.REFUSED])
def test_a_result_that_proves_that_nothing_was_created_has_nothing_in_flight(state: State) -> None:
    now = NOW + WEEK

    abandoned = abandon(replace(a_claim(), in_flight_until=now + MINUTE), AttemptResult(state, WHY), now)

    assert abandoned.state is State.ABANDONED
