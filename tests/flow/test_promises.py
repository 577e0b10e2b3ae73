"""The promises against an adversary: exactly once, never lost, never backwards, whatever fails in whatever order."""

from __future__ import annotations

import heapq
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import Enum
from functools import cache, partial
from itertools import product
from typing import Any

import pytest
from azure.core.exceptions import AzureError, ServiceRequestError
from azure.data.tables import TableEntity
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from werkzeug.wrappers import Request, Response

from local.azure_devops_faults import Fault
from local.azure_ml import AzureMl as LocalAzureMl
from local.serving import Server
from model_release.app import Services, build
from model_release.azure_ml.items import ModelVersion
from model_release.azure_ml.models import AzureMl
from model_release.domain.claims import State, claim_key, digest
from model_release.domain.events import ModelRegistered, Workspace
from model_release.domain.history import HistoryQuery
from model_release.domain.lease import Lease
from model_release.domain.map_file import MapFile
from model_release.domain.release_map import ReleaseMap, build_map
from model_release.domain.targets import Created, Plan, RunPlan, Target, TargetId, TargetKind
from model_release.errors import (
    AzureDevOpsError,
    ClaimLeasedError,
    RefusedError,
    TemporaryError,
    UnknownOutcomeError,
)
from model_release.flow.attempt import Attempts
from model_release.flow.confirm import Confirm
from model_release.flow.publish import Publisher, TopicError
from model_release.flow.record import Recorder
from model_release.flow.start_release import StartRelease
from model_release.flow.sweep import Sweep
from model_release.store.claims import Claims
from model_release.store.high_water_mark import HighWaterMarks
from model_release.store.history import History
from model_release.store.outbox import Outbox
from model_release.store.pending import Pending
from model_release.store.table import Table
from model_release.store.targets import Targets
from model_release.store.throttle import Throttle
from tests.environment import FULL, WORKSPACE, Clock, Size, event
from tests.in_memory import CREDENTIAL, at_once
from tests.tables import AnswerLost, MemoryTable

LEASE = timedelta(minutes=3)
TIMEOUT = timedelta(seconds=20)
FIRST_RETRY = timedelta(minutes=1)
ENVIRONMENT = {
    "AzureWebJobsStorage": "UseDevelopmentStorage=true",
    "AZURE_DEVOPS_URL": "https://dev.azure.com/contoso",
    "AZURE_DEVOPS_PAT": "a token",
    "AML_WORKSPACES": WORKSPACE,
    "CONFIRM_MODELS": "false",
}
PASSED = {"ModelVersion": "{version}"}
NAMES = {"release": ("definition", "variables"), "pipeline": ("pipeline", "parameters")}

Version = tuple[str, int]


class Killed(BaseException):
    """The process was killed; nothing in it runs any more."""


class Answer(Enum):
    """What happens to a request that creates a release."""

    CREATED = "created"
    LOST = "created, and the answer is lost"
    LATE = "no answer, and it is created less than a lease later"
    NEVER = "no answer, and it is never created"
    BUSY = "busy"
    RETRY_AFTER = "busy, with a Retry-After"
    REFUSED = "refused"


class Trouble(Enum):
    """What happens to a process just before or after an operation."""

    KILLED = "killed"
    FAILS = "storage fails"
    ANSWER_LOST = "the answer is lost and the SDK repeats the operation"
    SLEEPS = "the process is suspended for a while"
    OVERTAKEN = "the process is suspended for a while, and another process does all the work"
    LANDS = "a request that got no answer is carried out"
    MEANWHILE = "another process does all the work at once"


@dataclass
class Script:
    """The process of the next step, its trouble by number or name of the moment, and the answers of Azure DevOps.

    `azure_ml` is the status of every answer of Azure ML, 0 if it works.
    """

    process: int
    trouble: dict[int | str, Trouble]
    answers: list[Answer]
    searches_fail: bool = False
    azure_ml: int = 0


@dataclass(frozen=True)
class Existing:
    """A release in Azure DevOps."""

    release: Created
    version: Version
    target: Target
    marker: str
    when: datetime


