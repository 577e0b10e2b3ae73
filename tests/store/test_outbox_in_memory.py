"""The outbox: a row for each outcome that the claim does not record yet."""

from dataclasses import replace

import pytest

from model_release.domain.claims import Attempt, State, digest
from model_release.store.outbox import PUBLISHED, outcome_key, outcomes
from tests.in_memory import NOON, PARTITION, SECOND, Process, values


@pytest.fixture
def process() -> Process:
    return Process()


def attempt(state: State, reason: str = "why", number: int = 1) -> Attempt:
    return Attempt(number, NOON + number * SECOND, state, reason)


def test_started_refused_and_abandoned_are_published() -> None:
    assert PUBLISHED == (State.STARTED, State.REFUSED, State.ABANDONED)


@pytest.mark.parametrize("state", State)
def test_an_outcome_has_a_row_that_points_to_its_claim(process: Process, state: State) -> None:
    claim = process.new().claim

    process.outbox.put(claim, attempt(state))

    rows = {row["RowKey"]: values(row) for row in process.outbox.rows()}
    key = f"{claim.key}-{state.value}" + (f"-{digest('why')}" if state is State.REFUSED else "")
    assert rows == ({key: {"partition": PARTITION, "row": claim.row}} if state in PUBLISHED else {})
    assert outcome_key(claim, attempt(state)) == key


def test_an_outcome_that_the_claim_records_has_no_other_row(process: Process) -> None:
    claim = replace(process.new().claim, attempts=(attempt(State.REFUSED),))

    process.outbox.put(claim, attempt(State.REFUSED, number=2))
    assert list(process.outbox.rows()) == []
    process.outbox.put(claim, attempt(State.REFUSED, "another reason"))

    assert len(list(process.outbox.rows())) == 1


def test_only_rows_of_the_outbox_are_read_and_deleted(process: Process) -> None:
    claim = process.inserted()
    process.outbox.put(claim, attempt(State.STARTED))
    process.outbox.put(claim, attempt(State.ABANDONED))

    process.outbox.delete(f"{claim.key}-started")

    assert list(process.rows("outbox")) == [f"{claim.key}-abandoned"]
    assert [row["RowKey"] for row in process.outbox.rows()] == [f"{claim.key}-abandoned"]


def test_of_equal_outcomes_the_first_is_published(process: Process) -> None:
    first, waiting, second = attempt(State.REFUSED), attempt(State.WAITING, number=2), attempt(State.REFUSED, number=3)
    claim = replace(process.new().claim, attempts=(first, waiting, second))

    assert outcomes(claim) == {outcome_key(claim, first): first}
