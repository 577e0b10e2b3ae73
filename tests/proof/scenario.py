"""A scenario: all that a seed decides before a schedule begins, and how it chooses who goes on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any, Protocol

from tests.proof.devops import SPELLINGS, Answer
from tests.proof.services import LEASE, Map
from tests.proof.workers import Worker

LEASE_MS = round(LEASE.total_seconds() * 1000)
# What the surroundings may do, and how often in relation to each other.
ACTIONS = {
    "deliver": 6.0,
    "deliver again": 1.5,
    "sweep": 3.0,
    "time passes": 5.0,
    "request lands": 1.5,
    "one lease passes": 1.0,
    "two leases pass": 1.0,
    "restart": 2.0,
    "try now": 0.7,
    "match again": 0.7,
    "set mark back": 0.7,
    "pin": 1.5,
    "pin what is out": 0.7,
    "unpin": 1.0,
    "keep": 0.7,
    "catch up": 0.7,
    "kill": 1.0,
    "deploy": 0.7,
    "definition changes": 0.5,
    "definition is replaced": 0.3,
}
_CHANGES = frozenset(
    [f"before {name}_entity" for name in ("create", "update", "upsert", "delete")]
    + ["before submit_transaction", "before sign in", "after POST"]
)
_ALWAYS = ("deliver", "sweep", "time passes")


@dataclass(frozen=True)
class Scenario:
    """`latest_landing` and `skews` are in milliseconds; together they are less than a lease."""

    versions: tuple[int, ...]
    maps: tuple[Map, ...]
    skews: tuple[int, ...]
    skew_of_azure_devops: int
    latest_landing: int
    actions: dict[str, float]
    answers: tuple[Answer, ...]
    storage_fails: float
    answers_lost: float
    writes_late: float
    questions_fail: float
    script: tuple[str, ...]
    at_most: int
    weeks: bool
    impatient: bool


@dataclass(frozen=True)
class Focus:
    """What all schedules of a run have in common; empty values mean that each draws its own.

    `script` is the actions in their order, `only` are the troubles and answers, and `at` the stops at which a worker
    may be interrupted.
    """

    script: tuple[str, ...] = ()
    only: frozenset[str] = frozenset()
    at: frozenset[str] = frozenset()


ANYTHING = Focus()


def draw(random: Random, focus: Focus = ANYTHING) -> Scenario:
    """Draw a scenario with some of the troubles, so that they do not hide each other."""
    chance = random.random

    def has(name: str, share: float) -> bool:
        return name in focus.only if focus.only else chance() < share

    order = "newest" if chance() < 0.75 or has("newest", 0) else "every"
    actions = {
        name: weight * (0.3 + chance() * 2)
        for name, weight in ACTIONS.items()
        if has(name, 1 if name in _ALWAYS else 0.4)
    }
    answers = [one for one in Answer if one is not Answer.CREATED and has(one.name.lower(), 0.3)]
    spellings = random.sample(SPELLINGS, 2) if "deploy" in actions else [random.choice(SPELLINGS)]
    enabled = [True, True]
    if "deploy" in actions and has("disable", 0.3):
        enabled[int(chance() * 2)] = False
    return Scenario(
        versions=(20, 21) if focus.script else tuple(range(20, 20 + random.choice((1, 2, 2, 3)))),
        maps=tuple(Map(one, on, order) for one, on in zip(spellings, enabled, strict=False)),
        **_clocks(random, has),
        actions=actions,
        answers=(Answer.CREATED, *answers),
        storage_fails=0.02 if has("storage fails", 0.33) else 0,
        answers_lost=0.03 if has("answers of storage are lost", 0.33) else 0,
        writes_late=0.02 if has("writes late", 0.2) else 0,
        questions_fail=random.choice((0.1, 0.3)) if has("questions fail", 0.5) else 0,
        script=focus.script,
        at_most=random.randint(4, 14),
        weeks=has("weeks", 0.03),
        impatient=has("impatient", 0.2),
    )


def _clocks(random: Random, has: Callable[[str, float], bool]) -> dict[str, Any]:
    """Draw clocks and the latest landing; their sum is less than a lease, often by one millisecond."""
    room = LEASE_MS - 1
    difference = random.choice((20_000, 90_000, room)) if has("clocks", 0.6) else 0
    latest = room - difference if random.random() < 0.7 else random.randrange(room - difference + 1)
    skews = [0, difference, *(random.randrange(difference + 1) for _ in range(random.choice((0, 0, 1))))]
    random.shuffle(skews)
    return {"skews": tuple(skews), "skew_of_azure_devops": random.choice(skews), "latest_landing": latest}


class Strategy(Protocol):
    """Chooses a worker, or None: the surroundings act."""

    def choose(self, ready: list[Worker], *, may_act: bool) -> Worker | None:
        """Choose who goes on; `ready` is not empty, and the surroundings may act only if `may_act`."""


class Uniform:
    """Any worker at any step."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._rate = random.choice((0.02, 0.1, 0.3))

    def choose(self, ready: list[Worker], *, may_act: bool) -> Worker | None:
        if may_act and self._random.random() < self._rate:
            return None
        return ready[int(self._random.random() * len(ready))]


