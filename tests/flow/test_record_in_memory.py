"""Recording: what remains to be done first, then the claim, then the history."""

from dataclasses import replace
from typing import Any

import pytest

from model_release.domain.claims import Attempt, AttemptResult, Claim, State
from model_release.domain.history import ByHand, HistoryEntry, HistoryQuery
from model_release.reason import Reason, ReasonKind
from tests.in_memory import CREATED, DAY, HOUR, MINUTE, NOON, SECOND, WORKSPACE, Process, an_event
from tests.tables import AnswerLost

WAITING = AttemptResult(State.WAITING, Reason(ReasonKind.UNAVAILABLE, "busy"), NOON + MINUTE)
STARTED = AttemptResult(State.STARTED, Reason(ReasonKind.ROUTE_MATCHED, "created"), created=CREATED)


@pytest.fixture
def process() -> Process:
    return Process()


def stored(process: Process, claim: Claim) -> Claim:
    return process.claims.get(claim.partition, claim.row)


def history(process: Process, **query: Any) -> list[HistoryEntry]:
    return list(process.history.page(HistoryQuery(**query)).entries)


def second_attempt(process: Process) -> Claim:
    """Acquire a claim whose first attempt was recorded."""
    claim = process.inserted()
    process.recorder.record(claim, WAITING)
    return process.claims.acquire(stored(process, claim)).claim


def test_a_claim_records_its_attempt_and_what_was_created(process: Process) -> None:
    claim = process.inserted()
    process.later(SECOND)

    entry = process.recorder.record(claim, STARTED)

    after = stored(process, claim)
    assert after == replace(
        claim,
        state=State.STARTED,
        reason="created",
        reason_kind=ReasonKind.ROUTE_MATCHED,
        release_id=9,
        release_name="Release-9",
        release_url="https://release/9",
        attempts=(Attempt(1, NOON + SECOND, State.STARTED, "created"),),
        etag=after.etag,
    )
    assert history(process) == [HistoryEntry.of(after)] == [entry]
    assert list(process.rows("outbox")) == [f"{claim.key}-started"]


def test_a_claim_that_continues_is_pending(process: Process) -> None:
    claim = process.inserted()

    entry = process.recorder.record(claim, replace(WAITING, reason=WAITING.reason._replace(log="for the log")))

    after = stored(process, claim)
    assert (after.state, after.next_attempt, after.release_id) == (State.WAITING, NOON + MINUTE, 0)
    assert after.in_flight_until == claim.in_flight_until
    assert process.rows("pending")[claim.key]["next_attempt"] == NOON + MINUTE
    assert (entry, entry.log_reason) == (HistoryEntry.of(after), "for the log")


def test_the_flight_of_an_earlier_attempt_is_kept(process: Process) -> None:
    claim = process.inserted()

    process.recorder.record(
        claim,
        AttemptResult(
            State.UNKNOWN, Reason(ReasonKind.NOT_FOUND_YET, "not found"), NOON + MINUTE, in_flight_until=NOON + HOUR
        ),
    )

    assert stored(process, claim).in_flight_until == NOON + HOUR


def test_records_are_written_in_an_order_that_is_safe_to_be_cut_off(process: Process) -> None:
    written: list[str] = []
    claim = second_attempt(process)
    put = process.table.put
    process.table.put = lambda *at, **values: written.append(at[0]) or put(*at, **values)
    process.client.operations.clear()

    process.recorder.record(claim, AttemptResult(State.REFUSED, Reason(ReasonKind.REFUSED, "no"), NOON + MINUTE))

    assert written == ["pending", "outbox"]
    assert process.client.operations == [
        "upsert_entity",
        "upsert_entity",
        "update_entity",
        "submit_transaction",
    ]


def test_a_first_attempt_reads_no_entry(process: Process) -> None:
    claim = process.inserted()
    process.client.operations.clear()

    process.recorder.record(claim, STARTED)

    assert process.client.operations == ["upsert_entity", "update_entity", "create_entity", "delete_entity"]


def test_without_an_outbox_nothing_is_published(process: Process) -> None:
    process.recorder = replace(process.recorder, outbox=None)

    process.recorder.record(process.inserted(), STARTED)

    assert process.rows("outbox") == {}


def test_a_final_claim_is_not_pending_any_more(process: Process) -> None:
    claim = process.inserted()
    process.pending.put(claim, NOON)

    process.recorder.record(claim, STARTED)

    assert process.rows("pending") == {}


def test_a_first_attempt_without_a_pending_row_deletes_none(process: Process) -> None:
    claim = process.inserted()
    process.client.operations.clear()

    process.recorder.record(claim, STARTED, has_pending_row=False)

    assert "delete_entity" not in process.client.operations


def test_a_second_attempt_deletes_the_row_of_the_first(process: Process) -> None:
    process.recorder.record(second_attempt(process), STARTED, has_pending_row=False)

    assert process.rows("pending") == {}


def test_a_final_claim_lets_the_next_version_pass_without_a_read(process: Process) -> None:
    claim, newer = process.inserted(), process.inserted("21")
    process.marks.advance(claim)
    process.recorder.record(claim, STARTED)
    process.client.operations.clear()

    assert process.marks.advance(newer) is None
    assert process.client.operations == ["update_entity"]


