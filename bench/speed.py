"""How fast the app is: against the bare POST, against the function that people write today, and as its ledger grows.

Each figure is a ratio of two sides that are measured in turn within one run; only CPU time and counts stand for
themselves. The apps run in the local Functions host, a process each; Azurite, the local Azure DevOps and the sender of
the events are other processes.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from bench.cold import cold_start
from bench.figures import Section, table
from bench.growth import growth
from bench.options import QUICK, WHOLE, Options
from bench.warm import bursts, one_event, round_trips

MEASUREMENTS: Sequence[Callable[[Options], Iterator[Section]]] = (one_event, round_trips, bursts, cold_start, growth)


def measure(options: Options, names: Sequence[str] = ()) -> Iterator[Section]:
    """Measure all of it, or what is named, and tell on the way."""
    for measurement in MEASUREMENTS:
        if not names or measurement.__name__ in names:
            for section in measurement(options):
                print(f"\n## {section.title}\n\n{table(section.figures)}", flush=True)
                yield section


def report(sections: Sequence[Section], command: str, seconds: float, load: float) -> str:
    """The result as Markdown."""
    limited = [figure for section in sections for figure in section.figures if figure.limit]
    others = [figure for section in sections for figure in section.figures if not figure.limit]
    facts = {
        "command": f"`{command}`",
        "took": f"{seconds:.0f} s",
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": f"{os.cpu_count()} cores, {_processor()}",
        "load of the machine before it began": f"{load:.1f}",
        "Python": platform.python_version(),
    }
    told = "\n".join(f"| {name} | {value} |" for name, value in facts.items())
    return (
        f"# Speed\n\n{(__doc__ or '').strip()}\nWhat was tried, and what it gave, is in [tried.md](tried.md).\n\n"
        f"| | |\n|---|---|\n{told}\n\n## Limits\n\n{table(limited)}\n\n## What else was measured\n\n{table(others)}\n"
    )


def _processor() -> str:
    found = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text())
    return found[1].strip() if found else platform.processor()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it, and write the result; a limit that does not hold is told, and is no failure of the run."""
    parser = argparse.ArgumentParser(prog="python -m bench.speed", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a minute instead of a quarter of an hour, and rough")
    parser.add_argument("--only", action="append", choices=[one.__name__ for one in MEASUREMENTS], default=[])
    parser.add_argument("--write", type=Path, help="write the result to this Markdown file")
    given = parser.parse_args(arguments)
    # However it ends, no process outlives it.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    began, load = time.monotonic(), os.getloadavg()[0]
    sections = list(measure(QUICK if given.quick else WHOLE, given.only))
    command = " ".join(["python -m bench.speed", *(sys.argv[1:] if arguments is None else arguments)])
    text = report(sections, command, time.monotonic() - began, load)
    print(f"\n{text}")
    if given.write:
        given.write.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
