"""The fast tests of the mutated modules, fastest first; each runs in a process of its own."""

from __future__ import annotations

import importlib
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from model_release.app import HOME
from tests.mutants.calls import Calls, Only

# None of them needs storage, another process or a network.
_UNIT_TESTS = (
    "tests/domain/test_claims.py",
    "tests/domain/test_lease.py",
    "tests/domain/test_retry.py",
    *sorted(str(path.relative_to(HOME)) for path in HOME.glob("tests/*/test_*_in_memory.py")),
)
_OPTIONS = ("--exitfirst", "--quiet", "--assert=plain", "-p", "no:cacheprovider")
_SCHEDULES, _EXAMPLES = 200, 10
_FIRST_SEED = 1_000_000


Which = Calls | Only


@dataclass(frozen=True)
class Suite:
    """Some tests; `passes` runs all of them, or only those which can notice a change. An error fails them."""

    name: str
    passes: Callable[[Which], bool]


def _unit_tests(which: Which) -> bool:
    paths = sorted({one.split("::")[0] for one in which.tests}) if isinstance(which, Only) else _UNIT_TESTS
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    return pytest.main([*_OPTIONS, *paths], [which]) == pytest.ExitCode.OK


def _proof(which: Which) -> bool:
    """Run a few hundred schedules."""
    from tests.proof.schedules import quiet, run  # noqa: PLC0415  not before the module is mutated

    with quiet():
        passes = not any(run(seed).checks.failures for seed in range(_FIRST_SEED, _FIRST_SEED + _SCHEDULES))
    which.note("schedules")
    return passes


def _state_machine(which: Which) -> bool:
    """Run the state machine with few examples, and trouble at each moment of an attempt."""
    from hypothesis import Phase  # noqa: PLC0415

    from tests.flow import test_promises as promises  # noqa: PLC0415

    logging.disable()
    answer, trouble = promises.Answer, promises.Trouble
    for first in (answer.LOST, answer.REFUSED):
        promises.test_the_promises_hold_at_each_moment(answer.CREATED, trouble.KILLED, first)
    promises.test_the_promises_hold_at_each_moment(answer.LATE, trouble.OVERTAKEN, None)
    promises.examine(promises.Promises, _EXAMPLES, [Phase.generate])
    which.note("state machine")
    return True


SUITES = [
    Suite("unit tests", _unit_tests),
    Suite("schedules", _proof),
    Suite("state machine", _state_machine),
]


def preload() -> None:
    """Import all that the tests import, so that each process inherits it."""
    for module in ("tests.conftest", "tests.flow.test_promises", "tests.proof.schedules"):
        importlib.import_module(module)
