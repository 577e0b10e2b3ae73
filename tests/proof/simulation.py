"""One schedule: workers over one table and one Azure DevOps, in virtual time, every choice drawn from one seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from random import Random
from typing import Any, TypeVar

from azure.core.exceptions import AzureError
from greenlet import getcurrent

from model_release.errors import ClaimLeasedError
from tests.proof.checks import Checks
from tests.proof.devops import Organization
from tests.proof.scenario import Scenario, Strategy
from tests.proof.services import BEGIN, Parts, Process, begin_catch_up, storage_fails
from tests.proof.table import SimulatedTable
from tests.proof.trace import Trace
from tests.proof.workers import Killed, Worker
from tests.tables import AnswerLost

T = TypeVar("T")
# What storage carries out late, and whose write it is.
_LateWrite = tuple[Worker, Callable[[], Any]]
_EXPECTED = (Killed, ClaimLeasedError, AzureError)
_WRITES = tuple(
    f"after {name}"
    for name in ("create_entity", "update_entity", "upsert_entity", "delete_entity", "submit_transaction")
)
# Only these may make something unsafe that was acknowledged.
_UNSAFE = ("after update_entity", "after delete_entity")
# How late storage carries out a write at most.
LATEST_WRITE = 40_000
# The platform kills a process with a function that has run for so long: `functionTimeout` in host.json.
FUNCTION_TIMEOUT = 600_000


class Simulation:
    """The scheduler, the time and Azure DevOps; `strategy` chooses while there is trouble."""

    def __init__(
        self, random: Random, parts: Parts, scenario: Scenario, strategy: Strategy, trace: Trace | None
    ) -> None:
        self.random = random
        self.parts = parts
        self.scenario = scenario
        self.trouble = True
        self.begin = BEGIN
        self.now = 0
        self.steps = 0
        self.seen: set[int] = set()
        self.table = SimulatedTable(created={"table"}, delay=self.delay)
        self.organization = Organization(self)
        self.published: set[str] = set()
        self.checks = Checks(self)
        self.workers: list[Worker] = []
        self.map = scenario.maps[0]
        self.processes = [Process(self, number, skew, self.map) for number, skew in enumerate(scenario.skews)]
        self.trace = trace
        begin_catch_up(replace(self.table, delay=None))
        self._strategy = strategy
        self._hub = getcurrent()
        self._current: Worker | None = None
        self._chosen: Worker | None = None
        self._is_chosen = False
        self._positions = 0
        self._late: list[tuple[int, _LateWrite]] = []
        self.may_act = True

    @property
    def current(self) -> Worker:
        """The worker that runs."""
        assert self._current
        return self._current

    def run(self, act: Callable[[], bool]) -> None:
        """Run all workers to their end; `act` lets the surroundings act, and returns False at their end."""
        self.may_act = True
        while not self.checks.failures:
            worker = self._chosen if self._is_chosen else self._choose()
            self._is_chosen = False
            if worker:
                self._resume(worker)
            elif self.may_act:
                self.may_act = act()
            elif self.workers:
                self.pass_time(min(worker.ready_at for worker in self.workers if worker.ready_at > self.now))
            else:
                return

    def spawn(self, name: str, process: Process, work: Callable[[], object]) -> Worker:
        """Add a worker, which does not run yet."""

        def checked() -> None:
            try:
                work()
            except BaseException as error:  # noqa: BLE001  greenlet would raise it in the scheduler
                self.check_error(error)

        worker = Worker(name, process, checked, began=self.now)
        self.workers.append(worker)
        return worker

    def kill(self, process: Process) -> None:
        """Kill a process and all that runs in it, and start another in its place, with the newest map."""
        self.note(f"process {process.number} is killed")
        process.dead = True
        for worker in [worker for worker in self.workers if worker.process is process]:
            self._current = worker
            worker.kill()
            self._remove(worker)
        self.processes[process.number] = Process(self, process.number, process.skew, self.map)

    def end(self) -> None:
        """Free what the workers hold."""
        for process in self.processes:
            process.dead = True
        for worker in self.workers:
            self._current = worker
            worker.kill()

    def pass_time(self, until: int) -> None:
        """Move the clock, and carry out what is due until then."""
        late, self._late = self._late, []
        events: list[tuple[int, Callable[[Any], None], Any]]
        events = [(max(time, self.now), self._write_late, write) for time, write in late]
        events += [(time, self.organization.land, request) for time, request in self.organization.on_their_way()]
        for time, carry_out, what in sorted(events, key=lambda event: event[0]):
            if time <= until:
                self.now = max(self.now, time)
                carry_out(what)
            elif carry_out == self._write_late:
                self._late.append((time, what))
        self.now = max(self.now, until)
        for worker in [worker for worker in self.workers if self.now - worker.began >= FUNCTION_TIMEOUT]:
            if worker.process in self.processes:
                self.note(f"{worker.name} took longer than a function may")
                self.kill(worker.process)

    # What the parts of a process call.

    def stop(self, at: str) -> None:
        """Let the scheduler choose who goes on."""
        worker = self.current
        if worker.process.dead:
            raise Killed
        worker.at = at
        worker.steps += 1
        self.steps += 1
        self._positions ^= worker.position
        worker.position = hash((worker.name, worker.process.number, worker.steps, at))
        self._positions ^= worker.position
        # Without times: a state is the table, Azure DevOps and the positions of the workers.
        self.seen.add(hash((self.checks.table, self.organization.state, self._positions)))
        chosen = None if self.checks.failures else self._choose()
        if chosen is not worker:
            self._chosen, self._is_chosen = chosen, not self.checks.failures
            self._hub.switch()
        if self.trace:
            self.trace.step(self, worker)

    def wait_for(self, workers: list[Worker]) -> None:
        """Stop until other workers have ended."""
        self.current.threads = workers
        self.stop("with its threads")

    def storage(self, moment: str) -> None:
        """Stop before and after an operation of storage, which may fail or lose its answer."""
        if moment.endswith("create_table"):
            return
        if moment in _WRITES:
            self.checks.table_changed(self.current)
            if moment in _UNSAFE:
                self.checks.acknowledged()
        self.stop(moment)
        if not self.trouble:
            return
        chance = self.random.random()
        if chance < self.scenario.storage_fails:
            self.note(f"storage fails {moment}")
            raise storage_fails()
        if chance > 1 - self.scenario.answers_lost and moment.startswith("after"):
            self.note(f"the answer is lost {moment}")
            raise AnswerLost

    def delay(self, operation: str, write: Callable[[], Any]) -> None:
        """Let storage carry out a write some seconds later, when the client has given up."""
        rate = self.scenario.writes_late
        if self.trouble and rate and f"after {operation}" in _WRITES and self.random.random() < rate:
            self.note(f"{operation} is carried out late")
            self._late.append((self.now + round(self.random.random() * LATEST_WRITE), (self.current, write)))
            raise storage_fails()

    def question_fails(self) -> bool:
        """Whether a question to Azure DevOps, or publishing, fails."""
        return self.trouble and self.random.random() < self.scenario.questions_fail

    def choice(self, options: Sequence[T]) -> T:
        return options[int(self.random.random() * len(options))]

    def check_error(self, error: BaseException) -> None:
        """Report an error that no part of the app should raise."""
        if not isinstance(error, _EXPECTED):
            self.checks.fail("error", f"{type(error).__name__}: {error}")

    def note(self, text: str) -> None:
        if self.trace:
            self.trace.note(self, text)

    def _choose(self) -> Worker | None:
        now = self.now
        ready = [one for one in self.workers if one.ready_at <= now and not (one.threads and one.waits(self.workers))]
        return self._strategy.choose(ready, may_act=self.may_act) if ready else None

    def _write_late(self, late: _LateWrite) -> None:
        worker, write = late
        with suppress(AzureError):
            write()
        self.checks.table_changed(worker)
        self.checks.acknowledged()
        self.note("a late write is carried out")

    def _resume(self, worker: Worker) -> None:
        self._current = worker
        if not worker.run(self._hub):
            self._remove(worker)

    def _remove(self, worker: Worker) -> None:
        self._positions ^= worker.position
        self.workers.remove(worker)
