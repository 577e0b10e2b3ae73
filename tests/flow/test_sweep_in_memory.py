"""The sweep: what is due is taken up, and one failure stops nothing else."""

import json
import logging
from dataclasses import replace
from typing import Any
from unittest.mock import Mock

import pytest
from azure.core.exceptions import ServiceRequestError

from model_release.domain.claims import Attempt, Claim, State
from model_release.domain.history import HistoryEntry, HistoryQuery
from model_release.domain.retry import Availability
from model_release.errors import RefusedError, TemporaryError, UnknownOutcomeError
from model_release.flow.sweep import SWEEP_THREADS, SWEEP_TIME, Sweep, sweep_threads
from model_release.store.high_water_mark import Pin
from model_release.store.pending import LONGEST_FUNCTION, LastSweep, SweepRun
from tests.flow.interruptions import Killed
from tests.in_memory import CREATED, DAY, HOUR, LEASE, MINUTE, NOON, SECOND, WORKSPACE, Process, event_body
from tests.proof.workers import Inline


@pytest.fixture
def process() -> Process:
    return Process()


def waiting(process: Process, version: str = "20") -> Claim:
    """Register a version whose request is answered 503; it is due after a minute."""
    process.azure_devops.creating = [TemporaryError("503")]
    process.start_release.registered(event_body(version))
    return process.claims.recorded(WORKSPACE, "churn", version)[version].claims[0]


def summary(caplog: pytest.LogCaptureFixture) -> dict[str, Any]:
    lines = [json.loads(record.getMessage()) for record in caplog.records if record.name == "model_release.log"]
    return next(line for line in lines if line["event"] == "sweep")


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]


def test_a_claim_that_is_due_is_attempted_and_logged(process: Process, caplog: pytest.LogCaptureFixture) -> None:
    waiting(process)
    assert process.sweep.run() == []
    process.later(MINUTE)
    caplog.set_level(logging.INFO)

    (entry,) = process.sweep.run()

    assert (entry.state, entry.attempt) == (State.STARTED, 2)
    assert [record.name for record in caplog.records].count("model_release.log") == 2
    assert process.sweep.run() == []


def test_the_summary_counts_what_is_left(process: Process, caplog: pytest.LogCaptureFixture) -> None:
    waiting(process, "20")
    process.later(30 * SECOND)
    caplog.set_level(logging.INFO)

    process.sweep.run()

    assert summary(caplog) == {"event": "sweep", "pending": 1, "oldest_pending_seconds": 30}


def test_the_end_of_a_sweep_and_its_attempts_are_recorded(process: Process) -> None:
    last_sweep = LastSweep(process.table, process.clock)
    sweep = replace(process.sweep, last_sweep=last_sweep)
    waiting(process)
    process.later(MINUTE)

    sweep.run()
    assert last_sweep.read() == SweepRun(NOON + MINUTE, NOON + MINUTE, 1)

    process.later(MINUTE)
    process.fail("before query_entities", ServiceRequestError("storage fails"))
    with pytest.raises(ServiceRequestError):
        sweep.run()
    assert last_sweep.read() == SweepRun(NOON + MINUTE, NOON + MINUTE, 1)


def test_nothing_is_attempted_while_requests_are_throttled(process: Process) -> None:
    waiting(process)
    process.throttle.extend(HOUR)
    process.later(HOUR - SECOND)
    assert process.sweep.run() == []
    process.later(SECOND)

    assert [entry.state for entry in process.sweep.run()] == [State.STARTED]


def test_a_claim_that_began_to_be_throttled_is_left(process: Process) -> None:
    waiting(process)
    process.later(MINUTE)
    (line,) = process.pending.due()
    process.throttle.extend(MINUTE)

    assert process.sweep.take_up(line, Availability(), NOON + HOUR) == []
    process.later(MINUTE)
    assert len(process.sweep.take_up(line, Availability(), NOON + HOUR)) == 1


def test_a_claim_whose_next_attempt_is_later_than_its_row_is_left(process: Process) -> None:
    claim = waiting(process)
    process.claims.update(claim, replace(claim, next_attempt=NOON + HOUR))
    process.later(HOUR - SECOND)
    assert process.sweep.run() == []

    process.later(SECOND)

    assert len(process.sweep.run()) == 1


def test_a_sweep_begins_attempts_for_50_seconds(process: Process) -> None:
    for version in ("20-a", "20-b", "20-c"):
        waiting(process, version)
    process.later(MINUTE)
    create = process.azure_devops.create

    def slow(*request: Any) -> Any:
        process.later(25 * SECOND)
        return create(*request)

    process.azure_devops.create = slow

    assert len(process.sweep.run()) == 2
    assert SWEEP_TIME == 50 * SECOND


