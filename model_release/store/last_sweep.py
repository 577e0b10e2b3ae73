"""The last sweep: whether the timer runs, and whether a sweep is running.

| partition | row | for |
|---|---|---|
| `sweep` | `sweep` | when the first and the last sweep ended, and how many attempts the last one made |
| | | the sweep that is running, and until when no other one begins |
"""

import uuid
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from azure.core.exceptions import ResourceExistsError, ResourceModifiedError

from model_release.domain.claims import NEVER
from model_release.store.claims import Clock
from model_release.store.table import Table

_SWEEP = "sweep"


@dataclass(frozen=True)
class SweepRun:
    """When the first and the last sweep ended, and how many attempts the last one made."""

    first: datetime
    last: datetime
    attempts: int


class LastSweep:
    """The row of the last sweep; every method raises azure-core's errors if storage fails."""

    def __init__(self, table: Table, clock: Clock) -> None:
        self._table = table
        self._clock = clock

    def begin(self, lease: timedelta) -> str:
        """Lease the sweep, and return the etag of the lease; an empty text while another one is running."""
        now, row = self._clock(), self._table.find(_SWEEP, _SWEEP)
        if row and row["running_until"] > now:
            return ""
        values = {"running": uuid.uuid4().hex, "running_until": now + lease}
        try:
            if row:
                return self._table.change(_SWEEP, _SWEEP, str(row.metadata["etag"]), **values)
            return self._table.insert(_SWEEP, _SWEEP, **values)
        except (ResourceExistsError, ResourceModifiedError):
            # Another sweep was faster, or the answer was lost and the SDK repeated the request.
            found = self._table.get(_SWEEP, _SWEEP)
            return str(found.metadata["etag"]) if found["running"] == values["running"] else ""

    def end(self, etag: str, attempts: int | None = None) -> None:
        """End the lease, and record that the sweep ends now with these attempts; None if it failed.

        Writes nothing if the lease is over and another sweep has begun.
        """
        values: dict[str, Any] = {"running_until": NEVER}
        if attempts is not None:
            now, before = self._clock(), self.read()
            values |= {"first": before.first if before else now, "last": now, "attempts": attempts}
        with suppress(ResourceModifiedError):
            self._table.change(_SWEEP, _SWEEP, etag, **values)

    def read(self) -> SweepRun | None:
        """Read the last sweep, None before the first one has ended."""
        row = self._table.find(_SWEEP, _SWEEP)
        return SweepRun(row["first"], row["last"], row["attempts"]) if row and "last" in row else None