class Preemption:
    """The newest worker runs to its end; now and then it is interrupted, and the surroundings or the others go first.

    It is mostly interrupted before it changes something, because there others can make what it has read untrue.
    """

    def __init__(self, random: Random, at: frozenset[str] = frozenset()) -> None:
        self._random = random
        self._at = at or (_CHANGES if random.random() < 0.7 else None)
        rates = (0.1, 0.3, 0.6) if at else (0.05, 0.1, 0.2) if self._at else (0.02, 0.05, 0.1)
        self._rate = random.choice(rates)
        self._last: tuple[Worker, int] | None = None
        self._actions = 0
        self._interrupted: list[Worker] = []

    def choose(self, ready: list[Worker], *, may_act: bool) -> Worker | None:
        first = self._first(ready)
        if self._is_point(first) and self._random.random() < self._rate:
            self._actions += self._random.choice((0, 1, 2, 3, 4))
            self._interrupted = [first, *(worker for worker in self._interrupted if worker is not first)]
            first = self._first(ready)
        # What an action began runs to its end before the next action.
        if may_act and self._actions and first in self._interrupted:
            self._actions -= 1
            return None
        return first

    def _is_point(self, worker: Worker) -> bool:
        if self._last == (worker, worker.steps) or (self._at and worker.at not in self._at):
            return False
        self._last = worker, worker.steps
        return True

    def _first(self, ready: list[Worker]) -> Worker:
        """Return the newest worker, or the one that was interrupted first, if all were."""
        fresh = [worker for worker in ready if worker not in self._interrupted]
        if fresh:
            return fresh[-1]
        return max(ready, key=self._interrupted.index)


class Priorities:
    """Probabilistic concurrency testing: the worker with the highest priority, which falls at a few random steps.

    https://www.microsoft.com/research/publication/a-randomized-scheduler-with-probabilistic-guarantees-of-finding-bugs/
    """

    def __init__(self, random: Random) -> None:
        self._random = random
        self._step = 0
        self._falls = {random.randrange(1, 120) for _ in range(random.choice((1, 2, 3, 5)))}
        self._lowest = 0.0
        self._surroundings = random.random()

    def choose(self, ready: list[Worker], *, may_act: bool) -> Worker | None:
        self._step += 1
        for worker in ready:
            if not worker.priority:
                worker.priority = self._random.random()
        first = max(ready, key=lambda worker: worker.priority)
        if self._step in self._falls:
            self._lowest -= 1
            first.priority = self._lowest
            first = max(ready, key=lambda worker: worker.priority)
        if may_act and self._surroundings > first.priority:
            self._surroundings = self._random.random()
            return None
        return first


def draw_strategy(random: Random, focus: Focus = ANYTHING) -> Strategy:
    if focus.at:
        return Preemption(random, focus.at)
    return random.choice((Uniform, Preemption, Priorities))(random)
