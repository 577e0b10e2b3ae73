"""The table: rows by partition and row key."""

from typing import Any

import pytest
from azure.core import MatchConditions
from azure.core.exceptions import ResourceExistsError, ResourceModifiedError, ResourceNotFoundError
from azure.data.tables import TableTransactionError, UpdateMode

from model_release.store.table import TABLE_NAME, Table
from tests.in_memory import RecordingTable, values

REPEATED = {"retry_on_methods": frozenset(["POST", "PATCH"])}


@pytest.fixture
def client() -> RecordingTable:
    return RecordingTable()


@pytest.fixture
def table(client: RecordingTable) -> Table:
    return Table(client)


def test_the_table_has_the_documented_name() -> None:
    assert TABLE_NAME == "modelreleases"


def test_the_table_is_created_once_and_may_exist(table: Table, client: RecordingTable) -> None:
    table.put("p", "1")
    table.put("p", "2")
    Table(client).put("p", "3")

    assert client.operations == ["create_table", "upsert_entity", "upsert_entity", "create_table", "upsert_entity"]
    assert list(client.rows) == [("p", "1"), ("p", "2"), ("p", "3")]


def test_a_row_is_read_with_its_values_and_a_missing_row_is_none(table: Table) -> None:
    table.put("p", "1", n=1)

    assert values(table.get("p", "1")) == {"n": 1}
    assert table.find("p", "1") == table.get("p", "1")
    assert table.find("p", "2") is None
    with pytest.raises(ResourceNotFoundError):
        table.get("p", "2")


def test_an_inserted_row_is_not_inserted_again(table: Table) -> None:
    etag = table.insert("p", "1", n=1)

    assert etag == table.get("p", "1").metadata["etag"]
    with pytest.raises(ResourceExistsError):
        table.insert("p", "1", n=2)
    assert values(table.get("p", "1")) == {"n": 1}


def test_an_insert_asks_for_no_content() -> None:
    asked: list[Any] = []

    class Client(RecordingTable):
        def create_entity(self, entity: Any, **options: Any) -> dict[str, Any]:
            asked.append(options)
            return super().create_entity(entity, **options)

    Table(Client()).insert("p", "1")

    assert asked == [{"response_preference": "return-no-content"} | REPEATED]


def test_a_transaction_that_fails_for_another_reason_raises_its_error(table: Table, client: RecordingTable) -> None:
    def fail(moment: str) -> None:
        if moment == "before submit_transaction":
            raise TableTransactionError(message="0:The server is busy")

    client.before_and_after = fail

    with pytest.raises(TableTransactionError, match="busy"):
        table.delete_all("p", ["1"])


def test_rows_are_deleted_together_and_not_if_one_is_gone(table: Table, client: RecordingTable) -> None:
    for row in ("1", "2"):
        table.put("p", row)

    table.delete_all("p", ["1", "3"])
    assert len(client.rows) == 2
    table.delete_all("p", ["1", "2"])
    assert not client.rows


def test_put_replaces_all_values(table: Table) -> None:
    table.put("p", "1", n=1, m=1)

    table.put("p", "1", n=2)

    assert values(table.get("p", "1")) == {"n": 2}


def test_a_change_keeps_the_other_values_and_needs_the_etag_of_the_row(table: Table) -> None:
    first = table.insert("p", "1", n=1, m=1)

    second = table.change("p", "1", first, n=2)

    assert values(table.get("p", "1")) == {"n": 2, "m": 1}
    assert second == table.get("p", "1").metadata["etag"] != first
    with pytest.raises(ResourceModifiedError):
        table.change("p", "1", first, n=3)


def test_a_row_is_deleted_if_it_exists_and_with_an_etag_only_if_it_is_unchanged(table: Table) -> None:
    first = table.insert("p", "1")
    second = table.change("p", "1", first)

    with pytest.raises(ResourceModifiedError):
        table.delete("p", "1", first)
    assert table.find("p", "1")
    table.delete("p", "1", second)
    assert table.find("p", "1") is None
    table.delete("p", "1")
    table.insert("p", "1")
    table.delete("p", "1")
    assert table.find("p", "1") is None


def test_a_query_has_values_for_its_names_and_selects_columns(table: Table) -> None:
    table.insert("p", "1", n=1, m=1)
    table.insert("p", "2", n=2, m=2)
    table.insert("q", "3", n=2)

    rows = table.query("PartitionKey eq @p and n eq @n", p="p", n=2, select=["m"])

    assert next(rows) == {"m": 2}
    assert list(rows) == []
    assert [values(row) for row in table.query("PartitionKey eq @p", p="p")] == [{"n": 1, "m": 1}, {"n": 2, "m": 2}]


def test_a_query_reads_pages_of_the_wanted_size() -> None:
    asked: dict[str, Any] = {}

    class Client(RecordingTable):
        def query_entities(self, query_filter: str, **options: Any) -> Any:
            asked.update(options)
            return super().query_entities(query_filter, **options)

    list(Table(Client()).query("PartitionKey eq @p", p="p", results_per_page=7))

    assert asked == {"parameters": {"p": "p"}, "select": None, "results_per_page": 7}


def test_conditions_are_those_of_the_sdk(table: Table, client: RecordingTable, monkeypatch: Any) -> None:
    calls: list[dict[str, Any]] = []
    for name in ("update_entity", "upsert_entity", "delete_entity"):
        monkeypatch.setattr(client, name, lambda *_, **options: calls.append(options) or {"etag": "e"})

    assert table.change("p", "1", "x") == "e"
    table.put("p", "1")
    table.delete("p", "1", "x")
    table.delete("p", "1")

    unchanged = {"etag": "x", "match_condition": MatchConditions.IfNotModified}
    assert calls == [unchanged | {"mode": UpdateMode.MERGE} | REPEATED, {"mode": UpdateMode.REPLACE}, unchanged, {}]
