"""The promises, against an adversary: exactly once, never lost, never backwards, whatever fails in whatever order."""

from __future__ import annotations

import heapq
import json
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import Enum
from functools import cache, partial
from typing import Any

import pytest
from azure.core import MatchConditions
from azure.core.exceptions import AzureError, ServiceRequestError
from azure.data.tables import TableEntity, UpdateMode
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from model_release import app as wiring
from model_release.domain.claims import State, digest, key_of
from model_release.domain.events import ModelRegistered
from model_release.domain.release_map import Kind, ReleaseMap, RunStart, Start, StartedRelease, Target
from model_release.errors import Busy, ClaimHeld, Refused, StartError, Unknown
from model_release.flow.start_release import StartRelease
from model_release.store.history import History, Wanted
from model_release.store.ledger import Ledger
from model_release.store.outcomes import NotTaken, Outbox, Publisher
from model_release.store.table import Table
from tests.environment import WORKSPACE, Clock, Size, World, event
from tests.tables import AnswerLost, MemoryTable

LEASE = timedelta(minutes=3)
ENVIRONMENT = {
    "AzureWebJobsStorage": "UseDevelopmentStorage=true",
    "AZURE_DEVOPS_URL": "https://dev.azure.com/contoso",
    "AZURE_DEVOPS_PAT": "a token",
    "AML_WORKSPACES": WORKSPACE,
}
HANDED_OVER = {"ModelVersion": "{version}"}
NAMES = {"release": ("definition", "variables"), "pipeline": ("pipeline", "parameters")}

Version = tuple[str, int]


class Killed(BaseException):
    """The process is gone; nothing in it runs any more."""


class Answer(Enum):
    """What becomes of a request that creates a release."""

    CREATED = "created"
    LOST = "created, and the answer is lost"
    LATE = "no answer, and it is created before the lease ends"
    NEVER = "no answer, and it is never created"
    BUSY = "busy"
    RETRY_AFTER = "busy, with a Retry-After"
    REFUSED = "refused"


class Trouble(Enum):
    """What happens to a process just before or after an operation."""

    KILLED = "killed"
    FAILS = "storage fails"
    ANSWER_LOST = "the answer is lost and the SDK repeats the operation"
    SLEEPS = "the process gets no time for a while"
    OVERTAKEN = "the process gets no time for a while, and another process does what there is to do"
    LANDS = "a request that got no answer is carried out"
    MEANWHILE = "another process does at once what there is to do"


@dataclass
class Plan:
    """Which process does the next thing, its trouble by the moment's number or name, and Azure DevOps's answers."""

    process: int
    trouble: dict[int | str, Trouble]
    answers: list[Answer]
    looks_are_busy: bool = False


@dataclass(frozen=True)
class Created:
    """A release as Azure DevOps has it."""

    release: StartedRelease
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
    """Creates releases as its answers say."""

    clock: Clock
    table: MemoryTable
    created: list[Created] = field(default_factory=list)
    sent: list[Sent] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    looks_are_busy: bool = False

    def start(self, start: Start, registered: ModelRegistered, marker: str) -> StartedRelease:
        assert _handed_over(start) == {"ModelVersion": registered.version}
        answer = self.answers.pop() if self.answers else Answer.CREATED
        if answer in (Answer.BUSY, Answer.RETRY_AFTER):
            raise Busy("busy", timedelta(minutes=7) if answer is Answer.RETRY_AFTER else None)
        if answer is Answer.REFUSED:
            raise Refused("refused")
        version = registered.model, int(registered.version)
        if answer is Answer.LATE:
            # The last moment before the lease of its attempt is over.
            lands = self._lease_of(start, registered) - timedelta(seconds=1)
            create = lambda: self._create(version, start, marker)  # noqa: E731
            heapq.heappush(self.sent, Sent(lands, len(self.sent) + len(self.created), create))
        elif answer is not Answer.NEVER:
            release = self._create(version, start, marker)
            if answer is Answer.CREATED:
                return release
        raise Unknown("no answer")

    def look(self, target: Target, marker: str, since: datetime) -> StartedRelease | None:
        if self.looks_are_busy:
            raise Busy("busy")
        for one in self.created:
            if (one.target, one.marker) == (target, marker) and one.when >= since:
                return one.release
        return None

    def carry_out(self, until: datetime | None = None) -> None:
        """Carry out the requests whose time has come, or else the one that is next."""
        if until is None and self.sent:
            heapq.heappop(self.sent).create()
        while until and self.sent and self.sent[0].lands <= until:
            heapq.heappop(self.sent).create()

    def _create(self, version: Version, start: Start, marker: str) -> StartedRelease:
        release = StartedRelease(number := len(self.created) + 1, f"Release-{number}", f"https://release/{number}")
        self.created.append(Created(release, version, start.target, marker, self.clock()))
        return release

    def _lease_of(self, start: Start, registered: ModelRegistered) -> datetime:
        sought = (registered.model, registered.version, start.target.definition)
        return next(
            row["lease_until"]
            for row in self.table.rows.values()
            if "lease_until" in row and (row["model"], row["version"], row["definition"]) == sought
        )


