"""Take a registered model to its releases: decide, claim, start, record."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Protocol

from model_release.domain.claims import Claim, Decision, Known, Outcome, State, name_of
from model_release.domain.events import ModelRegistered, Workspace, parse
from model_release.domain.release_map import ReleaseMap, Start, StartedRelease, Target, decide
from model_release.errors import Busy, ClaimHeld, EventError, Refused, StartError
from model_release.log import log_decision, log_sweep
from model_release.store.ledger import Clock, Ledger
from model_release.tracing import traced

logger = logging.getLogger(__name__)

LONGEST_RETRY = timedelta(hours=1)
ABANDON_AFTER = timedelta(days=7)
# The sweep runs every minute, and its next run waits for this one.
SWEEP_TIME = timedelta(seconds=50)
SWEEP_THREADS = 8
# A release may carry a time a little before its claim's: two machines, two clocks.
_CLOCKS_DIFFER = timedelta(minutes=5)


def sweep_threads() -> Executor:
    """The threads of one sweep, which are as many requests to Azure DevOps at once."""
    return ThreadPoolExecutor(SWEEP_THREADS)


class Releases(Protocol):
    """Where releases and runs are started, the flow does not know which; raises Busy, Refused or Unknown."""

    def start(self, start: Start, event: ModelRegistered, marker: str) -> StartedRelease:
        """Start it, with the marker on it."""

    def look(self, target: Target, marker: str, since: datetime) -> StartedRelease | None:
        """Find what carries the marker."""


class Outcomes(Protocol):
    """Where outcomes are published."""

    def publish(self, more: Callable[[], bool]) -> None:
        """Publish some of what waits, and then as long as there is time for more."""


@dataclass(frozen=True)
class StartRelease:
    """The way of an event; what it needs of the world are its fields."""

    release_map: ReleaseMap
    workspaces: frozenset[Workspace]
    ledger: Ledger
    azure_devops: Releases
    first_retry: timedelta
    clock: Clock
    outcomes: Outcomes | None = None
    threads: Callable[[], Executor] = sweep_threads
    monotonic: Callable[[], float] = time.monotonic

    @traced("event")
    def registered(self, body: str) -> list[Decision]:
        """Take one event to its decisions; returning means that the event needs no further delivery.

        Raises ClaimHeld while somebody else is at work on the same claim, and azure-core's errors when the ledger
        cannot be written: then the event must be delivered again.
        """
        began = self.monotonic()
        try:
            event = parse(body)
        except EventError as error:
            return [log_decision(self._timed(began, self.ledger.ignore(str(error), error.subject)))]
        wanted, why = self._decide(event)
        if not wanted:
            ours = event if event.workspace in self.workspaces else None
            ignored = self.ledger.ignore(why, f"models/{event.model}:{event.version}", ours)
            return [log_decision(self._timed(began, ignored))]
        return self._begin_logged(wanted, event)

    def missing(self, event: ModelRegistered, known: Known) -> list[Decision]:
        """Start what was cut off before it was claimed, and what a route takes only since a tag or property changed."""
        took = {name_of(start.target) for start in self._decide(parse(known.event))[0]}
        done = (took - known.wanted) | known.claimed
        wanted = tuple(start for start in self._decide(event)[0] if name_of(start.target) not in done)
        return self._begin_logged(wanted, event)

    def try_now(self, claim: Claim) -> list[Decision]:
        """Take up a claim that is not final before its time; raises ClaimHeld while somebody else is at work on it."""
        return [log_decision(decision) for decision in self._finish(claim)]

    def again(self, claim: Claim, wish: str) -> Decision:
        """Start another release on purpose, of an older version too; one wish starts one, however often it comes.

        Raises Refused when no route leads to this target any more, and ClaimHeld while the same wish is at work.
        """
        event = parse(claim.event)
        wanted, why = self._decide(event)
        for start in wanted:
            if start.target.key == claim.target.key:
                return log_decision(self._begin(start, event, wish))
        raise Refused(why or f"no route leads {event.model} {event.version} to {claim.target} now")

    def unfinished(self) -> list[Decision]:
        """Take up the claims that wait or were cut off and are due; one that fails does not stop the others."""
        now = self.clock()
        due = () if self.ledger.held_until() > now else self.ledger.due()
        decisions = []
        with self.threads() as pool:
            attempts = [pool.submit(self._take_up, place, now + SWEEP_TIME) for place in due]
        for attempt in attempts:
            try:
                # The host drops what is logged in a thread that it does not know.
                decisions += [log_decision(decision) for decision in attempt.result()]
            except ClaimHeld:
                pass
            except Exception:
                logger.exception("a claim is left for the next sweep")
        self.ledger.prune()
        left = self.ledger.unfinished()
        log_sweep(left.claims, left.age(self.clock()))
        if self.outcomes:
            self.outcomes.publish(lambda: self.clock() < now + SWEEP_TIME)
        return decisions

    @traced("decide")
    def _decide(self, event: ModelRegistered) -> tuple[tuple[Start, ...], str]:
        return decide(self.release_map, self.workspaces, event)

    def _begin_logged(self, wanted: tuple[Start, ...], event: ModelRegistered) -> list[Decision]:
        decisions, failures = self._begin_all(wanted, event)
        for decision in decisions:
            log_decision(decision)
        if failures:
            raise failures[0]
        return decisions

    def _begin_all(self, wanted: tuple[Start, ...], event: ModelRegistered) -> tuple[list[Decision], list[Exception]]:
        decisions, failures = [], []
        for start in wanted:
            try:
                beside = [other.target for other in wanted if other is not start]
                decisions.append(self._begin(start, event, beside=beside))
            # Each target has its chance before the event is asked for again because of one.
            except Exception as failure:  # noqa: BLE001
                failures.append(failure)
        return decisions, failures

    @traced("attempt")
    def _begin(self, start: Start, event: ModelRegistered, wish: str = "", beside: Iterable[Target] = ()) -> Decision:
        began = self.monotonic()
        claim, mine = self.ledger.claim(start, event, wish, beside)
        if mine:
            return self._close(began, claim, self._start(claim, start, event))
        if claim.state is not State.STARTING:
            # The process that closed it may have died before it told so. What is not final, the sweep goes on telling,
            # and may have done so since it was read.
            told = self.ledger.tell(claim) if claim.state.final else Decision.of(claim)
            return self._timed(began, replace(told, reason=f"known already, {told.reason}"))
        taken = self.ledger.take(claim)
        return self._close(began, taken, self._look(claim, taken) or self._start(taken, start, event))

    def _take_up(self, place: tuple[str, str], until: datetime) -> list[Decision]:
        if self.clock() >= until:
            return []
        claim = self.ledger.owed(*place)
        if claim is None:
            return []
        if claim.state.final:
            self.ledger.tell(claim)
            self.ledger.settle(claim)
        elif claim.next_try <= self.clock() and self.ledger.held_until() <= self.clock():
            return self._finish(claim)
        return []

    @traced("attempt")
    def _finish(self, claim: Claim) -> list[Decision]:
        began = self.monotonic()
        taken = self.ledger.take(claim)
        if claim.state.may_exist and (seen := self._look(claim, taken)):
            return [self._close(began, taken, seen)]
        # A refusal means that nothing was created; should that ever be wrong, not one more is created each hour.
        if claim.state is State.REFUSED and (seen := self._look(claim, taken)) and seen.release:
            return [self._close(began, taken, seen)]
        event = parse(claim.event)
        wanted, why = self._decide(event)
        for start in wanted:
            if start.target.key == claim.target.key:
                return [self._close(began, taken, self._start(taken, start, event))]
        moved, failures = self._begin_all(wanted, event)
        if failures:
            raise failures[0]
        why = f"the release map leads elsewhere now: {', '.join(d.target for d in moved)}" if moved else why
        return [*moved, self._close(began, taken, Outcome(State.WITHDRAWN, why))]

    def _look(self, before: Claim, taken: Claim) -> Outcome | None:
        """What became of the attempt that was cut off; None when it is certain that it created no release."""
        until = before.lease_until
        if (held := self.ledger.held_until()) > self.clock():
            return Outcome(State.UNKNOWN, _HELD, held, lease_until=until)
        # Asked before looking: what lands after the look must not be taken for what never came.
        may_land = until > self.clock()
        try:
            found = self.azure_devops.look(before.target, before.marker, before.created - _CLOCKS_DIFFER)
        except StartError as error:
            reason = f"whether it started cannot be seen: {error}"
            return Outcome(State.UNKNOWN, reason, self._next_try(taken, error), lease_until=until)
        if found:
            return Outcome(State.STARTED, f"{found.name} was found: an earlier attempt started it", release=found)
        if may_land:
            return Outcome(State.UNKNOWN, "it is not seen yet, and may still come", until, lease_until=until)
        return None

    def _start(self, claim: Claim, start: Start, event: ModelRegistered) -> Outcome:
        if start.newest_only and event.number is not None and not claim.again:
            line = self.ledger.join_line(claim)
            if line.newer:
                return Outcome(State.SUPERSEDED, f"version {line.newer} is newer and came first")
            if line.older:
                return Outcome(
                    State.WAITING, f"version {line.older.version} is still being started", self.clock() + _SOON
                )
        if (held := self.ledger.held_until()) > self.clock():
            return Outcome(State.WAITING, _HELD, held)
        if not self.ledger.has_time(claim):
            return Outcome(State.WAITING, "the attempt took too long to be safe", self.clock() + _SOON)
        try:
            release = self.azure_devops.start(start, event, claim.marker)
        except StartError as error:
            return Outcome(_STATES.get(type(error), State.UNKNOWN), str(error), self._next_try(claim, error))
        why = f"route {start.route} takes {event.model} {event.version}"
        return Outcome(State.STARTED, f"started again on purpose, {why}" if claim.again else why, release=release)

    def _next_try(self, claim: Claim, error: StartError) -> datetime:
        doubled: int = 2 ** min(claim.attempts - 1, 16)
        wait = self.first_retry * doubled
        if isinstance(error, Refused):
            wait = LONGEST_RETRY
        return self.clock() + max(min(wait, LONGEST_RETRY), error.retry_after or timedelta())

    def _close(self, began: float, claim: Claim, outcome: Outcome) -> Decision:
        may_land = outcome.state is State.UNKNOWN and (outcome.lease_until or claim.lease_until) > self.clock()
        if not (outcome.state.final or may_land) and self.clock() - claim.created >= ABANDON_AFTER:
            reason = f"given up after {ABANDON_AFTER.days} days, {outcome.state}: {outcome.reason}"
            outcome = Outcome(State.ABANDONED, reason)
        return self._timed(began, self.ledger.close(claim, outcome))

    def _timed(self, began: float, decision: Decision) -> Decision:
        return replace(decision, milliseconds=round((self.monotonic() - began) * 1000))


_STATES = {Busy: State.WAITING, Refused: State.REFUSED}
_SOON = timedelta(seconds=1)
_HELD = "Azure DevOps asked to be left alone"
