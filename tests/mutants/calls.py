"""Which functions a test calls, as it cannot notice what changes in another one, and how long it takes."""

from __future__ import annotations

import ast
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from types import CodeType
from typing import Any

import pytest

from tests.mutants.changes import name_in

# The functions called since the set was cleared, as the module's path and the name of the function in it.
CALLED: set[str] = set()
# What is called while modules and tests are imported.
IMPORT = ""


def recording(path: Path) -> CodeType:
    """Compile a module whose functions add their names to CALLED."""
    tree = ast.parse(path.read_text())
    for name, function in functions(tree):
        note = ast.parse(f"__import__('sys').modules[{__name__!r}].CALLED.add({f'{path}:{name}'!r})").body
        start = 0 if ast.get_docstring(function) is None else 1
        function.body[start:start] = note
    return compile(ast.fix_missing_locations(tree), str(path), "exec")


def functions(parent: ast.AST, prefix: str = "") -> Iterator[tuple[str, ast.FunctionDef]]:
    """Find all functions with their names, such as `Claims.insert`."""
    for node in ast.iter_child_nodes(parent):
        name = name_in(prefix, node)
        if isinstance(node, ast.FunctionDef):
            yield name, node
        yield from functions(node, name)


class Calls:
    """Notes which functions each test calls, and its processor time; a plugin of pytest."""

    def __init__(self) -> None:
        self.by_test: dict[str, list[str]] = {IMPORT: []}
        self.seconds: dict[str, float] = {}
        # A forked process begins at zero.
        self._since = 0.0

    def note(self, test: str) -> None:
        """End a test: what was called belongs to it."""
        now = time.process_time()
        self.by_test[test] = sorted(CALLED.union(self.by_test.get(test, ())))
        self.seconds[test] = now - self._since
        self._since = now
        CALLED.clear()

    def pytest_collection_finish(self) -> None:
        self.note(IMPORT)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[Any]:
        result = yield
        self.note(item.nodeid)
        return result


class Only:
    """Runs only some tests; a plugin of pytest."""

    def __init__(self, tests: Collection[str]) -> None:
        self.tests = tests

    def note(self, test: str) -> None:
        """Note nothing."""

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = [item for item in items if item.nodeid in self.tests]
