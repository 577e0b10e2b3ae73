"""A table in memory that answers as azure.data.tables.TableClient does."""

from __future__ import annotations

import operator
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from azure.core import MatchConditions
from azure.core.exceptions import ResourceExistsError, ResourceModifiedError, ResourceNotFoundError
from azure.data.tables import TableEntity, TableTransactionError, UpdateMode

Key = tuple[str, str]
Hook = Callable[[str], None]
_COMPARE = {name: getattr(operator, name) for name in ("eq", "ne", "gt", "ge", "lt", "le")}
_ETAGS = count(1)
# Of a transaction, with their options.
_OPERATIONS = [("create", []), ("delete", []), ("upsert", [{"mode": UpdateMode.REPLACE}])]


class AnswerLost(Exception):  # noqa: N818  raised by a hook to make the call happen again
    """The answer of an operation was lost, and the client repeats the operation, as the SDK does."""


@dataclass
class MemoryTable:
    """The rows; `dataclasses.replace` gives another client of the same rows with a hook of its own."""

    before_and_after: Hook | None = None
    rows: dict[Key, TableEntity] = field(default_factory=dict)
    created: set[str] = field(default_factory=set)
    lock: threading.RLock = field(default_factory=threading.RLock)

    def create_table(self, **_: Any) -> None:
        def create() -> None:
            if self.created:
                raise ResourceExistsError("TableAlreadyExists")
            self.created.add("table")

        self._call("create_table", create)

    def create_entity(self, entity: Mapping[str, Any], **_: Any) -> dict[str, Any]:
        def create() -> dict[str, Any]:
            if _key(entity) in self.rows:
                raise ResourceExistsError("EntityAlreadyExists")
            return self._put(entity)

        return self._call("create_entity", create)

    def get_entity(self, partition_key: str, row_key: str) -> TableEntity:
        return self._call("get_entity", lambda: _select(self._existing((partition_key, row_key))))

    def update_entity(
        self,
        entity: Mapping[str, Any],
        mode: UpdateMode,
        *,
        etag: str | None = None,
        match_condition: MatchConditions | None = None,
        **_: Any,
    ) -> dict[str, Any]:
        def update() -> dict[str, Any]:
            return self._put({**self._unchanged(_key(entity), etag), **entity})

        assert mode is UpdateMode.MERGE
        assert match_condition is MatchConditions.IfNotModified
        return self._call("update_entity", update)

    def upsert_entity(self, entity: Mapping[str, Any], mode: UpdateMode) -> dict[str, Any]:
        assert mode is UpdateMode.REPLACE
        return self._call("upsert_entity", lambda: self._put(entity))

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
            # The SDK says nothing about a row that is gone.
            if match_condition is MatchConditions.IfNotModified and key in self.rows:
                self._unchanged(key, etag)
            self.rows.pop(key, None)

        self._call("delete_entity", delete)

    def query_entities(
        self,
        query_filter: str,
        *,
        parameters: Mapping[str, Any] | None = None,
        select: list[str] | None = None,
        results_per_page: int | None = None,  # noqa: ARG002  a hint only
    ) -> Iterator[TableEntity]:
        conditions = [
            (name, _COMPARE[comparison], (parameters or {})[value.removeprefix("@")])
            for name, comparison, value in map(str.split, query_filter.split(" and "))
        ]

        def wanted(row: TableEntity) -> bool:
            return all(name in row and compare(row[name], value) for name, compare, value in conditions)

        def query() -> list[TableEntity]:
            found = sorted(key for key, row in self.rows.items() if wanted(row))
            return [_select(self.rows[key], select) for key in found]

        # As the SDK does, it asks when the first entity is asked for.
        yield from self._call("query_entities", query)

    def submit_transaction(self, operations: list[tuple[Any, ...]], **_: Any) -> None:
        def submit() -> None:
            for kind, entity, *_ in operations:
                if kind != "upsert" and (kind == "create") == (_key(entity) in self.rows):
                    raise _failed_transaction(409 if kind == "create" else 404)
            for kind, entity, *_ in operations:
                if kind == "delete":
                    del self.rows[_key(entity)]
                else:
                    self._put(entity)

        for kind, _, *options in operations:
            assert (kind, options) in _OPERATIONS
        self._call("submit_transaction", submit)

    def _call(self, name: str, operation: Callable[[], Any]) -> Any:
        while True:
            self._hook(f"before {name}")
            with self.lock:
                result = operation()
            try:
                self._hook(f"after {name}")
            except AnswerLost:
                continue
            return result

    def _hook(self, moment: str) -> None:
        if self.before_and_after:
            self.before_and_after(moment)

    def _existing(self, key: Key) -> TableEntity:
        if key not in self.rows:
            raise ResourceNotFoundError("ResourceNotFound")
        return self.rows[key]

    def _unchanged(self, key: Key, etag: str | None) -> TableEntity:
        existing = self._existing(key)
        if existing.metadata["etag"] != etag:
            raise ResourceModifiedError("UpdateConditionNotSatisfied")
        return existing

    def _put(self, entity: Mapping[str, Any]) -> dict[str, Any]:
        row = TableEntity(dict(entity))
        row._metadata = {"etag": f'W/"{next(_ETAGS)}"'}
        self.rows[_key(entity)] = row
        return dict(row.metadata)


def _failed_transaction(status: int) -> TableTransactionError:
    error = TableTransactionError(message="0:The transaction failed")
    error.status_code = status
    return error


def _key(entity: Mapping[str, Any]) -> Key:
    return entity["PartitionKey"], entity["RowKey"]


def _select(row: TableEntity, names: list[str] | None = None) -> TableEntity:
    chosen = TableEntity({name: value for name, value in row.items() if name in names} if names else row)
    chosen._metadata = dict(row.metadata)
    return chosen
