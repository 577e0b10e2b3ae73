"""A process: the real services over the simulated table and Azure DevOps, with a clock of its own."""

from __future__ import annotations

import json
from copy import copy
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from azure.core.exceptions import ServiceRequestError
from msrest.authentication import BasicAuthentication

from model_release.azure_devops.client import AzureDevOps
from model_release.azure_ml.items import AzureMlError, ModelContainer, ModelListError, ModelVersion
from model_release.domain.events import MODEL_REGISTERED, Workspace
from model_release.domain.lease import Lease
from model_release.domain.map_file import MapFile
from model_release.domain.release_map import ReleaseMap, build_map
from model_release.flow.attempt import Attempts
from model_release.flow.catch_up import CatchUp
from model_release.flow.catch_up_run import PROMOTED_WITHIN
from model_release.flow.confirm import Confirm
from model_release.flow.publish import Publisher, TopicError
from model_release.flow.record import Recorder
from model_release.flow.start_release import StartRelease
from model_release.flow.sweep import Sweep
from model_release.store.catch_up_cursor import CatchUpCursor, CatchUpCursors, CatchUpLease
from model_release.store.claims import Claims
from model_release.store.high_water_mark import HighWaterMarks
from model_release.store.history import History
from model_release.store.outbox import Outbox
from model_release.store.pending import Pending
from model_release.store.table import Table
from model_release.store.targets import Targets
from model_release.store.throttle import Throttle
from tests.proof.devops import SimulatedTargets
from tests.proof.workers import Inline, Threads
from tests.tables import MemoryTable

if TYPE_CHECKING:
    from tests.proof.simulation import Simulation

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
LEASE = timedelta(minutes=3)
TIMEOUT = timedelta(seconds=10)
FIRST_RETRY = timedelta(minutes=1)
MODEL = "m"
WORKSPACE = Workspace.parse(
    "/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/w"
)


@dataclass(frozen=True)
class Parts:
    """The classes that a process is built of; a planted bug replaces one by a subclass."""

    lease: type[Lease] = Lease
    claims: type[Claims] = Claims
    marks: type[HighWaterMarks] = HighWaterMarks
    pending: type[Pending] = Pending
    targets: type[Targets] = Targets
    history: type[History] = History
    attempts: type[Attempts] = Attempts
    recorder: type[Recorder] = Recorder
    start_release: type[StartRelease] = StartRelease
    sweep: type[Sweep] = Sweep
    azure_devops: type[AzureDevOps] = AzureDevOps


@dataclass(frozen=True)
class Map:
    """The differences between release maps: the spelling of the target, and whether the route is enabled."""

    spelling: int | str
    enabled: bool
    order: str


