"""The history, newest first, kept for 90 days.

| partition | row | for |
|---|---|---|
| `history` | a number that falls with the time of the last change, and the claim's key | the entry of a claim |
| `ignored` | the same, with a random key | the entry of an event that started nothing |
| `history_late` | the row of an entry | the entry was written more than a minute after the attempt |
"""

import uuid
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import fields, replace
from datetime import datetime, timedelta
from heapq import merge
from itertools import chain, islice
from operator import itemgetter
from typing import Any

from azure.core.exceptions import ResourceExistsError
from azure.data.tables import TableEntity

from model_release.domain.claims import Claim, State
from model_release.domain.history import HistoryEntry, HistoryPage, HistoryQuery
from model_release.reason import ReasonKind
from model_release.store.claims import Clock
from model_release.store.pending import LONGEST_FUNCTION
from model_release.store.table import Table

KEEP = timedelta(days=90)
_HISTORY = "history"
_IGNORED = "ignored"
_LATE = "history_late"
# An entry that is written sooner is among those that have changed lately.
_LATE_AFTER = timedelta(minutes=1)
_BLANK = {"state": ""}
# So many entries are read for one page, whichever of them match.
MOST_READ = 2000
_PRUNED_AT_ONCE = 100
_LAST = 10**16 - 1
_NOT_STORED = ("milliseconds", "log_reason", "unavailable", "absent")


class History:
    """The entries; every method raises azure-core's errors if storage fails."""

    def __init__(self, table: Table, clock: Clock) -> None:
        self._table = table
        self._clock = clock

    def write_alone(self, entry: HistoryEntry) -> None:
        """Write an entry that belongs to no attempt: of an ignored event, or of what a person did."""
        partition = _IGNORED if entry.state is State.IGNORED else _HISTORY
        values = _values(replace(entry, attempt=0))
        self._table.put(partition, f"{_newest_first(entry.time)} {uuid.uuid4().hex}", **values)

    def write(self, claim: Claim) -> None:
        """Write the entry of a claim at the time of its last attempt, in place of those before.

        Each attempt has a row of its own, and those of earlier attempts become blank. A blank row stays as long as
        somebody may write the entry again: a slow worker, or storage, which may carry out a repeated write late. So the
        order of the writes does not matter, and writing an entry twice changes nothing.
        """
        *before, at = _rows(claim)
        entry = _values(HistoryEntry.of(claim))
        if self._clock() - claim.changed > _LATE_AFTER:
            self._table.put(_LATE, at)
        with suppress(ResourceExistsError):
            if before:
                self._insert_over(before, at, entry)
            else:
                self._table.insert(_HISTORY, at, **entry)

    def _insert_over(self, before: list[str], at: str, entry: dict[str, Any]) -> None:
        self._table.insert_over(_HISTORY, at, entry, dict.fromkeys(before, _BLANK))
        # No function that writes these is running any more, and storage writes at most 30 seconds late.
        # https://learn.microsoft.com/rest/api/storageservices/setting-timeouts-for-table-service-operations
        oldest = _newest_first(self._clock() - LONGEST_FUNCTION)
        if old := [row for row in before if row > oldest]:
            self._table.delete_all(_HISTORY, old)

    def changed(self, since: datetime, late: Iterable[str] = ()) -> Iterator[tuple[str, HistoryEntry]]:
        """Read the keys and entries that have changed since this time, newest first, and then those in these rows."""
        rows = self._table.query(
            "PartitionKey eq @partition and RowKey le @since and state ne @blank",
            partition=_HISTORY,
            since=f"{_newest_first(since)}~",
            blank="",
        )
        for row in chain(rows, filter(None, (self._table.find(_HISTORY, one) for one in late))):
            if row["state"]:
                yield row["RowKey"].partition(" ")[2], _entry(row)

    def late(self) -> list[str]:
        """Read the rows of the entries that were written late."""
        return [row["RowKey"] for row in self._table.query("PartitionKey eq @late", late=_LATE)]

    def forget_late(self, late: Iterable[str]) -> None:
        """Forget that these entries were written late."""
        for row in late:
            self._table.delete(_LATE, row)

    def page(self, query: HistoryQuery) -> HistoryPage:
        """Read the newest entries of a query; a page ends early if few of the entries match."""
        rows = merge(*(self._read(partition, query) for partition in _partitions(query)), key=itemgetter("RowKey"))
        entries: list[HistoryEntry] = []
        for number, row in enumerate(rows):
            if len(entries) == query.limit or number == MOST_READ:
                return HistoryPage(tuple(entries), row["RowKey"])
            if query.matches(entry := _entry(row)):
                entries.append(entry)
        return HistoryPage(tuple(entries), "")

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
            if old := [row["RowKey"] for row in islice(rows, _PRUNED_AT_ONCE)]:
                self._table.delete_all(partition, old)

    def _read(self, partition: str, query: HistoryQuery) -> Iterator[TableEntity]:
        condition, parameters = _condition(query)
        # One more than the limit: it is where the next page begins.
        size = MOST_READ // 2 if query.has_text else query.limit + 1
        return self._table.query(
            f"PartitionKey eq @partition{condition}", partition=partition, results_per_page=size, **parameters
        )


def _partitions(query: HistoryQuery) -> tuple[str, ...]:
    if query.state is State.IGNORED:
        return (_IGNORED,)
    return (_HISTORY, _IGNORED) if query.ignored and not (query.state or query.open_only) else (_HISTORY,)


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
    else:
        # A blank row has the state "".
        hidden = ["", *(state.value for state in State if state.final)] if query.open_only else [""]
        conditions |= {f"state ne @hidden{number}": state for number, state in enumerate(hidden)}
    names = {condition.rpartition("@")[2]: value for condition, value in conditions.items()}
    return "".join(f" and {condition}" for condition in conditions), names


def _rows(claim: Claim) -> list[str]:
    """Return the rows of a claim's entry after each attempt."""
    times = [attempt.time for attempt in claim.attempts] or [claim.created]
    return [f"{_newest_first(time)} {claim.key}" for time in times]


def _values(entry: HistoryEntry) -> dict[str, Any]:
    return {name: value for name, value in vars(entry).items() if name not in _NOT_STORED}


def _newest_first(time: datetime) -> str:
    return f"{min(max(_LAST - int(time.timestamp() * 1_000_000), 0), _LAST):016d}"


def _entry(row: TableEntity) -> HistoryEntry:
    names = {field.name for field in fields(HistoryEntry)}
    values = {name: value for name, value in row.items() if name in names}
    kind = ReasonKind(row["reason_kind"])
    return HistoryEntry(**values | {"state": State(row["state"]), "reason_kind": kind})
