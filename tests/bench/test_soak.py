"""A short soak run, and the local Event Grid that it delivers with."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random

import pytest
from werkzeug.wrappers import Request, Response

from bench.soak import report, soak
from bench.soak_models import ModelVersion, compare
from bench.soak_run import SoakOptions
from local.event_grid import EventGrid, Terms
from local.serving import Server
from model_release.domain.claims import State


def test_nothing_is_doubled_lost_backwards_or_pending() -> None:
    result = soak(
        SoakOptions(events=16, models=4, seed=7, hosts=2, kill_every=6, sweep_every=2, outage=1, patience=120)
    )

    assert result.good, report(result, "pytest tests/bench/test_soak.py")


def test_doubled_lost_and_backwards_versions_are_counted() -> None:
    registered = [ModelVersion("newest-a", number) for number in (1, 2, 3, 4)] + [ModelVersion("every-b", 1)]
    claims = dict.fromkeys(registered, State.SUPERSEDED)
    created = [ModelVersion("newest-a", number) for number in (3, 2, 3)]

    count = compare(registered, claims, created)

    assert count.doubled == (ModelVersion("newest-a", 3),)
    assert set(count.lost) == {ModelVersion("newest-a", 4), ModelVersion("every-b", 1)}
    assert count.backwards == (ModelVersion("newest-a", 2),)
    assert (count.created, count.superseded) == (3, 1)


@contextmanager
def delivering(answer: Callable[[Request], int], terms: Terms) -> Iterator[EventGrid]:
    with (
        Server(lambda request: Response(status=answer(request))) as server,
        EventGrid(lambda: server.url, terms, random=Random(1)) as grid,
    ):
        yield grid


def wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


def publish(grid: EventGrid, number: int) -> None:
    for name in range(number):
        grid.publish({"id": str(name)})


def test_each_event_is_delivered_until_it_is_acknowledged_and_some_are_delivered_again() -> None:
    seen: Counter[str] = Counter()

    def fail_once(request: Request) -> int:
        name = request.get_json()[0]["id"]
        seen[name] += 1
        return 500 if seen[name] == 1 else 202

    with delivering(fail_once, Terms(compression=1000, answer_window=5000, duplicates=0.5)) as grid:
        publish(grid, 50)
        wait_for(lambda: not grid.waiting)

    assert len(grid.acknowledged) == 50
    assert set(seen.values()) == {2, 3}


def test_an_event_is_delivered_again_after_a_late_answer() -> None:
    timed_out = threading.Event()
    seen = []

    def be_late_once(_: Request) -> int:
        seen.append(1)
        if len(seen) == 1:
            timed_out.wait(10)
        return 202

    with delivering(be_late_once, Terms(compression=60, answer_window=60)) as grid:
        publish(grid, 1)
        wait_for(lambda: bool(grid.outcomes["TimedOut"]))
        timed_out.set()
        wait_for(lambda: not grid.waiting)

    assert grid.outcomes == {"TimedOut": 1, "Delivered": 1}


@pytest.mark.parametrize(
    ("status", "terms", "reason", "attempts"),
    [
        (400, Terms(), "UndeliverableDueToHttpBadRequest", 1),
        (500, Terms(compression=1000, answer_window=5000, most_attempts=3), "MaxDeliveryAttemptsExceeded", 3),
        (500, Terms(compression=1000, answer_window=5000, time_to_live=0), "TimeToLiveExceeded", 1),
    ],
)
def test_an_event_that_is_not_delivered_is_dead_lettered_and_can_be_redelivered(
    status: int, terms: Terms, reason: str, attempts: int
) -> None:
    answers = [status] * attempts
    with delivering(lambda _: answers.pop() if answers else 202, terms) as grid:
        publish(grid, 1)
        wait_for(lambda: bool(grid.dead_letters))
        (letter,) = grid.dead_letters
        grid.redeliver_dead_letters()
        wait_for(lambda: not grid.waiting)

    assert (letter["id"], letter["deadLetterReason"], letter["deliveryAttempts"]) == ("0", reason, attempts)
    assert grid.acknowledged == {"0"}
