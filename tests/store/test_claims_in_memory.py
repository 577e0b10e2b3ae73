"""Claims: inserted once, leased by one worker, and never lost."""

import json
import re
import zlib
from dataclasses import replace
from typing import Any

import pytest
from azure.core.exceptions import ResourceExistsError, ResourceNotFoundError, ServiceRequestError

from model_release.domain.claims import NEVER, Attempt, Claim, RecordedVersion, State, target_digest
from model_release.domain.history import ByHand
from model_release.errors import ClaimLeasedError
from model_release.reason import Reason, ReasonKind
from model_release.store.claims import Leased
from model_release.store.targets import Resolved
from tests.in_memory import (
    LEASE,
    MINUTE,
    NOON,
    PARTITION,
    SECOND,
    TARGET,
    WORKSPACE,
    Process,
    a_plan,
    an_event,
    values,
)
from tests.tables import AnswerLost

DIGEST = target_digest(TARGET)
NO_TAG = Reason(ReasonKind.OTHER_VALUE, "tag stage is missing")
NO_ROUTE = Reason(ReasonKind.MODEL_NOT_NAMED, "no route names the model churn")


@pytest.fixture
def process() -> Process:
    return Process()


def test_a_new_claim_names_all_that_a_later_attempt_needs(process: Process) -> None:
    event = an_event()

    by_hand = ByHand("alice", by_verified=True, comment="21 regressed", pins=True)
    leased = process.claims.new(a_plan(), event, Resolved("a-digest", 7), ["second", "third"], "a-key", by_hand=by_hand)

    assert re.fullmatch("[0-9a-f]{32}", leased.claim.worker)
    assert leased == Leased(
        Claim(
            partition=PARTITION,
            row="20 a-digest a-key",
            workspace=WORKSPACE.id,
            model="churn",
            version="20",
            project="p",
            definition="train",
            kind="release",
            definition_id=7,
            route="churn",
            event_id="event of 20",
            event=event.body,
            created=NOON,
            state=State.STARTING,
            lease_until=NOON + 3 * MINUTE,
            in_flight_until=NOON + 6 * MINUTE,
            attempt=1,
            worker=leased.claim.worker,
            nonce=leased.claim.nonce,
            next_attempt=NEVER,
            idempotency_key="a-key",
            by="alice",
            by_verified=True,
            comment="21 regressed",
            pins=True,
            newest_only=True,
            sibling_targets="second third",
        ),
        deadline=1090,
    )
    assert process.client.operations == []


def test_the_deadline_counts_from_before_the_claim_is_built(process: Process) -> None:
    times = iter([NOON, NOON + MINUTE])
    process.claims._clock = lambda: next(times)

    assert process.new().claim.lease_until == NOON + LEASE.duration


def test_an_inserted_claim_is_read_as_it_was_written(process: Process) -> None:
    claim, inserted = process.claims.insert(process.new("20", "a-key", "another-digest").claim)

    assert inserted
    assert claim.etag
    assert process.claims.get(claim.partition, claim.row) == claim
    assert process.claims.find(claim.partition, claim.row) == claim
    assert process.claims.find(claim.partition, "20 another") is None
    with pytest.raises(ResourceNotFoundError):
        process.claims.get(claim.partition, "20 another")
    assert set(values(process.rows(PARTITION)[claim.row])) == set(Claim.__dataclass_fields__) - {
        "partition",
        "row",
        "etag",
        "event",
    } | {"event0"}


def test_attempts_are_kept_as_readable_text(process: Process) -> None:
    claim = process.inserted()
    attempts = (
        Attempt(1, NOON, State.REFUSED, "verärgert"),
        Attempt(2, NOON + MINUTE, State.WAITING, "why"),
    )

    written = process.claims.update(claim, replace(claim, attempts=attempts))

    assert process.claims.get(claim.partition, claim.row) == written
    assert written.attempts == attempts
    text = process.rows(PARTITION)[claim.row]["attempts"]
    assert "verärgert" in text
    assert json.loads(text)[0] == [1, NOON.isoformat(), "refused", "verärgert"]


