"""Run the tests on one change, in a forked process that imports the changed module in place of the original."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import os
import resource
import signal
import sys
import time
from collections.abc import Sequence
from types import CodeType, ModuleType

from model_release.app import HOME
from tests.mutants.suites import Suite, preload

_OURS = ("model_release", "tests", "triggers", "local")
_MEMORY = 4 * 2**30
# An endless loop is noticed by the processor time of the suite; the time on the clock is for threads that wait.
_SECONDS, _TIMES_LONGER, _WAITS = 3, 4, 300
_NOTICED, _UNNOTICED = 1, 0


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Loads the changed module."""

    def __init__(self, module: str, code: CodeType) -> None:
        self._module, self._code = module, code

    def find_spec(
        self, fullname: str, _path: Sequence[str] | None = None, _target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != self._module:
            return None
        return importlib.util.spec_from_file_location(fullname, self._code.co_filename, loader=self)

    def exec_module(self, module: ModuleType) -> None:
        exec(self._code, module.__dict__)


class Processes:
    """Runs the suites, each in a process; `seconds` is the processor time of each suite without a change."""

    def __init__(self, suites: Sequence[Suite]) -> None:
        self._suites = suites
        preload()
        for name in [name for name in sys.modules if name.split(".")[0] in _OURS and not name.startswith(__package__)]:
            if name not in ("tests", "tests.mutants"):
                del sys.modules[name]
        self.seconds: dict[str, float] = {}

    def measure(self) -> str:
        """Run all suites without a change; return the name of the first one that fails."""
        for suite in self._suites:
            before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
            if self._fails(suite, "model_release.", None, _WAITS):
                return suite.name
            self.seconds[suite.name] = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before
        return ""

    def noticed_by(self, module: str, code: CodeType) -> str:
        """Return the name of the suite that notices the change, or an empty text."""
        for suite in self._suites:
            limit = round(_SECONDS + _TIMES_LONGER * self.seconds[suite.name])
            if self._fails(suite, module, code, limit):
                return suite.name
        return ""

    def _fails(self, suite: Suite, module: str, code: CodeType | None, limit: int) -> bool:
        if process := os.fork():
            return _wait(process)
        status = _NOTICED
        try:
            _alone(limit)
            if code:
                sys.meta_path.insert(0, _Finder(module, code))
            status = _UNNOTICED if suite.passes(module) else _NOTICED
        finally:
            # Neither handlers nor threads of the tests may go on.
            os._exit(status)


def _wait(process: int) -> bool:
    deadline = time.monotonic() + _WAITS
    while time.monotonic() < deadline:
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            return status != _UNNOTICED
        time.sleep(0.002)
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return True


def _alone(limit: int) -> None:
    """Write nothing, and use only so much processor time and memory."""
    resource.setrlimit(resource.RLIMIT_CPU, (limit, limit))
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    os.chdir(HOME)