@dataclass(order=True)
class Sent:
    """A request that got no answer and will be carried out."""

    lands: datetime
    number: int
    create: Callable[[], object] = field(compare=False)


@dataclass
class AzureDevOps:
    """An Azure DevOps that creates releases as its answers say."""

    clock: Clock
    table: MemoryTable
    created: list[Existing] = field(default_factory=list)
    sent: list[Sent] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    searches_fail: bool = False

    def create(self, plan: Plan, registered: ModelRegistered, marker: str) -> Created:
        assert _passed(plan) == {"ModelVersion": registered.version}
        answer = self.answers.pop() if self.answers else Answer.CREATED
        if answer in (Answer.BUSY, Answer.RETRY_AFTER):
            raise TemporaryError("busy", retry_after=timedelta(minutes=7) if answer is Answer.RETRY_AFTER else None)
        if answer is Answer.REFUSED:
            raise RefusedError("refused")
        version = registered.model, int(registered.version)
        if answer is Answer.LATE:
            # The last moment that the documents allow.
            lands = self.clock() + LEASE - timedelta(seconds=1)
            create = lambda: self._create(version, plan, marker)  # noqa: E731
            heapq.heappush(self.sent, Sent(lands, len(self.sent) + len(self.created), create))
        elif answer is not Answer.NEVER:
            release = self._create(version, plan, marker)
            if answer is Answer.CREATED:
                return release
        raise UnknownOutcomeError("no answer")

    def find_by_marker(self, target: Target, marker: str, since: datetime) -> Created | None:
        if self.searches_fail:
            raise TemporaryError("busy")
        for one in self.created:
            if (one.target, one.marker) == (target, marker) and one.when >= since:
                return one.release
        return None

    def carry_out(self, until: datetime | None = None) -> None:
        """Carry out the requests that are due, or without a time the next one."""
        if until is None and self.sent:
            heapq.heappop(self.sent).create()
        while until and self.sent and self.sent[0].lands <= until:
            heapq.heappop(self.sent).create()

    def _create(self, version: Version, plan: Plan, marker: str) -> Created:
        release = Created(number := len(self.created) + 1, f"Release-{number}", f"https://release/{number}")
        self.created.append(Existing(release, version, plan.target, marker, self.clock()))
        return release


class ServedAzureMl:
    """A local Azure ML over HTTP, new for each run of the machine."""

    client: AzureMl

    def __init__(self) -> None:
        self.local = LocalAzureMl()

    def __call__(self, request: Request) -> Response:
        return self.local(request)

    def fail(self, status: int) -> None:
        """Let every answer have this status, none if it is 0."""
        self.local.behave()
        if status:
            self.local.misbehave(Fault(status=status, headers={"Retry-After": "300"} if status == 429 else {}))


@pytest.fixture(scope="module")
def azure_ml() -> Iterator[ServedAzureMl]:
    served = ServedAzureMl()
    with Server(served) as server:
        served.client = AzureMl(CREDENTIAL, endpoint=server.url, pace=at_once())
        yield served


