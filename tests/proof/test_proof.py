"""Two thousand interleavings of the real flow and stores, and each planted bug; `make prove` explores more."""

from __future__ import annotations

import pytest

from tests.proof.bugs import BUGS, Bug, schedules_until_found
from tests.proof.schedules import explore, quiet, replay, run

BLOCKS, SCHEDULES = 8, 250
# The number of schedules of the bugs that take most, from `python -m tests.proof --bugs`. The search begins just
# before, and finds another schedule if the code has changed.
FOUND = {
    "1 the time of a claim in the mark may shrink": 493,
    "2 a request is in flight until the lease ends only": 50,
    "4 a pending row without a claim is deleted without its etag": 210,
}


@pytest.mark.parametrize("block", range(BLOCKS))
def test_no_interleaving_breaks_a_promise(block: int) -> None:
    assert explore(SCHEDULES, 1_000_000 + block * SCHEDULES).failed == []


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_each_planted_bug_is_found(bug: Bug) -> None:
    assert schedules_until_found(bug, seed=1, most=3_000, skip=FOUND.get(bug.name, 1) - 1)


def test_a_seed_is_always_the_same_schedule() -> None:
    with quiet():
        first, second = ([(one.steps, one.now, one.seen) for one in map(run, range(10))] for _ in range(2))

    assert first == second


def test_a_replay_shows_in_plain_words_what_happens() -> None:
    lines = replay(4)

    assert any("delivery of 20 begins on process" in line for line in lines)
    assert any("all trouble stops" in line for line in lines)
