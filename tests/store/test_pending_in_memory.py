"""Pending claims: what the sweep takes up."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from azure.core.exceptions import ServiceRequestError

from model_release.domain.claims import State, target_digest
from model_release.store.pending import LONGEST_FUNCTION, Due, Line, PendingCount
from tests.in_memory import MINUTE, NOON, OTHER_TARGET, PARTITION, SECOND, TARGET, Process, a_plan, values


@pytest.fixture
def process() -> Process:
    return Process()


def test_a_pending_row_names_its_claim_and_when_it_is_due(process: Process) -> None:
    claim = process.new().claim

    process.pending.put(claim, NOON + MINUTE)

    rows = {key: values(row) for key, row in process.rows("pending").items()}
    assert rows == {
        claim.key: {
            "partition": PARTITION,
            "row": claim.row,
            "created": NOON,
            "next_attempt": NOON + MINUTE,
            "state": "starting",
            "newest_only": True,
            "manually": False,
        }
    }


def test_a_row_is_due_from_its_time_on(process: Process) -> None:
    claim = process.inserted()
    process.pending.put(claim, NOON + MINUTE)
    process.later(MINUTE - SECOND)
    assert process.pending.due() == []

    process.later(SECOND)

    etag = process.rows("pending")[claim.key].metadata["etag"]
    assert process.pending.due() == [
        (Due(PARTITION, claim.row, NOON, NOON + MINUTE, State.STARTING, newest_only=True, manually=False, etag=etag),)
    ]


def pending(process: Process, version: str, due: timedelta, key: str = "", **options: Any) -> None:
    process.pending.put(process.new(version, key, **options).claim, NOON + due)


def versions(*lines: Line) -> list[list[str]]:
    return [[due.version for due in line] for line in lines]


def test_a_line_has_the_starts_of_persons_that_are_due_and_then_all_its_versions_newest_first(process: Process) -> None:
    pending(process, "20", MINUTE)
    pending(process, "5", -MINUTE, "a-key")
    pending(process, "21", -SECOND)
    pending(process, "30", SECOND, "b-key")

    (line,) = process.pending.due()
    assert versions(line) == [["5", "21", "20"]]
    assert versions(process.pending.of_line(PARTITION, target_digest(TARGET))) == [["5", "30", "21", "20"]]


def test_the_line_with_the_claim_that_is_due_first_comes_first(process: Process) -> None:
    pending(process, "20", -SECOND)
    pending(process, "21", -3 * MINUTE)
    pending(process, "7", -2 * MINUTE, plan=a_plan(OTHER_TARGET))
    pending(process, "a-name", -MINUTE)

    assert versions(*process.pending.due()) == [["21", "20"], ["7"], ["a-name"]]


def test_a_final_claim_is_deleted(process: Process) -> None:
    claim, other = process.new().claim, process.new("21").claim
    process.pending.put(claim, NOON)
    process.pending.put(other, NOON)

    process.pending.delete(claim.partition, claim.row)

    assert list(process.rows("pending")) == [other.key]


def test_a_row_that_the_sweep_has_is_not_added(process: Process) -> None:
    claim = process.new().claim
    process.pending.add(claim, NOON)

    process.pending.add(claim, NOON + MINUTE)

    assert process.rows("pending")[claim.key]["next_attempt"] == NOON


def test_a_row_is_not_forgotten_while_a_function_may_insert_its_claim(process: Process) -> None:
    process.pending.put(process.new().claim, NOON)
    ((due,),) = process.pending.due()

    process.later(LONGEST_FUNCTION - SECOND)
    process.pending.forget(due)
    assert process.rows("pending")
    process.later(SECOND)
    process.pending.forget(due)

    assert not process.rows("pending")


def test_a_function_ends_before_its_row_is_forgotten() -> None:
    host = json.loads(Path("host.json").read_text())
    hours, minutes, seconds = map(int, host["functionTimeout"].split(":"))

    assert timedelta(hours=hours, minutes=minutes, seconds=seconds) < LONGEST_FUNCTION


def test_a_row_that_was_written_again_is_not_forgotten(process: Process) -> None:
    claim = process.new().claim
    process.pending.put(claim, NOON)
    process.later(LONGEST_FUNCTION)
    ((due,),) = process.pending.due()
    process.pending.put(claim, NOON + MINUTE)

    process.pending.forget(due)
    assert process.rows("pending")
    process.later(MINUTE)
    ((due,),) = process.pending.due()
    process.pending.forget(due)

    assert not process.rows("pending")
    process.pending.forget(due)


def test_a_row_is_forgotten_only_if_storage_answers(process: Process) -> None:
    process.pending.put(process.new().claim, NOON)
    ((due,),) = process.pending.due()
    process.later(LONGEST_FUNCTION)
    process.fail("before delete_entity", ServiceRequestError("storage fails"))

    with pytest.raises(ServiceRequestError):
        process.pending.forget(due)


def test_all_pending_claims_are_counted_with_the_age_of_the_oldest(process: Process) -> None:
    process.inserted()
    assert process.pending.count() == PendingCount(0, None)
    process.pending.put(process.new("20").claim, NOON + MINUTE)
    process.later(SECOND)
    process.pending.put(process.new("21").claim, NOON)

    counted = process.pending.count()

    assert counted == PendingCount(2, NOON)
    assert counted.age(NOON + 90.4 * SECOND) == 90
    assert PendingCount(0, None).age(NOON) is None


def test_the_count_reads_one_column(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    selected = []
    monkeypatch.setattr(process.table, "query", lambda _, **options: selected.append(options["select"]) or [])

    process.pending.count()

    assert selected == [["created"]]