def outage(process: Process, *errors: Exception | None) -> None:
    """Let Azure DevOps answer each request with the next error, and be available after the last one."""
    process.azure_devops.creating = [error or CREATED for error in errors]


def test_a_sweep_ends_after_three_attempts_in_a_row_that_find_azure_devops_unavailable(process: Process) -> None:
    for number in range(10):
        waiting(process, f"{number}-a")
    process.later(MINUTE)
    outage(process, *[TemporaryError("503")] * 20)
    process.azure_devops.created.clear()

    assert len(process.sweep.run()) == 3
    assert len(process.azure_devops.created) == 3


def test_every_claim_is_attempted_in_the_sweep_that_finds_azure_devops_available_again(process: Process) -> None:
    for number in range(10):
        waiting(process, f"{number}-a")
    for _ in range(180):
        process.later(MINUTE)
        outage(process, *[UnknownOutcomeError("502"), TemporaryError("503"), TemporaryError("503")])
        process.azure_devops.finding = [TemporaryError("503")] * 3
        process.sweep.run()
    process.azure_devops.finding = []
    outage(process)

    ended = [entry.state for _ in range(2) for entry in sweep(process)]

    assert ended.count(State.STARTED) == 10


def test_claims_that_always_fail_do_not_keep_the_others_from_their_attempts(process: Process) -> None:
    for number in range(9):
        waiting(process, f"{number}-a")
    create = process.azure_devops.create

    def fails_for_most(plan: Any, event: Any, *more: Any) -> Any:
        if event.version != "8-a":
            raise TemporaryError("503")
        return create(plan, event, *more)

    process.azure_devops.create = fails_for_most

    assert [entry.state for _ in range(3) for entry in sweep(process)].count(State.STARTED) == 1


def test_a_refusal_belongs_to_its_claim_and_ends_no_sweep(process: Process) -> None:
    for number in range(5):
        waiting(process, f"{number}-a")
    process.later(MINUTE)
    outage(process, *[RefusedError("403")] * 5)

    assert [entry.state for entry in process.sweep.run()] == [State.REFUSED] * 5


def leased(process: Process) -> Sweep:
    """Return the sweep with its lease, as the app has it."""
    return replace(process.sweep, last_sweep=LastSweep(process.table, process.clock))


