"""An attempt: the guards in their order, and the one request that creates."""

from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from model_release.domain.claims import AttemptResult, Claim, State
from model_release.domain.events import ModelRegistered
from model_release.domain.retry import throttling
from model_release.domain.routing import Routing
from model_release.domain.targets import TargetId
from model_release.errors import AzureDevOpsError, RefusedError, TemporaryError, UnknownOutcomeError
from model_release.flow.attempt import OpenAttempt
from model_release.flow.confirm import Confirmed
from model_release.flow.manually import superseded
from model_release.reason import Reason, ReasonKind
from model_release.store.high_water_mark import Pin
from tests.in_memory import (
    CREATED,
    DAY,
    HOUR,
    MINUTE,
    NOON,
    OTHER_TARGET,
    SECOND,
    TARGET,
    Process,
    a_plan,
    an_event,
)

NOTHING = Reason(ReasonKind.NONE, "")
MATCHED = Reason(ReasonKind.ROUTE_MATCHED, "route churn matches churn:20")
FOUND = Reason(ReasonKind.FOUND_BY_MARKER, "Release-9 was found; an earlier attempt created it")
NO_ROUTE = Routing((), Reason(ReasonKind.OTHER_VALUE, "tag stage is 'test'", "tag stage differs"))


@pytest.fixture
def process() -> Process:
    return Process()


def opened(process: Process, version: str = "20", key: str = "", **changes: Any) -> OpenAttempt:
    """Open the first attempt of a claim."""
    leased = process.new(version, key, definition_id=0)
    claim, _ = process.claims.insert(leased.claim)
    plan = changes.pop("plan", None) or a_plan()
    return believed(claim, None, leased.deadline, an_event(version), Routing((plan,), NOTHING))._replace(**changes)


def believed(
    claim: Claim, before: Claim | None, deadline: float, event: ModelRegistered, routing: Routing
) -> OpenAttempt:
    return OpenAttempt(claim, before, deadline, event, lambda: Confirmed(event, routing))


def resumed(process: Process, state: State, version: str = "20", key: str = "", **changes: Any) -> OpenAttempt:
    """Open the second attempt of a claim, whose first one ended in this state; no plan is selected yet."""
    first = process.inserted(version, key, definition_id=changes.pop("definition_id", 7))
    before = process.claims.update(
        first, replace(first, state=state, reason="the reason before", reason_kind=ReasonKind.REFUSED)
    )
    leased = process.claims.acquire(before) if state is not State.STARTING else acquired_later(process, before)
    routing = changes.pop("routing", Routing((a_plan(),), NOTHING))
    return believed(leased.claim, before, leased.deadline, an_event(version), routing)._replace(**changes)


def acquired_later(process: Process, claim: Claim) -> Any:
    process.later(3 * MINUTE)
    return process.claims.acquire(claim)


def run(process: Process, attempt: OpenAttempt) -> AttemptResult:
    return process.attempts.run(attempt)[1]


def waits(state: State, kind: ReasonKind, text: str, until: datetime, **more: Any) -> AttemptResult:
    return AttemptResult(state, Reason(kind, text), until, **more)


# Create


def test_a_release_is_created_with_the_marker_before_the_deadline(process: Process) -> None:
    attempt = opened(process)

    ended, result = process.attempts.run(attempt)
    claim = ended.claim

    assert result == AttemptResult(State.STARTED, MATCHED, created=CREATED)
    assert process.azure_devops.created == [(a_plan(), attempt.event, claim.marker, 1090, 7)]
    assert claim.definition_id == 7
    assert process.claims.get(claim.partition, claim.row) == claim
    assert process.azure_devops.found == []


def test_a_restart_says_so(process: Process) -> None:
    result = run(process, opened(process, key="a-key"))

    assert result.reason == Reason(ReasonKind.RESTARTED, "restarted manually; route churn matches churn:20")


def test_a_restart_with_a_pin_says_so(process: Process) -> None:
    attempt = opened(process, key="a-key")
    claim = process.claims.update(attempt.claim, replace(attempt.claim, pins=True))
    process.marks.set_pin(claim.partition, claim.target_digest, Pin("20", claim.row, NOON))

    result = run(process, attempt._replace(claim=claim))

    assert result.reason.text == "pinned and restarted manually; route churn matches churn:20"


