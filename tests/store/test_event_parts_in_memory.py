"""The event of a row: any text, in properties that Table storage accepts."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_release.domain.claims import Attempt, State
from model_release.domain.events import MAX_COMPRESSED_BYTES
from model_release.store.table import PART_BYTES, join, split
from tests.in_memory import NOON, Process, incompressible

# https://learn.microsoft.com/rest/api/storageservices/understanding-the-table-service-data-model
PROPERTY_BYTES, ROW_BYTES = 64 * 1024, 1024 * 1024


@given(st.text())
def test_any_event_is_read_as_it_was_written(event: str) -> None:
    row = split({"event": event, "event_id": "1"})

    assert set(row) == {"event_id", "event0"}
    assert join(row) == event


@pytest.mark.parametrize("length", [1_000, 100_000, 300_000, 1_180_000])
def test_a_large_event_has_several_parts(length: int) -> None:
    event = incompressible(length)

    row = split({"event": event})

    assert list(row) == [f"event{number}" for number in range(len(row))]
    assert len(row) > length / 100_000
    assert max(map(len, row.values())) <= PART_BYTES <= PROPERTY_BYTES
    assert join(row) == event


def test_values_without_an_event_are_not_changed() -> None:
    assert split({"state": "started"}) == {"state": "started"}


def test_a_shorter_event_replaces_a_longer_one() -> None:
    row = split({"event": incompressible(300_000)}) | split({"event": "short"})

    assert join(row) == "short"


def test_the_largest_claim_with_the_largest_event_fits_into_a_row() -> None:
    process = Process()
    new = process.new("v" * 255, "k" * 64, *["s" * 16] * 500).claim
    claim, _ = process.claims.insert(new)
    longest = Attempt(20, NOON, State.REFUSED, '"' * 500)
    process.claims.update(
        claim, replace(claim, reason="r" * 4_000, attempts=(longest,) * 20, release_name="n" * 1_000, model="m" * 255)
    )
    (row,) = process.rows(claim.partition).values()
    parts = {f"event{number}": bytes(PART_BYTES) for number in range(MAX_COMPRESSED_BYTES // PART_BYTES)}

    assert sum(map(len, parts.values())) == MAX_COMPRESSED_BYTES
    assert _size({**row, **parts}) < ROW_BYTES


def _size(row: dict[str, Any]) -> int:
    """Count as the service does.

    https://learn.microsoft.com/archive/blogs/avkashchauhan/how-the-size-of-an-entity-is-caclulated-in-windows-azure-table-storage
    """
    keys = 4 + 88 + 2 * len(row["PartitionKey"] + row["RowKey"])
    return keys + sum(8 + 2 * len(name) + _size_of(value) for name, value in row.items())


def _size_of(value: object) -> int:
    if isinstance(value, bytes):
        return len(value) + 4
    return 2 * len(value) + 4 if isinstance(value, str) else 8
