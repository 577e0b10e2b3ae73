"""The time budget of an attempt."""

from datetime import UTC, datetime, timedelta

from model_release.domain.lease import LEAST_TIMEOUTS, Lease

ACQUIRED = datetime(2026, 1, 2, tzinfo=UTC)
LEASE = Lease(timedelta(minutes=3))


def test_a_lease_lasts_from_its_acquisition() -> None:
    assert LEASE.until(ACQUIRED) == ACQUIRED + timedelta(minutes=3)


def test_an_attempt_may_begin_to_create_until_two_thirds_of_the_lease_are_left() -> None:
    assert LEASE.create_by(LEASE.until(ACQUIRED)) == ACQUIRED + timedelta(minutes=1)


def test_the_request_is_sent_early_enough_to_end_within_the_lease() -> None:
    longest_request = LEASE.duration / LEAST_TIMEOUTS

    sent = LEASE.create_by(LEASE.until(ACQUIRED)) + LEASE.preparation

    assert sent + longest_request <= LEASE.until(ACQUIRED)