class Process:
    """A process of the app; its clock differs from the simulation's by `skew` milliseconds."""

    def __init__(self, simulation: Simulation, number: int, skew: int, written: Map) -> None:
        self.simulation = simulation
        self.number = number
        self.skew = skew
        self.map = written
        self.dead = False
        self.build(simulation.parts)

    def build(self, parts: Parts) -> None:
        """Build the services; the only place that knows how they fit together."""
        clock, lease, threads = self.clock, parts.lease(LEASE, TIMEOUT), partial(Threads, self.simulation)
        table = Table(replace(self.simulation.table, before_and_after=self.simulation.storage))
        claims = parts.claims(table, lease=lease, clock=clock, monotonic=self.monotonic)
        pending, targets = parts.pending(table, clock), parts.targets(table)
        self.history, self.throttle = parts.history(table, clock), Throttle(table, clock, threads())
        confirm = Confirm(self, threads())
        marks, outbox = parts.marks(table, claims, clock), Outbox(table)
        self.app = parts.start_release(
            release_map=release_map(self.map),
            workspaces=frozenset([WORKSPACE]),
            claims=claims,
            targets=targets,
            pending=pending,
            attempts=parts.attempts(
                self._azure_devops(parts),
                claims,
                targets,
                marks,
                self.throttle,
                confirm,
                FIRST_RETRY,
                clock,
                self.sleep,
            ),
            recorder=parts.recorder(claims, marks, pending, self.history, clock, outbox),
            monotonic=self.monotonic,
        )
        publisher = Publisher(outbox, claims, self)
        self.sweep = parts.sweep(self.app, claims, pending, self.throttle, self.history, clock, publisher, threads)
        self.catch_up = CatchUp(
            self, self.app, claims, CatchUpCursors(table), CatchUpLease(table, clock, LEASE), clock, Inline
        )

    def _azure_devops(self, parts: Parts) -> AzureDevOps:
        # The SDK's clients take milliseconds to build, and are replaced.
        client = copy(_sdk_client(parts.azure_devops))
        client.releases = client._sdk = SimulatedTargets(self.simulation, self)
        client._monotonic = self.monotonic
        client._memory = {}
        return client

    def clock(self) -> datetime:
        return BEGIN + timedelta(milliseconds=self.simulation.now + self.skew)

    def monotonic(self) -> float:
        return self.simulation.now / 1000

    def sleep(self, seconds: float) -> None:
        self.simulation.current.ready_at = self.simulation.now + round(seconds * 1000)
        self.simulation.stop("after a pause")

    def models(self, _: Workspace, **__: Any) -> list[ModelContainer]:
        """List the models, as Azure ML does; the model has always changed."""
        return [ModelContainer(MODEL, str(self.simulation.now))]

    def versions(self, workspace: Workspace, model: str, *, since: datetime, **_: Any) -> list[ModelVersion]:
        """List the versions, as Azure ML does."""
        self.simulation.stop("before list the versions")
        if self.simulation.question_fails():
            raise ModelListError("503")
        listed = [_model_version(workspace, model, version) for version in self.simulation.scenario.versions]
        return [one for one in listed if one.created >= since]

    def model_version(self, workspace: Workspace, model: str, version: str) -> ModelVersion | None:
        """Read a version, as Azure ML does."""
        self.simulation.stop("before read the version")
        if self.simulation.question_fails():
            raise AzureMlError("503")
        return _model_version(workspace, model, int(version))

    def send(self, events: list[dict[str, Any]]) -> None:
        """Publish outcome events, as the topic does."""
        self.simulation.stop("before publish")
        if self.simulation.question_fails():
            raise TopicError("busy")
        self.simulation.published.update(one["id"] for one in events)
        self.simulation.stop("after publish")
        if self.simulation.question_fails():
            raise TopicError("the answer is lost")


def _model_version(workspace: Workspace, model: str, version: int) -> ModelVersion:
    return ModelVersion(workspace, model, str(version), BEGIN + timedelta(seconds=version), {}, {})


@cache
def _sdk_client(kind: type[AzureDevOps]) -> AzureDevOps:
    return kind("https://dev.azure.com/contoso", BasicAuthentication("", "a token"), timeout=TIMEOUT.total_seconds())


@cache
def release_map(written: Map) -> ReleaseMap:
    """Return a map with one route."""
    release = {"project": "p", "definition": written.spelling, "variables": {"ModelVersion": "{version}"}}
    route = {"model": "*", "order": written.order, "enabled": written.enabled, "release": release}
    return build_map(MapFile({"version": 1, "routes": [route]}))


@cache
def body(version: int) -> str:
    """Return the event of a version."""
    return json.dumps(
        {
            "specversion": "1.0",
            "id": f"event of {version}",
            "source": WORKSPACE.id,
            "type": MODEL_REGISTERED,
            "subject": f"models/{MODEL}:{version}",
            "data": {"ModelName": MODEL, "ModelVersion": str(version)},
        }
    )


def begin_catch_up(table: MemoryTable) -> None:
    """Write the cursor of a first run long ago, so that no version existed before it."""
    recorded = BEGIN - 2 * PROMOTED_WITHIN
    CatchUpCursors(Table(table)).write(WORKSPACE, CatchUpCursor(began=BEGIN, complete=BEGIN, recorded=recorded))


def caught_up(table: MemoryTable) -> datetime:
    """Return when all versions were listed and started."""
    cursor = CatchUpCursors(Table(table)).read(WORKSPACE)
    return cursor.complete if cursor else BEGIN


def storage_fails() -> ServiceRequestError:
    return ServiceRequestError("storage fails")
