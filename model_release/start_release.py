"""Take a registered model to its releases: decide, claim, start, record."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from model_release.errors import Busy, ClaimHeld, EventError, Refused, StartError
from model_release.events import ModelRegistered, Workspace, parse
from model_release.ledger import Claim, Clock, Decision, Ledger, Outcome, State
from model_release.release_map import ReleaseMap, Start, StartedRelease, Target, judge, starts, why_none

logger = logging.getLogger(__name__)

LONGEST_RETRY = timedelta(hours=1)
# A release may carry a time a little before its claim's: two machines, two clocks.
_CLOCKS_DIFFER = timedelta(minutes=5)


class Releases(Protocol):
    """Where releases are started; raises Busy, Refused or Unknown."""

    def start(self, start: Start, event: ModelRegistered, marker: str) -> StartedRelease:
        """Create the release, with the marker in its description."""

    def look(self, target: Target, marker: str, since: datetime) -> StartedRelease | None:
        """Find the release that carries the marker."""


@dataclass(frozen=True)
class StartRelease:
    """The way of an event; what it needs of the world are its fields."""

    release_map: ReleaseMap
    workspaces: frozenset[Workspace]
    ledger: Ledger
    azure_devops: Releases
    first_retry: timedelta
    clock: Clock

    def registered(self, body: str) -> list[Decision]:
        """Take one event to its decisions; returning means that the event needs no further delivery.

        Raises ClaimHeld while somebody else is at work on the same claim, and azure-core's errors when the ledger
        cannot be written: then the event must be delivered again.
        """
        try:
            event = parse(body)
        except EventError as error:
            return [_log(self.ledger.ignore(str(error), event_id="", subject=error.subject))]
        wanted, why = self._decide(event)
        if not wanted:
            subject = f"models/{event.model}:{event.version}"
            return [_log(self.ledger.ignore(why, event_id=event.id, subject=subject))]
        return self._begin_all(wanted, event)

    def unfinished(self) -> list[Decision]:
        """Take up the claims that wait or were cut off and are due; one that fails does not stop the others."""
        decisions = []
        for claim in self.ledger.due():
            try:
                decisions += self._take_up(claim)
            except ClaimHeld as held:
                logger.info("%s", held)
            except Exception:
                logger.exception("%s %s at %s is left for the next sweep", claim.model, claim.version, claim.target)
        self.ledger.prune()
        return decisions

    def _decide(self, event: ModelRegistered) -> tuple[tuple[Start, ...], str]:
        if event.workspace not in self.workspaces:
            return (), f"workspace {event.workspace.id} is not in AML_WORKSPACES"
        verdicts = judge(self.release_map, event)
        return starts(verdicts, event), why_none(verdicts, event)

    def _begin_all(self, wanted: tuple[Start, ...], event: ModelRegistered) -> list[Decision]:
        decisions, failures = [], []
        for start in wanted:
            try:
                decisions.append(self._begin(start, event))
            # Each target has its chance before the event is asked for again because of one.
            except Exception as failure:  # noqa: BLE001
                failures.append(failure)
        if failures:
            raise failures[0]
        return decisions

    def _begin(self, start: Start, event: ModelRegistered) -> Decision:
        claim, mine = self.ledger.claim(start, event)
        if mine:
            return self._close(claim, self._start(claim, start, event))
        if claim.state is not State.STARTING:
            logger.info("%s %s at %s is known: %s", claim.model, claim.version, claim.target, claim.state)
            return Decision.of(claim)
        taken = self.ledger.take(claim)
        return self._close(taken, self._look(claim, taken) or self._start(taken, start, event))

    def _take_up(self, claim: Claim) -> list[Decision]:
        if claim.state.final:
            self.ledger.settle(claim)
            return []
        taken = self.ledger.take(claim)
        if claim.state.may_exist and (seen := self._look(claim, taken)):
            return [self._close(taken, seen)]
        event = parse(claim.event)
        wanted, why = self._decide(event)
        for start in wanted:
            if start.target.key == claim.target.key:
                return [self._close(taken, self._start(taken, start, event))]
        moved = self._begin_all(wanted, event)
        why = f"the release map leads elsewhere now: {', '.join(d.target for d in moved)}" if moved else why
        return [*moved, self._close(taken, Outcome(State.WITHDRAWN, why))]

    def _look(self, before: Claim, taken: Claim) -> Outcome | None:
        """What became of the attempt that was cut off; None when it is certain that it created no release."""
        until = before.lease_until
        try:
            found = self.azure_devops.look(before.target, before.marker, before.created - _CLOCKS_DIFFER)
        except StartError as error:
            reason = f"whether a release started cannot be seen: {error}"
            return Outcome(State.UNKNOWN, reason, self._next_try(taken, error), lease_until=until)
        if found:
            return Outcome(State.STARTED, f"{found.name} was found: an earlier attempt started it", release=found)
        if until > self.clock():
            return Outcome(State.UNKNOWN, "no release is seen yet, and one may still come", until, lease_until=until)
        return None

    def _start(self, claim: Claim, start: Start, event: ModelRegistered) -> Outcome:
        if start.newest_only and event.number is not None:
            line = self.ledger.join_line(claim)
            if line.newer:
                return Outcome(State.SUPERSEDED, f"version {line.newer} is newer and went first")
            if line.older:
                return Outcome(State.WAITING, f"version {line.older.version} is still being started", self.clock())
        if not self.ledger.has_time(claim):
            return Outcome(State.WAITING, "the attempt took too long to be safe", self.clock())
        try:
            release = self.azure_devops.start(start, event, claim.marker)
        except StartError as error:
            return Outcome(_STATES.get(type(error), State.UNKNOWN), str(error), self._next_try(claim, error))
        return Outcome(State.STARTED, f"route {start.route} takes {event.model} {event.version}", release=release)

    def _next_try(self, claim: Claim, error: StartError) -> datetime:
        doubled: int = 2 ** min(claim.attempts - 1, 16)
        wait = self.first_retry * doubled
        if isinstance(error, Refused):
            wait = LONGEST_RETRY
        return self.clock() + max(min(wait, LONGEST_RETRY), error.retry_after or timedelta())

    def _close(self, claim: Claim, outcome: Outcome) -> Decision:
        return _log(self.ledger.close(claim, outcome))


_STATES = {Busy: State.WAITING, Refused: State.REFUSED}


def _log(decision: Decision) -> Decision:
    logger.info("%s at %s: %s: %s", decision.subject, decision.target or "-", decision.state, decision.reason)
    return decision