def test_values_that_another_version_of_the_app_wrote_are_ignored(process: Process) -> None:
    claim = process.inserted()
    process.rows(PARTITION)[claim.row]["from_the_future"] = 1

    assert process.claims.get(claim.partition, claim.row) == claim


def test_a_claim_that_exists_is_returned_and_not_inserted(process: Process) -> None:
    first = process.inserted()

    found, inserted = process.claims.insert(process.new().claim)

    assert (found, inserted) == (first, False)


def test_an_insert_that_the_sdk_repeats_counts_as_inserted(process: Process) -> None:
    new = process.new().claim
    process.fail("after create_entity", AnswerLost())

    claim, inserted = process.claims.insert(new)

    assert inserted
    assert claim == process.claims.get(new.partition, new.row)


def test_only_a_failed_insert_of_this_process_was_never_sent(process: Process) -> None:
    new = process.new().claim
    process.client.create_table()
    process.fail("after create_entity", ServiceRequestError("storage stalls"))

    with pytest.raises(ServiceRequestError):
        process.claims.insert(new)

    found, inserted = process.claims.insert(process.new().claim)
    assert not inserted
    assert process.claims.never_sent(found)
    assert not Process(shares=process).claims.never_sent(found)
    assert process.claims.acquire(found).claim.attempt == 2
    with pytest.raises(ClaimLeasedError):
        Process(shares=process).claims.acquire(process.claims.get(found.partition, found.row))


def test_a_conflict_is_not_a_failed_insert(process: Process) -> None:
    process.inserted()
    second = process.new().claim
    process.claims.insert(second)

    assert not process.claims.never_sent(second)


def test_a_claim_is_acquired_with_a_new_lease_worker_and_attempt(process: Process) -> None:
    claim = process.inserted()
    waiting = process.claims.update(claim, replace(claim, state=State.WAITING))
    process.later(MINUTE)

    leased = process.claims.acquire(waiting)

    acquired = leased.claim
    assert acquired.worker != claim.worker
    assert re.fullmatch("[0-9a-f]{32}", acquired.worker)
    assert acquired == replace(
        waiting,
        state=State.STARTING,
        lease_until=NOON + 4 * MINUTE,
        in_flight_until=NOON + 7 * MINUTE,
        attempt=2,
        worker=acquired.worker,
        etag=acquired.etag,
    )
    assert leased.deadline == 1150
    assert process.claims.get(claim.partition, claim.row) == acquired


def test_a_lease_keeps_other_workers_out_until_it_ends(process: Process) -> None:
    claim = process.inserted()
    process.later(3 * MINUTE - SECOND)

    message = "another worker is processing churn:20 for p/train; Event Grid delivers it again"
    with pytest.raises(ClaimLeasedError, match=f"^{message}$"):
        process.claims.acquire(claim)
    process.later(SECOND)

    assert process.claims.acquire(claim).claim.attempt == 2


@pytest.mark.parametrize("state", [State.WAITING, State.REFUSED, State.UNKNOWN])
def test_a_claim_without_a_worker_is_acquired_during_its_lease(process: Process, state: State) -> None:
    claim = process.inserted()
    recorded = process.claims.update(claim, replace(claim, state=state))

    assert process.claims.acquire(recorded).claim.state is State.STARTING


@pytest.mark.parametrize("state", [state for state in State if state.final])
def test_a_final_claim_is_not_acquired(process: Process, state: State) -> None:
    claim = process.inserted()
    process.later(MINUTE * 10)

    with pytest.raises(AssertionError, match=f"^{claim.key} is {state}$"):
        process.claims.acquire(replace(claim, state=state))