def test_an_attempt_that_is_due_is_not_waited_for(process: Process) -> None:
    assert process.attempts.wait(AttemptResult(State.WAITING, NOTHING, NOON - SECOND), NOON)

    assert process.clock() == NOON


def test_a_target_is_read_ahead_unless_azure_devops_asked_for_a_pause(process: Process) -> None:
    process.attempts.read_ahead(TARGET)
    process.throttle.extend(MINUTE)
    process.attempts.read_ahead(OTHER_TARGET)

    assert process.azure_devops.read == [TARGET]


@pytest.mark.parametrize(
    ("error", "state", "pause"),
    [
        (TemporaryError, State.WAITING, MINUTE),
        (RefusedError, State.REFUSED, MINUTE),
        (UnknownOutcomeError, State.UNKNOWN, MINUTE),
        (AzureDevOpsError, State.UNKNOWN, MINUTE),
    ],
)
def test_a_failed_request_is_repeated_after_a_pause(
    process: Process, error: type[AzureDevOpsError], state: State, pause: Any
) -> None:
    process.azure_devops.creating = [error("a problem", "a fix")]

    assert run(process, opened(process)) == waits(state, error.usual, "a problem; a fix", NOON + pause)


@pytest.mark.parametrize(
    ("error", "unavailable"), [(TemporaryError, True), (UnknownOutcomeError, True), (RefusedError, False)]
)
def test_an_error_that_other_claims_may_meet_too_counts_as_unavailable(
    process: Process, error: type[AzureDevOpsError], *, unavailable: bool
) -> None:
    process.azure_devops.creating = [error("a problem")]

    assert run(process, opened(process)).unavailable is unavailable


# Already created


@pytest.mark.parametrize("state", [State.STARTING, State.UNKNOWN, State.REFUSED])
def test_a_release_that_an_earlier_attempt_created_is_found_by_its_marker(process: Process, state: State) -> None:
    process.azure_devops.finding = [CREATED]
    attempt = resumed(process, state)

    ended, result = process.attempts.run(attempt)
    claim = ended.claim

    assert result == AttemptResult(State.STARTED, FOUND, created=CREATED)
    since = NOON - 5 * MINUTE
    assert process.azure_devops.found == [(TARGET, 7, claim.marker, since, attempt.deadline)]
    assert process.azure_devops.created == []
    assert claim == attempt.claim


def test_the_release_is_searched_where_the_claim_was_sent_to(process: Process) -> None:
    attempt = resumed(process, State.REFUSED, definition_id=5)

    claim = process.attempts.run(attempt)[0].claim

    assert process.azure_devops.found[0][1] == 5
    assert claim.definition_id == 7


def test_a_claim_that_waits_is_not_searched(process: Process) -> None:
    assert run(process, resumed(process, State.WAITING)).state is State.STARTED
    assert process.azure_devops.found == []


def test_a_claim_without_an_id_was_never_sent(process: Process) -> None:
    assert run(process, resumed(process, State.STARTING, definition_id=0)).state is State.STARTED
    assert process.azure_devops.found == []


@pytest.mark.parametrize("state", [State.STARTING, State.UNKNOWN])
def test_a_release_that_is_not_found_may_be_in_flight(process: Process, state: State) -> None:
    attempt = resumed(process, state)

    assert run(process, attempt) == waits(
        State.UNKNOWN,
        ReasonKind.NOT_FOUND_YET,
        "not found yet; the earlier request may still complete until 12:06:00 UTC",
        NOON + 6 * MINUTE,
        in_flight_until=NOON + 6 * MINUTE,
    )
    assert process.azure_devops.created == []


def test_what_is_not_found_and_not_in_flight_is_created(process: Process) -> None:
    attempt = resumed(process, State.UNKNOWN)
    process.time.now = NOON + 6 * MINUTE

    assert run(process, attempt).state is State.STARTED
    assert len(process.azure_devops.found) == len(process.azure_devops.created) == 1


