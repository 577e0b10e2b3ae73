"""Fill a ledger with finished claims, row for row as the app writes them."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any, cast

from azure.core.exceptions import ResourceNotFoundError
from azure.data.tables import TableClient

from bench.load import events
from model_release.domain.claims import Outcome, State
from model_release.domain.events import parse
from model_release.domain.release_map import Start, StartedRelease, Target
from model_release.store.history import KEEP, History
from model_release.store.ledger import Ledger
from model_release.store.table import NAME, Table

_START = Start(Target("fraud", "Deploy model"), "*", newest_only=True)
# The storage service takes no more rows in one transaction.
_ROWS = 100
# A hundred thousand are three years' worth, of which the history shows the last 90 days.
_APART = timedelta(minutes=15)
_MODELS = 200


class _Noted:
    """Takes the ledger's writes, and keeps what would be in the table after them."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str], dict[str, Any]] = {}

    def create_table(self) -> None:
        pass

    def get_entity(self, *_: str) -> None:
        raise ResourceNotFoundError

    def create_entity(self, entity: dict[str, Any], **_: Any) -> dict[str, str]:
        self.rows[entity["PartitionKey"], entity["RowKey"]] = entity
        return {"etag": "as it was"}

    upsert_entity = create_entity

    def update_entity(self, entity: dict[str, Any], **_: Any) -> dict[str, str]:
        return self.create_entity(self.rows[entity["PartitionKey"], entity["RowKey"]] | entity)


def fill(connection: str, claims: int) -> None:
    """Write so many claims; the later events of a bench are about the first of their models."""
    table = TableClient.from_connection_string(connection, NAME)
    table.create_table()
    # While storage works at one transaction, the next is made.
    with ThreadPoolExecutor(2) as pool:
        list(
            pool.map(
                lambda batch: table.submit_transaction([("create", row) for row in batch]), _batches(_rows(claims))
            )
        )


def _rows(claims: int) -> Sequence[Mapping[str, Any]]:
    noted = _Noted()
    end = datetime.now(UTC)
    now = end - claims * _APART
    table = Table(cast("TableClient", noted))
    ledger = Ledger(table, History(table, lambda: now), lease=timedelta(seconds=180), clock=lambda: now)
    for number, body in enumerate(islice(events(models=_MODELS), claims), start=1):
        event = parse(json.dumps(json.loads(body)[0], separators=(",", ":")))
        now += _APART
        claim, _ = ledger.claim(_START, event)
        ledger.join_line(claim)
        page = f"http://127.0.0.1:7080/contoso/fraud/_release?releaseId={number}&_a=release-summary"
        release = StartedRelease(number, f"Release-{number}", page)
        reason = f"route * takes {event.model} {event.version}"
        ledger.close(claim, Outcome(State.STARTED, reason, release=release))
    pruned = {key for key, row in noted.rows.items() if key[0] == "recent" and row["when"] < end - KEEP}
    return [row for key, row in noted.rows.items() if key not in pruned]


def _batches(rows: Sequence[Mapping[str, Any]]) -> Iterator[Sequence[Mapping[str, Any]]]:
    partitions = defaultdict(list)
    for row in rows:
        partitions[row["PartitionKey"]].append(row)
    for partition in partitions.values():
        for first in range(0, len(partition), _ROWS):
            yield partition[first : first + _ROWS]