class Inline(Executor):
    """Threads that run one after another, in the order that they are asked for."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def submit(self, call: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(call(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001  as a thread hands it over
            future.set_exception(error)
        return future


class Process:
    """A process of the app, with the trouble that it will have at some of its next operations."""

    def __init__(self, world: Promises) -> None:
        self.world = world
        self.expect({})
        self.dead = False
        table = Table(replace(world.table, before_and_after=self.storage))
        self.history = History(table, world.clock)
        outbox = Outbox(table)
        ledger = Ledger(table, self.history, lease=LEASE, clock=world.clock, outbox=outbox)
        self.app: StartRelease = replace(
            _built(),
            release_map=world.routes,
            ledger=ledger,
            azure_devops=self,
            clock=world.clock,
            outcomes=Publisher(outbox, ledger.owed, self),
            # One seed, one run: threads would interleave as they like.
            threads=Inline,
        )

    def expect(self, trouble: dict[int | str, Trouble]) -> None:
        self.trouble = dict(trouble)
        self.moments = 0

    def start(self, start: Start, registered: ModelRegistered, marker: str) -> StartedRelease:
        with self.asked("start"):
            try:
                return self.world.azure_devops.start(start, registered, marker)
            except StartError as error:
                if error.retry_after:
                    self.app.ledger.hold_back(error.retry_after)
                raise

    def look(self, target: Target, marker: str, since: datetime) -> StartedRelease | None:
        with self.asked("look"):
            return self.world.azure_devops.look(target, marker, since)

    def send(self, events: list[dict[str, Any]]) -> None:
        if self.moment("before send", LEASE / 4) is Trouble.FAILS:
            raise NotTaken("busy")
        self.world.published += [one["id"] for one in events]
        if self.moment("after send", LEASE / 4) is Trouble.FAILS:
            raise NotTaken("the answer is lost")

    @contextmanager
    def asked(self, what: str) -> Iterator[None]:
        # A request that begins late is still over within the third of a lease that the app leaves for it.
        self.moment(f"before {what}", LEASE / 4)
        try:
            yield
        finally:
            self.moment(f"after {what}", LEASE)

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
            self.world.time_passes(sleeps)
        if trouble in (Trouble.MEANWHILE, Trouble.OVERTAKEN):
            self.world.everything(self.world.other(self))
        if trouble is Trouble.LANDS:
            self.world.azure_devops.carry_out()
        return trouble


def _routes(**kinds: Kind) -> ReleaseMap:
    """Routes of any model to one target for each order."""
    routes = []
    for order, kind in kinds.items():
        name, handed_over = NAMES[kind]
        routes.append({"model": "*", "order": order, kind: {"project": "p", name: order, handed_over: HANDED_OVER}})
    return ReleaseMap.model_validate({"version": 1, "routes": routes})


def _handed_over(start: Start) -> object:
    return start.parameters if isinstance(start, RunStart) else start.variables


@cache
def _body(version: Version) -> str:
    return event(*version)


@cache
def _built() -> StartRelease:
    return wiring.build(ENVIRONMENT).start_release


VERSIONS = st.tuples(st.sampled_from(["churn", "fraud"]), st.integers(1, 5))
SECONDS = st.sampled_from([0, 61, 121, 179, 181, 600, 4000])
MOMENTS = st.integers(1, 30) | st.sampled_from(
    ["before start", "after start", "before look", "after look", "before send", "after send"]
)
PLAN = st.builds(
    Plan,
    process=st.integers(0, 1),
    trouble=st.dictionaries(MOMENTS, st.sampled_from(Trouble), max_size=2),
    answers=st.lists(st.sampled_from(Answer), max_size=3),
    looks_are_busy=st.sampled_from([False, False, False, True]),
)


class Promises(RuleBasedStateMachine):
    """Model versions are registered, and everything that can go wrong does."""

    def __init__(self, newest: Kind = "release", every: Kind = "pipeline") -> None:
        super().__init__()
        self.routes = _routes(newest=newest, every=every)
        self.clock = Clock()
        self.clock.now = datetime(2030, 1, 1, tzinfo=UTC)
        self.table = MemoryTable()
        self.azure_devops = AzureDevOps(self.clock, self.table)
        self.processes = [Process(self), Process(self)]
        self.delivered: set[Version] = set()
        self.unacknowledged: list[Version] = []
        self.published: list[str] = []

    @rule(version=VERSIONS, plan=PLAN)
    def a_model_is_registered(self, version: Version, plan: Plan) -> None:
        self.delivered.add(version)
        self.unacknowledged.append(version)
        self.deliver_to(self.process(plan), version)

    @precondition(lambda self: self.unacknowledged)
    @rule(seconds=SECONDS, plan=PLAN)
    def an_event_is_delivered_again(self, seconds: int, plan: Plan) -> None:
        self.time_passes(timedelta(seconds=seconds))
        self.deliver_to(self.process(plan), self.unacknowledged[0])

    @rule(seconds=SECONDS, plan=PLAN)
    def a_sweep(self, seconds: int, plan: Plan) -> None:
        self.time_passes(timedelta(seconds=seconds))
        self.sweep_in(self.process(plan))

    @precondition(lambda self: self.azure_devops.sent)
    @rule()
    def the_request_lands(self) -> None:
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
        """When all is well again, every event ends in its release or in the reason why not."""
        process = self.process(Plan(0, {}, []))
        for _ in range(20):
            self.time_passes(timedelta(hours=1))
            self.everything(process)
        assert self.unacknowledged == []
        self.there_is_one_release_at_most()
        self.no_release_goes_backwards()
        claims = {(row["model"], int(row["version"]), row["definition"]): row for row in self.claims()}
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
        told = {(line.subject, line.target): line.state for line in process.history.page(Wanted(count=1000)).decisions}
        assert told == {
            (f"models/{model}:{version}", str(Target("p", order, row["kind"]))): row["state"]
            for (model, version, order), row in claims.items()
        }
        for partition in ("open", "outcome"):
            assert list(self.table.query_entities("PartitionKey eq @of", parameters={"of": partition})) == []
        assert set(self.published) == self.outcomes()

    def process(self, plan: Plan) -> Process:
        """The process that does the next thing, started again if it was killed."""
        self.azure_devops.answers = list(plan.answers)
        self.azure_devops.looks_are_busy = plan.looks_are_busy
        self.processes = [Process(self) if process.dead else process for process in self.processes]
        self.processes[plan.process].expect(plan.trouble)
        return self.processes[plan.process]

    def other(self, process: Process) -> Process:
        """The process that has no trouble while the first one works."""
        other = self.processes[self.processes[0] is process]
        other.expect({})
        return other

    def everything(self, process: Process) -> None:
        """Deliver what is not acknowledged, and sweep."""
        for version in list(self.unacknowledged):
            self.deliver_to(process, version)
        self.sweep_in(process)

    def deliver_to(self, process: Process, version: Version) -> None:
        """Deliver the event; Event Grid owns it until the process returns."""
        try:
            process.app.registered(_body(version))
        except (Killed, ClaimHeld, AzureError):
            return
        if not process.dead and version in self.unacknowledged:
            self.unacknowledged.remove(version)

    def sweep_in(self, process: Process) -> None:
        """Sweep; whoever is killed in it, or finds storage failing, leaves the rest to the next sweep."""
        try:
            process.app.unfinished()
        except (Killed, AzureError):
            return

    def time_passes(self, time: timedelta) -> None:
        """Requests that are on their way are carried out at their last moment."""
        self.azure_devops.carry_out(self.clock() + time)
        self.clock.now += time

    def claims(self) -> list[TableEntity]:
        """The claims as they stand."""
        return [
            row for (partition, _), row in self.table.rows.items() if partition.startswith("claim ") and "state" in row
        ]

    def outcomes(self) -> set[str]:
        """The ids of what the claims say came of them."""
        told = [(key_of(row["PartitionKey"], row["RowKey"]), json.loads(row["answers"])) for row in self.claims()]
        return {
            f"{key}-{state}" if state == State.STARTED else f"{key}-{state}-{digest(reason)}"
            for key, answers in told
            for _, _, state, reason in answers
            if state in (State.STARTED, State.REFUSED)
        }

    def released(self, order: str) -> list[Version]:
        """The released versions of a target, oldest first."""
        return [one.version for one in self.azure_devops.created if one.target.definition == order]


@pytest.mark.parametrize(("newest", "every"), [("release", "pipeline"), ("pipeline", "release")])
def test_exactly_once_never_lost_never_backwards(newest: Kind, every: Kind, size: Size) -> None:
    run_state_machine_as_test(
        partial(Promises, newest, every),
        settings=settings(
            max_examples=size(100, 3_000),
            stateful_step_count=25,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.parametrize("first", [None, Answer.LOST, Answer.REFUSED])
@pytest.mark.parametrize("trouble", [Trouble.KILLED, Trouble.FAILS, Trouble.ANSWER_LOST, Trouble.OVERTAKEN])
@pytest.mark.parametrize("answer", Answer)
def test_the_promises_hold_at_each_moment(answer: Answer, trouble: Trouble, first: Answer | None) -> None:
    for moment in range(1, 100):
        promises = Promises()
        plan = Plan(0, {moment: trouble}, [answer])
        if first:
            promises.a_model_is_registered(version=("churn", 1), plan=Plan(0, {}, [first, first]))
            promises.a_sweep(seconds=3600, plan=plan)
        else:
            promises.a_model_is_registered(version=("churn", 1), plan=plan)
        moments = promises.processes[0].moments
        promises.there_is_one_release_at_most()
        promises.teardown()
        if moments < moment:
            return


def test_a_release_that_lands_while_an_attempt_looks_for_it_is_not_started_again() -> None:
    promises = Promises()
    promises.a_model_is_registered(version=("churn", 1), plan=Plan(0, {}, [Answer.LATE]))
    promises.a_sweep(seconds=61, plan=Plan(0, {"after look": Trouble.SLEEPS}, []))
    promises.a_sweep(seconds=61, plan=Plan(0, {}, []))

    promises.there_is_one_release_at_most()


def test_an_attempt_that_was_overtaken_sends_nothing() -> None:
    promises = Promises()
    promises.a_model_is_registered(version=("churn", 1), plan=Plan(0, {"after create_entity": Trouble.OVERTAKEN}, []))

    promises.there_is_one_release_at_most()
    promises.teardown()


def test_a_duplicate_that_was_overtaken_leaves_the_history_as_it_is() -> None:
    promises = Promises()
    promises.a_model_is_registered(version=("churn", 1), plan=Plan(0, {}, [Answer.LOST]))
    promises.a_model_is_registered(version=("churn", 1), plan=Plan(0, {"after get_entity": Trouble.OVERTAKEN}, []))

    promises.teardown()


def test_an_attempt_that_was_overtaken_leaves_the_history_as_it_is() -> None:
    promises = Promises()
    promises.a_model_is_registered(version=("churn", 2), plan=Plan(0, {}, [Answer.BUSY]))
    promises.a_sweep(seconds=61, plan=Plan(0, {"after start": Trouble.OVERTAKEN}, [Answer.LOST]))

    promises.teardown()


def _row(row: str, partition: str = "p", **values: Any) -> dict[str, Any]:
    return {"PartitionKey": partition, "RowKey": row, **values}


def _changing(table: Any, row: dict[str, Any], etag: str) -> Any:
    return table.update_entity(row, mode=UpdateMode.MERGE, etag=etag, match_condition=MatchConditions.IfNotModified)


NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
SCRIPTS: dict[str, list[Callable[[Any], Any]]] = {
    "the table exists": [lambda t: t.create_table()],
    "insert": [
        lambda t: t.create_entity(_row("1", n=1, when=NOON, text="ä"), response_preference="return-no-content"),
        lambda t: t.get_entity("p", "1"),
    ],
    "insert again": [lambda t: t.create_entity(_row("1", n=1)), lambda t: t.create_entity(_row("1", n=2))],
    "no such row": [lambda t: t.get_entity("p", "1"), lambda t: _changing(t, _row("1"), 'W/"1"')],
    "change": [
        lambda t: t.create_entity(_row("1", n=1, more=2)),
        lambda t: _changing(t, _row("1", n=3), t.get_entity("p", "1").metadata["etag"]),
        lambda t: t.get_entity("p", "1"),
    ],
    "change what has changed": [
        lambda t: t.create_entity(_row("1", n=1)),
        lambda t: _changing(
            t,
            _row("1", n=3),
            (t.get_entity("p", "1"), t.upsert_entity(_row("1"), UpdateMode.REPLACE))[0].metadata["etag"],
        ),
        lambda t: t.get_entity("p", "1"),
    ],
    "upsert": [
        lambda t: t.upsert_entity(_row("1", n=1, more=2), mode=UpdateMode.REPLACE),
        lambda t: t.upsert_entity(_row("1", n=2), mode=UpdateMode.REPLACE),
        lambda t: t.get_entity("p", "1"),
    ],
    "delete": [
        lambda t: t.create_entity(_row("1")),
        lambda t: t.delete_entity("p", "1"),
        lambda t: t.delete_entity("p", "1"),
        lambda t: t.get_entity("p", "1"),
    ],
    "query": [
        lambda t: [t.create_entity(_row(str(n), when=NOON + timedelta(hours=n))) for n in (3, 1, 2)],
        lambda t: t.create_entity(_row("1", partition="o", when=NOON)),
        lambda t: t.create_entity(_row("4")),
        lambda t: list(t.query_entities("PartitionKey eq @p", parameters={"p": "p"}, results_per_page=2)),
        lambda t: list(
            t.query_entities(
                "PartitionKey eq @p and when le @now", parameters={"p": "p", "now": NOON + timedelta(hours=2)}
            )
        ),
        lambda t: list(
            t.query_entities(
                "PartitionKey eq @p and RowKey gt @r",
                parameters={"p": "p", "r": "1"},
                select=["PartitionKey", "RowKey"],
                results_per_page=100,
            )
        ),
    ],
    "delete several": [
        lambda t: [t.create_entity(_row(str(n))) for n in range(3)],
        lambda t: t.submit_transaction([("delete", _row("0")), ("delete", _row("1"))]) and None,
        lambda t: list(t.query_entities("PartitionKey eq @p", parameters={"p": "p"})),
    ],
}


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
def test_a_table_in_memory_answers_as_table_storage_does(world: World, script: list[Callable[[Any], Any]]) -> None:
    in_memory, real = MemoryTable(), world.app.ledger._table._client
    in_memory.create_table()
    real.create_table()

    for call in script:
        assert _answer(call, in_memory) == _answer(call, real)


def _answer(call: Callable[[Any], Any], table: Any) -> Any:
    try:
        answer = call(table)
    except AzureError as error:
        return type(error)
    return _plain(answer)


def _plain(answer: Any) -> Any:
    if isinstance(answer, list):
        return [_plain(one) for one in answer]
    if isinstance(answer, TableEntity):
        return dict(answer)
    # Of what a write answers, the ledger reads the etag.
    return {"etag"} & set(answer) if isinstance(answer, dict) else answer
