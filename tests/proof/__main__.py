"""Explore interleavings of the real flow and stores, replay one of them, or look for the planted bugs."""

from __future__ import annotations

import argparse
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial

from tests.proof.bugs import BUGS, schedules_until_found
from tests.proof.scenario import Focus
from tests.proof.schedules import Totals, explore, replay

_BLOCK = 1_000
_SHOWN = 20


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.proof", description=__doc__)
    parser.add_argument("--schedules", type=int, default=2_000, help="how many schedules; with --bugs, at most")
    parser.add_argument("--seed", type=int, default=1, help="the first schedule has the seed SEED million")
    parser.add_argument("--replay", type=int, metavar="SEED", help="print what happens in one schedule")
    parser.add_argument("--only", default="", help="only these actions, answers and troubles: restart,late")
    parser.add_argument("--bugs", action="store_true", help="print how many schedules find each planted bug")
    options = parser.parse_args()
    focus = Focus(only=frozenset(filter(None, options.only.split(","))))
    if options.replay is not None:
        print("\n".join(replay(options.replay, focus=focus)))
        return 0
    return _bugs(options.seed, options.schedules) if options.bugs else _explore(options.schedules, options.seed, focus)


def _explore(schedules: int, seed: int, focus: Focus) -> int:
    """Run the schedules in a process for each core."""
    first, began, totals = seed * 1_000_000, time.monotonic(), Totals()
    starts = range(first, first + schedules, _BLOCK)
    sizes = [min(_BLOCK, first + schedules - start) for start in starts]
    with ProcessPoolExecutor(os.cpu_count()) as processes:
        for part in processes.map(partial(explore, focus=focus), sizes, starts):
            totals.add(part)
            seconds = time.monotonic() - began
            print(f"{totals}; {seconds:.1f} s, {seconds / totals.schedules * 1000:.2f} ms a schedule", flush=True)
    for failed, failure in totals.failed[:_SHOWN]:
        print(f"  --replay {failed}: {failure.kind}: {failure.text}")
    return bool(totals.failed)


def _bugs(seed: int, most: int) -> int:
    missed = 0
    for bug in BUGS:
        found = schedules_until_found(bug, seed, most)
        missed += found is None
        print(f"{bug.name}: {f'{found[0]:,} schedules, {found[1].kind}' if found else 'NOT FOUND'}", flush=True)
    return bool(missed)


if __name__ == "__main__":
    sys.exit(main())
