"""Explore interleavings: `python -m tests.proof --schedules N --seed S`, or `--replay SEED` for one of them."""

from __future__ import annotations

import argparse
import sys
import time

from tests.proof.scenario import Focus
from tests.proof.schedules import explore, replay


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.proof", description=__doc__)
    parser.add_argument("--schedules", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--replay", type=int, help="print the trace of one schedule")
    parser.add_argument("--only", default="", help="only these actions, answers and troubles, such as `restart,late`")
    options = parser.parse_args()
    focus = Focus(only=frozenset(filter(None, options.only.split(","))))
    if options.replay:
        print("\n".join(replay(options.replay, focus=focus)))
        return 0
    began, cpu = time.monotonic(), time.process_time()
    totals = explore(options.schedules, options.seed, focus=focus)
    seconds, cpu = time.monotonic() - began, time.process_time() - cpu
    print(f"{totals}; {seconds:.1f} s, {cpu / totals.schedules * 1000:.2f} ms of processor time a schedule")
    for seed, failure in totals.failed[:20]:
        print(f"  --replay {seed}: {failure.kind}: {failure.text}")
    return bool(totals.failed)


if __name__ == "__main__":
    sys.exit(main())
