"""The last sweep: its time and result, the time of the first one, and the lease of the one that is running."""

import pytest
from azure.core.exceptions import ResourceExistsError, ServiceRequestError

from model_release.domain.claims import NEVER
from model_release.store.pending import LastSweep, SweepRun
from tests.in_memory import HOUR, MINUTE, NOON, SECOND, Process, values


@pytest.fixture
def process() -> Process:
    return Process()


@pytest.fixture
def last_sweep(process: Process) -> LastSweep:
    return LastSweep(process.table, process.clock)


def test_the_last_sweep_is_recorded_and_the_time_of_the_first_one_is_kept(
    process: Process, last_sweep: LastSweep
) -> None:
    assert last_sweep.read() is None

    etag = last_sweep.begin(MINUTE)
    assert last_sweep.read() is None
    last_sweep.end(etag, 3)
    assert last_sweep.read() == SweepRun(NOON, NOON, 3)
    process.later(HOUR)
    last_sweep.end(last_sweep.begin(MINUTE), 0)
    process.later(MINUTE)

    assert last_sweep.read() == SweepRun(NOON, NOON + HOUR, 0)
    row = values(process.rows("sweep")["sweep"])
    assert len(row.pop("running")) == 32
    assert row == {"first": NOON, "last": NOON + HOUR, "attempts": 0, "running_until": NEVER}


def test_a_sweep_that_failed_ends_its_lease_and_is_not_recorded(last_sweep: LastSweep) -> None:
    last_sweep.end(last_sweep.begin(MINUTE))

    assert last_sweep.read() is None
    assert last_sweep.begin(MINUTE)


def test_one_sweep_at_a_time_has_the_lease_until_it_ends(process: Process, last_sweep: LastSweep) -> None:
    other = LastSweep(Process(shares=process).table, process.clock)
    etag = last_sweep.begin(MINUTE)

    process.later(MINUTE - SECOND)
    assert other.begin(MINUTE) == last_sweep.begin(MINUTE) == ""
    last_sweep.end(etag, 0)

    assert other.begin(MINUTE)


def test_the_lease_of_a_killed_sweep_ends_and_its_late_end_changes_nothing(
    process: Process, last_sweep: LastSweep
) -> None:
    killed = last_sweep.begin(MINUTE)
    process.later(MINUTE)
    assert last_sweep.begin(HOUR)

    last_sweep.end(killed, 5)

    assert last_sweep.read() is None
    assert last_sweep.begin(HOUR) == ""


@pytest.mark.parametrize("moment", ["before create_entity", "before update_entity"])
def test_of_two_sweeps_that_begin_at_once_one_has_the_lease(
    process: Process, last_sweep: LastSweep, moment: str
) -> None:
    if moment == "before update_entity":
        last_sweep.end(last_sweep.begin(MINUTE), 0)
    other: list[str] = []
    process.once(moment, lambda: other.append(last_sweep.begin(MINUTE)))

    etags = [last_sweep.begin(MINUTE), *other]

    assert [bool(etag) for etag in etags] == [False, True]


def test_a_sweep_whose_request_was_repeated_after_a_lost_answer_has_its_lease(
    process: Process, last_sweep: LastSweep
) -> None:
    process.fail("after create_entity", ResourceExistsError("the answer was lost, and the SDK repeated the request"))

    last_sweep.end(last_sweep.begin(MINUTE), 3)

    assert last_sweep.read() == SweepRun(NOON, NOON, 3)


def test_an_error_of_storage_is_raised(process: Process, last_sweep: LastSweep) -> None:
    process.fail("before create_entity", ServiceRequestError("storage fails"))

    with pytest.raises(ServiceRequestError):
        last_sweep.begin(MINUTE)
