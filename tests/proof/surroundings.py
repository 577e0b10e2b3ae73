"""What happens around the workers: calls, deployments, killed processes and time; and the recovery."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from model_release.domain.claims import State, claim_key
from tests.proof.calls import Calls
from tests.proof.devops import COPY
from tests.proof.scenario import LEASE_MS
from tests.proof.services import BEGIN

if TYPE_CHECKING:
    from tests.proof.simulation import Simulation

_PAUSES = (1_000, 30_000, 61_000, 121_000, 181_000, 361_000, 3_601_000)
_WEEK = 7 * 24 * 3_600_000
_MOST_WORKERS = 4
_MOST_SWEEPS = 2
_KEYS = ("key-one", "key-two")
_RECOVERY = (61_000, 181_000, 361_000, *([3_601_000] * 12))
# A person repeats each restart before its lease is over.
_IMPATIENT = (121_000,) * 70
_LATE_DELIVERIES = 0.3
_UNPINNED = 0.7


class Surroundings:
    """Acts on a simulation, as its scenario allows."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        self._calls = Calls(simulation)
        self._left = simulation.scenario.at_most
        self._script = list(simulation.scenario.script)
        self._with_number: dict[str, Callable[[int], object]] = {
            "deliver": self._calls.deliver,
            "set mark back": self._calls.set_mark_back,
            "restart": self._restart,
            "pin": self._calls.pin,
            "match again": self._calls.match_again,
            "try now": self._calls.try_now,
            "seconds pass": lambda seconds: simulation.pass_time(simulation.now + seconds * 1000),
        }
        self._actions: dict[str, Callable[[], bool]] = {
            "deliver": lambda: self._call(self._calls.deliver, self._not_acknowledged()),
            "deliver again": lambda: self._call(self._calls.deliver, self._calls.acknowledged),
            "sweep": self._sweep,
            "time passes": self._time_passes,
            "request lands": self._request_lands,
            "one lease passes": lambda: self._leases_pass(1),
            "two leases pass": lambda: self._leases_pass(2),
            "restart": lambda: self._call(self._restart, self._calls.delivered),
            "pin": lambda: self._call(self._calls.pin, self._calls.delivered),
            "pin what is out": lambda: self._call(self._calls.pin_what_is_out, self._calls.delivered),
            "unpin": lambda: self._call(lambda _: self._calls.unpin(keep=False), self._calls.delivered),
            "keep": lambda: self._call(lambda _: self._calls.unpin(keep=True), self._calls.delivered),
            "try now": lambda: self._call(self._calls.try_now, self._calls.delivered),
            "match again": lambda: self._call(self._calls.match_again, self._calls.delivered),
            "set mark back": lambda: self._call(self._calls.set_mark_back, self._calls.delivered),
            "catch up": lambda: self._call(lambda _: self._calls.catch_up(), simulation.scenario.versions),
            "kill": self._kill,
            "deploy": self._deploy,
            "definition changes": self._definition_changes,
            "definition is replaced": self._definition_is_replaced,
        }

    def act(self) -> bool:
        """Let one thing happen; returns False if nothing more may happen."""
        if self._simulation.scenario.script:
            return self._follow_script()
        weights = dict(self._simulation.scenario.actions)
        while self._left and weights:
            (name,) = self._simulation.random.choices(list(weights), list(weights.values()))
            if self._actions[name]():
                self._left -= 1
                return True
            del weights[name]
        self._left = 0
        return False

    def _follow_script(self) -> bool:
        if not self._script:
            return False
        name, _, number = self._script.pop(0).partition(":")
        if number:
            self._call(self._with_number[name], [int(number)])
        else:
            self._actions[name]()
        return True

    def recover(self) -> None:
        """Let the trouble stop, and deliver and sweep until nothing is left to do."""
        simulation, calls = self._simulation, self._calls
        simulation.trouble = False
        simulation.note("all trouble stops")
        simulation.run(lambda: False)
        for process in simulation.processes:
            if process.map is not simulation.map:
                simulation.kill(process)
        self._repeat_until_done()
        if simulation.random.random() < _LATE_DELIVERIES:
            for version in sorted(calls.delivered):
                calls.deliver(version)
            self._repeat_until_done()
        if simulation.checks.is_pinned and simulation.random.random() < _UNPINNED:
            calls.unpin(keep=False)
            simulation.run(lambda: False)
            self._repeat_until_done()
        if simulation.checks.is_pinned:
            # A process that was killed may have recorded nothing of a claim that is held: its next attempt does.
            simulation.pass_time(simulation.now + 2 * _RECOVERY[-1])
            self._repeat_until_done()
        # A sweep with nothing to do changes nothing.
        calls.sweep()
        simulation.run(lambda: False)

    def _repeat_until_done(self) -> None:
        simulation, calls = self._simulation, self._calls
        repeated = list(calls.restarted) if simulation.scenario.impatient else []
        for pause in _IMPATIENT if repeated else _RECOVERY:
            simulation.pass_time(simulation.now + pause)
            for version in sorted(calls.delivered - calls.acknowledged):
                calls.deliver(version)
            for version, key in repeated:
                calls.restart(version, key)
            if simulation.organization.named == COPY:
                # A catch-up claims versions that were not delivered.
                for version in simulation.scenario.versions:
                    calls.try_now(version)
            if self._is_left_to_the_catch_up():
                calls.catch_up()
            calls.sweep()
            simulation.run(lambda: False)
            if simulation.checks.failures or self._is_done():
                return

    def _is_done(self) -> bool:
        stays = State.HELD if self._simulation.checks.is_pinned else None
        left = any(
            partition == "outbox"
            or (partition == "pending" and row["state"] != stays)
            or row.get("state") == State.STARTING
            for (partition, _), row in self._simulation.table.rows.items()
        )
        return not left and self._calls.acknowledged >= self._calls.delivered

    def _is_left_to_the_catch_up(self) -> bool:
        """Whether a claim was written after a process with another map had ignored its version."""
        rows = self._simulation.table.rows
        return any(
            row["state"] == State.STARTING
            and ("pending", claim_key(*at)) not in rows
            and (at[0], f"{row['version']} ignored") in rows
            for at, row in self._simulation.checks.claims()
        )

    def _not_acknowledged(self) -> set[int]:
        return set(self._simulation.scenario.versions) - self._calls.acknowledged

    def _call(self, call: Callable[[int], object], versions: Iterable[int]) -> bool:
        if not versions or len(self._simulation.workers) >= _MOST_WORKERS:
            return False
        call(self._simulation.choice(sorted(versions)))
        return True

    def _restart(self, version: int) -> None:
        self._calls.restart(version, self._simulation.choice(_KEYS))

    def _leases_pass(self, leases: int) -> bool:
        """Let time pass until the claims of the workers that wait may be acquired, or sent again, by others."""
        self._simulation.pass_time(self._simulation.now + leases * LEASE_MS + 1)
        self._simulation.note(f"{leases} leases pass")
        return True

    def _sweep(self) -> bool:
        if sum(worker.name == "sweep" for worker in self._simulation.workers) >= _MOST_SWEEPS:
            return False
        self._calls.sweep()
        return True

    def _kill(self) -> bool:
        simulation = self._simulation
        busy = [one for one in simulation.processes if any(worker.process is one for worker in simulation.workers)]
        if busy:
            simulation.kill(simulation.choice(busy))
        return bool(busy)

    def _deploy(self) -> bool:
        simulation = self._simulation
        if simulation.map is simulation.scenario.maps[-1]:
            return False
        simulation.map = simulation.scenario.maps[-1]
        simulation.note(f"deployment of {simulation.map}")
        at_once = simulation.random.random() < 0.5
        for process in list(simulation.processes):
            if at_once or simulation.random.random() < 0.5:
                simulation.kill(process)
        return True

    def _definition_changes(self) -> bool:
        self._simulation.organization.revision += 1
        self._simulation.note("a person edits the release definition")
        return True

    def _definition_is_replaced(self) -> bool:
        organization = self._simulation.organization
        if organization.named == COPY:
            return False
        organization.named = COPY
        organization.known = {row for _, row in self._simulation.table.rows if row.startswith("name ")}
        self._simulation.note("a person gives the names of the release definition to a copy")
        return True

    def _request_lands(self) -> bool:
        times = [time for time, _ in self._simulation.organization.on_their_way()]
        if times:
            self._simulation.pass_time(min(times))
        return bool(times)

    def _time_passes(self) -> bool:
        simulation = self._simulation
        # Event Grid delivers for a day only.
        delivered = self._calls.delivered <= self._calls.acknowledged
        if simulation.scenario.weeks and delivered and simulation.random.random() < 0.3:
            pause = _WEEK
        elif simulation.random.random() < 0.5:
            pause = simulation.choice(_PAUSES)
        else:
            pause = self._until_something_ends()
        simulation.pass_time(simulation.now + pause)
        simulation.note("time passes")
        return True

    def _until_something_ends(self) -> int:
        """Return the time to just before or after the end of a lease, a pause or the flight of a request."""
        simulation = self._simulation
        skew = timedelta(milliseconds=simulation.choice(simulation.scenario.skews))
        ends = {
            round((value - BEGIN - skew).total_seconds() * 1000)
            for row in simulation.table.rows.values()
            for value in row.values()
            if isinstance(value, datetime)
        }
        later = sorted(end for end in ends if end > simulation.now)
        return simulation.choice(later) - simulation.now + simulation.choice((-1, 0, 1, 500)) if later else 1_000