def test_the_flight_is_asked_for_before_the_search(process: Process) -> None:
    attempt = resumed(process, State.UNKNOWN)
    search = process.azure_devops.find_by_marker

    def slow(*question: Any) -> Any:
        process.later(HOUR)
        return search(*question)

    process.azure_devops.find_by_marker = slow

    assert run(process, attempt).state is State.UNKNOWN


def test_a_refused_claim_that_is_not_found_is_created(process: Process) -> None:
    assert run(process, resumed(process, State.REFUSED)).state is State.STARTED


@pytest.mark.parametrize(
    ("state", "kept"),
    [(State.STARTING, State.UNKNOWN), (State.UNKNOWN, State.UNKNOWN), (State.REFUSED, State.REFUSED)],
)
def test_a_search_that_fails_keeps_the_state(process: Process, state: State, kept: State) -> None:
    process.azure_devops.finding = [TemporaryError("503", "wait")]
    attempt = resumed(process, state)

    assert run(process, attempt) == waits(
        kept,
        ReasonKind.SEARCH_FAILED,
        "cannot check whether the release exists: 503; wait",
        process.clock() + MINUTE,
        in_flight_until=NOON + 6 * MINUTE,
    )
    assert process.azure_devops.created == []


@pytest.mark.parametrize("state", [State.UNKNOWN, State.REFUSED])
def test_nothing_is_searched_while_requests_are_throttled(process: Process, state: State) -> None:
    attempt = resumed(process, state)
    process.throttle.extend(MINUTE)

    assert run(process, attempt) == waits(
        state,
        ReasonKind.THROTTLED,
        "Azure DevOps is throttling requests; next attempt at 12:01:00 UTC",
        NOON + MINUTE,
        in_flight_until=NOON + 6 * MINUTE,
    )
    assert process.azure_devops.found == []
    process.later(MINUTE)
    run(process, attempt)
    assert len(process.azure_devops.found) == 1


# Too old


def test_a_new_claim_is_too_old_after_seven_days(process: Process) -> None:
    attempt = opened(process)
    process.time.now = NOON + 7 * DAY

    reason = Reason(ReasonKind.NONE, "all attempts failed for 7 days; last: starting: ")
    assert run(process, attempt) == AttemptResult(State.ABANDONED, reason)
    assert process.azure_devops.created == []


@pytest.mark.parametrize("state", [State.UNKNOWN, State.REFUSED])
@pytest.mark.parametrize(("error", "is_abandoned"), [(RefusedError, True), (TemporaryError, False)])
def test_an_old_claim_is_abandoned_if_the_search_for_its_release_is_refused(
    process: Process, error: type[AzureDevOpsError], state: State, *, is_abandoned: bool
) -> None:
    process.azure_devops.finding = [error("no such project")]
    attempt = resumed(process, state)
    process.time.now = NOON + 7 * DAY

    result = run(process, attempt)

    why = "cannot check whether the release exists: no such project"
    over = f"all attempts failed for 7 days; last: {state}: " if is_abandoned else ""
    assert result.reason == Reason(ReasonKind.SEARCH_FAILED, over + why)
    assert result.state is (State.ABANDONED if is_abandoned else state)


@pytest.mark.parametrize("error", [RefusedError, TemporaryError])
def test_a_search_that_is_refused_abandons_nothing_before_seven_days(
    process: Process, error: type[AzureDevOpsError]
) -> None:
    process.azure_devops.finding = [error("no such project")]
    attempt = resumed(process, State.UNKNOWN)
    process.time.now = NOON + 7 * DAY - SECOND

    assert run(process, attempt).state is State.UNKNOWN


def test_a_search_that_is_refused_abandons_nothing_in_flight(process: Process) -> None:
    process.azure_devops.finding = [RefusedError("no such project", "create it")]
    attempt = resumed(process, State.UNKNOWN)
    process.time.now = NOON + 7 * DAY
    before = replace(attempt.before or attempt.claim, in_flight_until=NOON + 8 * DAY)

    assert run(process, attempt._replace(before=before)).state is State.UNKNOWN


