"""Thousands of events while everything goes wrong at once, and then the count: doubled, lost, backwards, open.

Host processes are killed all the time; Azure DevOps is busy, fails after the release was created, hangs up, hangs, goes
away twice, and is slow for a while; storage fails before and after it wrote, and goes away once; Event Grid delivers
late, twice, in disorder, and some events never.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit

import requests
import urllib3
import yaml
from azure.data.tables import TableClient
from werkzeug.wrappers import Request, Response

from local import azurite
from local.azure_devops import AzureDevOps, Fault
from local.azure_ml import AzureMl
from local.demo import WEBHOOK, WORKSPACE, model_registered
from local.event_grid import EventGrid, Terms
from local.serving import Application, HangUp, Server
from model_release import app as wiring
from model_release.domain.claims import State
from model_release.store.table import NAME

PROJECTS = ("fraud", "risk", "growth", "credit", "care")
SETTINGS = {
    "AZURE_DEVOPS_PAT": "a token",
    "AML_WORKSPACES": WORKSPACE,
    "AZURE_DEVOPS_TIMEOUT_SECONDS": "1",
    "CLAIM_LEASE_SECONDS": "3",
    "FIRST_RETRY_SECONDS": "1",
    "IDENTITY_HEADER": "local",
}
# Event Grid's minute takes one second here, and its answer window three.
TERMS = Terms(compression=60, answer_window=180, parallel=16, duplicates=0.05, disorder=300)
AZURE_DEVOPS_FAULTS = {
    "429": (1.7, Fault(status=429)),
    "429 with Retry-After": (1.7, Fault(status=429, headers={"Retry-After": "1"})),
    "500": (1.7, Fault(status=500)),
    "500 after the deed": (1.7, Fault(status=500, apply=True)),
    "503": (1.6, Fault(status=503)),
    "503 after the deed": (1.6, Fault(status=503, apply=True)),
    "closed after the deed": (3, Fault(close="after")),
    "hung": (1, Fault(delay=1.5, close="before")),
    "hung, then did it": (1, Fault(delay=1.5, close="after")),
}
STORAGE_FAULTS = {
    "500": (0.25, Fault(status=500)),
    "500 after the deed": (0.25, Fault(status=500, apply=True)),
    "503": (0.25, Fault(status=503)),
    "503 after the deed": (0.25, Fault(status=503, apply=True)),
    "closed": (0.25, Fault(close="before")),
    "closed after the deed": (0.25, Fault(close="after")),
}
_PUBLISHED_AHEAD = 400
_MODELS_OF_A_DEFINITION = 5
_TICK_SECONDS = 0.25
_TELL_SECONDS = 5
_PAUSE_SECONDS = 1


@dataclass(frozen=True)
class Options:
    """What is asked for; times are in seconds."""

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


class ModelVersion(NamedTuple):
    """A model version, as the map routes it: every version of a model, or never an older one after a newer one."""

    model: str
    version: int

    @property
    def newest_only(self) -> bool:
        """Whether its route says `order: newest`."""
        return self.model.startswith("newest")


class Definition(NamedTuple):
    """A release definition or a pipeline, and the models that are routed to it."""

    number: int
    kind: str
    project: str
    name: str
    models: str

    def route(self) -> dict[str, Any]:
        """Its route; half of each kind are named by their number."""
        named = self.name if self.number % 4 in (0, 1) else self.number
        key = {"release": "definition", "pipeline": "pipeline"}[self.kind]
        order = self.models.partition("-")[0]
        return {"model": self.models, "order": order, self.kind: {"project": self.project, key: named}}


@dataclass(frozen=True)
class Count:
    """What became of the model versions; all but `created` and `superseded` should be nought."""

    created: int
    superseded: int
    doubled: tuple[ModelVersion, ...]
    lost: tuple[ModelVersion, ...]
    backwards: tuple[ModelVersion, ...]


@dataclass(frozen=True)
class Result:
    """The end of a run."""

    options: Options
    finished: bool
    catch_up: bool
    seconds: float
    count: Count
    states: Mapping[str, int]
    open: int
    unacknowledged: int
    figures: Mapping[str, int | str]

    @property
    def good(self) -> bool:
        """Nothing doubled, lost, started backwards or open, before the patience was over."""
        count = self.count
        return self.finished and not (
            count.doubled or count.lost or count.backwards or self.open or self.unacknowledged
        )


class Faulty:
    """An application in front of another: for each request it draws what goes wrong, if anything."""

    def __init__(self, application: Application, faults: Mapping[str, tuple[float, Fault]], seed: str) -> None:
        """A fault comes with its share of the requests in percent."""
        self.requests = 0
        self.calm = False
        self.slow = 0.0
        self.happened: Counter[str] = Counter()
        self._application = application
        self._faults = faults
        self._names = [*faults, ""]
        shares = [share for share, _ in faults.values()]
        self._shares = [*shares, 100 - sum(shares)]
        self._random = Random(seed)
        self._lock = threading.Lock()

    def __call__(self, request: Request) -> Response:
        """Answer a request, or not; late, in seconds, while it is slow."""
        time.sleep(self.slow)
        return self._draw().answer(lambda: self._application(request))

    def _draw(self) -> Fault:
        with self._lock:
            self.requests += 1
            (name,) = self._random.choices(self._names, self._shares)
            if self.calm or not name:
                return Fault()
            self.happened[name] += 1
            return self._faults[name][1]


class Forward:
    """An application that hands every request on to another server."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._pool = urllib3.HTTPConnectionPool(str(parts.hostname), parts.port, maxsize=100, retries=False)

    def __call__(self, request: Request) -> Response:
        """Answer as the other server does."""
        try:
            answer = self._pool.urlopen(
                request.method,
                request.environ["REQUEST_URI"],
                request.get_data(),
                headers=dict(request.headers),
                decode_content=False,
            )
        except urllib3.exceptions.HTTPError as error:
            raise HangUp from error
        headers = [(name, value) for name, value in answer.headers.items() if name.lower() not in _OF_A_CONNECTION]
        return Response(answer.data, answer.status, headers)


