"""The app between a storage account of Azurite and a local Azure DevOps."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

import azure.functions as func
import pytest
from werkzeug.wrappers import Request, Response

from local import azurite
from local.azure_devops import AzureDevOps, sample
from local.demo import WORKSPACE
from local.serving import Server
from model_release import app as wiring
from model_release.domain.claims import Decision, State
from model_release.domain.release_map import Kind
from model_release.flow.start_release import StartRelease
from model_release.store.history import Wanted
from model_release.store.table import NAME
from tests.proxy import Proxy
from triggers import health, missed_models, model_registered, releases, unfinished_releases

Size = Callable[[int, int], int]
EVENTS = Path(__file__).parent / "events"
PIPELINES = Path(__file__).parent / "pipelines.yaml"


def sample_event(name: str) -> dict[str, Any]:
    """One of the sample events; they stand alone or in an array of one."""
    content = json.loads((EVENTS / name).read_text())
    return content[0] if isinstance(content, list) else content


def event(model: str = "sklearn_regression_model", version: str | int = 20, **data: Any) -> str:
    """The documented event for another model version."""
    body = sample_event("event-grid-pascal.json")
    body["id"] = f"event of {model} {version}"
    body["subject"] = f"models/{model}:{version}"
    body["data"] |= {"ModelName": model, "ModelVersion": version, **data}
    return json.dumps(body)


@dataclass
class Accounts:
    """Azurite, and the accounts of it that no test has used."""

    url: str
    unused: Iterator[str]

    def take(self) -> tuple[str, str]:
        """Azurite's address and a fresh account of it."""
        return self.url, next(self.unused)


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **duration: float) -> None:
        self.now += timedelta(**duration)


@dataclass(frozen=True)
class Requests:
    """How the requests that find, start and look for a kind of target begin: the fields of a Fault."""

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
# Tests that speak of the start hold for both kinds of targets.
BOTH = pytest.mark.parametrize("world", REQUESTS, indirect=True)


class World:
    """Everything that one test needs, and nothing that another has touched."""

    def __init__(self, account: tuple[str, str], target: Kind = "release") -> None:
        azurite_url, self._account = account
        self.target = target
        self.requests = REQUESTS[target]
        self.azure_devops: AzureDevOps = sample()
        _add_pipelines(self.azure_devops)
        self.storage = Proxy("storage", azurite_url)
        self.clock = Clock()
        self._stack = ExitStack()
        self._at_once: list[int] = [0, 0]
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
        """How many requests Azure DevOps worked at together at the most."""
        return self._at_once[1]

    def __enter__(self) -> Self:
        self.azure_devops_server = self._stack.enter_context(Server(self._count))
        self.azure_devops_url = self.azure_devops_server.url
        self.storage_url = self._stack.enter_context(self.storage.served()).url
        self.app = self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def environment(self, **changes: str) -> dict[str, str]:
        """The settings of this world's app."""
        return {
            "AzureWebJobsStorage": azurite.connection_string(self.storage_url, self._account),
            "AZURE_DEVOPS_URL": f"{self.azure_devops_url}/contoso",
            "AZURE_DEVOPS_PAT": "a token",
            "AML_WORKSPACES": WORKSPACE,
            "AZURE_DEVOPS_TIMEOUT_SECONDS": "10",
            **({"RELEASE_MAP": str(PIPELINES)} if self.target == "pipeline" else {}),
        } | changes

    @property
    def direct_storage(self) -> str:
        """The same storage without the proxy, for tests that ask it thousands of times."""
        return azurite.connection_string(self.storage.upstream, self._account)

    def start(self, **changes: str) -> StartRelease:
        """The app as a new process has it: nothing remembered."""
        return self.build(**changes).start_release

    def build(self, **changes: str) -> wiring.Built:
        """All that the triggers of a new process call."""
        return wiring.build(self.environment(**changes), self.clock)

    def function_app(self, built: wiring.Built | None = None) -> func.FunctionApp:
        """This world's app as the Functions host gets it."""
        built = built or replace(self.build(), start_release=self.app)
        app = func.FunctionApp()
        model_registered.add_to(app, built.start_release)
        unfinished_releases.add_to(app, built.start_release)
        missed_models.add_to(app, built.catch_up)
        releases.add_to(app, built.start_release, built.history)
        health.add_to(app, built.health)
        return app

    def later(self, **duration: float) -> list[Decision]:
        """Let time pass, and sweep."""
        self.clock.advance(**duration)
        return self.app.unfinished()

    @property
    def history(self) -> list[Decision]:
        """What the ledger tells, newest first."""
        return list(self.build().history.page(Wanted(ignored=True, count=100)).decisions)

    @property
    def started(self) -> list[dict[str, Any]]:
        """Every release, or else every run, that exists, oldest first."""
        return self.azure_devops.releases if self.target == "release" else self.azure_devops.runs

    @property
    def versions(self) -> list[str]:
        """The version of every release or run that exists, oldest first."""
        if self.target == "pipeline":
            return [run["templateParameters"]["modelVersion"] for run in self.azure_devops.runs]
        return [release["variables"]["ModelVersion"]["value"] for release in self.azure_devops.releases]


def _add_pipelines(azure_devops: AzureDevOps) -> None:
    """What the map of pipelines starts, as the sample map starts its definitions."""
    declared = {"modelName": None, "modelVersion": None, "modelReleaseMarker": ""}
    azure_devops.add_pipeline("fraud", "Deploy sklearn model", parameters=declared)
    azure_devops.add_pipeline("risk", "Deploy fraud model", id=42, parameters={**declared, "stage": "test"})


@contextmanager
def kept_world(azurite_files: Path) -> Iterator[World]:
    """A world whose storage is kept in these files."""
    with azurite.running(location=azurite_files) as url, World((url, "devstoreaccount1")) as world:
        yield world


def multiply(azurite_files: Path, partition: str, count: int, **changes: str) -> None:
    """Write copies of the first row of a partition that begins so into the files of an Azurite that is stopped.

    It would take longer for each row, the more there are.
    """
    file = azurite_files / "__azurite_db_table__.json"
    database = json.loads(file.read_text())
    table = next(one for one in database["collections"] if one["name"].endswith(f"${NAME}"))
    row = next(one for one in table["data"] if one["PartitionKey"].startswith(partition))
    for number in range(count):
        key, table["maxId"] = f"{row['RowKey']} {number}", table["maxId"] + 1
        properties = row["properties"] | changes | {"RowKey": key}
        table["data"].append(row | {"RowKey": key, "properties": properties, "$loki": table["maxId"]})
    for index in table["binaryIndices"].values():
        index["dirty"] = True
    file.write_text(json.dumps(database))


def register(world: World, *versions: object, model: str = "sklearn_regression_model") -> None:
    """Let the app have events of these versions, one after the other."""
    for version in versions:
        world.app.registered(event(model, str(version)))
        world.clock.advance(seconds=1)


def assert_refused_until_mended(
    world: World, spoil: Callable[[World], Any], mend: Callable[[World], Any], sentence: str, *, remembered: bool
) -> None:
    """What is spoilt is told as the reason, tried again after an hour, and started once it was mended."""
    if remembered:
        world.app.registered(event(version=19))
        world.clock.advance(minutes=4)
    spoil(world)

    (decision,) = world.app.registered(event())
    assert decision.state is State.REFUSED
    assert sentence in decision.reason
    assert world.later(minutes=59) == []
    mend(world)
    world.later(minutes=1)
    assert world.versions[-1] == "20"
    assert world.later(hours=2) == []