def test_an_old_claim_is_abandoned_with_its_last_reason(process: Process) -> None:
    attempt = resumed(process, State.REFUSED)
    process.time.now = NOON + 7 * DAY

    reason = "all attempts failed for 7 days; last: refused: the reason before"
    assert run(process, attempt).reason == Reason(ReasonKind.REFUSED, reason)
    assert len(process.azure_devops.found) == 1


# Routed


def test_the_plan_of_the_target_is_selected(process: Process) -> None:
    other, plan = a_plan(OTHER_TARGET), a_plan()

    run(process, resumed(process, State.WAITING, routing=Routing((other, plan), NOTHING)))

    assert process.azure_devops.created[0][0] == plan


def test_a_claim_without_a_route_is_withdrawn_with_the_reason_for_the_log(process: Process) -> None:
    result = run(process, resumed(process, State.WAITING, routing=NO_ROUTE))

    assert result == AttemptResult(State.WITHDRAWN, NO_ROUTE.why_nothing)
    assert process.azure_devops.created == []


def test_a_claim_whose_route_has_another_target_is_replaced(process: Process) -> None:
    plans = (a_plan(OTHER_TARGET), a_plan(TARGET._replace(kind="pipeline")))

    result = run(process, resumed(process, State.WAITING, routing=Routing(plans, NOTHING)))

    reason = Reason(ReasonKind.ROUTE_MOVED, "the route's target is now p/other, p/train (pipeline)")
    assert result == AttemptResult(State.WITHDRAWN, reason, instead=plans)


def test_a_claim_without_a_route_is_superseded_if_a_newer_version_was_sent(process: Process) -> None:
    assert run(process, opened(process, "21")).state is State.STARTED

    result = run(process, resumed(process, State.WAITING, routing=NO_ROUTE))

    assert result == superseded("21")


def test_a_version_without_an_order_is_not_superseded(process: Process) -> None:
    assert run(process, opened(process, "21")).state is State.STARTED

    result = run(process, resumed(process, State.WAITING, "20-a", routing=NO_ROUTE))

    assert result.state is State.WITHDRAWN


@pytest.mark.parametrize(
    ("error", "state", "pause"),
    [
        (TemporaryError, State.WAITING, MINUTE),
        (RefusedError, State.REFUSED, MINUTE),
        (UnknownOutcomeError, State.WAITING, MINUTE),
    ],
)
def test_a_plan_that_cannot_be_resolved_is_tried_again(process: Process, error: Any, state: State, pause: Any) -> None:
    process.azure_devops.identifying = [error("503", "wait")]
    routing = Routing((a_plan(OTHER_TARGET),), NOTHING)

    result = run(process, resumed(process, State.WAITING, routing=routing))

    assert result == waits(state, error.usual, "503; wait", NOON + pause)


def test_the_same_target_under_another_name_is_found(process: Process) -> None:
    process.targets.resolve(TARGET, process.azure_devops.identify(TARGET))
    renamed = TARGET._replace(definition=7)
    process.azure_devops.ids[renamed] = TargetId("release", "p-id", 7)
    other = a_plan(OTHER_TARGET)

    ended, result = process.attempts.run(
        resumed(process, State.WAITING, routing=Routing((other, a_plan(renamed)), NOTHING))
    )
    claim = ended.claim

    assert result.state is State.STARTED
    assert process.azure_devops.created[-1][0].target == renamed
    assert claim.target == TARGET


def test_a_target_that_is_resolved_is_not_asked_for_again(process: Process) -> None:
    claim = process.new().claim

    assert process.attempts.plan_for(claim, [a_plan(OTHER_TARGET)]) is None
    assert process.attempts.plan_for(claim, [a_plan(OTHER_TARGET)]) is None
    assert process.attempts.plan_for(claim, [a_plan(OTHER_TARGET), a_plan()]) == a_plan()

    assert process.azure_devops.identified == [OTHER_TARGET]


# Target


