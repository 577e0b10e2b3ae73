"""The table in memory answers as Table storage does."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from azure.core import MatchConditions
from azure.core.exceptions import AzureError
from azure.data.tables import TableEntity, TableTransactionError, UpdateMode

from tests.environment import Environment
from tests.tables import MemoryTable


def _row(row: str, partition: str = "p", **values: Any) -> dict[str, Any]:
    return {"PartitionKey": partition, "RowKey": row, **values}


def _changing(table: Any, row: dict[str, Any], etag: str) -> Any:
    return table.update_entity(row, mode=UpdateMode.MERGE, etag=etag, match_condition=MatchConditions.IfNotModified)


def _deleting(table: Any, etag: str) -> None:
    table.delete_entity("p", "1", etag=etag, match_condition=MatchConditions.IfNotModified)


def _over(*rows: str) -> list[Any]:
    return [("upsert", _row(row, n=2), {"mode": UpdateMode.REPLACE}) for row in rows]


NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
SCRIPTS: dict[str, list[Callable[[Any], Any]]] = {
    "the table exists": [lambda t: t.create_table()],
    "insert": [
        lambda t: t.create_entity(_row("1", n=1, when=NOON, text="ä"), response_preference="return-no-content"),
        lambda t: t.get_entity("p", "1"),
    ],
    "insert again": [lambda t: t.create_entity(_row("1", n=1)), lambda t: t.create_entity(_row("1", n=2))],
    "a missing row": [lambda t: t.get_entity("p", "1"), lambda t: _changing(t, _row("1"), 'W/"1"')],
    "change": [
        lambda t: t.create_entity(_row("1", n=1, more=2)),
        lambda t: _changing(t, _row("1", n=3), t.get_entity("p", "1").metadata["etag"]),
        lambda t: t.get_entity("p", "1"),
    ],
    "change a changed row": [
        lambda t: t.create_entity(_row("1", n=1)),
        lambda t: _changing(
            t,
            _row("1", n=3),
            (t.get_entity("p", "1"), t.upsert_entity(_row("1"), UpdateMode.REPLACE))[0].metadata["etag"],
        ),
        lambda t: t.get_entity("p", "1"),
    ],
    "upsert": [
        lambda t: t.upsert_entity(_row("1", n=1, more=2), mode=UpdateMode.REPLACE),
        lambda t: t.upsert_entity(_row("1", n=2), mode=UpdateMode.REPLACE),
        lambda t: t.get_entity("p", "1"),
    ],
    "delete": [
        lambda t: t.create_entity(_row("1")),
        lambda t: t.delete_entity("p", "1"),
        lambda t: t.delete_entity("p", "1"),
        lambda t: t.get_entity("p", "1"),
    ],
    "delete an unchanged row": [
        lambda t: t.create_entity(_row("1")),
        lambda t: _deleting(t, t.get_entity("p", "1").metadata["etag"]),
        lambda t: t.get_entity("p", "1"),
    ],
    "delete a changed row": [
        lambda t: t.create_entity(_row("1")),
        lambda t: _deleting(
            t, (t.get_entity("p", "1"), t.upsert_entity(_row("1"), UpdateMode.REPLACE))[0].metadata["etag"]
        ),
        lambda t: t.get_entity("p", "1"),
    ],
    "delete a row that is gone": [lambda t: _deleting(t, 'W/"1"')],
    "query": [
        lambda t: [t.create_entity(_row(str(n), when=NOON + timedelta(hours=n))) for n in (3, 1, 2)],
        lambda t: t.create_entity(_row("1", partition="o", when=NOON)),
        lambda t: t.create_entity(_row("4")),
        lambda t: list(t.query_entities("PartitionKey eq @p", parameters={"p": "p"}, results_per_page=2)),
        lambda t: list(
            t.query_entities(
                "PartitionKey eq @p and when le @now", parameters={"p": "p", "now": NOON + timedelta(hours=2)}
            )
        ),
        lambda t: list(
            t.query_entities(
                "PartitionKey eq @p and RowKey gt @r",
                parameters={"p": "p", "r": "1"},
                select=["PartitionKey", "RowKey"],
                results_per_page=100,
            )
        ),
    ],
    "insert a row over others": [
        lambda t: t.create_entity(_row("1", n=1, more=1)),
        lambda t: t.submit_transaction([("create", _row("3")), *_over("1", "2")]) and None,
        lambda t: list(t.query_entities("PartitionKey eq @p", parameters={"p": "p"})),
    ],
    "insert a row that exists over others": [
        lambda t: [t.create_entity(_row(str(n))) for n in (1, 3)],
        lambda t: t.submit_transaction([("create", _row("3")), *_over("1", "2")]),
        lambda t: list(t.query_entities("PartitionKey eq @p", parameters={"p": "p"})),
    ],
    "delete several of which one is gone": [
        lambda t: t.create_entity(_row("1")),
        lambda t: t.submit_transaction([("delete", _row("1")), ("delete", _row("2"))]),
        lambda t: t.get_entity("p", "1"),
    ],
    "delete several": [
        lambda t: [t.create_entity(_row(str(n))) for n in range(3)],
        lambda t: t.submit_transaction([("delete", _row("0")), ("delete", _row("1"))]) and None,
        lambda t: list(t.query_entities("PartitionKey eq @p", parameters={"p": "p"})),
    ],
}


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
def test_it_answers_as_table_storage_does(env: Environment, script: list[Callable[[Any], Any]]) -> None:
    in_memory, real = MemoryTable(), env.app.sweep.history._table._client
    in_memory.create_table()
    real.create_table()

    for call in script:
        assert _answer(call, in_memory) == _answer(call, real)


def _answer(call: Callable[[Any], Any], table: Any) -> Any:
    try:
        answer = call(table)
    except AzureError as error:
        return type(error), getattr(error, "status_code", None) if isinstance(error, TableTransactionError) else 0
    return _plain(answer)


def _plain(answer: Any) -> Any:
    if isinstance(answer, list):
        return [_plain(one) for one in answer]
    if isinstance(answer, TableEntity):
        return dict(answer)
    # The app reads only the etag of the answer to a write.
    return {"etag"} & set(answer) if isinstance(answer, dict) else answer
