"""Pending claims: those that were acknowledged and need another attempt.

| partition | row | for |
|---|---|---|
| `pending` | the claim's key | the claim's partition and row, and when it is due |
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from model_release.domain.claims import Claim, claim_key
from model_release.store.claims import Clock
from model_release.store.table import Table

_PENDING = "pending"


@dataclass(frozen=True)
class PendingCount:
    """How many claims are pending, and when the oldest of them was claimed."""

    claims: int
    oldest: datetime | None

    def age(self, now: datetime) -> int | None:
        """The age of the oldest claim in seconds, None without a claim."""
        return round((now - self.oldest).total_seconds()) if self.oldest else None


class Pending:
    """The pending rows; every method raises azure-core's errors if storage fails."""

    def __init__(self, table: Table, clock: Clock) -> None:
        self._table = table
        self._clock = clock

    def put(self, claim: Claim, due: datetime) -> None:
        """Give the claim to the sweep."""
        row = {"partition": claim.partition, "row": claim.row, "created": claim.created}
        self._table.put(_PENDING, claim.key, **row, next_attempt=due)

    def delete(self, partition: str, row: str) -> None:
        """Take the claim in this row from the sweep."""
        self._table.delete(_PENDING, claim_key(partition, row))

    def due(self) -> Iterator[tuple[str, str]]:
        """Read the partition and row of each claim that is due."""
        condition = "PartitionKey eq @pending and next_attempt le @now"
        for row in self._table.query(condition, pending=_PENDING, now=self._clock()):
            yield row["partition"], row["row"]

    def count(self) -> PendingCount:
        """Count the pending claims."""
        rows = list(self._table.query("PartitionKey eq @pending", pending=_PENDING, select=["created"]))
        return PendingCount(len(rows), min((row["created"] for row in rows), default=None))