def test_a_claim_that_another_worker_wrote_is_not_updated(process: Process) -> None:
    claim = process.inserted()
    process.claims.update(claim, replace(claim, reason="first"))

    with pytest.raises(ClaimLeasedError, match="another worker is processing churn:20") as raised:
        process.claims.update(claim, replace(claim, reason="second"))

    assert process.claims.get(claim.partition, claim.row).reason == "first"
    assert raised.value.__suppress_context__


def test_an_update_that_the_sdk_repeats_counts_as_written(process: Process) -> None:
    claim = process.inserted()
    process.fail("after update_entity", AnswerLost())

    written = process.claims.update(claim, replace(claim, reason="first"))

    assert written == process.claims.get(claim.partition, claim.row)
    assert written.reason == "first"


def test_an_update_writes_only_the_values_that_differ(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    claim, written = process.inserted(), []
    change = process.table.change

    def record(*at: str, **changes: Any) -> str:
        written.append(changes)
        return change(*at, **changes)

    monkeypatch.setattr(process.table, "change", record)
    process.claims.update(claim, replace(claim, state=State.WAITING, reason="why"))

    assert written == [{"state": State.WAITING, "reason": "why"}]


def test_the_first_ignored_event_of_a_version_is_kept(process: Process) -> None:
    first, second = an_event(stage="test"), an_event(stage="production")

    process.claims.keep_ignored(first, NO_TAG)
    process.later(MINUTE)
    process.claims.keep_ignored(second, NO_ROUTE)

    assert values(process.rows(PARTITION)["20 ignored"]) == {
        "event0": zlib.compress(first.body.encode()),
        "created": NOON,
        "reason": "tag stage is missing",
        "reason_kind": "other_value",
    }
    assert process.claims.recorded(WORKSPACE, "churn") == {
        "20": RecordedVersion((), first.body, NO_TAG),
    }


def test_all_records_of_a_model_are_read_in_the_order_of_their_creation(process: Process) -> None:
    process.claims.keep_ignored(an_event(), NO_ROUTE)
    process.later(SECOND)
    restart = process.inserted("20", "a-key")
    process.later(SECOND)
    claim = process.inserted()
    nine = process.inserted("9")
    process.inserted("20-a")
    process.table.insert(PARTITION, DIGEST, version="20")
    process.table.insert("claim of another model", f"20 {DIGEST}")

    recorded = process.claims.recorded(WORKSPACE, "churn")

    assert set(recorded) == {"20", "9", "20-a"}
    assert recorded["20"] == RecordedVersion((restart, claim), an_event().body, NO_ROUTE)
    assert recorded["9"] == RecordedVersion((nine,), an_event("9").body)
    assert process.claims.recorded(WORKSPACE, "churn", "20") == {"20": recorded["20"]}


def test_an_outline_is_all_but_the_event_and_storage_may_answer_null(process: Process) -> None:
    claim = process.inserted()
    process.table.insert(PARTITION, DIGEST, version="20")
    process.client.rows[claim.partition, claim.row]["by"] = None

    assert dict(process.claims.outlines(WORKSPACE, "churn")) == {
        "20": RecordedVersion((replace(claim, event=""),), ""),
    }


def test_the_event_of_a_version_is_that_of_its_first_record(process: Process) -> None:
    claim = process.inserted()
    process.later(SECOND)
    process.claims.keep_ignored(an_event(stage="test"), NO_TAG)

    assert process.claims.recorded(WORKSPACE, "churn")["20"] == RecordedVersion((claim,), claim.event, NO_TAG)


def test_a_conflict_of_an_ignored_event_is_the_only_error_that_is_suppressed(process: Process) -> None:
    process.fail("before create_entity", ServiceRequestError("storage fails"))

    with pytest.raises(ServiceRequestError):
        process.claims.keep_ignored(an_event(), NO_TAG)
    process.fail("before create_entity", ResourceExistsError("exists"))
    process.claims.keep_ignored(an_event(), NO_TAG)
