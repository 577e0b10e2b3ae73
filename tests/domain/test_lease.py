"""The time budget of an attempt."""

from datetime import UTC, datetime, timedelta

import pytest

from model_release.domain.lease import LEAST_TIMEOUTS, REQUEST_TIMEOUTS, Lease

ACQUIRED = datetime(2026, 1, 2, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
LEASE = Lease(3 * MINUTE, timeout=timedelta(seconds=20))


def test_a_lease_lasts_from_its_acquisition() -> None:
    assert LEASE.until(ACQUIRED) == ACQUIRED + 3 * MINUTE


def test_a_request_may_be_in_flight_for_one_more_lease() -> None:
    assert LEASE.in_flight_until(ACQUIRED) == LEASE.until(ACQUIRED) + 3 * MINUTE


def test_the_request_is_sent_within_90_of_180_seconds_if_the_timeout_is_20() -> None:
    assert LEASE.deadline(1000) == 1090


@pytest.mark.parametrize("timeouts", [LEAST_TIMEOUTS, 5, 9])
def test_the_longest_request_ends_a_third_of_the_lease_before_its_end(timeouts: int) -> None:
    timeout = timedelta(seconds=20)
    lease = Lease(timeouts * timeout, timeout)

    ends = lease.deadline(0) + REQUEST_TIMEOUTS * timeout.total_seconds()

    assert ends == pytest.approx(lease.duration.total_seconds() * 2 / 3)


def test_the_shortest_lease_leaves_half_a_timeout_for_the_preparation() -> None:
    assert Lease(LEAST_TIMEOUTS * MINUTE, timeout=MINUTE).deadline(0) == pytest.approx(30)
