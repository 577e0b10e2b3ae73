"""How soon releases follow an outage, throttling and registrations at once, in the time of a clock that tests move."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from random import Random
from statistics import median, quantiles
from typing import Any

import pytest

from model_release.domain.claims import State
from model_release.domain.targets import Created, Target, TargetId
from model_release.errors import AzureDevOpsError, RefusedError, TemporaryError, UnknownOutcomeError
from model_release.flow.sweep import SWEEP_THREADS
from tests.environment import Size
from tests.in_memory import HOUR, MINUTE, NOON, SECOND, Process, event_body

# A request takes half a second; in memory, one thread does the work of the eight of a sweep.
REQUEST = 0.5 * SECOND
_ONE_OF_EIGHT = REQUEST / SWEEP_THREADS


@dataclass
class Organization:
    """An Azure DevOps that is unavailable, throttles or answers; it counts the requests that failed in a row."""

    process: Process
    takes: timedelta = REQUEST
    unavailable: bool = False
    throttles: Iterator[bool] = field(default_factory=lambda: iter(lambda: False, None))
    failed: int = 0
    created: dict[str, datetime] = field(default_factory=dict)
    markers: list[str] = field(default_factory=list)

    def reads_ahead(self, _: Target) -> bool:
        return False

    def read_ahead(self, *_: Any) -> None:
        """Send nothing: it remembers every target."""

    def identify(self, target: Target) -> TargetId:
        # It is remembered for five minutes, so an outage is seen later, by the search or by the request itself.
        return TargetId(target.kind, "p-id", 7)

    def find_by_marker(self, _: Target, __: int, marker: str, *___: Any) -> Created | None:
        self._answer(TemporaryError("503"))
        return Created(1, "Release-1", "") if marker in self.markers else None

    def create(self, _: Any, event: Any, marker: str, *__: Any) -> Created:
        # Each fifth request of an outage is lost, so that nobody knows whether it was carried out.
        lost = self.unavailable and not len(event.version) % 5
        self._answer(UnknownOutcomeError("502") if lost else TemporaryError("503"))
        self.markers.append(marker)
        self.created[event.version] = self.process.clock()
        return Created(len(self.markers), f"Release-{len(self.markers)}", "")

    def _answer(self, error: AzureDevOpsError) -> None:
        self.process.later(self.takes)
        if self.unavailable:
            self.failed += 1
            raise error
        if next(self.throttles):
            self.process.throttle.extend(SECOND)
            raise TemporaryError("429", retry_after=SECOND)


def with_organization(**values: Any) -> tuple[Process, Organization]:
    """Return a process that starts each version, and its Azure DevOps."""
    process = Process(order="every")
    organization = Organization(process, **values)
    use(process, organization)
    return process, organization


def use(process: Process, azure_devops: Any) -> None:
    process.attempts = replace(process.attempts, azure_devops=azure_devops)
    process.start_release = replace(process.start_release, attempts=process.attempts)
    process.sweep = replace(process.sweep, start_release=process.start_release)


def test_pending_claims_are_released_within_two_sweeps_after_an_outage_of_three_hours(size: Size) -> None:
    count = size(20, 500)
    process, organization = with_organization(takes=_ONE_OF_EIGHT, unavailable=True)
    for number in range(count):
        process.start_release.registered(event_body("v" * (number % 5 + 1) + str(number)))
    failed = []
    while process.clock() < NOON + 3 * HOUR:
        process.later(MINUTE)
        organization.failed = 0
        process.sweep.run()
        failed.append(organization.failed)
    assert process.pending.count().claims == count
    assert (len(failed) > 170, max(failed)) == (True, 3)
    assert organization.created == {}

    organization.unavailable = False
    for _ in range(2):
        process.later(MINUTE)
        process.sweep.run()

    assert len(organization.created) == len(organization.markers) == count
    assert process.pending.count().claims == 0


def test_with_a_tenth_of_the_answers_429_releases_follow_their_deliveries_within_seconds() -> None:
    random = Random(1)
    process, organization = with_organization(throttles=iter(lambda: random.random() < 0.1, None))
    delivered, next_sweep = {}, NOON + MINUTE
    for number in range(200):
        process.later(3 * SECOND)
        if process.clock() >= next_sweep:
            process.sweep.run()
            next_sweep += MINUTE
        delivered[str(number)] = process.clock()
        process.start_release.registered(event_body(str(number)))
    process.later(MINUTE)
    process.sweep.run()

    assert len(organization.markers) == len(organization.created) == 200
    waited = [(organization.created[version] - at).total_seconds() for version, at in delivered.items()]
    assert sum(seconds > REQUEST.total_seconds() for seconds in waited) > 10
    assert median(waited) < 2
    assert quantiles(waited, n=20)[-1] < 10


def test_a_sign_in_page_of_one_second_delays_a_release_by_at_most_two_minutes() -> None:
    process = Process()
    process.azure_devops.identifying = [RefusedError("Azure DevOps does not accept the sign-in")]
    (entry,) = process.start_release.registered(event_body())
    assert entry.state is State.REFUSED

    states = []
    for _ in range(2):
        process.later(MINUTE)
        states += [one.state for one in process.sweep.run()]

    assert State.STARTED in states


class AtOnce:
    """Lets a second version be delivered while the first one is being created, and create it once that one waits."""

    def __init__(self, order: str) -> None:
        self.first = Process(order=order)
        self.second = Process(shares=self.first, order=order)
        self.sending, self.waiting = threading.Event(), threading.Event()
        create = self.first.azure_devops.create

        def slow(*request: Any) -> Created:
            if not self.sending.is_set():
                self.sending.set()
                self.waiting.wait(30)
            return create(*request)

        self.first.azure_devops.create = slow

    def deliver(self, *versions: str) -> tuple[State, ...]:
        with ThreadPoolExecutor() as pool:
            first = pool.submit(self.first.start_release.registered, event_body(versions[0]))
            self.sending.wait(30)

            def sleep(seconds: float) -> None:
                self.second.later(timedelta(seconds=seconds))
                self.waiting.set()
                first.result(30)

            attempts = replace(self.second.attempts, sleep=sleep)
            second = replace(self.second.start_release, attempts=attempts).registered(event_body(versions[1]))
            self.waiting.set()
            return first.result(30)[0].state, second[0].state


@pytest.mark.parametrize(
    ("order", "versions", "states"),
    [
        ("every", ("20", "21"), (State.STARTED, State.STARTED)),
        ("every", ("21", "20"), (State.STARTED, State.STARTED)),
        ("newest", ("20", "21"), (State.STARTED, State.STARTED)),
        ("newest", ("21", "20"), (State.STARTED, State.SUPERSEDED)),
    ],
)
def test_of_two_versions_registered_in_the_same_second_both_or_the_newer_is_released_within_five_seconds(
    order: str, versions: tuple[str, str], states: tuple[State, State]
) -> None:
    at_once = AtOnce(order)

    assert at_once.deliver(*versions) == states

    created = [version for version, state in zip(versions, states, strict=True) if state is State.STARTED]
    assert sorted(at_once.first.azure_devops.versions) == sorted(created)
    assert at_once.first.clock() <= NOON + 5 * SECOND
