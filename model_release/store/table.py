"""The one table that all records are in; made when it is first needed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from functools import cached_property
from typing import Any

from azure.core import MatchConditions
from azure.core.exceptions import ResourceExistsError, ResourceNotFoundError
from azure.data.tables import TableClient, TableEntity, UpdateMode

NAME = "modelreleases"


class Table:
    """Rows by partition and key; every method raises azure-core's errors when storage fails."""

    def __init__(self, client: TableClient) -> None:
        self._client = client

    @cached_property
    def client(self) -> TableClient:
        """The client of a table that exists."""
        with suppress(ResourceExistsError):
            self._client.create_table()
        return self._client

    def get(self, partition: str, row: str) -> TableEntity:
        """The row; raises ResourceNotFoundError."""
        return self.client.get_entity(partition, row)

    def find(self, partition: str, row: str) -> TableEntity | None:
        """The row, None where there is none."""
        try:
            return self.get(partition, row)
        except ResourceNotFoundError:
            return None

    def create(self, partition: str, row: str, /, **values: Any) -> str:
        """Add a row and answer its etag; raises ResourceExistsError."""
        # Else the service sends it back. https://learn.microsoft.com/rest/api/storageservices/insert-entity
        answer = self.client.create_entity(_entity(partition, row, values), response_preference="return-no-content")
        return str(answer["etag"])

    def put(self, partition: str, row: str, /, **values: Any) -> None:
        """Write the row, whether it is there or not."""
        self.client.upsert_entity(_entity(partition, row, values), mode=UpdateMode.REPLACE)

    def change(self, partition: str, row: str, etag: str, /, **values: Any) -> str:
        """Write into a row that nobody has written since, and answer its new etag; raises ResourceModifiedError."""
        answer = self.client.update_entity(
            _entity(partition, row, values),
            mode=UpdateMode.MERGE,
            etag=etag,
            match_condition=MatchConditions.IfNotModified,
        )
        return str(answer["etag"])

    def delete(self, partition: str, row: str) -> None:
        """Remove the row, if it is there."""
        self.client.delete_entity(partition, row)

    def query(self, condition: str, /, **options: Any) -> Iterator[TableEntity]:
        """The rows that meet the condition; its `@names` are the options that it does not take itself."""
        select, size = options.pop("select", None), options.pop("results_per_page", None)
        return iter(self.client.query_entities(condition, parameters=options, select=select, results_per_page=size))


def _entity(partition: str, row: str, values: dict[str, Any]) -> dict[str, Any]:
    return {"PartitionKey": partition, "RowKey": row, **values}
