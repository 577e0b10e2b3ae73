"""The last sweep: whether the timer runs.

| partition | row | for |
|---|---|---|
| `sweep` | `sweep` | when the first and the last sweep ended, and how many attempts the last one made |
"""

from dataclasses import asdict, dataclass
from datetime import datetime

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
    """The row of the last sweep; both methods raise azure-core's errors if storage fails."""

    def __init__(self, table: Table, clock: Clock) -> None:
        self._table = table
        self._clock = clock

    def write(self, attempts: int) -> None:
        """Record that a sweep ends now."""
        now, before = self._clock(), self.read()
        run = SweepRun(before.first if before else now, now, attempts)
        self._table.put(_SWEEP, _SWEEP, **asdict(run))

    def read(self) -> SweepRun | None:
        """Read the last sweep, None before the first one has ended."""
        row = self._table.find(_SWEEP, _SWEEP)
        return SweepRun(row["first"], row["last"], row["attempts"]) if row else None