def test_a_claim_that_is_too_old_is_abandoned(process: Process) -> None:
    claim = process.inserted()
    process.later(7 * DAY)

    entry = process.recorder.record(claim, WAITING)

    assert entry.state is State.ABANDONED
    assert stored(process, claim).attempts[-1].state is State.ABANDONED


def test_the_last_20_attempts_and_the_beginning_of_a_long_reason_are_kept(process: Process) -> None:
    claim = process.inserted()
    attempts = tuple(Attempt(number, NOON, State.WAITING, "why") for number in range(20))
    claim = process.claims.update(claim, replace(claim, attempts=attempts))

    process.recorder.record(claim, replace(WAITING, reason=Reason(ReasonKind.UNAVAILABLE, "a" * 5000)))

    after = stored(process, claim)
    assert after.reason == "a" * 4000
    assert after.attempts == (*attempts[1:], Attempt(1, NOON + SECOND / 10**6, State.WAITING, "a" * 500))


def test_an_entry_that_another_worker_wrote_meanwhile_is_kept(process: Process) -> None:
    claim, other = second_attempt(process), Process(shares=process)

    def overtake() -> None:
        process.later(5 * MINUTE)
        other.recorder.record(other.claims.acquire(stored(process, claim)).claim, STARTED)

    process.once("after update_entity", overtake)
    process.recorder.record(
        claim, AttemptResult(State.UNKNOWN, Reason(ReasonKind.NO_ANSWER, "no answer"), NOON + MINUTE)
    )

    assert [entry.reason for entry in history(process)] == ["created"]


def test_an_entry_that_is_repeated_after_the_next_attempt_is_not_written(process: Process) -> None:
    claim, other = process.inserted(), Process(shares=process)

    def overtake() -> None:
        process.later(5 * MINUTE)
        other.recorder.record(other.claims.acquire(stored(process, claim)).claim, STARTED)
        raise AnswerLost

    process.once("after create_entity", overtake)
    process.recorder.record(claim, WAITING)

    assert [entry.reason for entry in history(process)] == ["created"]


def test_two_attempts_never_have_the_same_time(process: Process) -> None:
    process.recorder.record(second_attempt(process), STARTED)

    assert [one.time - NOON for one in stored(process, process.new().claim).attempts] == [0 * SECOND, SECOND / 10**6]
    assert history(process)[0].time == NOON + SECOND / 10**6


def test_a_repeated_event_reports_what_is_recorded(process: Process) -> None:
    claim = process.inserted()
    process.recorder.record(claim, WAITING)
    before = process.rows("history").popitem()[1].metadata["etag"]

    entry = process.recorder.already_recorded(stored(process, claim))

    assert (entry.reason, entry.log_reason) == ("already recorded: busy", "already recorded")
    assert process.rows("history").popitem()[1].metadata["etag"] == before


def test_a_repeated_event_writes_the_history_of_a_final_claim(process: Process) -> None:
    claim = process.inserted()
    final = process.claims.update(claim, replace(claim, state=State.STARTED))

    process.recorder.already_recorded(final)
    process.recorder.already_recorded(final)

    assert history(process) == [HistoryEntry.of(final)]


def test_an_ignored_event_is_recorded_and_kept(process: Process) -> None:
    event = an_event()

    entry = process.recorder.ignore(
        Reason(ReasonKind.OTHER_VALUE, "r" * 5000, "for the log"), "models/churn:20", event.id, event
    )

    expected = HistoryEntry(
        NOON,
        State.IGNORED,
        "r" * 4000,
        ReasonKind.OTHER_VALUE,
        "event of 20",
        "models/churn:20",
        workspace=WORKSPACE.id,
    )
    assert (entry, entry.log_reason) == (expected, "for the log")
    assert history(process, ignored=True) == [expected]
    assert process.claims.recorded(WORKSPACE, "churn")["20"].ignored == Reason(ReasonKind.OTHER_VALUE, "r" * 4000)


def test_an_event_of_another_workspace_is_not_kept(process: Process) -> None:
    entry = process.recorder.ignore(Reason(ReasonKind.NOT_A_SOURCE, "not ours"), "a subject", "an ID")

    assert entry == HistoryEntry(NOON, State.IGNORED, "not ours", ReasonKind.NOT_A_SOURCE, "an ID", "a subject")
    assert {partition for partition, _ in process.client.rows} == {"ignored"}


def test_a_mark_that_a_person_set_back_has_an_entry_of_its_own(process: Process) -> None:
    claim = process.inserted()
    process.recorder.record(claim, STARTED)
    process.later(HOUR)
    after = stored(process, claim)

    why = Reason(ReasonKind.MARK_SET_BACK, "r" * 5000)
    entry = process.recorder.note(after, why, ByHand("alice", comment="why"))

    assert entry == replace(
        HistoryEntry.of(after),
        time=NOON + HOUR,
        attempt=0,
        reason="r" * 4000,
        reason_kind=why.kind,
        by="alice",
        comment="why",
    )
    assert history(process) == [entry, HistoryEntry.of(after)]
