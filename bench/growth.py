"""A growing table: the same figures with few and with many finished claims."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import islice
from time import perf_counter
from typing import Any, cast

import requests
from azure.core.exceptions import ResourceNotFoundError
from azure.data.tables import TableClient

from bench.figures import Section, p50, p95, ratio
from bench.load import (
    PARTS,
    WARM_UP,
    AzureDevOps,
    Connection,
    Options,
    burst_of,
    cpu_seconds,
    events,
    interleave,
    peak_megabytes,
    settings,
    warm_up,
)
from local import azurite
from local.program import Program, functions_host
from model_release.domain.claims import AttemptResult, State, target_digest
from model_release.domain.events import parse
from model_release.domain.lease import Lease
from model_release.domain.routing import matched
from model_release.domain.targets import Created, Plan, Target
from model_release.flow.record import Recorder
from model_release.store.claims import Claims
from model_release.store.high_water_mark import HighWaterMarks
from model_release.store.history import KEEP, History
from model_release.store.pending import Pending
from model_release.store.table import TABLE_NAME, Table
from model_release.store.targets import Resolved

_LIMIT = 1.1
_PLAN = Plan(Target("fraud", "Deploy model"), "*", newest_only=True)
# The most rows of one transaction.
_ROWS = 100
# A hundred thousand claims are three years' worth, of which the history shows the last 90 days.
_APART = timedelta(minutes=15)
_MODELS = 200


@dataclass(frozen=True)
class _App:
    """An app whose table has some finished claims."""

    host: Program
    stream: Iterator[bytes]

    def sweep(self) -> float:
        began = perf_counter()
        requests.post(f"{self.host.url}/admin/functions/unfinished_releases", json={}, timeout=300).raise_for_status()
        return perf_counter() - began

    def page(self) -> float:
        began = perf_counter()
        requests.get(f"{self.host.url}/api/releases", timeout=300).raise_for_status()
        return perf_counter() - began


def growth(options: Options) -> Iterator[Section]:
    """Measure both sizes in turn, each with an Azurite of its own."""
    with ExitStack() as stack:
        storages = []
        for claims in options.claims:
            storages.append(azurite.connection_string(stack.enter_context(azurite.running())))
            fill(storages[-1], claims)
        # Later versions than those in the table.
        streams = [events(first_version=1_000_000) for _ in storages]
        for delay in options.delays:
            with ExitStack() as of_delay:
                azure_devops = of_delay.enter_context(AzureDevOps(delay))
                few, many = (
                    _App(of_delay.enter_context(functions_host(settings(azure_devops.url, storage))), stream)
                    for storage, stream in zip(storages, streams, strict=True)
                )
                yield from _measure(options, delay, few, many)
                bursts = options.burst if delay == options.delays[0] else 0
                azure_devops.check(posts=2 * (WARM_UP + options.rounds + bursts))


def _measure(options: Options, delay: int, few: _App, many: _App) -> Iterator[Section]:
    def ratios(what: str, unit: str, **pairs: tuple[float, float]) -> Section:
        against = f"{options.claims[1]:,} finished claims against {options.claims[0]:,}"
        return Section(
            f"Growth: {what}",
            [
                ratio(f"{what}, {against}: {name.replace('_', ' ')}", ours, theirs, unit, at_most=_LIMIT)
                for name, (ours, theirs) in pairs.items()
            ],
        )

    apps = {"few": few, "many": many}
    for app in apps.values():
        warm_up(app.host.url, app.stream)
    before = {name: cpu_seconds(app.host) for name, app in apps.items()}
    deliver = {name: partial(Connection(app.host.url).deliver_next, app.stream) for name, app in apps.items()}
    seconds = interleave(options.rounds, deliver)
    cpu = {name: (cpu_seconds(app.host) - before[name]) / options.rounds * 1000 for name, app in apps.items()}
    yield ratios(
        f"one event, Azure DevOps at {delay} ms",
        "ms",
        p50=(p50(seconds["many"]), p50(seconds["few"])),
        p95=(p95(seconds["many"]), p95(seconds["few"])),
        CPU=(cpu["many"], cpu["few"]),
    )
    if delay != options.delays[0]:
        return
    size = options.burst // PARTS
    parts = {name: partial(burst_of, app.host.url, app.stream, size) for name, app in apps.items()}
    burst = interleave(PARTS, parts)
    what = f"burst of {options.burst:,}"
    yield ratios(what, "s", time=(sum(burst["many"]), sum(burst["few"])))
    yield ratios(what, "MB", peak_memory=(peak_megabytes(many.host), peak_megabytes(few.host)))
    for read in ("sweep", "page"):
        reads = interleave(options.reads, {name: getattr(app, read) for name, app in apps.items()})
        yield ratios(read, "ms", p50=(p50(reads["many"]), p50(reads["few"])))


class _RecordingTable:
    """Records the rows that the stores write, instead of a TableClient."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str], dict[str, Any]] = {}

    def create_table(self, **_: Any) -> None:
        pass

    def get_entity(self, *_: str) -> None:
        raise ResourceNotFoundError

    def create_entity(self, entity: dict[str, Any], **_: Any) -> dict[str, str]:
        self.rows[entity["PartitionKey"], entity["RowKey"]] = entity
        return {"etag": "any"}

    upsert_entity = create_entity

    def update_entity(self, entity: dict[str, Any], **_: Any) -> dict[str, str]:
        return self.create_entity(self.rows[entity["PartitionKey"], entity["RowKey"]] | entity)


def fill(connection: str, claims: int) -> None:
    """Write finished claims, row for row as the app writes them."""
    table = TableClient.from_connection_string(connection, TABLE_NAME)
    table.create_table()
    # The next transaction is prepared while storage processes one.
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(table.submit_transaction, _transactions(_rows(claims))))


def _rows(claims: int) -> Sequence[Mapping[str, Any]]:
    recording = _RecordingTable()
    end = datetime.now(UTC)
    now = end - claims * _APART

    def clock() -> datetime:
        return now

    table = Table(cast("TableClient", recording))
    store = Claims(table, lease=Lease(timedelta(seconds=180), timedelta(seconds=20)), clock=clock)
    marks = HighWaterMarks(table, store, clock)
    recorder = Recorder(store, marks, Pending(table, clock), History(table, clock), clock)
    for number, body in enumerate(islice(events(models=_MODELS), claims), start=1):
        event = parse(json.dumps(json.loads(body)[0], separators=(",", ":")))
        now += _APART
        claim, _ = store.insert(store.new(_PLAN, event, Resolved(target_digest(_PLAN.target), 1), (), "").claim)
        marks.advance(claim)
        page = f"http://127.0.0.1:7080/contoso/fraud/_release?releaseId={number}&_a=release-summary"
        created = Created(number, f"Release-{number}", page)
        reason = matched("*", event)
        recorder.record(claim, AttemptResult(State.STARTED, reason, created=created), has_pending_row=False)
    pruned = {key for key, row in recording.rows.items() if key[0] == "history" and row["time"] < end - KEEP}
    return [row for key, row in recording.rows.items() if key not in pruned]


def _transactions(rows: Sequence[Mapping[str, Any]]) -> Iterator[list[tuple[str, Mapping[str, Any]]]]:
    partitions = defaultdict(list)
    for row in rows:
        partitions[row["PartitionKey"]].append(("create", row))
    for partition in partitions.values():
        for first in range(0, len(partition), _ROWS):
            yield partition[first : first + _ROWS]
