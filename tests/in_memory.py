"""The stores and the flow in memory: one table, a clock that the test moves, and services with scripted answers."""

from __future__ import annotations

import json
import random
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from types import SimpleNamespace
from typing import Any

from azure.core.credentials import AccessToken
from azure.data.tables import TableEntity

from model_release.azure_ml.pace import Pace
from model_release.domain.claims import Claim, digest, target_digest
from model_release.domain.events import MODEL_REGISTERED, ModelRegistered, Workspace, parse
from model_release.domain.lease import Lease
from model_release.domain.map_file import MapFile
from model_release.domain.release_map import ReleaseMap, build_map
from model_release.domain.targets import Created, Plan, ReleasePlan, Target, TargetId
from model_release.flow.attempt import Attempts
from model_release.flow.catch_up import CatchUp
from model_release.flow.confirm import Confirm
from model_release.flow.publish import Publisher
from model_release.flow.record import Recorder
from model_release.flow.start_release import StartRelease
from model_release.flow.sweep import Sweep
from model_release.store.catch_up_cursor import CatchUpCursors, CatchUpLease
from model_release.store.claims import Claims, Leased
from model_release.store.high_water_mark import HighWaterMarks
from model_release.store.history import History
from model_release.store.outbox import Outbox
from model_release.store.pending import Pending
from model_release.store.table import Table
from model_release.store.targets import Resolved, Targets
from model_release.store.throttle import Throttle
from tests.proof.table import SimulatedTable
from tests.proof.workers import Inline

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
SECOND, MINUTE, HOUR, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
# A request is sent within 90 seconds after the lease is acquired.
LEASE = Lease(3 * MINUTE, timeout=20 * SECOND)
WORKSPACE = Workspace.parse(
    "/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/Prod"
)
TARGET, OTHER_TARGET = Target("p", "train"), Target("p", "other")
IDS = {TARGET: 7, OTHER_TARGET: 8}
CREATED = Created(9, "Release-9", "https://release/9")
PARTITION = f"claim {digest(WORKSPACE.id)} churn"
# Signs in anywhere.
CREDENTIAL: Any = SimpleNamespace(get_token=lambda *_scopes, **_options: AccessToken("token", 2**31))


def at_once() -> Pace:
    """Return a pace on whose clock a second passes between two reads, so that none waits."""
    return Pace(count().__next__)


def event_body(version: str = "20", model: str = "churn", **tags: str) -> str:
    """Build the event of a model version."""
    data = {"ModelName": model, "ModelVersion": version, "ModelTags": tags}
    return json.dumps(
        {
            "specversion": "1.0",
            "id": f"event of {version}",
            "source": WORKSPACE.id,
            "type": MODEL_REGISTERED,
            "subject": f"models/{model}:{version}",
            "data": data,
        }
    )


def an_event(version: str = "20", **tags: str) -> ModelRegistered:
    return parse(event_body(version, **tags))


def incompressible(length: int) -> str:
    """Return letters and digits in no order: of 8 bits, 6 remain after compression."""
    return b64encode(random.Random(0).randbytes(length)).decode()[:length]


def a_plan(target: Target = TARGET, *, newest_only: bool = True) -> ReleasePlan:
    return ReleasePlan(target, "churn", newest_only, {}, passes_version=False, manual_stages=(), description="")


def a_map(*targets: Target, order: str = "newest", **route: Any) -> ReleaseMap:
    """Build a release map with one route for each target."""
    routes = [
        {"model": "churn", "order": order, "release": {"project": one.project, "definition": one.definition}} | route
        for one in targets
    ]
    for one in routes:
        one["release"]["variables"] = {"ModelVersion": "{version}"}
    return build_map(MapFile({"version": 1, "routes": routes}))


@dataclass
class RecordingTable(SimulatedTable):
    """A table in memory that records its operations, and the keys of the rows whose events were read."""

    operations: list[str] = field(default_factory=list)
    events_read: list[tuple[str, str]] = field(default_factory=list)

    def _call(self, name: str, operation: Callable[[], Any]) -> Any:
        self.operations.append(name)
        result = super()._call(name, operation)
        rows = result if isinstance(result, list) else [result]
        self.events_read += [
            (row["PartitionKey"], row["RowKey"]) for row in rows if isinstance(row, TableEntity) and "event0" in row
        ]
        return result


