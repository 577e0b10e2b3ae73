"""Change claims, stores and flow one thing at a time, and run their fast tests on each change.

`python -m tests.mutants` prints what no test notices; the changes in equivalent.toml change nothing that matters.
"""

# ruff: noqa: T201  it prints its report

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
import tomllib
from collections import Counter
from itertools import islice
from pathlib import Path

HERE = Path(__file__).parent
HOME = HERE.parent.parent
MODULES = sorted(
    [
        *(HOME / "model_release/domain" / f"{name}.py" for name in ("claims", "lease", "retry")),
        *HOME.glob("model_release/store/[!_]*.py"),
        *HOME.glob("model_release/flow/[!_]*.py"),
    ]
)
# At least so many percent of all changes are noticed; the others are listed.
LEAST = 95


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("--module", default="", help="only modules whose path contains this, such as `store/claims`")
    parser.add_argument("--function", default="", help="only functions whose name contains this")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only each Nth change, for an estimate")
    parser.add_argument("--unit-tests", action="store_true", help="run only the unit tests")
    parser.add_argument("--verbose", action="store_true", help="print each change and which tests notice it")
    options = parser.parse_args()
    paths = [path for path in MODULES if options.module in str(path)]
    with tempfile.TemporaryDirectory(prefix="mutants-") as temporary:
        # Before the first import: neither Python, pytest nor Hypothesis writes into the tree.
        sys.pycache_prefix, sys.dont_write_bytecode = temporary, False
        os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = temporary
        os.environ["TMPDIR"] = tempfile.tempdir = temporary
        return run(paths, options.function, options.every, unit_tests=options.unit_tests, verbose=options.verbose)


def listed() -> dict[tuple[str, str, str, str], str]:
    """Read the changes that change nothing that matters, each with its reason."""
    content = tomllib.loads((HERE / "equivalent.toml").read_text())
    return {
        (path, one["function"], one["before"], one["after"]): one["reason"]
        for path, ones in content.items()
        for one in ones
    }


def run(paths: list[Path], function: str, every: int, *, unit_tests: bool, verbose: bool) -> int:
    """Run the tests on each change of these modules; return 1 if one is neither noticed nor listed."""
    from tests.mutants.changes import changes  # noqa: PLC0415  not before main has prepared
    from tests.mutants.processes import Processes  # noqa: PLC0415
    from tests.mutants.suites import SUITES  # noqa: PLC0415

    processes, reasons = Processes(SUITES[:1] if unit_tests else SUITES), listed()
    modules = {path: str(path.relative_to(HOME)).removesuffix(".py").replace("/", ".") for path in paths}
    if failing := processes.measure({module: path for path, module in modules.items()}):
        print(f"The {failing} fail without a change; repair them first.")
        return 2
    print("Processor time without a change:", ", ".join(f"{n} {s:.1f} s" for n, s in processes.seconds.items()))
    total, wrong, start = Counter[str](), 0, time.monotonic()
    print(f"{'module':<42}{'mutants':>8}{'killed':>8}{'listed':>8}{'alive':>7}{'seconds':>9}", flush=True)
    for path in paths:
        name, began, counts = str(path.relative_to(HOME)), time.monotonic(), Counter[str]()
        for change in islice((one for one in changes(path) if function in one.function), 0, None, every):
            by, is_listed = processes.noticed_by(modules[path], change), (name, *change.name) in reasons
            counts.update(["mutants", "killed" if by else "listed" if is_listed else "alive", *([by] if by else [])])
            what = f"  {name}:{change.line} {change.function}\n    - {change.before}\n    + {change.after}"
            if by and is_listed:
                wrong += 1
                print(f"{what}\n    is noticed by the {by}; remove it from equivalent.toml", flush=True)
            elif verbose or not (by or is_listed):
                print(f"{what}\n    {by or 'alive'}" if verbose else what, flush=True)
        total += counts
        print(_line(name, counts, time.monotonic() - began), flush=True)
    print(_line("all", total, time.monotonic() - start))
    killed = 100 * total["killed"] / max(total["mutants"], 1)
    print(f"{killed:.1f} % killed: " + ", ".join(f"{total[name]} by the {name}" for name in processes.seconds))
    return int(bool(total["alive"] or wrong or (paths == MODULES and not function and every == 1 and killed < LEAST)))


def _line(name: str, counts: Counter[str], seconds: float) -> str:
    figures = f"{counts['mutants']:>8}{counts['killed']:>8}{counts['listed']:>8}{counts['alive']:>7}"
    return f"{name:<42}{figures}{seconds:>9.0f}"


if __name__ == "__main__":
    sys.exit(main())
