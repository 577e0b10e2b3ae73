"""The history, newest first, kept for 90 days.

| partition | row | for |
|---|---|---|
| `history` | a number that falls with time, and the claim's key | the entry of a claim |
| `ignored` | the same, with a random key | the entry of an event that started nothing |
"""

import uuid
from contextlib import suppress
from dataclasses import asdict, fields
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from azure.core.exceptions import ResourceExistsError, ResourceModifiedError, ResourceNotFoundError
from azure.data.tables import TableEntity

from model_release.domain.claims import Claim, State
from model_release.domain.history import HistoryEntry, HistoryPage, HistoryQuery
from model_release.store.claims import Clock
from model_release.store.table import Table

KEEP = timedelta(days=90)
_HISTORY = "history"
_IGNORED = "ignored"
_PRUNED_AT_ONCE = 100
_LAST = 10**16 - 1
_NOT_STORED = ("milliseconds", "log_reason", "unavailable", "absent")


class History:
    """The entries; every method raises azure-core's errors if storage fails."""

    def __init__(self, table: Table, clock: Clock) -> None:
        self._table = table
        self._clock = clock

    def write_alone(self, entry: HistoryEntry) -> None:
        """Write an entry that belongs to no claim: of an ignored event, or of what a person did."""
        partition = _IGNORED if entry.state is State.IGNORED else _HISTORY
        self._table.put(partition, f"{_newest_first(entry.time)} {uuid.uuid4().hex}", **_values(entry))

    def etag(self, claim: Claim) -> str:
        """Return the etag of a claim's entry, empty if it does not exist."""
        found = self._table.find(_HISTORY, _row(claim))
        return str(found.metadata["etag"]) if found else ""

    def write(self, claim: Claim, etag: str) -> bool:
        """Write the entry of a claim, unless the entry has another etag; return whether it was written."""
        row, values = _row(claim), _values(HistoryEntry.of(claim))
        with suppress(ResourceExistsError, ResourceModifiedError, ResourceNotFoundError):
            if etag:
                self._table.change(_HISTORY, row, etag, **values)
            else:
                self._table.insert(_HISTORY, row, **values)
            return True
        return False

    def page(self, query: HistoryQuery) -> HistoryPage:
        """Read the newest entries of a query."""
        rows = sorted(row for partition in _partitions(query) for row in self._read(partition, query))
        entries = tuple(entry for _, entry in rows[: query.limit])
        return HistoryPage(entries, continuation=rows[query.limit][0] if len(rows) > query.limit else "")

    def prune(self) -> None:
        """Delete entries that are too old, at most 100 of each partition."""
        for partition in (_HISTORY, _IGNORED):
            rows = self._table.query(
                "PartitionKey eq @partition and RowKey gt @oldest",
                partition=partition,
                oldest=_newest_first(self._clock() - KEEP),
                select=["PartitionKey", "RowKey"],
                results_per_page=_PRUNED_AT_ONCE,
            )
            if old := [("delete", dict(row)) for row in islice(rows, _PRUNED_AT_ONCE)]:
                # The SDK repeats a transaction whose answer was lost, and then its rows are gone.
                with suppress(ResourceNotFoundError):
                    self._table.client.submit_transaction(old)

    def _read(self, partition: str, query: HistoryQuery) -> list[tuple[str, HistoryEntry]]:
        condition, parameters = _condition(query)
        # One more than the limit: it is where the next page begins.
        limit = query.limit + 1
        rows = self._table.query(
            f"PartitionKey eq @partition{condition}", partition=partition, results_per_page=limit, **parameters
        )
        return [(row["RowKey"], _entry(row)) for row in islice(rows, limit)]


def _partitions(query: HistoryQuery) -> tuple[str, ...]:
    if query.state is State.IGNORED:
        return (_IGNORED,)
    return (_HISTORY, _IGNORED) if query.ignored and not query.state else (_HISTORY,)


def _condition(query: HistoryQuery) -> tuple[str, dict[str, Any]]:
    conditions: dict[str, Any] = {}
    if query.continuation:
        conditions["RowKey ge @continuation"] = query.continuation
    if query.until:
        conditions["RowKey ge @until"] = _newest_first(query.until)
    if query.since:
        conditions["RowKey le @since"] = f"{_newest_first(query.since)}~"
    if query.state:
        conditions["state eq @state"] = query.state.value
    if query.model:
        name = f"models/{query.model.removesuffix('*')}"
        conditions["subject ge @first"] = name if query.model.endswith("*") else f"{name}:"
        # The least text above all that begin with the name: no name of a model contains a character above these.
        conditions["subject lt @last"] = f"{name}~" if query.model.endswith("*") else f"{name};"
    names = {condition.rpartition("@")[2]: value for condition, value in conditions.items()}
    return "".join(f" and {condition}" for condition in conditions), names


def _row(claim: Claim) -> str:
    return f"{_newest_first(claim.created)} {claim.key}"


def _values(entry: HistoryEntry) -> dict[str, Any]:
    return {name: value for name, value in asdict(entry).items() if name not in _NOT_STORED}


def _newest_first(time: datetime) -> str:
    return f"{min(max(_LAST - int(time.timestamp() * 1_000_000), 0), _LAST):016d}"


def _entry(row: TableEntity) -> HistoryEntry:
    names = {field.name for field in fields(HistoryEntry)}
    values = {name: value for name, value in row.items() if name in names}
    return HistoryEntry(**values | {"state": State(row["state"])})