_OF_A_CONNECTION = ("connection", "keep-alive", "transfer-encoding", "content-length")


class Host(NamedTuple):
    """A process that serves the app."""

    process: subprocess.Popen[str]
    url: str


class Hosts:
    """Processes that serve the app, killed and started again."""

    def __init__(self, count: int, environment: Mapping[str, str], seed: str, log: Path | None) -> None:
        self.kills = 0
        self.restarts = 0
        self._environment = environment
        self._random = Random(seed)
        self._log = log
        with ThreadPoolExecutor(count) as pool:
            self._living = list(pool.map(lambda _: self._start(), range(count)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        while self._living:
            _end(self._living.pop())

    def pick(self) -> str:
        """The address of one that lives."""
        return self._random.choice(self._living).url

    def kill(self) -> None:
        """Kill one with SIGKILL, and start another in its place."""
        victim = self._random.choice(self._living)
        _end(victim)
        self.kills += 1
        # Until here deliveries went to a dead process, as they do until a front end notices.
        self._living = [host for host in self._living if host is not victim]
        self._living = [*self._living, self._start()]
        self.restarts += 1

    def run(self, function: str) -> int:
        """Run a timer function on one of them; the status is 0 if it was killed meanwhile."""
        with suppress(requests.RequestException):
            return requests.post(f"{self.pick()}/admin/functions/{function}", json={}, timeout=300).status_code
        return 0

    def _start(self) -> Host:
        log = self._log.open("a") if self._log else subprocess.DEVNULL
        process = subprocess.Popen(
            [sys.executable, "-m", "local.functions_host", "--port", "0", "--no-timers"],
            cwd=wiring.HOME,
            env=dict(self._environment),
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        assert process.stdout
        address = re.search(r"http://127\.0\.0\.1:\d+", process.stdout.readline())
        if not address:
            msg = "a host does not start; run `python -m local.functions_host` to see why"
            raise RuntimeError(msg)
        return Host(process, address[0])


def _end(host: Host) -> None:
    host.process.kill()
    host.process.communicate()


class Book:
    """The ledger's table, read past the proxy."""

    def __init__(self, connection: str) -> None:
        self._table = TableClient.from_connection_string(connection, NAME)

    def open(self) -> int:
        """How many claims the sweep has before it."""
        return sum(1 for _ in self._table.query_entities("PartitionKey eq 'open'", select=["RowKey"]))

    def claims(self) -> dict[ModelVersion, State]:
        """Where each claim is."""
        rows = self._table.query_entities(
            "PartitionKey ge 'claim ' and PartitionKey lt 'claim!' and state ge ''",
            select=["model", "version", "state"],
        )
        return {ModelVersion(row["model"], int(row["version"])): State(row["state"]) for row in rows}


def definitions(models: Sequence[str]) -> Iterator[Definition]:
    """A release definition or a pipeline in turn for every few models; only a definition can have an artifact."""
    for number, group in enumerate(sorted({model.rpartition("-")[0] for model in models}), start=1):
        kind = "pipeline" if number % 2 == 0 and "artifact" not in group else "release"
        yield Definition(number, kind, PROJECTS[number % len(PROJECTS)], f"Deploy {group}", f"{group}-*")


def model_names(count: int) -> list[str]:
    """Half of the models go in order, half with every version; one of these is an artifact."""
    names = []
    for number in range(count - 1):
        order = ("newest", "every")[number % 2]
        names.append(f"{order}-{number // 2 // _MODELS_OF_A_DEFINITION:02}-{number:04}")
    return [*names, "every-artifact-0"]


def versions(models: Sequence[str], count: int) -> list[ModelVersion]:
    """In the order in which they are registered."""
    return [ModelVersion(models[number % len(models)], number // len(models) + 1) for number in range(count)]


def build_azure_devops(models: Sequence[str]) -> AzureDevOps:
    """An Azure DevOps with the definitions and pipelines."""
    azure_devops = AzureDevOps(pat="a token")
    declared = {"modelName": None, "modelVersion": None, "modelReleaseMarker": ""}
    for definition in definitions(models):
        if definition.kind == "pipeline":
            azure_devops.add_pipeline(definition.project, definition.name, id=definition.number, parameters=declared)
            continue
        azure_devops.add_definition(
            definition.project,
            definition.name,
            id=definition.number,
            model_artifacts={"_it": "every-artifact-0"} if "artifact" in definition.name else {},
            variables={"ModelName": "", "ModelVersion": ""},
        )
    azure_devops.add_model_version("every-artifact-0", "0")
    return azure_devops


def release_map(models: Sequence[str]) -> str:
    """The map that leads the models there."""
    return yaml.safe_dump({"version": 1, "routes": [definition.route() for definition in definitions(models)]})


def count_up(
    registered: Sequence[ModelVersion], claims: Mapping[ModelVersion, State], started: Sequence[ModelVersion]
) -> Count:
    """Compare what was registered with what was started, of each target in the order of the ids."""
    highest: dict[str, int] = {}
    backwards = []
    for version in started:
        if version.newest_only and version.version < highest.get(version.model, 0):
            backwards.append(version)
        highest[version.model] = max(version.version, highest.get(version.model, 0))
    superseded = {
        version
        for version in registered
        if claims.get(version) is State.SUPERSEDED and highest.get(version.model, 0) > version.version
    }
    return Count(
        created=len(started),
        superseded=len(superseded - set(started)),
        doubled=tuple((Counter(started) - Counter(set(started))).elements()),
        lost=tuple(set(registered) - set(started) - superseded),
        backwards=tuple(backwards),
    )


def started(azure_devops: AzureDevOps) -> list[ModelVersion]:
    """The model versions of all releases, and then of all runs: no model is routed to both."""
    releases = [release["variables"] for release in azure_devops.releases]
    runs = [run["templateParameters"] for run in azure_devops.runs]
    return [
        *(ModelVersion(each["ModelName"]["value"], int(each["ModelVersion"]["value"])) for each in releases),
        *(ModelVersion(each["modelName"], int(each["modelVersion"])) for each in runs),
    ]


@dataclass
class Soak:
    """A run: what plays in it, and what has happened so far."""

    options: Options
    azure_devops: AzureDevOps
    busy: Faulty
    azure_devops_server: Server
    storage: Faulty
    storage_server: Server
    azure_ml: AzureMl
    hosts: Hosts
    grid: EventGrid
    book: Book
    registered: list[ModelVersion] = field(default_factory=list)
    signs_in: bool = True
    undelivered: int = 0
    catch_up: bool = False
    catch_ups: int = 0
    outages: int = 0
    sweeps: int = 0
    dead_letters: int = 0
    began: float = field(default_factory=time.monotonic)
    quiet: threading.Event = field(default_factory=threading.Event)
    over: threading.Event = field(default_factory=threading.Event)

    def play(self) -> bool:
        """Run it to its end; False when the patience was over first."""
        # The first catch-up only notes where it begins.
        self.storage.calm = self.busy.calm = True
        self.catch_up = self.signs_in and self.hosts.run("missed_models") == requests.codes.accepted
        if not self.catch_up:
            print("Missed models cannot be caught up with: every event is delivered.")
        self.storage.calm = self.busy.calm = False
        with ThreadPoolExecutor(6) as pool:
            try:
                tasks = [pool.submit(task) for task in (self._kill, self._sweep, self._tell, self._go_away)]
                for task in tasks:
                    task.add_done_callback(self._give_up_if_failed)
                finished = self._register() and self._settle()
            finally:
                self.quiet.set()
                self.over.set()
            for task in tasks:
                task.result()
        return finished

    def _give_up_if_failed(self, task: Future[None]) -> None:
        if task.exception():
            self.over.set()

    def _register(self) -> bool:
        """Register every model version, as fast as Event Grid gets rid of them."""
        random = Random(f"{self.options.seed} registered")
        coming = versions(model_names(self.options.models), self.options.events)
        for number, version in enumerate(coming):
            while self.grid.waiting >= _PUBLISHED_AHEAD:
                if self._late(_TICK_SECONDS):
                    return False
            self._register_one(version, told=not self.catch_up or random.random() >= self.options.undelivered)
            if number == len(coming) // 2:
                threading.Thread(target=self._catch_up, daemon=True).start()
        return True

    def _register_one(self, version: ModelVersion, *, told: bool) -> None:
        event = model_registered(*version)
        tags, properties = event["data"]["ModelTags"], event["data"]["ModelProperties"]
        self.azure_ml.add_version(
            WORKSPACE, version.model, str(version.version), created=datetime.now(UTC), tags=tags, properties=properties
        )
        self.registered.append(version)
        self.undelivered += not told
        if told:
            self.grid.publish(event)

    def _settle(self) -> bool:
        """Wait until Event Grid is done, let the catch-up find the rest, and the sweep finish it."""
        while self.grid.waiting or self.grid.dead_letters or not self.quiet.is_set():
            self.dead_letters += self.grid.redeliver_dead_letters()
            if self._late(_TICK_SECONDS):
                return False
        while True:
            if self.catch_up:
                self._catch_up()
            while self.book.open():
                if self._late(_PAUSE_SECONDS):
                    return False
            if self._is_final():
                return True
            if self._late(_PAUSE_SECONDS):
                return False

    def _is_final(self) -> bool:
        claims = self.book.claims()
        return all(version in claims and claims[version].final for version in self.registered)

    def _late(self, pause: float) -> bool:
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
                at_once = random.choice((1, 1, 1, 2))
                list(pool.map(self.hosts.run, ["unfinished_releases"] * at_once))
                self.sweeps += at_once

    def _go_away(self) -> None:
        """Take the servers away or slow them down, each at its share of the events; it is quiet after the last one."""
        outages = (
            (0.2, self._away(self.azure_devops_server)),
            (0.4, self._away(self.storage_server)),
            (0.55, self._slowed(self.busy)),
            (0.7, self._away(self.azure_devops_server)),
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

    @contextmanager
    def _away(self, server: Server) -> Iterator[None]:
        server.stop()
        yield
        server.start()

    @contextmanager
    def _slowed(self, faulty: Faulty) -> Iterator[None]:
        # A request still ends within its timeout, and three of them take most of the lease.
        faulty.slow = 0.8
        yield
        faulty.slow = 0.0

    def _tell(self) -> None:
        while not self.over.wait(_TELL_SECONDS):
            print(
                f"{time.monotonic() - self.began:5.0f} s  registered {len(self.registered):5}  "
                f"delivered {self.grid.deliveries:5}  acknowledged {len(self.grid.acknowledged):5}  "
                f"releases {len(self.azure_devops.releases):5}  runs {len(self.azure_devops.runs):5}  "
                f"open {self.book.open():4}  "
                f"kills {self.hosts.kills:3}  restarts {self.hosts.restarts:3}",
                flush=True,
            )

    def result(self, *, finished: bool) -> Result:
        """Count up."""
        claims = self.book.claims()
        told = len(self.registered) - self.undelivered
        return Result(
            options=self.options,
            finished=finished,
            catch_up=self.catch_up,
            seconds=time.monotonic() - self.began,
            count=count_up(self.registered, claims, started(self.azure_devops)),
            states=Counter(claims.values()),
            open=self.book.open(),
            unacknowledged=told - len(self.grid.acknowledged),
            figures=self._figures(),
        )

    def _figures(self) -> dict[str, int | str]:
        return {
            "releases and runs": f"{len(self.azure_devops.releases)} and {len(self.azure_devops.runs)}",
            "events never delivered": self.undelivered,
            "deliveries": f"{self.grid.deliveries}: {_told(self.grid.outcomes)}",
            "dead letters, redelivered": self.dead_letters,
            "hosts killed": self.hosts.kills,
            "outages": self.outages,
            "sweeps": self.sweeps,
            "catch-ups": self.catch_ups,
            "requests to Azure DevOps": _faults(self.busy),
            "requests to storage": _faults(self.storage),
        }


def soak(options: Options) -> Result:
    """Start everything, let it run, stop it, and count."""
    models = model_names(options.models)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="soak-")))
        (folder / "map.yaml").write_text(release_map(models))
        tables = stack.enter_context(azurite.running())
        azure_devops = build_azure_devops(models)
        busy = Faulty(azure_devops, AZURE_DEVOPS_FAULTS, f"{options.seed} Azure DevOps")
        storage = Faulty(Forward(tables), STORAGE_FAULTS, f"{options.seed} storage")
        azure_ml = AzureMl([WORKSPACE])
        azure_devops_server = stack.enter_context(Server(busy))
        storage_server = stack.enter_context(Server(storage))
        azure_ml_url = stack.enter_context(Server(azure_ml)).url
        environment = {
            **os.environ,
            **SETTINGS,
            "TMPDIR": str(folder),
            "RELEASE_MAP": str(folder / "map.yaml"),
            "AzureWebJobsStorage": azurite.connection_string(storage_server.url),
            "AZURE_DEVOPS_URL": f"{azure_devops_server.url}/contoso",
            "AZURE_RESOURCE_MANAGER_URL": azure_ml_url,
            "IDENTITY_ENDPOINT": f"{azure_ml_url}/msi/token",
        }
        environment.pop("AZURE_DEVOPS_CACHE_DIR", None)
        hosts = stack.enter_context(Hosts(options.hosts, environment, f"{options.seed} hosts", options.logs))
        grid = EventGrid(lambda: hosts.pick() + WEBHOOK, TERMS, random=Random(f"{options.seed} Event Grid"))
        book = Book(azurite.connection_string(tables))
        run = Soak(
            options, azure_devops, busy, azure_devops_server, storage, storage_server, azure_ml, hosts, grid, book
        )
        run.signs_in = _signs_in(environment)
        stack.enter_context(grid)
        return run.result(finished=run.play())


def _signs_in(environment: Mapping[str, str]) -> bool:
    """Whether the local Azure gives tokens, as a Function App gets them for its identity."""
    asked = {"resource": "https://management.azure.com", "api-version": "2019-08-01"}
    headers = {"X-IDENTITY-HEADER": environment["IDENTITY_HEADER"]}
    return requests.get(environment["IDENTITY_ENDPOINT"], asked, headers=headers, timeout=10).ok


def report(result: Result, command: str) -> str:
    """The result as Markdown."""
    options, count = result.options, result.count
    rows: dict[str, object] = {
        "events": options.events,
        "models": options.models,
        "starts expected": options.events - count.superseded,
        "releases and runs created": count.created,
        "superseded by a newer version": count.superseded,
        "**doubled**": _named(count.doubled),
        "**lost**": _named(count.lost),
        "**started backwards**": _named(count.backwards),
        "**open at the end**": result.open,
        "not acknowledged": result.unacknowledged,
        "claims by state": _told(result.states),
        **result.figures,
        "seconds": f"{result.seconds:.0f}, {options.events / result.seconds:.1f} events a second",
        "finished": "yes" if result.finished else f"no, stopped after {options.patience:.0f} s",
        "seed": options.seed,
        "command": f"`{command}`",
    }
    table = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    return f"# Soak\n\n{(__doc__ or '').strip()}\n\n| | |\n|---|---|\n{table}\n"


def _faults(application: Faulty) -> str:
    return f"{application.requests}, {application.happened.total()} with a fault: {_told(application.happened)}"


def _told(numbers: Mapping[str, int]) -> str:
    return ", ".join(f"{number} {name}" for name, number in sorted(numbers.items()))


def _named(versions: Sequence[ModelVersion]) -> str:
    shown = ", ".join(f"{version.model}:{version.version}" for version in versions[:10])
    return f"{len(versions)} ({shown})" if versions else "0"


def main() -> int:
    """Run it; 0 when nothing was doubled, lost, started backwards or left open."""
    default = Options()
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=(__doc__ or "").partition("\n")[0])
    for name in ("events", "models", "seed", "hosts"):
        parser.add_argument(f"--{name}", type=int, default=getattr(default, name))
    for name in ("kill_every", "sweep_every", "outage", "patience"):
        parser.add_argument(
            f"--{name.replace('_', '-')}", type=float, default=getattr(default, name), metavar="SECONDS"
        )
    parser.add_argument("--logs", type=Path, help="append the hosts' logs to this file")
    parser.add_argument("--write", type=Path, help="write the result to this Markdown file")
    given = vars(parser.parse_args())
    write = given.pop("write")
    # However it ends, no host process outlives it.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    result = soak(Options(**given))
    text = report(result, " ".join(["python -m bench.soak", *sys.argv[1:]]))
    print(text)
    if write:
        write.write_text(text)
    return 0 if result.good else 1


if __name__ == "__main__":
    sys.exit(main())
