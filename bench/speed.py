"""Measures the speed of the app: against the bare POST, against a straightforward function, and as its table grows.

Each figure is a ratio of two sides that are measured in turn within one run; only CPU time and counts are absolute.
Each app runs in a local Functions host in its own process; Azurite, the local Azure DevOps and the sender of the events
are other processes.

Cold starts are those of the package of `make package` and of two packages made likewise, unpacked read-only: medians,
after a round that is not counted. 1 CPU is one processor by `taskset`, a quarter of it is a quota of a cgroup.
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
from bench.figures import Figure, Section, shown, table
from bench.growth import growth
from bench.load import Options
from bench.warm import bursts, confirmed_event, one_event, round_trips

QUICK = Options(rounds=15, burst=60, cold_starts=1, reads=10, delays=(150,), claims=(100, 500))
MEASUREMENTS: Sequence[Callable[[Options], Iterator[Section]]] = (
    one_event,
    confirmed_event,
    round_trips,
    bursts,
    cold_start,
    growth,
)


def measure(options: Options, names: Sequence[str] = ()) -> Iterator[Section]:
    """Run all measurements, or those named, and print each result."""
    for measurement in MEASUREMENTS:
        if not names or measurement.__name__ in names:
            for section in measurement(options):
                print(f"\n## {section.title}\n\n{table(section.figures)}", flush=True)
                yield section


# A sentence for each thing that a user feels, about the first figure whose name begins like this.
SENTENCES = (
    (
        "one event, Azure DevOps at 150 ms: p50 against the bare POST",
        "Warm: an event takes {value} times as long as the one request to Azure DevOps that it needs ({behind}).",
    ),
    (
        "process start to first POST against the straightforward function",
        "Cold: a new process takes {value} times as long as the straightforward function to its first POST ({behind}).",
    ),
    (
        "burst of 1,000, Azure DevOps at 150 ms, default worker threads: throughput",
        "In trouble: of 1,000 events at once, it releases {value} times as many a second as that function ({behind}).",
    ),
)

# What was a limit once, and why it is a figure now.
GIVEN_UP = """\
- *CPU per event, at most 9 ms*: four calls of `azure-data-tables` and one of `azure-devops` need 8 ms in a loop, and
  twice as much after a pause ([tried.md](tried.md#where-the-time-goes)). Less needs a private copy of these libraries.
- *Burst with 32 worker threads, at least 1.2 times the straightforward function*: both are bound by CPU then, of which
  these two libraries need most. Azure's default, the number of cores plus four threads, has a limit.\
"""

_TRIED = "For what was tried to make it faster, see [tried.md](tried.md)."


def summary(figures: Sequence[Figure]) -> str:
    """Return the sentences whose figures were measured."""
    sentences = []
    for name, sentence in SENTENCES:
        found = next((figure for figure in figures if figure.name.startswith(name)), None)
        if found:
            sentences.append(f"{sentence.format(value=shown(found.value, ''), behind=found.behind)}\n")
    return "\n".join(sentences)


def report(sections: Sequence[Section], command: str, seconds: float, load: float) -> str:
    """Return the result as Markdown."""
    figures = [figure for section in sections for figure in section.figures]
    limited = [figure for figure in figures if figure.limit]
    others = [figure for figure in figures if not figure.limit]
    facts = {
        "command": f"`{command}`",
        "duration": f"{seconds:.0f} s",
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": f"{os.cpu_count()} cores, {_processor()}",
        "load of the machine before the run": f"{load:.1f}",
        "Python": platform.python_version(),
    }
    rows = "\n".join(f"| {name} | {value} |" for name, value in facts.items())
    parts = {
        "Limits": table(limited),
        "Limits that were given up": GIVEN_UP,
        "Other figures": table(others),
        "How it was measured": f"{(__doc__ or '').strip()}\n\n{_TRIED}\n\n| | |\n|---|---|\n{rows}",
    }
    text = "\n\n".join(f"## {title}\n\n{part}" for title, part in parts.items())
    return f"# Speed\n\n{summary(figures)}\n{text}\n"


def _processor() -> str:
    found = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text())
    return found[1].strip() if found else platform.processor()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the measurements and write the report; it shows limits that do not hold, and the run succeeds."""
    parser = argparse.ArgumentParser(prog="python -m bench.speed", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="rough figures in a minute instead of ten")
    parser.add_argument("--only", action="append", choices=[one.__name__ for one in MEASUREMENTS], default=[])
    parser.add_argument("--write", type=Path, help="write the report to this Markdown file")
    given = parser.parse_args(arguments)
    # SIGTERM must end all processes.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    began, load = time.monotonic(), os.getloadavg()[0]
    sections = list(measure(QUICK if given.quick else Options(), given.only))
    command = " ".join(["python -m bench.speed", *(sys.argv[1:] if arguments is None else arguments)])
    text = report(sections, command, time.monotonic() - began, load)
    print(f"\n{text}")
    if given.write:
        given.write.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
