"""The one table of the app, created when it is first needed.

The event of a row is compressed, in as many binary properties as it needs: `event0`, `event1`, ….
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import cached_property
from itertools import count, takewhile
from typing import Any, NamedTuple

from azure.core import MatchConditions
from azure.core.credentials import TokenCredential
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.core.pipeline.transport import RequestsTransport
from azure.data.tables import TableClient, TableEntity, TableTransactionError, UpdateMode

from model_release.session import CredentialSession
from model_release.settings import Storage
from model_release.text import compress, decompress

TABLE_NAME = "modelreleases"
# A property holds 64 KiB, of which this is a little less.
# https://learn.microsoft.com/rest/api/storageservices/understanding-the-table-service-data-model
PART_BYTES = 64_000
_EVENT = "event"
# By default azure-core does not repeat POST and PATCH after a lost answer. These writes are conditional: a repetition
# conflicts, and the row is compared with what was written. The client accepts this option only with each call.
_REPEATED: Any = {"retry_on_methods": frozenset(["POST", "PATCH"])}
_TRANSACTION_ERRORS: dict[int | None, type[HttpResponseError]] = {404: ResourceNotFoundError, 409: ResourceExistsError}


class Patience(NamedTuple):
    """How long one request may last: the seconds until storage accepts it and until it answers, and the retries."""

    connect: float
    read: float
    retries: int


def table_client(storage: Storage, credential: TokenCredential, patience: Patience) -> TableClient:
    """Return the client of the table, which sends its credential to this storage only."""
    session = CredentialSession()
    transport = RequestsTransport(
        session=session, session_owner=False, connection_timeout=patience.connect, read_timeout=patience.read
    )
    # The SDK's own user agent has the processor, for which Python runs another program.
    options: dict[str, Any] = {
        "retry_total": patience.retries,
        "transport": transport,
        "base_user_agent": "model-release",
    }
    if storage.connection_string:
        client = TableClient.from_connection_string(storage.connection_string, TABLE_NAME, **options)
    else:
        client = TableClient(storage.table_endpoint, TABLE_NAME, credential=credential, **options)
    session.allow(client.url)
    return client


class Table:
    """Rows by partition and row key; every method raises azure-core's errors if storage fails."""

    def __init__(self, client: TableClient) -> None:
        self._client = client

    @cached_property
    def client(self) -> TableClient:
        """The client of a table that exists."""
        with suppress(ResourceExistsError):
            self._client.create_table(**_REPEATED)
        return self._client

    def get(self, partition: str, row: str) -> TableEntity:
        """Read a row; raises ResourceNotFoundError."""
        return self.client.get_entity(partition, row)

    def find(self, partition: str, row: str) -> TableEntity | None:
        """Read a row, None if it does not exist."""
        try:
            return self.get(partition, row)
        except ResourceNotFoundError:
            return None

    def insert(self, partition: str, row: str, /, **values: Any) -> str:
        """Insert a row and return its etag; raises ResourceExistsError."""
        # By default the service returns the row. https://learn.microsoft.com/rest/api/storageservices/insert-entity
        entity = _entity(partition, row, values)
        answer = self.client.create_entity(entity, response_preference="return-no-content", **_REPEATED)
        return str(answer["etag"])

    def put(self, partition: str, row: str, /, **values: Any) -> None:
        """Insert or replace a row."""
        self.client.upsert_entity(_entity(partition, row, values), mode=UpdateMode.REPLACE)

    def change(self, partition: str, row: str, etag: str, /, **values: Any) -> str:
        """Write some values of an unchanged row and return its new etag; raises ResourceModifiedError."""
        answer = self.client.update_entity(
            _entity(partition, row, values),
            mode=UpdateMode.MERGE,
            etag=etag,
            match_condition=MatchConditions.IfNotModified,
            **_REPEATED,
        )
        return str(answer["etag"])

    def delete(self, partition: str, row: str, etag: str = "") -> None:
        """Delete a row if it exists; with an etag only an unchanged row, otherwise raises ResourceModifiedError."""
        if etag:
            self.client.delete_entity(partition, row, etag=etag, match_condition=MatchConditions.IfNotModified)
        else:
            self.client.delete_entity(partition, row)

    def insert_over(self, partition: str, row: str, values: Mapping[str, Any], before: Mapping[str, Any]) -> None:
        """Insert a row, and insert or replace those before it, in one transaction; raises ResourceExistsError."""
        rows: list[Any] = [("create", _entity(partition, row, values))]
        replaced = {"mode": UpdateMode.REPLACE}
        self._submit(rows + [("upsert", _entity(partition, one, old), replaced) for one, old in before.items()])

    def delete_all(self, partition: str, rows: Iterable[str]) -> None:
        """Delete rows of a partition in one transaction, at most 100; deletes nothing if one of them is gone."""
        # The SDK repeats a transaction whose answer was lost, and then its rows are gone.
        with suppress(ResourceNotFoundError):
            self._submit([("delete", _entity(partition, row, {})) for row in rows])

    def _submit(self, operations: list[Any]) -> None:
        try:
            self.client.submit_transaction(operations, **_REPEATED)
        except TableTransactionError as error:
            if kind := _TRANSACTION_ERRORS.get(error.status_code):
                raise kind(error.message) from error
            raise

    def query(self, condition: str, /, **options: Any) -> Iterator[TableEntity]:
        """Read the rows that meet the condition; options other than the SDK's are the values of its `@names`."""
        select, size = options.pop("select", None), options.pop("results_per_page", None)
        return iter(self.client.query_entities(condition, parameters=options, select=select, results_per_page=size))


def _entity(partition: str, row: str, values: Mapping[str, Any]) -> dict[str, Any]:
    return {"PartitionKey": partition, "RowKey": row, **values}


def split(values: Mapping[str, Any]) -> dict[str, Any]:
    """Replace the event among the values of a row, if it is one of them, by its parts."""
    row = dict(values)
    if _EVENT in row:
        compressed = compress(row.pop(_EVENT))
        starts = range(0, len(compressed), PART_BYTES)
        row |= {f"{_EVENT}{number}": compressed[at : at + PART_BYTES] for number, at in enumerate(starts)}
    return row


def join(row: Mapping[str, Any]) -> str:
    """Return the event of a row."""
    names = takewhile(row.__contains__, (f"{_EVENT}{number}" for number in count()))
    # The parts of a longer event, which this one replaced, may follow; the end of the compressed text is known.
    return decompress(b"".join(row[name] for name in names))
