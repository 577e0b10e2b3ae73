"""One soak run: registers, kills, fails and sweeps at the same time, and waits until nothing is pending."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import requests

from bench.proxy import Proxy
from bench.soak_hosts import Hosts
from bench.soak_models import Count, ModelVersion, Records, compare, created, model_names, versions
from local.azure_devops import AzureDevOps
from local.azure_ml import WORKSPACE, AzureMl
from local.demo_scenes import model_registered
from local.event_grid import EventGrid
from local.serving import Server

_MOST_WAITING = 400
_TICK_SECONDS = 0.25
_PROGRESS_SECONDS = 5
_PAUSE_SECONDS = 1
# A request still ends within its timeout, and three requests use up most of the lease.
_SLOW_SECONDS = 0.8


@dataclass(frozen=True)
class SoakOptions:
    """The size of a run; times are in seconds."""

    events: int = 10_000
    models: int = 200
    seed: int = 1
    hosts: int = 3
    kill_every: float = 5
    sweep_every: float = 2
    outage: float = 6
    patience: float = 40 * 60
    undelivered: float = 0.05
    logs: Path | None = None


@dataclass(frozen=True)
class Result:
    """The end of a run."""

    options: SoakOptions
    finished: bool
    seconds: float
    count: Count
    states: Mapping[str, int]
    pending: int
    unacknowledged: int
    figures: Mapping[str, int | str]

    @property
    def good(self) -> bool:
        """Whether the run finished in time with nothing doubled, lost, backwards, pending or unacknowledged."""
        wrong = self.count.doubled or self.count.lost or self.count.backwards or self.pending or self.unacknowledged
        return self.finished and not wrong


@dataclass
class Soak:
    """A run: its servers and processes, and what has happened so far."""

    options: SoakOptions
    azure_devops: AzureDevOps
    azure_devops_proxy: Proxy
    azure_devops_server: Server
    storage_proxy: Proxy
    storage_server: Server
    azure_ml: AzureMl
    hosts: Hosts
    grid: EventGrid
    records: Records
    registered: list[ModelVersion] = field(default_factory=list)
    undelivered: int = 0
    catch_ups: int = 0
    outages: int = 0
    sweeps: int = 0
    dead_letters: int = 0
    began: float = field(default_factory=time.monotonic)
    quiet: threading.Event = field(default_factory=threading.Event)
    over: threading.Event = field(default_factory=threading.Event)

    def run(self) -> bool:
        """Run to the end; return False if that takes too long."""
        # The first catch-up only records where the next one begins.
        self.storage_proxy.calm = self.azure_devops_proxy.calm = True
        if self.hosts.run("missed_models") != requests.codes.accepted:
            raise RuntimeError("the first catch-up failed; run with --logs FILE to see why")
        self.storage_proxy.calm = self.azure_devops_proxy.calm = False
        with ThreadPoolExecutor(6) as pool:
            try:
                tasks = [pool.submit(task) for task in (self._kill, self._sweep, self._print_progress, self._fail)]
                for task in tasks:
                    task.add_done_callback(self._end_if_failed)
                finished = self._register() and self._finish()
            finally:
                self.quiet.set()
                self.over.set()
            for task in tasks:
                task.result()
        return finished

    def _end_if_failed(self, task: Future[None]) -> None:
        if task.exception():
            self.over.set()

    def _register(self) -> bool:
        """Register every model version, as fast as Event Grid delivers them."""
        random = Random(f"{self.options.seed} registered")
        coming = versions(model_names(self.options.models), self.options.events)
        for number, version in enumerate(coming):
            while self.grid.waiting >= _MOST_WAITING:
                if self._is_over(_TICK_SECONDS):
                    return False
            self._register_one(version, delivered=random.random() >= self.options.undelivered)
            if number == len(coming) // 2:
                threading.Thread(target=self._catch_up, daemon=True).start()
        return True

    def _register_one(self, version: ModelVersion, *, delivered: bool) -> None:
        event = model_registered(*version)
        tags, properties = event["data"]["ModelTags"], event["data"]["ModelProperties"]
        self.azure_ml.add_version(
            WORKSPACE, version.model, str(version.version), created=datetime.now(UTC), tags=tags, properties=properties
        )
        self.registered.append(version)
        self.undelivered += not delivered
        if delivered:
            self.grid.publish(event)

    def _finish(self) -> bool:
        """Wait for Event Grid, then run catch-ups, and wait until nothing is pending."""
        while self.grid.waiting or self.grid.dead_letters or not self.quiet.is_set():
            self.dead_letters += self.grid.redeliver_dead_letters()
            if self._is_over(_TICK_SECONDS):
                return False
        while True:
            self._catch_up()
            while self.records.pending():
                if self._is_over(_PAUSE_SECONDS):
                    return False
            claims = self.records.claims()
            if all(version in claims and claims[version].final for version in self.registered):
                return True
            if self._is_over(_PAUSE_SECONDS):
                return False

    def _is_over(self, pause: float) -> bool:
        return self.over.wait(pause) or time.monotonic() - self.began > self.options.patience

    def _catch_up(self) -> None:
        self.hosts.run("missed_models")
        self.catch_ups += 1

    def _kill(self) -> None:
        while not self.quiet.wait(self.options.kill_every):
            self.hosts.kill()

    def _sweep(self) -> None:
        random = Random(f"{self.options.seed} sweep")
        with ThreadPoolExecutor(2) as pool:
            while not self.over.wait(self.options.sweep_every):
                parallel = random.choice((1, 1, 1, 2))
                list(pool.map(self.hosts.run, ["unfinished_releases"] * parallel))
                self.sweeps += parallel

    def _fail(self) -> None:
        """Begin each outage after its share of the events; after the last one it is quiet."""
        outages = (
            (0.2, _stopped(self.azure_devops_server)),
            (0.4, _stopped(self.storage_server)),
            (0.55, _slowed(self.azure_devops_proxy)),
            (0.7, _stopped(self.azure_devops_server)),
        )
        for share, outage in outages:
            while len(self.grid.acknowledged) < share * self.options.events:
                if self.over.wait(_TICK_SECONDS):
                    return
            with outage:
                self.over.wait(self.options.outage)
            self.outages += 1
        while len(self.registered) < self.options.events or self.grid.waiting:
            if self.over.wait(_TICK_SECONDS):
                return
        self.quiet.set()

    def _print_progress(self) -> None:
        while not self.over.wait(_PROGRESS_SECONDS):
            print(
                f"{time.monotonic() - self.began:5.0f} s  registered {len(self.registered):5}  "
                f"delivered {self.grid.deliveries:5}  acknowledged {len(self.grid.acknowledged):5}  "
                f"releases {len(self.azure_devops.releases):5}  runs {len(self.azure_devops.runs):5}  "
                f"pending {self.records.pending():4}  kills {self.hosts.kills:3}",
                flush=True,
            )

    def result(self, *, finished: bool) -> Result:
        """Count."""
        claims = self.records.claims()
        return Result(
            options=self.options,
            finished=finished,
            seconds=time.monotonic() - self.began,
            count=compare(self.registered, claims, created(self.azure_devops)),
            states=Counter(claims.values()),
            pending=self.records.pending(),
            unacknowledged=len(self.registered) - self.undelivered - len(self.grid.acknowledged),
            figures={
                "releases and runs": f"{len(self.azure_devops.releases)} and {len(self.azure_devops.runs)}",
                "events never delivered": self.undelivered,
                "deliveries": f"{self.grid.deliveries}: {listed(self.grid.outcomes)}",
                "dead letters, redelivered": self.dead_letters,
                "hosts killed": self.hosts.kills,
                "outages": self.outages,
                "sweeps": self.sweeps,
                "catch-ups": self.catch_ups,
                "requests to Azure DevOps": _requests(self.azure_devops_proxy),
                "requests to storage": _requests(self.storage_proxy),
            },
        )


@contextmanager
def _stopped(server: Server) -> Iterator[None]:
    server.stop()
    yield
    server.start()


@contextmanager
def _slowed(proxy: Proxy) -> Iterator[None]:
    proxy.delay = _SLOW_SECONDS
    yield
    proxy.delay = 0.0


def _requests(proxy: Proxy) -> str:
    return f"{proxy.requests}, {proxy.happened.total()} with a fault: {listed(proxy.happened)}"


def listed(numbers: Mapping[str, int]) -> str:
    """Return the numbers with their names, in the order of the names."""
    return ", ".join(f"{number} {name}" for name, number in sorted(numbers.items()))
