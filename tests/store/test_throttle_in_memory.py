"""The throttle: one pause for all instances, read at most every 5 seconds."""

import pytest
from azure.core.exceptions import ServiceRequestError

from model_release.domain.claims import NEVER
from model_release.store.throttle import Throttle
from tests.in_memory import HOUR, MINUTE, NOON, SECOND, Process, values
from tests.proof.workers import Inline
from tests.tables import AnswerLost


@pytest.fixture
def process() -> Process:
    return Process()


@pytest.fixture
def other(process: Process) -> Process:
    return Process(shares=process)


def reads(process: Process) -> int:
    return process.client.operations.count("get_entity")


def test_without_a_pause_nothing_is_throttled(process: Process) -> None:
    assert process.throttle.throttled_until() == NEVER


def test_a_pause_is_seen_at_once_by_its_instance_without_a_read(process: Process) -> None:
    process.throttle.extend(MINUTE)
    before = reads(process)

    assert process.throttle.throttled_until() == NOON + MINUTE
    assert reads(process) == before
    assert {key: values(row) for key, row in process.rows("throttle").items()} == {
        "throttle": {"throttled_until": NOON + MINUTE}
    }


def test_a_pause_of_another_instance_is_seen_after_5_seconds(process: Process, other: Process) -> None:
    assert process.throttle.throttled_until() == NEVER
    other.throttle.extend(MINUTE)
    process.later(5 * SECOND)
    assert process.throttle.throttled_until() == NEVER

    process.later(SECOND)

    assert process.throttle.throttled_until() == NOON + MINUTE
    before = reads(process)
    process.later(5 * SECOND)
    assert process.throttle.throttled_until() == NOON + MINUTE
    assert reads(process) == before


def test_a_shorter_pause_does_not_end_a_longer_one(process: Process, other: Process) -> None:
    process.throttle.extend(HOUR)
    etag = process.rows("throttle")["throttle"].metadata["etag"]

    other.throttle.extend(MINUTE)
    other.throttle.extend(HOUR)

    assert process.rows("throttle")["throttle"].metadata["etag"] == etag
    assert other.throttle.throttled_until() == NOON + HOUR


def test_a_longer_pause_replaces_a_shorter_one(process: Process, other: Process) -> None:
    process.throttle.extend(MINUTE)

    other.throttle.extend(HOUR)

    assert process.rows("throttle")["throttle"]["throttled_until"] == NOON + HOUR


@pytest.mark.parametrize("first", [None, MINUTE])
@pytest.mark.parametrize("meanwhile", [2 * MINUTE, HOUR])
def test_two_pauses_at_once_leave_the_longer_one(
    process: Process, other: Process, first: object, meanwhile: object
) -> None:
    if first:
        process.throttle.extend(first)
    process.once(f"before {'update' if first else 'create'}_entity", lambda: other.throttle.extend(meanwhile))

    process.throttle.extend(30 * MINUTE)

    assert process.rows("throttle")["throttle"]["throttled_until"] == NOON + max(meanwhile, 30 * MINUTE)


def test_a_write_that_the_sdk_repeats_is_written(process: Process) -> None:
    process.fail("after create_entity", AnswerLost())

    process.throttle.extend(MINUTE)

    assert process.throttle.throttled_until() == NOON + MINUTE


def test_an_error_of_storage_is_raised(process: Process) -> None:
    process.fail("before create_entity", ServiceRequestError("storage fails"))

    with pytest.raises(ServiceRequestError):
        process.throttle.extend(MINUTE)


def test_the_throttle_is_read_ahead_once_if_it_will_be_needed(process: Process, other: Process) -> None:
    throttle = Throttle(process.table, process.clock, Inline())
    other.throttle.extend(HOUR)
    before = reads(process)

    throttle.read_ahead()
    assert reads(process) == before + 1
    assert throttle.throttled_until() == NOON + HOUR
    assert reads(process) == before + 1
    throttle.read_ahead()
    assert reads(process) == before + 1
    process.later(6 * SECOND)
    throttle.read_ahead()
    assert throttle.throttled_until() == NOON + HOUR

    assert reads(process) == before + 2


def test_a_pause_that_lasts_is_read_ahead_too(process: Process) -> None:
    throttle = Throttle(process.table, process.clock, Inline())
    throttle.extend(HOUR)
    process.later(6 * SECOND)
    before = reads(process)

    throttle.read_ahead()

    assert reads(process) == before + 1


def test_what_was_read_ahead_too_long_ago_is_read_again(process: Process, other: Process) -> None:
    throttle = Throttle(process.table, process.clock, Inline())
    throttle.read_ahead()
    other.throttle.extend(HOUR)
    process.later(5 * SECOND)
    assert throttle.throttled_until() == NEVER
    process.later(6 * SECOND)

    throttle.read_ahead()
    process.later(6 * SECOND)
    before = reads(process)

    assert throttle.throttled_until() == NOON + HOUR
    assert reads(process) == before + 1


def test_what_was_read_ahead_serves_once(process: Process, other: Process) -> None:
    throttle = Throttle(process.table, process.clock, Inline())
    throttle.read_ahead()
    assert throttle.throttled_until() == NEVER
    other.throttle.extend(HOUR)
    process.time.now -= 6 * SECOND
    throttle._remembered = (NEVER, NEVER)

    assert throttle.throttled_until() == NOON + HOUR


def test_without_threads_nothing_is_read_ahead(process: Process) -> None:
    process.throttle.read_ahead()

    assert process.client.operations == []
