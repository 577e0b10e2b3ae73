"""The table of a simulation: it carries out some writes late."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.tables import MemoryTable

# Returns whether the operation is not carried out now, and raises the client's error then.
Delay = Callable[[str, Callable[[], Any]], None]


@dataclass
class SimulatedTable(MemoryTable):
    """A table in memory; `delay` sees each operation before it is carried out, and may raise instead."""

    delay: Delay | None = None

    def _call(self, name: str, operation: Callable[[], Any]) -> Any:
        def delayed() -> Any:
            if self.delay:
                self.delay(name, operation)
            return operation()

        return super()._call(name, delayed)
