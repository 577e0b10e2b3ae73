"""The table of a simulation: it deletes unchanged rows only, and carries out some writes late."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from azure.core import MatchConditions
from azure.core.exceptions import ResourceModifiedError

from tests.tables import MemoryTable

# Returns whether the operation is not carried out now, and raises the client's error then.
Delay = Callable[[str, Callable[[], Any]], None]


@dataclass
class SimulatedTable(MemoryTable):
    """A table in memory; `delay` sees each operation before it is carried out, and may raise instead."""

    delay: Delay | None = None

    def delete_entity(
        self,
        partition_key: str,
        row_key: str,
        *,
        etag: str | None = None,
        match_condition: MatchConditions | None = None,
    ) -> None:
        key = partition_key, row_key

        def delete() -> None:
            if match_condition is MatchConditions.IfNotModified and self._existing(key).metadata["etag"] != etag:
                raise ResourceModifiedError("UpdateConditionNotSatisfied")
            self.rows.pop(key, None)

        self._call("delete_entity", delete)

    def _call(self, name: str, operation: Callable[[], Any]) -> Any:
        def delayed() -> Any:
            if self.delay:
                self.delay(name, operation)
            return operation()

        return super()._call(name, delayed)
