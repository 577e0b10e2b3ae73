"""Run the tests that can notice a change, in a forked process with the changed module in place of the original."""

from __future__ import annotations

import gc
import importlib.abc
import importlib.machinery
import json
import os
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import CodeType, ModuleType
from typing import IO

from model_release.app import HOME
from tests.mutants.calls import IMPORT, Calls, Only, recording
from tests.mutants.changes import Change
from tests.mutants.suites import Suite, Which, preload

_OURS = ("model_release", "tests", "triggers", "local")
_MEMORY = 4 * 2**30
# An endless loop is noticed by the processor time of the suite; the time on the clock is for threads that wait.
_SECONDS, _TIMES_LONGER, _WAITS = 3, 4, 300
_NOTICED, _UNNOTICED = 1, 0


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Loads changed modules."""

    def __init__(self, changed: Mapping[str, CodeType]) -> None:
        self._changed = changed

    def find_spec(
        self, fullname: str, _path: Sequence[str] | None = None, _target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if not (code := self._changed.get(fullname)):
            return None
        return importlib.util.spec_from_file_location(fullname, code.co_filename, loader=self)

    def exec_module(self, module: ModuleType) -> None:
        exec(self._changed[module.__name__], module.__dict__)


class Processes:
    """Runs the suites, each in a process; `seconds` is the processor time of each suite without a change."""

    def __init__(self, suites: Sequence[Suite]) -> None:
        self._suites = suites
        preload()
        for name in [name for name in sys.modules if name.split(".")[0] in _OURS and not name.startswith(__package__)]:
            if name not in ("tests", "tests.mutants"):
                del sys.modules[name]
        # The garbage collection of a process need not visit what it inherits.
        gc.freeze()
        self.seconds: dict[str, float] = {}
        self._calls: dict[str, dict[str, list[str]]] = {}
        self._seconds: dict[str, float] = {}

    def measure(self, modules: Mapping[str, Path]) -> str:
        """Run all suites without a change, and note what each test calls; return the first suite that fails."""
        changed = {module: recording(path) for module, path in modules.items()}
        for suite in self._suites:
            with tempfile.TemporaryFile("w+") as noted:
                if self._fails(suite, changed, Calls(), _WAITS, noted):
                    return suite.name
                noted.seek(0)
                self._calls[suite.name], seconds = json.load(noted)
            self.seconds[suite.name] = sum(seconds.values())
            self._seconds |= seconds
        return ""

    def noticed_by(self, module: str, change: Change) -> str:
        """Return the name of the suite that notices the change, or an empty text."""
        function = f"{change.code.co_filename}:{change.function}" if change.in_body else ""
        folder, name = module.split(".")[-2:]
        for suite in self._suites:
            calls = self._calls[suite.name]
            at_import = not function or function in calls[IMPORT]
            tests = {test for test, called in calls.items() if at_import or function in called} - {IMPORT}
            own = {test for test in tests if test.startswith(f"tests/{folder}/test_{name}")}
            for some in (own, tests - own):
                limit = round(_SECONDS + _TIMES_LONGER * sum(self._seconds[test] for test in some))
                if some and self._fails(suite, {module: change.code}, Only(some), limit):
                    return suite.name
        return ""

    def _fails(
        self, suite: Suite, changed: Mapping[str, CodeType], which: Which, limit: int, noted: IO[str] | None = None
    ) -> bool:
        if process := os.fork():
            return _wait(process)
        status = _NOTICED
        try:
            _alone(limit)
            sys.meta_path.insert(0, _Finder(changed))
            status = _UNNOTICED if suite.passes(which) else _NOTICED
            if noted and isinstance(which, Calls):
                json.dump([which.by_test, which.seconds], noted)
                noted.flush()
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