class ScriptedAzureDevOps:
    """Answers each question with the next answer of a script, an error included; without a script, it works."""

    def __init__(self) -> None:
        self.ids: dict[Target, TargetId] = {}
        self.identifying: list[Exception] = []
        self.finding: list[Created | Exception | None] = []
        self.creating: list[Created | Exception] = []
        self.unread: set[Target] = set()
        self.read: list[Target] = []
        self.identified: list[Target] = []
        self.found: list[tuple[Any, ...]] = []
        self.created: list[tuple[Any, ...]] = []

    def reads_ahead(self, target: Target) -> bool:
        return target in self.unread

    def read_ahead(self, target: Target, may_ask: Callable[[], bool]) -> None:
        if may_ask():
            self.read.append(target)

    def identify(self, target: Target) -> TargetId:
        self.identified.append(target)
        if self.identifying and (error := self.identifying.pop(0)):
            raise error
        return self.ids.get(target) or TargetId(target.kind, "p-id", IDS.get(target, 9))

    def find_by_marker(self, *question: Any) -> Created | None:
        self.found.append(question)
        answer = self.finding.pop(0) if self.finding else None
        if isinstance(answer, Exception):
            raise answer
        return answer

    def create(self, *request: Any) -> Created:
        self.created.append(request)
        answer = self.creating.pop(0) if self.creating else CREATED
        if isinstance(answer, Exception):
            raise answer
        return answer

    @property
    def versions(self) -> list[str]:
        """The versions that were sent."""
        return [event.version for _, event, *_ in self.created]


class Process:
    """A process of the app; another one shares its table and its clock."""

    def __init__(
        self, *targets: Target, shares: Process | None = None, order: str = "newest", azure_ml: Any = None
    ) -> None:
        """Without Azure ML, events are believed."""
        self.time = shares.time if shares else SimpleNamespace(now=NOON, seconds=1000.0)
        self.client: RecordingTable = shares.client if shares else RecordingTable()
        self.azure_devops = shares.azure_devops if shares else ScriptedAzureDevOps()
        self.sent: list[list[dict[str, Any]]] = []
        self.sending: list[Exception] = []
        self.table = Table(self.client)
        self.claims = Claims(self.table, lease=LEASE, clock=self.clock, monotonic=self.monotonic)
        self.marks = HighWaterMarks(self.table, self.claims, self.clock)
        self.pending, self.targets = Pending(self.table, self.clock), Targets(self.table)
        self.history, self.throttle = History(self.table, self.clock), Throttle(self.table, self.clock)
        self.outbox, self.cursors = Outbox(self.table), CatchUpCursors(self.table)
        self.confirm = Confirm(azure_ml, Inline())
        self.attempts = Attempts(
            self.azure_devops,
            self.claims,
            self.targets,
            self.marks,
            self.throttle,
            self.confirm,
            MINUTE,
            self.clock,
            self.sleep,
        )
        self.recorder = Recorder(self.claims, self.marks, self.pending, self.history, self.clock, self.outbox)
        self.start_release = StartRelease(
            a_map(*(targets or (TARGET,)), order=order),
            frozenset([WORKSPACE]),
            self.claims,
            self.targets,
            self.pending,
            self.attempts,
            self.recorder,
            self.monotonic,
        )
        self.publisher = Publisher(self.outbox, self.claims, self, batch=2)
        self.sweep = Sweep(
            self.start_release,
            self.claims,
            self.pending,
            self.throttle,
            self.history,
            self.clock,
            self.publisher,
            Inline,
        )

    def clock(self) -> datetime:
        return self.time.now

    def monotonic(self) -> float:
        return self.time.seconds

    def sleep(self, seconds: float) -> None:
        self.later(timedelta(seconds=seconds))

    def later(self, duration: timedelta) -> None:
        """Move both clocks."""
        self.time.now += duration
        self.time.seconds += duration.total_seconds()

    def send(self, events: list[dict[str, Any]]) -> None:
        """Publish events, as the topic does."""
        if self.sending:
            raise self.sending.pop(0)
        self.sent.append(events)

    def catch_up(self, azure_ml: Any) -> CatchUp:
        return CatchUp(
            azure_ml,
            self.start_release,
            self.claims,
            self.cursors,
            CatchUpLease(self.table, self.clock, LEASE.duration),
            self.clock,
            Inline,
        )

    def new(
        self, version: str = "20", key: str = "", *siblings: str, plan: Plan | None = None, definition_id: int = 7
    ) -> Leased:
        """Build a claim that is not inserted."""
        plan = plan or a_plan()
        resolved = Resolved(target_digest(plan.target), definition_id)
        return self.claims.new(plan, an_event(version), resolved, siblings, key)

    def inserted(self, version: str = "20", key: str = "", **options: Any) -> Claim:
        """Insert a claim that this process has leased."""
        return self.claims.insert(self.new(version, key, **options).claim)[0]

    def rows(self, partition: str) -> dict[str, TableEntity]:
        """Return the rows of a partition."""
        return {key[1]: row for key, row in self.client.rows.items() if key[0] == partition}

    def once(self, moment: str, act: Callable[[], object]) -> None:
        """Let another process act at a moment of the table, such as `before update_entity`, once."""

        def hook(at: str) -> None:
            if at == moment:
                self.client.before_and_after = None
                act()

        self.client.before_and_after = hook

    def fail(self, moment: str, error: Exception) -> None:
        """Let one operation of the table fail."""

        def fail() -> None:
            raise error

        self.once(moment, fail)


def values(row: TableEntity) -> dict[str, Any]:
    """Return the values of a row without its keys."""
    return {name: value for name, value in row.items() if name not in ("PartitionKey", "RowKey")}
