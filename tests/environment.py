"""The test environment: the app between a storage account of Azurite and a local Azure DevOps."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import azure.functions as func
import pytest
from azure.data.tables import TableClient
from werkzeug.wrappers import Request, Response

from local import azurite
from local.azure_devops import AzureDevOps, sample
from local.azure_ml import WORKSPACE, AzureMl
from local.serving import Server
from model_release.app import Services, build
from model_release.domain.claims import Claim, State
from model_release.domain.events import ModelRegistered, parse
from model_release.domain.history import HistoryEntry, HistoryQuery
from model_release.domain.routing import match, plan
from model_release.domain.targets import Plan, TargetKind
from model_release.flow.sweep import Sweep
from model_release.store.claims import Claims
from model_release.store.history import History
from model_release.store.table import TABLE_NAME
from tests.proof.table import SimulatedTable
from tests.proxy import Proxy
from triggers import health, missed_models, model_registered, pins, releases, targets, unfinished_releases

Size = Callable[[int, int], int]
EVENTS = Path(__file__).parent / "events"
PIPELINES = Path(__file__).parent / "pipelines.yaml"


def sample_event(name: str) -> dict[str, Any]:
    """Read a sample event; a file contains one event or an array of one."""
    content = json.loads((EVENTS / name).read_text())
    return content[0] if isinstance(content, list) else content


def event(model: str = "sklearn_regression_model", version: str | int = 20, **data: Any) -> str:
    """Build the documented event for another model version."""
    body = sample_event("event-grid-pascal.json")
    body["id"] = f"event of {model} {version}"
    body["subject"] = f"models/{model}:{version}"
    body["data"] |= {"ModelName": model, "ModelVersion": version, **data}
    return json.dumps(body)


@dataclass
class Accounts:
    """Accounts that no test has used."""

    unused: Iterator[tuple[str, str]]

    def take(self) -> tuple[str, str]:
        """Return the address of Azurite and an unused account."""
        return next(self.unused)


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **duration: float) -> None:
        self.now += timedelta(**duration)

    def sleep(self, seconds: float) -> None:
        """Pass the time at once."""
        self.advance(seconds=seconds)

    def monotonic(self) -> float:
        """Return the seconds of a clock that nobody sets, which passes as this one."""
        return self.now.timestamp()


@dataclass(frozen=True)
class Requests:
    """The requests that find a kind of target, create on it and find by marker, as fields of a Fault."""

    find: dict[str, str]
    start: dict[str, str]
    look: dict[str, str]


REQUESTS = {
    "release": Requests(
        find={"method": "GET", "path": "/definitions"},
        start={"method": "POST", "path": "/releases"},
        look={"method": "GET", "path": "/releases"},
    ),
    "pipeline": Requests(
        find={"method": "GET", "path": "/pipelines"},
        start={"method": "POST", "path": "/runs"},
        look={"method": "GET", "path": "/builds"},
    ),
}
# Where the rows of `env` are. Azurite takes most of the time of a test, so those that our code decides are in memory,
# unless --full is given.
IN_MEMORY, IN_AZURITE = pytest.mark.stored("memory"), pytest.mark.stored("azurite")
# With this mark, only --full runs a test or a row of it.
FULL = pytest.mark.full
# These tests hold for both kinds of targets.
BOTH = pytest.mark.parametrize("env", REQUESTS, indirect=True)
# These too; the suite shows it with this one, because the kinds differ in `azure_devops/` only.
USUALLY_A_RELEASE, USUALLY_A_PIPELINE = (
    pytest.mark.parametrize(
        "env", [pytest.param(kind, marks=() if kind == usual else FULL) for kind in REQUESTS], indirect=True
    )
    for usual in REQUESTS
)


def in_turn(names: str, rows: Mapping[str, Sequence[Any]]) -> pytest.MarkDecorator:
    """Run each row with one of the kinds of targets in turn; with --full, each with both."""
    return pytest.mark.parametrize(
        ("env", *names.split()),
        [
            pytest.param(kind, *row, id=f"{kind}-{name}", marks=() if (number + place) % 2 == 0 else FULL)
            for number, (name, row) in enumerate(rows.items())
            for place, kind in enumerate(REQUESTS)
        ],
        indirect=["env"],
    )


class Environment:
    """The app between its own storage account and its own local Azure DevOps; the clock is moved by the test.

    Without an account, the rows are in memory.
    """

    def __init__(self, account: tuple[str, str] | None, target: TargetKind = "release") -> None:
        self._memory = None if account else SimulatedTable()
        azurite_url, self._account = account or ("http://127.0.0.1:9", "nobody")
        self.target = target
        self.requests = REQUESTS[target]
        self.azure_devops: AzureDevOps = sample()
        _add_pipelines(self.azure_devops)
        self.storage = Proxy("storage", azurite_url)
        self.clock = Clock()
        self._stack = ExitStack()
        self._at_once: list[int] = [0, 0]
        self._confirming: dict[str, str] = {}
        self._lock = threading.Lock()

    def _count(self, request: Request) -> Response:
        with self._lock:
            self._at_once[0] += 1
            self._at_once[1] = max(self._at_once)
        try:
            return self.azure_devops(request)
        finally:
            with self._lock:
                self._at_once[0] -= 1

    def most_at_once(self) -> int:
        """Return the highest number of requests that Azure DevOps processed at the same time."""
        return self._at_once[1]

    def __enter__(self) -> Self:
        self.azure_devops_server = self._stack.enter_context(Server(self._count))
        self.azure_devops_url = self.azure_devops_server.url
        self.storage_url = self.storage.upstream
        if not self._memory:
            self.storage_url = self._stack.enter_context(self.storage.served()).url
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def settings(self, **changes: str) -> dict[str, str]:
        """Return the settings of the app."""
        return {
            "AzureWebJobsStorage": azurite.connection_string(self.storage_url, self._account),
            "AZURE_DEVOPS_URL": f"{self.azure_devops_url}/contoso",
            "AZURE_DEVOPS_PAT": "a token",
            "AML_WORKSPACES": WORKSPACE,
            "AZURE_DEVOPS_TIMEOUT_SECONDS": "10",
            "CONFIRM_MODELS": "false",
            **self._confirming,
            **({"RELEASE_MAP": str(PIPELINES)} if self.target == "pipeline" else {}),
        } | changes

    @contextmanager
    def confirming(self) -> Iterator[AzureMl]:
        """Let the app confirm each version with a local Azure ML; the app is a new process."""
        azure_ml = AzureMl([WORKSPACE])
        with Server(azure_ml) as server:
            self._confirming = {
                "CONFIRM_MODELS": "true",
                "AZURE_RESOURCE_MANAGER_URL": server.url,
                "IDENTITY_ENDPOINT": f"{server.url}/msi/token",
                "IDENTITY_HEADER": "local",
            }
            self.restart()
            yield azure_ml

    @property
    def direct_storage(self) -> str:
        """The same storage without the proxy, for tests that send thousands of requests."""
        return azurite.connection_string(self.storage.upstream, self._account)

    @cached_property
    def app(self) -> Services:
        """The process of the app; a test may replace it."""
        return self.start()

    @property
    def table(self) -> TableClient:
        """The table of the app."""
        return self.app.sweep.history._table.client

    @property
    def claims(self) -> Claims:
        """The claims."""
        return self.app.start_release.claims

    def start(self, ahead: timedelta = timedelta(), **changes: str) -> Services:
        """Build the services as a new process does, with nothing remembered and a clock that may be ahead."""
        services = build(self.settings(**changes), lambda: self.clock() + ahead, self.clock.sleep)
        for timed in (services.start_release.claims, services.start_release.attempts.azure_devops):
            timed._monotonic = self.clock.monotonic
        if self._memory:
            for history in (services.sweep.history, services.records.history):
                history._table._client = self._memory
        return services

    def restart(self, **changes: str) -> None:
        """Replace the process of the app by a new one."""
        self.app = self.start(**changes)

    def function_app(self, services: Services | None = None) -> func.FunctionApp:
        """Build the app as the Functions host loads it."""
        services = services or self.app
        app = func.FunctionApp()
        model_registered.add_to(app, services.start_release)
        unfinished_releases.add_to(app, services.sweep)
        missed_models.add_to(app, services.catch_up, services.catch_up_schedule)
        signs_people_in = services.signs_people_in
        targets.add_to(app, services.records)
        releases.add_to(app, services.start_release, services.records, signs_people_in=signs_people_in)
        pins.add_to(app, services.sweep, services.records, signs_people_in=signs_people_in)
        health.add_to(app, services.health)
        return app

    def registered(self, body: str) -> list[HistoryEntry]:
        """Deliver an event."""
        return self.app.start_release.registered(body)

    def sweep(self) -> list[HistoryEntry]:
        """Run the sweep."""
        return self.app.sweep.run()

    def sweep_with(self, azure_devops: Any, **options: Any) -> Sweep:
        """Return the sweep of the app with another Azure DevOps."""
        start_release = self.app.start_release
        attempts = replace(start_release.attempts, azure_devops=azure_devops)
        return replace(self.app.sweep, start_release=replace(start_release, attempts=attempts), **options)

    def later(self, **duration: float) -> list[HistoryEntry]:
        """Move the clock, and run the sweep."""
        self.clock.advance(**duration)
        return self.sweep()

    def plan(self, body: str) -> tuple[Plan, ModelRegistered]:
        """Return the first plan for an event."""
        parsed = parse(body)
        return plan(match(self.app.start_release.release_map, parsed), parsed)[0], parsed

    def claim(self, body: str) -> Claim:
        """Insert the first claim of an event, as a process that dies afterwards."""
        plan, parsed = self.plan(body)
        target = self.app.start_release.targets.last_resolved(plan.target)
        return self.claims.insert(self.claims.new(plan, parsed, target, (), "").claim)[0]

    @property
    def history(self) -> list[HistoryEntry]:
        """The history with ignored events, newest first."""
        return list(self._history.page(HistoryQuery(ignored=True, limit=100)).entries)

    @cached_property
    def _history(self) -> History:
        """The history of another process, read without the proxy."""
        return self.start(AzureWebJobsStorage=self.direct_storage).sweep.history

    @property
    def started(self) -> list[dict[str, Any]]:
        """The releases, or for pipelines the runs, oldest first."""
        return self.azure_devops.releases if self.target == "release" else self.azure_devops.runs

    @property
    def versions(self) -> list[str]:
        """The versions of the releases or runs, oldest first."""
        if self.target == "pipeline":
            return [run["templateParameters"]["modelVersion"] for run in self.azure_devops.runs]
        return [release["variables"]["ModelVersion"]["value"] for release in self.azure_devops.releases]


def _add_pipelines(azure_devops: AzureDevOps) -> None:
    """Add the pipelines that the map of pipelines names."""
    declared = {"modelName": None, "modelVersion": None, "modelReleaseMarker": ""}
    azure_devops.add_pipeline("fraud", "Deploy sklearn model", parameters=declared)
    azure_devops.add_pipeline("risk", "Deploy fraud model", id=42, parameters={**declared, "stage": "test"})


@contextmanager
def kept_environment(azurite_files: Path) -> Iterator[Environment]:
    """An environment whose storage is kept in these files."""
    with azurite.running(location=azurite_files) as url, Environment((url, "devstoreaccount1")) as env:
        yield env


def multiply(azurite_files: Path, partition: str, count: int, **changes: str) -> None:
    """Copy the first row of a partition with this prefix in the files of a stopped Azurite.

    Through Azurite each row would take longer than the one before.
    """
    file = azurite_files / "__azurite_db_table__.json"
    database = json.loads(file.read_text())
    table = next(one for one in database["collections"] if one["name"].endswith(f"${TABLE_NAME}"))
    row = next(one for one in table["data"] if one["PartitionKey"].startswith(partition))
    for number in range(count):
        key, table["maxId"] = f"{row['RowKey']} {number}", table["maxId"] + 1
        properties = row["properties"] | changes | {"RowKey": key}
        table["data"].append(row | {"RowKey": key, "properties": properties, "$loki": table["maxId"]})
    for index in table["binaryIndices"].values():
        index["dirty"] = True
    file.write_text(json.dumps(database))


def register(env: Environment, *versions: object, model: str = "sklearn_regression_model") -> None:
    """Deliver events of these versions, one after the other."""
    for version in versions:
        env.registered(event(model, str(version)))
        env.clock.advance(seconds=1)


def assert_refused_until_fixed(
    env: Environment,
    break_it: Callable[[Environment], Any],
    fix_it: Callable[[Environment], Any],
    problem: str,
    *,
    remembered: bool,
) -> None:
    """The problem is the reason; the claim is attempted after a minute, and starts once the problem is fixed."""
    if remembered:
        env.registered(event(version=19))
        env.clock.advance(minutes=4)
    break_it(env)

    (entry,) = env.registered(event())
    assert entry.state is State.REFUSED
    assert problem in entry.reason
    assert env.later(seconds=59) == []
    fix_it(env)
    env.later(seconds=1)
    assert env.versions[-1] == "20"
    assert env.later(hours=2) == []
