"""What the sweep does: the pending claims, which nobody delivers again and need another attempt, and its last run.

| partition | row | for |
|---|---|---|
| `pending` | the claim's key | the claim's partition and row, when it is due, its state, and the order of its target |
| `sweep` | `sweep` | when the first and the last sweep ended, and how many attempts the last one made |
| | | the sweep that is running, and until when no other one begins |

A pending row is written before the claim. It is deleted once the claim is final and recorded, or if the claim
does not exist and no function can be running any more that would insert it.
"""

import uuid
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Any, NamedTuple

from azure.core.exceptions import ResourceExistsError, ResourceModifiedError
from azure.data.tables import TableEntity

from model_release.domain.claims import NEVER, Claim, State, claim_key
from model_release.store.claims import Clock
from model_release.store.table import Table

# No function runs for so long: it is more than `functionTimeout` in host.json.
LONGEST_FUNCTION = timedelta(minutes=30)
_PENDING = "pending"
_SWEEP = "sweep"


class Due(NamedTuple):
    """A pending row: its claim, since when this waits, when and in which state it is due, and the row's own etag.

    `newest_only` is the order of its target, `manually` whether a person started it.
    """

    partition: str
    row: str
    created: datetime
    next_attempt: datetime
    state: State
    newest_only: bool
    manually: bool
    etag: str

    @property
    def version(self) -> str:
        """The version of its claim."""
        return self.row.split(" ")[0]

    @property
    def has_order(self) -> bool:
        """Whether its turn depends on the versions of the same line that are pending."""
        return self.version.isdecimal() and not self.manually


Line = tuple[Due, ...]


class PendingCount(NamedTuple):
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
        with suppress(ResourceModifiedError):
            self._table.delete(_PENDING, claim_key(due.partition, due.row), due.etag)

    def due(self) -> list[Line]:
        """Read the lines with a claim that is due, each in its order: with `newest` the newest version first.

        The other versions of such a line are part of it, because their turn may come before or after the one that is
        due. Starts of persons come first, and only if they are due. A version without order is a line of its own.
        """
        now = self._clock()
        rows = map(_due, self._table.query("PartitionKey eq @pending", pending=_PENDING))
        lines = defaultdict(list)
        for row in rows:
            alone = "" if row.has_order or row.manually else row.row
            lines[row.partition, row.row.split(" ")[1], alone].append(row)
        due = [found for line in lines.values() if (found := _in_order(line, now))]
        return sorted(due, key=lambda line: min(one.next_attempt for one in line))

    def of_line(self, partition: str, target_digest: str) -> Line:
        """Read all rows of a line, in their order."""
        condition = "PartitionKey eq @pending and partition eq @partition"
        rows = map(_due, self._table.query(condition, pending=_PENDING, partition=partition))
        return _in_order([row for row in rows if row.row.split(" ")[1] == target_digest])

    def count(self) -> PendingCount:
        """Count the pending claims, without those that a pin keeps back."""
        condition = "PartitionKey eq @pending and state ne @held"
        rows = list(self._table.query(condition, pending=_PENDING, held=State.HELD.value, select=["created"]))
        return PendingCount(len(rows), min((row["created"] for row in rows), default=None))


class SweepRun(NamedTuple):
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


def _values(claim: Claim, due: datetime) -> dict[str, Any]:
    return {
        "partition": claim.partition,
        "row": claim.row,
        "created": claim.waits_since,
        "next_attempt": due,
        "state": claim.state.value,
        "newest_only": claim.newest_only,
        "manually": bool(claim.idempotency_key),
    }


def _due(row: TableEntity) -> Due:
    names = (name for name in Due._fields if name not in ("state", "etag"))
    values = {name: row[name] for name in names}
    return Due(**values, state=State(row["state"]), etag=str(row.metadata["etag"]))


def _in_order(rows: Iterable[Due], now: datetime | None = None) -> Line:
    """Order the rows of a line; with a time, only what is to be attempted then."""
    by_time = sorted(rows, key=attrgetter("created"))
    alone = [row for row in by_time if not row.has_order and (now is None or row.next_attempt <= now)]
    versions = sorted((row for row in by_time if row.has_order), key=lambda row: int(row.version))
    if now and not any(row.next_attempt <= now for row in versions):
        return tuple(alone)
    # The order of the newest version counts: the release map may have changed.
    return (*alone, *(reversed(versions) if versions and versions[-1].newest_only else versions))
