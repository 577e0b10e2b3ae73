"""A growing ledger: the same figures where many claims are finished, and those of Azurite itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import islice
from time import perf_counter

import requests
from azure.data.tables import TableClient

from bench.claims import fill
from bench.figures import Figure, Section, p50, p95, ratio
from bench.load import WARM_UP, Connection, burst_of, deliver_next, events, interleave, warm_up
from bench.options import Options
from bench.programs import APP, AzureDevOps, Program, serve, settings
from local import azurite
from model_release.store.table import NAME

_LIMIT = 1.1
_PARTS = 4


@dataclass(frozen=True)
class _Grown:
    """An app whose ledger holds so many finished claims."""

    host: Program
    stream: Iterator[bytes]

    def one(self) -> Callable[[], float]:
        return partial(deliver_next, Connection(self.host.url), self.stream)

    def burst(self, size: int) -> Callable[[], float]:
        return partial(burst_of, self.host.url, self.stream, size)

    def sweep(self) -> float:
        sweep = f"{self.host.url}/admin/functions/unfinished_releases"
        return _timed(lambda: requests.post(sweep, json={}, timeout=300).raise_for_status())

    def page(self) -> float:
        page = f"{self.host.url}/api/releases"
        return _timed(lambda: requests.get(page, timeout=300).raise_for_status())


_Sizes = Mapping[int, _Grown]


def growth(options: Options) -> Iterator[Section]:
    """Each size has an Azurite of its own, so that all of them are measured in turn."""
    with ExitStack() as stack:
        storages = {}
        for claims in options.claims:
            storages[claims] = azurite.connection_string(stack.enter_context(azurite.running()))
            fill(storages[claims], claims)
        # Later than the claims that are there.
        streams = {claims: events(first_version=1_000_000) for claims in storages}
        for delay in options.delays:
            posts = len(storages) * WARM_UP + 2 * options.rounds
            with ExitStack() as of_delay:
                azure_devops = of_delay.enter_context(AzureDevOps(delay))
                sizes = {}
                for claims, storage in storages.items():
                    host = of_delay.enter_context(serve(APP, settings(azure_devops.url, storage)))
                    sizes[claims] = _Grown(host, streams[claims])
                    warm_up(host.url, sizes[claims].stream)
                yield Section(f"Growth: one event, Azure DevOps at {delay} ms", _one_event(options, delay, sizes))
                if delay == options.delays[0]:
                    posts += 2 * options.burst
                    yield Section("Growth: burst", _burst(options, sizes))
                    yield Section("Growth: sweep and page", list(_reads(options, sizes)))
                azure_devops.check(posts)
        yield Section("Growth: Azurite itself, without the app", list(_bare(options, storages)))


def _one_event(options: Options, delay: int, sizes: _Sizes) -> list[Figure]:
    few, many = min(sizes), max(sizes)
    before = {claims: sizes[claims].host.cpu_seconds() for claims in (few, many)}
    seconds = interleave(options.rounds, {few: sizes[few].one(), many: sizes[many].one()})
    cpu = {claims: sizes[claims].host.cpu_seconds() - before[claims] for claims in (few, many)}
    what = f"one event, Azure DevOps at {delay} ms, {_against(sizes)}"
    return [
        ratio(f"{what}: p50", p50(seconds[many]), p50(seconds[few]), "ms", at_most=_LIMIT),
        ratio(f"{what}: p95", p95(seconds[many]), p95(seconds[few]), "ms", at_most=_LIMIT),
        ratio(
            f"{what}: CPU per event, host included",
            cpu[many] / options.rounds * 1000,
            cpu[few] / options.rounds * 1000,
            "ms",
            at_most=_LIMIT,
        ),
    ]


def _burst(options: Options, sizes: _Sizes) -> list[Figure]:
    few, many = min(sizes), max(sizes)
    size = options.burst // _PARTS
    seconds = interleave(_PARTS, {claims: sizes[claims].burst(size) for claims in (few, many)})
    what = f"burst of {options.burst:,}, {_against(sizes)}"
    memory = {claims: sizes[claims].host.peak_megabytes() for claims in (few, many)}
    return [
        ratio(f"{what}: time", sum(seconds[many]), sum(seconds[few]), "s", at_most=_LIMIT),
        ratio(f"{what}: peak memory", memory[many], memory[few], "MB", at_most=_LIMIT),
    ]


def _reads(options: Options, sizes: _Sizes) -> Iterator[Figure]:
    few = min(sizes)
    for what in ("sweep", "page"):
        seconds = interleave(options.reads, {claims: getattr(app, what) for claims, app in sizes.items()})
        for claims in list(sizes)[1:]:
            yield ratio(
                f"{what}, {claims:,} finished claims against {few}",
                p50(seconds[claims]),
                p50(seconds[few]),
                "ms",
                at_most=_LIMIT,
            )


def _bare(options: Options, storages: Mapping[int, str]) -> Iterator[Figure]:
    """What the app asks of storage, asked by nobody but the SDK: how much of a growth is the emulator's."""
    few, many = min(storages), max(storages)
    tables = {claims: TableClient.from_connection_string(storages[claims], NAME) for claims in (few, many)}
    for name, ask in _QUESTIONS.items():
        seconds = interleave(
            options.reads, {claims: partial(_timed, partial(ask, table)) for claims, table in tables.items()}
        )
        yield ratio(f"{name}, {_against(storages)}", p50(seconds[many]), p50(seconds[few]), "ms")


_LINE = {"PartitionKey": "recent", "RowKey": "9999999999999999 bench", "reason": "." * 500}
_QUESTIONS: Mapping[str, Callable[[TableClient], object]] = {
    "Azurite writes a line of the history": lambda table: table.upsert_entity(_LINE),
    "Azurite reads a line of the history": lambda table: table.get_entity("recent", _LINE["RowKey"]),
    "Azurite finds nothing open": lambda table: list(table.query_entities("PartitionKey eq 'open'")),
    "Azurite finds nothing to prune": lambda table: list(
        table.query_entities("PartitionKey eq 'recent' and RowKey gt '99999999999999999'")
    ),
    "Azurite lists 50 lines of the history": lambda table: list(
        islice(table.query_entities("PartitionKey eq 'recent'", results_per_page=50), 50)
    ),
}


def _timed(act: Callable[[], object]) -> float:
    began = perf_counter()
    act()
    return perf_counter() - began


def _against(sizes: Mapping[int, object]) -> str:
    return f"{max(sizes):,} finished claims against {min(sizes)}"
