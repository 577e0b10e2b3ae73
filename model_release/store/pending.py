"""Pending claims: those that nobody delivers again and that need another attempt.

| partition | row | for |
|---|---|---|
| `pending` | the claim's key | the claim's partition and row, and when it is due |

The row is written before the claim. It is deleted once the claim is final and recorded, or if the claim does not exist
and no function can be running any more that would insert it.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from azure.core.exceptions import ResourceExistsError, ResourceModifiedError, ResourceNotFoundError

from model_release.domain.claims import Claim, claim_key
from model_release.store.claims import Clock
from model_release.store.table import Table

# No function runs for so long: it is more than `functionTimeout` in host.json.
LONGEST_FUNCTION = timedelta(minutes=30)
_PENDING = "pending"


@dataclass(frozen=True)
class Due:
    """A pending row that is due: its claim, when this was claimed, since when it is due, and the row's own etag."""

    partition: str
    row: str
    created: datetime
    next_attempt: datetime
    etag: str


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
        self._table.put(_PENDING, claim.key, **_values(claim, due))

    def add(self, claim: Claim, due: datetime) -> None:
        """Give the claim to the sweep, unless the sweep has it."""
        with suppress(ResourceExistsError):
            self._table.insert(_PENDING, claim.key, **_values(claim, due))

    def delete(self, partition: str, row: str) -> None:
        """Take a final claim from the sweep."""
        self._table.delete(_PENDING, claim_key(partition, row))

    def forget(self, due: Due) -> None:
        """Delete the row of a claim that will not exist, unless the row was written again meanwhile."""
        if self._clock() - due.created < LONGEST_FUNCTION:
            return
        with suppress(ResourceModifiedError, ResourceNotFoundError):
            self._table.delete(_PENDING, claim_key(due.partition, due.row), due.etag)

    def due(self) -> Iterator[Due]:
        """Read the rows that are due."""
        condition = "PartitionKey eq @pending and next_attempt le @now"
        for row in self._table.query(condition, pending=_PENDING, now=self._clock()):
            yield Due(row["partition"], row["row"], row["created"], row["next_attempt"], str(row.metadata["etag"]))

    def count(self) -> PendingCount:
        """Count the pending claims."""
        rows = list(self._table.query("PartitionKey eq @pending", pending=_PENDING, select=["created"]))
        return PendingCount(len(rows), min((row["created"] for row in rows), default=None))


def _values(claim: Claim, due: datetime) -> dict[str, Any]:
    return {"partition": claim.partition, "row": claim.row, "created": claim.created, "next_attempt": due}
