"""Two thousand interleavings of the real flow and stores, and each planted bug; `make prove` explores more."""

from __future__ import annotations

import pytest

from tests.proof.bugs import BUGS, Bug, schedules_until_found
from tests.proof.schedules import explore, quiet, replay, run

BLOCKS, SCHEDULES = 8, 250


@pytest.mark.parametrize("block", range(BLOCKS))
def test_no_interleaving_breaks_a_promise(block: int) -> None:
    assert explore(SCHEDULES, 1_000_000 + block * SCHEDULES).failed == []


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_each_planted_bug_is_found(bug: Bug) -> None:
    assert schedules_until_found(bug, seed=1, most=3_000)


def test_a_seed_is_always_the_same_schedule() -> None:
    with quiet():
        first, second = ([(one.steps, one.now, one.seen) for one in map(run, range(50))] for _ in range(2))

    assert first == second


def test_a_replay_shows_in_plain_words_what_happens() -> None:
    lines = replay(5)

    assert any("delivery of 20 begins on process" in line for line in lines)
    assert any("all trouble stops" in line for line in lines)