class Inline(Executor):
    """Threads that run one after another, in the order of their submission."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def submit(self, call: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(call(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001  as a thread does
            future.set_exception(error)
        return future


class Process:
    """A process of the app, with trouble at some of its next operations."""

    def __init__(self, env: Promises) -> None:
        self.env = env
        self.expect({})
        self.dead = False
        clock = env.clock
        table = Table(replace(env.table, before_and_after=self.storage))
        claims = Claims(table, lease=Lease(LEASE, TIMEOUT), clock=clock, monotonic=env.monotonic)
        pending, targets = Pending(table, clock), Targets(table)
        marks, outbox = HighWaterMarks(table, claims, clock), Outbox(table)
        self.history, self.throttle = History(table, clock), Throttle(table, clock)
        confirm = Confirm(self if env.azure_ml else None, Inline())
        self.app: StartRelease = replace(
            _services().start_release,
            release_map=env.routes,
            claims=claims,
            targets=targets,
            pending=pending,
            attempts=Attempts(self, claims, targets, marks, self.throttle, confirm, FIRST_RETRY, clock, env.sleep),
            recorder=Recorder(claims, marks, pending, self.history, clock, outbox),
        )
        # Threads would interleave differently each time; one seed is one run.
        publisher = Publisher(outbox, claims, self)
        self.sweep = Sweep(self.app, claims, pending, self.throttle, self.history, clock, publisher, Inline)

    def expect(self, trouble: dict[int | str, Trouble]) -> None:
        self.trouble = dict(trouble)
        self.moments = 0

    def model_version(self, workspace: Workspace, model: str, version: str) -> ModelVersion | None:
        # Azure ML may be as slow as its timeout, and longer while the process is suspended.
        with self.asked("confirm"):
            return self.env.azure_ml.client.model_version(workspace, model, version)

    def reads_ahead(self, _: Target) -> bool:
        return False

    def read_ahead(self, _: Target, __: Callable[[], bool]) -> None:
        """Send nothing: it remembers every target."""

    def identify(self, target: Target) -> TargetId:
        return TargetId(target.kind, target.project, 1 if target.definition == "newest" else 2)

    def create(self, plan: Plan, registered: ModelRegistered, marker: str, deadline: float, _: int) -> Created:
        with self.asked("create"):
            if self.env.monotonic() > deadline:
                raise TemporaryError("late")
            try:
                return self.env.azure_devops.create(plan, registered, marker)
            except AzureDevOpsError as error:
                if error.retry_after:
                    self.throttle.extend(error.retry_after)
                raise

    def find_by_marker(
        self, target: Target, _definition_id: int, marker: str, since: datetime, _deadline: float
    ) -> Created | None:
        with self.asked("find"):
            return self.env.azure_devops.find_by_marker(target, marker, since)

    def send(self, events: list[dict[str, Any]]) -> None:
        if self.moment("before send", LEASE / 4) is Trouble.FAILS:
            raise TopicError("busy")
        self.env.published += [one["id"] for one in events]
        if self.moment("after send", LEASE / 4) is Trouble.FAILS:
            raise TopicError("the answer is lost")

    @contextmanager
    def asked(self, what: str) -> Iterator[None]:
        # A request that begins late still ends within its third of the lease.
        self.moment(f"before {what}", LEASE / 4)
        try:
            yield
        finally:
            self.moment(f"after {what}", LEASE / 4 if what == "confirm" else LEASE)

    def storage(self, moment: str) -> None:
        trouble = self.moment(moment, LEASE)
        if trouble is Trouble.FAILS:
            raise ServiceRequestError("storage fails")
        if trouble is Trouble.ANSWER_LOST and moment.startswith("after"):
            raise AnswerLost

    def moment(self, name: str, sleeps: timedelta) -> Trouble | None:
        self.moments += 1
        trouble = self.trouble.pop(self.moments, None) or self.trouble.pop(name, None)
        if trouble is Trouble.KILLED:
            self.dead = True
        if self.dead:
            raise Killed
        if trouble in (Trouble.SLEEPS, Trouble.OVERTAKEN):
            self.env.time_passes(sleeps)
        if trouble in (Trouble.MEANWHILE, Trouble.OVERTAKEN):
            self.env.everything(self.env.other(self))
        if trouble is Trouble.LANDS:
            self.env.azure_devops.carry_out()
        return trouble


@cache
def _routes(**kinds: TargetKind) -> ReleaseMap:
    """Return a map that routes every model to one target for each order."""
    routes = []
    for order, kind in kinds.items():
        name, passed = NAMES[kind]
        routes.append({"model": "*", "order": order, kind: {"project": "p", name: order, passed: PASSED}})
    return build_map(MapFile({"version": 1, "routes": routes}))


def _passed(plan: Plan) -> object:
    return plan.parameters if isinstance(plan, RunPlan) else plan.variables


@cache
def _body(version: Version) -> str:
    return event(*version)


@cache
def _services() -> Services:
    return build(ENVIRONMENT)


VERSIONS = st.tuples(st.sampled_from(["churn", "fraud"]), st.integers(1, 5))
SECONDS = st.sampled_from([0, 61, 121, 179, 181, 600, 4000])
MOMENTS = st.integers(1, 30) | st.sampled_from(
    [f"{when} {what}" for what in ("confirm", "create", "find", "send") for when in ("before", "after")]
)
PLAN = st.builds(
    Script,
    process=st.integers(0, 1),
    trouble=st.dictionaries(MOMENTS, st.sampled_from(Trouble), max_size=2),
    answers=st.lists(st.sampled_from(Answer), max_size=3),
    searches_fail=st.sampled_from([False, False, False, True]),
    azure_ml=st.sampled_from([0, 0, 0, 0, 403, 429, 503]),
)
# Seconds until Azure ML lists a version.
LAGS = st.sampled_from([0, 0, 0, 30, 90])
FORGED = 9


class Promises(RuleBasedStateMachine):
    """Model versions are registered, and everything that can fail does."""

    def __init__(
        self, newest: TargetKind = "release", every: TargetKind = "pipeline", azure_ml: ServedAzureMl | None = None
    ) -> None:
        """Without Azure ML, events are believed."""
        super().__init__()
        self.azure_ml = azure_ml
        if azure_ml:
            azure_ml.local = LocalAzureMl([WORKSPACE])
        self.unlisted: dict[Version, datetime] = {}
        self.routes = _routes(newest=newest, every=every)
        self.clock = Clock()
        self.clock.now = datetime(2030, 1, 1, tzinfo=UTC)
        self.table = MemoryTable()
        self.azure_devops = AzureDevOps(self.clock, self.table)
        self.processes = [Process(self), Process(self)]
        self.delivered: set[Version] = set()
        self.unacknowledged: list[Version] = []
        self.published: list[str] = []

    @rule(version=VERSIONS, script=PLAN, lag=LAGS)
    def a_model_is_registered(self, version: Version, script: Script, lag: int = 0) -> None:
        if version not in self.delivered:
            self.unlisted[version] = self.clock() + timedelta(seconds=lag)
            self.list_versions()
        self.delivered.add(version)
        self.unacknowledged.append(version)
        self.deliver_to(self.process(script), version)

    @precondition(lambda self: self.azure_ml)
    @rule(script=PLAN)
    def an_event_is_forged(self, script: Script) -> None:
        self.unacknowledged.append(("churn", FORGED))
        self.deliver_to(self.process(script), ("churn", FORGED))

    @precondition(lambda self: self.unacknowledged)
    @rule(seconds=SECONDS, script=PLAN)
    def an_event_is_delivered_again(self, seconds: int, script: Script) -> None:
        self.time_passes(timedelta(seconds=seconds))
        self.deliver_to(self.process(script), self.unacknowledged[0])

    @rule(seconds=SECONDS, script=PLAN)
    def a_sweep(self, seconds: int, script: Script) -> None:
        self.time_passes(timedelta(seconds=seconds))
        self.sweep_in(self.process(script))

    @precondition(lambda self: self.azure_devops.sent)
    @rule()
    def a_request_in_flight_is_carried_out(self) -> None:
        self.azure_devops.carry_out()

    @invariant()
    def there_is_one_release_at_most(self) -> None:
        started = [(one.version, one.target) for one in self.azure_devops.created]
        assert len(started) == len(set(started)), f"started twice: {started}"

    @invariant()
    def no_release_goes_backwards(self) -> None:
        for model in ("churn", "fraud"):
            versions = [version for name, version in self.released("newest") if name == model]
            assert versions == sorted(versions), f"{model} went backwards: {versions}"

    @invariant()
    def only_what_was_registered_is_released(self) -> None:
        assert {one.version for one in self.azure_devops.created} <= self.delivered

    def teardown(self) -> None:
        """After the trouble, every event ends in its release or in a reason."""
        process = self.process(Script(0, {}, []))
        self.come_to_rest(process, timedelta(hours=1), 20)
        assert self.unacknowledged == []
        self.there_is_one_release_at_most()
        self.no_release_goes_backwards()
        claims = {(row["model"], int(row["version"]), row["definition"]): row for row in self.claims()}
        forged = {row["state"] for (_, version, _), row in claims.items() if version == FORGED}
        assert forged <= {State.WITHDRAWN}
        for model, version in self.delivered:
            for order in ("newest", "every"):
                released = self.released(order)
                if (model, version) in released:
                    end = State.STARTED
                else:
                    assert order == "newest"
                    assert any(name == model and newer > version for name, newer in released)
                    end = State.SUPERSEDED
                assert claims[model, version, order]["state"] == end
        shown = {
            (entry.subject, entry.target): entry.state
            for entry in process.history.page(HistoryQuery(limit=1000)).entries
        }
        assert shown == {
            (f"models/{model}:{version}", str(Target("p", order, row["kind"]))): row["state"]
            for (model, version, order), row in claims.items()
        }
        for partition in ("pending", "outbox"):
            assert list(self.table.query_entities("PartitionKey eq @of", parameters={"of": partition})) == []
        assert set(self.published) == self.outcomes()

    def come_to_rest(self, process: Process, pause: timedelta, rounds: int) -> None:
        """Deliver and sweep after each pause, until nothing is left to do and nothing changes."""
        before: dict[tuple[str, str], str] = {}
        for _ in range(rounds):
            self.time_passes(pause)
            self.everything(process)
            rows = {key: row.metadata["etag"] for key, row in self.table.rows.items()}
            left = [partition for partition, _ in rows if partition in ("pending", "outbox")]
            if rows == before and not (left or self.unacknowledged or self.azure_devops.sent):
                return
            before = rows

    def monotonic(self) -> float:
        """Return the time on the clock that nobody sets."""
        return self.clock().timestamp()

    def sleep(self, seconds: float) -> None:
        """Pass the time at once."""
        self.clock.advance(seconds=seconds)

    def process(self, script: Script) -> Process:
        """Return the process that does the next step, restarted if it was killed."""
        self.azure_devops.answers = list(script.answers)
        self.azure_devops.searches_fail = script.searches_fail
        if self.azure_ml:
            self.azure_ml.fail(script.azure_ml)
        self.processes = [Process(self) if process.dead else process for process in self.processes]
        self.processes[script.process].expect(script.trouble)
        return self.processes[script.process]

    def other(self, process: Process) -> Process:
        """Return the other process, without trouble."""
        other = self.processes[self.processes[0] is process]
        other.expect({})
        return other

    def everything(self, process: Process) -> None:
        """Deliver all events that are not acknowledged, and sweep."""
        for version in list(self.unacknowledged):
            self.deliver_to(process, version)
        self.sweep_in(process)

    def deliver_to(self, process: Process, version: Version) -> None:
        """Deliver the event; Event Grid keeps it until the process returns."""
        try:
            process.app.registered(_body(version))
        except (Killed, ClaimLeasedError, AzureError):
            return
        if not process.dead and version in self.unacknowledged:
            self.unacknowledged.remove(version)

    def sweep_in(self, process: Process) -> None:
        """Sweep; if it is killed or storage fails, the next sweep does the rest."""
        try:
            process.sweep.run()
        except (Killed, AzureError):
            return

    def time_passes(self, time: timedelta) -> None:
        """Move the clock; requests in flight are carried out at their last moment."""
        self.azure_devops.carry_out(self.clock() + time)
        self.clock.now += time
        self.list_versions()

    def list_versions(self) -> None:
        """List in Azure ML what is due."""
        for version, due in list(self.unlisted.items()):
            if due <= self.clock():
                if self.azure_ml:
                    model, number = version
                    self.azure_ml.local.add_version(WORKSPACE, model, str(number), created=self.clock())
                del self.unlisted[version]

    def claims(self) -> list[TableEntity]:
        """Return the rows of the claims."""
        return [
            row for (partition, _), row in self.table.rows.items() if partition.startswith("claim ") and "state" in row
        ]

    def outcomes(self) -> set[str]:
        """Return the IDs of the outcomes that the claims record."""
        recorded = [
            (claim_key(row["PartitionKey"], row["RowKey"]), json.loads(row["attempts"])) for row in self.claims()
        ]
        return {
            f"{key}-{state}" if state == State.STARTED else f"{key}-{state}-{digest(reason)}"
            for key, attempts in recorded
            for _, _, state, reason in attempts
            if state in (State.STARTED, State.REFUSED)
        }

    def released(self, order: str) -> list[Version]:
        """Return the released versions of a target, oldest first."""
        return [one.version for one in self.azure_devops.created if one.target.definition == order]


def examine(
    machine: Callable[[], RuleBasedStateMachine],
    examples: int,
    phases: Sequence[Phase] = (Phase.generate, Phase.shrink),
) -> None:
    """Run the same examples of a state machine each time."""
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=25,
            deadline=None,
            derandomize=True,
            database=None,
            phases=phases,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.parametrize(("newest", "every"), [("release", "pipeline"), ("pipeline", "release")])
def test_exactly_once_never_lost_never_backwards(
    newest: TargetKind, every: TargetKind, size: Size, azure_ml: ServedAzureMl
) -> None:
    examine(partial(Promises, newest, every, azure_ml), size(15, 3_000))


USUAL = (None, Trouble.KILLED, Answer.CREATED, Answer.LATE)


@pytest.mark.parametrize(
    ("first", "trouble", "answer"),
    [
        pytest.param(*row, marks=() if sum(one in USUAL for one in row) >= 2 else FULL)
        for row in product(
            [None, Answer.LOST, Answer.REFUSED],
            [Trouble.KILLED, Trouble.FAILS, Trouble.ANSWER_LOST, Trouble.OVERTAKEN],
            Answer,
        )
    ],
)
def test_the_promises_hold_at_each_moment(answer: Answer, trouble: Trouble, first: Answer | None) -> None:
    for moment in range(1, 100):
        promises = Promises()
        script = Script(0, {moment: trouble}, [answer])
        if first:
            promises.a_model_is_registered(version=("churn", 1), script=Script(0, {}, [first, first]))
            promises.a_sweep(seconds=3600, script=script)
        else:
            promises.a_model_is_registered(version=("churn", 1), script=script)
        moments = promises.processes[0].moments
        promises.there_is_one_release_at_most()
        promises.teardown()
        if moments < moment:
            return


def test_a_release_that_is_created_during_the_search_for_it_is_not_created_again() -> None:
    promises = Promises()
    promises.a_model_is_registered(version=("churn", 1), script=Script(0, {}, [Answer.LATE]))
    promises.a_sweep(seconds=61, script=Script(0, {"after find": Trouble.SLEEPS}, []))
    promises.a_sweep(seconds=61, script=Script(0, {}, []))

    promises.there_is_one_release_at_most()


def test_an_overtaken_attempt_sends_nothing() -> None:
    promises = Promises()
    promises.a_model_is_registered(
        version=("churn", 1), script=Script(0, {"after create_entity": Trouble.OVERTAKEN}, [])
    )

    promises.there_is_one_release_at_most()
    promises.teardown()


def test_an_overtaken_redelivery_leaves_the_history_as_it_is() -> None:
    promises = Promises()
    promises.a_model_is_registered(version=("churn", 1), script=Script(0, {}, [Answer.LOST]))
    promises.a_model_is_registered(version=("churn", 1), script=Script(0, {"after get_entity": Trouble.OVERTAKEN}, []))

    promises.teardown()


def test_an_overtaken_attempt_leaves_the_history_as_it_is() -> None:
    promises = Promises()
    promises.a_model_is_registered(version=("churn", 2), script=Script(0, {}, [Answer.BUSY]))
    promises.a_sweep(seconds=61, script=Script(0, {"after create": Trouble.OVERTAKEN}, [Answer.LOST]))

    promises.teardown()
