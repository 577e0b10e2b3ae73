"""Run schedules: each from its own seed, and every time the same."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random

from tests.proof.checks import KINDS, Failure
from tests.proof.scenario import ANYTHING, Focus, draw, draw_strategy
from tests.proof.services import Parts
from tests.proof.simulation import Simulation
from tests.proof.surroundings import Surroundings
from tests.proof.trace import Trace

PARTS = Parts()
_ONE_IN = 16


@dataclass
class Totals:
    """The figures of many schedules; `failed` holds the seed of each schedule that failed.

    Of the states one in sixteen is kept, because all would need a gigabyte.
    """

    schedules: int = 0
    steps: int = 0
    states: set[int] = field(default_factory=set)
    failures: Counter[str] = field(default_factory=Counter)
    failed: list[tuple[int, Failure]] = field(default_factory=list)

    def add(self, other: Totals) -> None:
        """Add the figures of other schedules."""
        self.schedules += other.schedules
        self.steps += other.steps
        self.states |= other.states
        self.failures += other.failures
        self.failed += other.failed

    def __str__(self) -> str:
        counts = ", ".join(f"{kind} {self.failures[kind]}" for kind in KINDS)
        states = len(self.states) * _ONE_IN
        return f"{self.schedules:,} schedules, about {states:,} states, {self.steps:,} steps; {counts}"


def explore(schedules: int, first: int, *, focus: Focus = ANYTHING) -> Totals:
    """Run the schedules whose seeds follow each other."""
    totals = Totals()
    with quiet():
        for seed in range(first, first + schedules):
            simulation = run(seed, focus=focus)
            totals.schedules += 1
            totals.steps += simulation.steps
            totals.states.update(state for state in simulation.seen if state % _ONE_IN == 0)
            if failures := simulation.checks.failures:
                totals.failures.update({failure.kind for failure in failures})
                totals.failed.append((seed, failures[0]))
    return totals


def run(seed: int, *, parts: Parts = PARTS, focus: Focus = ANYTHING, trace: Trace | None = None) -> Simulation:
    """Run the schedule of a seed, to its first failure or its end."""
    random = Random(seed)
    scenario = draw(random, focus)
    strategy = draw_strategy(random, focus)
    simulation = Simulation(random, parts, scenario, strategy, trace)
    surroundings = Surroundings(simulation)
    simulation.run(surroundings.act)
    if not simulation.checks.failures:
        surroundings.recover()
    if not simulation.checks.failures:
        simulation.checks.at_the_end()
    simulation.end()
    return simulation


def replay(seed: int, *, parts: Parts = PARTS, focus: Focus = ANYTHING) -> list[str]:
    """Return the trace of a schedule in plain words."""
    trace = Trace()
    with quiet():
        run(seed, parts=parts, focus=focus, trace=trace)
    return trace.lines


@contextmanager
def quiet() -> Iterator[None]:
    """Log nothing."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)