def test_a_second_sweep_does_nothing_while_one_is_running(process: Process, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    waiting(process)
    process.later(MINUTE)
    other, second = leased(Process(shares=process)), []
    create = process.azure_devops.create

    def during(*request: Any) -> Any:
        second.append(other.run())
        return create(*request)

    process.azure_devops.create = during

    assert len(leased(process).run()) == 1
    assert second == [[]]
    assert "another sweep is running; nothing is done" in caplog.messages
    assert other.last_sweep.begin(MINUTE)


def test_a_sweep_that_fails_does_not_keep_the_next_one_from_running(process: Process) -> None:
    waiting(process)
    process.later(MINUTE)
    sweep, due = leased(process), process.pending.due
    process.pending.due = Mock(side_effect=ServiceRequestError("storage fails"))
    with pytest.raises(ServiceRequestError):
        sweep.run()
    process.pending.due = due

    assert len(sweep.run()) == 1


def test_a_killed_sweep_keeps_the_next_one_from_running_as_long_as_its_claims_are_leased(process: Process) -> None:
    waiting(process)
    process.later(MINUTE)
    create, process.azure_devops.create = process.azure_devops.create, Mock(side_effect=Killed)
    with pytest.raises(Killed):
        leased(process).run()
    process.azure_devops.create = create

    process.later(LEASE.duration - SECOND)
    assert leased(process).run() == []
    process.later(SECOND)
    assert leased(process).last_sweep.begin(MINUTE)


def test_a_sweep_begins_attempts_for_a_third_of_a_short_lease(process: Process) -> None:
    for version in ("20-a", "20-b", "20-c", "20-d"):
        waiting(process, version)
    process.later(MINUTE)
    create = process.azure_devops.create

    def slow(*request: Any) -> Any:
        process.later(9 * SECOND)
        return create(*request)

    process.azure_devops.create = slow

    assert len(replace(process.sweep, lease=MINUTE).run()) == 3


def test_several_claims_are_attempted_at_once_after_azure_devops_has_answered_for_one(process: Process) -> None:
    for version in ("20-a", "20-b", "20-c"):
        waiting(process, version)
    process.later(MINUTE)
    process.azure_devops.created.clear()
    alone = []

    def threads() -> Any:
        alone.append(len(process.azure_devops.created))
        return Inline()

    assert len(replace(process.sweep, threads=threads).run()) == 3
    assert alone == [1]


# A line


def restarted(process: Process) -> Claim:
    """Start version 20, and restart it with a request that is answered 503."""
    (entry,) = process.start_release.registered(event_body("20"))
    process.later(SECOND)
    process.azure_devops.creating = [TemporaryError("503")]
    process.start_release.restart(process.claims.recorded(WORKSPACE, "churn", "20")["20"].claims[0], "a-key")
    assert entry.state is State.STARTED
    return process.claims.recorded(WORKSPACE, "churn", "20")["20"].claims[1]


def test_the_newest_version_of_a_line_is_attempted_before_it_is_due_if_an_older_one_is_due(process: Process) -> None:
    waiting(process, "20")
    process.later(30 * SECOND)
    waiting(process, "21")
    process.later(30 * SECOND)

    assert [entry.state for entry in process.sweep.run()] == [State.STARTED, State.SUPERSEDED]


def test_a_start_by_hand_is_not_attempted_before_it_is_due(process: Process) -> None:
    by_hand = restarted(process)
    waiting(process, "21")
    process.claims.update(by_hand, replace(by_hand, next_attempt=NOON + HOUR))
    process.later(MINUTE)
    process.azure_devops.created.clear()

    process.sweep.run()

    assert process.azure_devops.versions == ["21"]


def test_older_versions_wait_for_the_newest_one_that_waits(process: Process) -> None:
    process.azure_devops.creating = [UnknownOutcomeError("no answer")]
    process.start_release.registered(event_body("20"))
    process.start_release.registered(event_body("21"), delivered=False)
    process.later(MINUTE)

    assert [entry.state for entry in process.sweep.run()] == [State.WAITING]
    assert process.azure_devops.found == []


def test_with_order_every_no_version_waits_for_another_one() -> None:
    process = Process(order="every")
    process.azure_devops.creating = [UnknownOutcomeError("no answer")]
    process.start_release.registered(event_body("20"))
    waiting(process, "21")
    process.later(MINUTE)

    assert [entry.state for entry in process.sweep.run()] == [State.UNKNOWN, State.STARTED]


def test_versions_do_not_wait_for_a_start_by_hand_that_waits(process: Process) -> None:
    restarted(process)
    waiting(process, "21")
    process.later(MINUTE)
    process.marks.advance(process.inserted("22"))

    assert [entry.state for entry in process.sweep.run()] == [State.WAITING, State.SUPERSEDED]


@pytest.mark.parametrize("is_pinned", [True, False])
def test_a_held_version_is_attempted_before_it_is_due_once_no_pin_keeps_it_back(
    process: Process, *, is_pinned: bool
) -> None:
    claim = waiting(process)
    claim = process.claims.update(claim, replace(claim, state=State.HELD, next_attempt=NOON + HOUR))
    if is_pinned:
        process.marks.set_pin(claim.partition, claim.target_digest, Pin("19", "", NOON))
    process.later(MINUTE)

    assert [entry.state for entry in process.sweep.run()] == ([] if is_pinned else [State.STARTED])


def test_older_versions_wait_for_a_newer_one_that_another_worker_has(process: Process) -> None:
    waiting(process, "20")
    newest = waiting(process, "21")
    process.later(MINUTE)
    process.azure_devops.created.clear()
    Process(shares=process).claims.acquire(newest)

    assert process.sweep.run() == []
    assert process.azure_devops.created == []


def test_a_version_does_not_wait_for_a_start_by_hand_that_another_worker_has(process: Process) -> None:
    by_hand = restarted(process)
    waiting(process, "21")
    process.later(MINUTE)
    Process(shares=process).claims.acquire(by_hand)

    assert [entry.state for entry in process.sweep.run()] == [State.STARTED]


def test_older_versions_are_attempted_after_a_newer_one_that_failed_for_no_known_reason(process: Process) -> None:
    waiting(process, "20")
    waiting(process, "21")
    process.later(MINUTE)
    process.azure_devops.creating = [RuntimeError("a bug")]

    assert [entry.state for entry in process.sweep.run()] == [State.SUPERSEDED]


def test_a_claim_whose_requests_get_no_answer_for_a_month_is_abandoned_after_seven_days(process: Process) -> None:
    waiting(process)
    sent = []
    for hour in range(30 * 24):
        process.later(HOUR)
        outage(process, UnknownOutcomeError("500"))
        before = len(process.azure_devops.created)
        ended = process.sweep.run()
        sent += [hour] * (len(process.azure_devops.created) - before)
        if ended:
            last = hour, ended[-1].state

    assert last == (7 * 24 - 1, State.ABANDONED)
    assert max(sent) < 7 * 24
    assert len(sent) > 100


def sweep(process: Process) -> list[HistoryEntry]:
    process.later(MINUTE)
    return process.sweep.run()


def test_a_claim_of_another_worker_is_left_without_an_error(process: Process, caplog: pytest.LogCaptureFixture) -> None:
    claim, other = waiting(process, "20"), waiting(process, "21-a")
    process.later(MINUTE)
    process.claims.acquire(claim)

    entries = process.sweep.run()

    assert [entry.subject for entry in entries] == [f"models/churn:{other.version}"]
    assert errors(caplog) == []


def test_an_attempt_that_fails_does_not_stop_the_others(process: Process, caplog: pytest.LogCaptureFixture) -> None:
    waiting(process, "20-a")
    waiting(process, "20-b")
    process.later(MINUTE)
    process.azure_devops.identifying = [ServiceRequestError("storage fails")]

    assert len(process.sweep.run()) == 1

    (error,) = errors(caplog)
    assert error.startswith("an attempt failed; the next sweep repeats it\nTraceback")
    assert error.endswith("storage fails\n")


def test_a_row_without_a_claim_is_deleted_once_no_function_can_insert_it(process: Process) -> None:
    process.pending.put(process.new().claim, NOON)

    assert process.sweep.run() == []
    assert process.rows("pending")
    process.later(LONGEST_FUNCTION)
    assert process.sweep.run() == []

    assert process.rows("pending") == {}


def test_a_final_claim_gets_its_history_entry_and_is_not_pending_any_more(process: Process) -> None:
    claim = process.inserted()
    process.pending.put(claim, NOON)
    final = process.claims.update(claim, replace(claim, state=State.STARTED))

    assert process.sweep.run() == []

    assert process.rows("pending") == {}
    assert list(process.history.page(HistoryQuery()).entries) == [HistoryEntry.of(final)]


def test_a_history_entry_of_an_earlier_attempt_is_replaced(process: Process) -> None:
    claim = waiting(process)
    attempts = (*claim.attempts, Attempt(2, NOON + SECOND, State.STARTED, "created"))
    final = process.claims.update(claim, replace(claim, state=State.STARTED, attempts=attempts))
    process.later(MINUTE)

    assert process.sweep.run() == []

    assert list(process.history.page(HistoryQuery()).entries) == [HistoryEntry.of(final)]


def test_old_entries_are_deleted(process: Process) -> None:
    process.start_release.registered(event_body())
    process.later(91 * DAY)

    process.sweep.run()

    assert process.rows("history") == {}


def test_entries_that_cannot_be_deleted_stop_nothing(process: Process, caplog: pytest.LogCaptureFixture) -> None:
    process.start_release.registered(event_body())
    process.later(91 * DAY)
    process.fail("before submit_transaction", ServiceRequestError("storage fails"))
    caplog.set_level(logging.INFO)

    process.sweep.run()

    (error,) = errors(caplog)
    first, *_, last = error.splitlines()
    assert first == "history and overview are not up to date; the next sweep tries again"
    assert last == "azure.core.exceptions.ServiceRequestError: storage fails"
    assert summary(caplog)["pending"] == 0
    assert len(process.sent) == 1


def test_outcomes_are_published_while_there_is_time(process: Process) -> None:
    for number in range(5):
        process.start_release.registered(event_body(f"20-{number}"))
    send = process.send

    def slow(events: list[dict[str, Any]]) -> None:
        process.later(25 * SECOND)
        send(events)

    process.send = slow
    process.sweep.run()
    assert [len(events) for events in process.sent] == [2, 2]
    process.sweep.run()

    assert [len(events) for events in process.sent] == [2, 2, 1]


def test_without_a_topic_nothing_is_published(process: Process) -> None:
    process.start_release.registered(event_body())

    replace(process.sweep, publisher=None).run()

    assert process.sent == []


def test_a_sweep_has_eight_threads() -> None:
    with sweep_threads() as threads:
        assert threads._max_workers == SWEEP_THREADS == 8