@pytest.mark.parametrize(
    ("error", "state", "pause"),
    [
        (TemporaryError, State.WAITING, MINUTE),
        (RefusedError, State.REFUSED, MINUTE),
        (UnknownOutcomeError, State.WAITING, MINUTE),
    ],
)
def test_a_target_that_cannot_be_resolved_is_tried_again(
    process: Process, error: Any, state: State, pause: Any
) -> None:
    process.azure_devops.identifying = [error("503", "wait")]

    ended, result = process.attempts.run(opened(process))
    claim = ended.claim

    assert result == waits(state, error.usual, "503; wait", NOON + pause)
    assert claim.definition_id == 0


def test_a_claim_on_a_target_that_has_another_name_is_replaced(process: Process) -> None:
    run(process, opened(process))
    renamed = a_plan(TARGET._replace(definition=7))
    process.azure_devops.ids[renamed.target] = TargetId("release", "p-id", 7)
    attempt = opened(process, "21", plan=renamed)
    claim = process.inserted("21", plan=renamed, definition_id=0)

    result = run(process, attempt._replace(claim=claim))

    reason = Reason(ReasonKind.TARGET_RENAMED, "p/7 is another name of a target that has its own claim")
    assert result == AttemptResult(State.WITHDRAWN, reason, instead=(renamed,))
    assert len(process.azure_devops.created) == 1


def test_the_id_of_a_target_is_written_before_the_request(process: Process) -> None:
    process.azure_devops.creating = [TemporaryError("503")]
    attempt = opened(process)

    claim = process.attempts.run(attempt)[0].claim

    assert process.claims.get(claim.partition, claim.row).definition_id == 7
    assert claim.etag != attempt.claim.etag


def test_an_id_that_the_claim_has_is_not_written_again(process: Process) -> None:
    attempt = resumed(process, State.WAITING)

    claim = process.attempts.run(attempt)[0].claim

    assert claim.etag == attempt.claim.etag


# High-water mark and throttle


def test_an_older_version_is_superseded(process: Process) -> None:
    run(process, opened(process, "21"))

    assert run(process, opened(process)) == superseded("21")
    assert process.azure_devops.versions == ["21"]


def test_a_version_that_a_person_started_is_superseded(process: Process) -> None:
    ended, result = process.attempts.run(opened(process, key="a-key"))
    claim = ended.claim
    process.claims.update(claim, replace(claim, state=result.state))

    assert run(process, opened(process)) == superseded("20", manually=True)


def test_a_version_waits_for_the_one_before_it(process: Process) -> None:
    run(process, opened(process))

    assert run(process, opened(process, "21")) == waits(
        State.WAITING, ReasonKind.OLDER_IN_FLIGHT, "version 20 is still being created", NOON + SECOND
    )
    assert process.azure_devops.versions == ["20"]


def test_an_older_version_waits_for_the_one_that_is_started_first_since_a_pin_was_removed(process: Process) -> None:
    first, pin = process.inserted("22"), Pin("20", "", NOON)
    process.marks.set_pin(first.partition, first.target_digest, pin)
    process.marks.remove_pin(first.partition, first.target_digest, pin, first.row)

    assert run(process, opened(process, "21")) == waits(
        State.WAITING, ReasonKind.NEWEST_FIRST, "version 22 is started first", NOON + SECOND
    )


def test_every_version_is_started_if_the_route_wants_it(process: Process) -> None:
    plan = a_plan(newest_only=False)
    run(process, opened(process, "21", plan=plan))

    assert run(process, opened(process, plan=plan)).state is State.STARTED


def test_a_version_that_is_not_a_whole_number_is_started(process: Process) -> None:
    run(process, opened(process, "21"))

    assert run(process, opened(process, "20-a")).state is State.STARTED


def test_nothing_is_sent_while_requests_are_throttled(process: Process) -> None:
    process.throttle.extend(MINUTE)
    attempt = opened(process)

    result = run(process, attempt)

    assert result == AttemptResult(State.WAITING, throttling(NOON + MINUTE), NOON + MINUTE)
    assert result.unavailable
    assert process.azure_devops.identified == process.azure_devops.created == []
    process.later(MINUTE)
    assert run(process, attempt).state is State.STARTED
