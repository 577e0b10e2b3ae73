"""The way of an event: parse, match, claim, guards, create, record."""

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from model_release.domain.claims import Claim, RecordedVersion, State
from model_release.domain.events import ModelRegistered, Workspace, parse
from model_release.domain.history import HistoryEntry
from model_release.domain.release_map import ReleaseMap
from model_release.domain.routing import Reason, Routing, route
from model_release.domain.targets import Plan
from model_release.errors import ClaimLeasedError, EventError, RefusedError
from model_release.flow.attempt import Attempts, OpenAttempt
from model_release.flow.record import Recorder
from model_release.log import log_entry
from model_release.store.claims import Claims
from model_release.store.pending import Pending
from model_release.store.targets import Targets
from model_release.tracing import traced

logger = logging.getLogger(__name__)
Log = Callable[[HistoryEntry], HistoryEntry]


def _unlogged(entry: HistoryEntry) -> HistoryEntry:
    return entry


@dataclass(frozen=True)
class StartRelease:
    """Starts the releases of an event; its fields are its collaborators."""

    release_map: ReleaseMap
    workspaces: frozenset[Workspace]
    claims: Claims
    targets: Targets
    pending: Pending
    attempts: Attempts
    recorder: Recorder
    monotonic: Callable[[], float] = time.monotonic

    @traced("event")
    def registered(self, body: str, *, delivered: bool = True) -> list[HistoryEntry]:
        """Start the releases of one event; returning acknowledges it. Only if `delivered`, it is delivered again.

        Raises ClaimLeasedError while another worker processes the same claim, and azure-core's errors if storage fails:
        then Event Grid must deliver the event again.
        """
        began = self.monotonic()
        try:
            event = parse(body)
        except EventError as error:
            return [log_entry(self._timed(began, self.recorder.ignore(Reason(str(error)), error.subject)))]
        routing = self._route(event)
        if not routing.plans:
            ours = event if event.workspace in self.workspaces else None
            if ours:
                self._take_over(ours)
            ignored = self.recorder.ignore(routing.why_nothing, f"models/{event.model}:{event.version}", ours)
            return [log_entry(self._timed(began, ignored))]
        return self._attempt_all(routing.plans, event, delivered=delivered, log=log_entry)

    def start_missing(self, event: ModelRegistered, recorded: RecordedVersion) -> list[HistoryEntry]:
        """Start what was cut off before it was claimed, and what matches only since a tag or property changed."""
        matched_before = {self._digest(plan) for plan in self._route(parse(recorded.event)).plans}
        done = (matched_before - recorded.siblings) | recorded.claimed
        missing = tuple(plan for plan in self._route(event).plans if self._digest(plan) not in done)
        return self._attempt_all(missing, event, delivered=False, log=log_entry)

    def try_now(self, claim: Claim) -> list[HistoryEntry]:
        """Attempt a pending claim before it is due; raises ClaimLeasedError while another worker processes it."""
        return [log_entry(entry) for entry in self.resume(claim)]

    def restart(self, claim: Claim, idempotency_key: str) -> list[HistoryEntry]:
        """Start a version again, an older one too; repeating the key starts nothing more.

        Raises RefusedError if no route leads to the target any more, TemporaryError if the target cannot be resolved,
        and ClaimLeasedError while the same key is processed.
        """
        event = parse(claim.event)
        routing = self._route(event)
        if plan := self.attempts.plan_for(claim, routing.plans):
            return self._attempt_all((plan,), event, idempotency_key, delivered=False, log=log_entry)
        elsewhere = f"no route for {event.model}:{event.version} leads to {claim.target} any more"
        problem = elsewhere if routing.plans else routing.why_nothing.text
        raise RefusedError(problem, "change the release map and deploy it")

    @traced("attempt")
    def resume(self, claim: Claim) -> list[HistoryEntry]:
        """Attempt a pending claim; if no route leads to its target any more, start what the map plans now."""
        began = self.monotonic()
        leased, event = self.claims.acquire(claim), parse(claim.event)
        attempt = OpenAttempt(leased.claim, claim, leased.deadline, event, self._route(event))
        acquired, result = self.attempts.run(attempt)
        others = self._attempt_all(result.instead, event, claim.idempotency_key, delivered=False)
        return [*others, self._timed(began, self.recorder.record(acquired, result))]

    def _take_over(self, event: ModelRegistered) -> None:
        """Give the sweep what a process with another release map claimed for this event, if it was cut off."""
        recorded = self.claims.recorded(event.workspace, event.model, event.version).get(event.version)
        for claim in recorded.claims if recorded else ():
            if claim.state is State.STARTING:
                self.pending.add(claim, claim.lease_until)

    @traced("match")
    def _route(self, event: ModelRegistered) -> Routing:
        return route(self.release_map, self.workspaces, event)

    def _attempt_all(
        self,
        plans: tuple[Plan, ...],
        event: ModelRegistered,
        idempotency_key: str = "",
        *,
        delivered: bool,
        log: Log = _unlogged,
    ) -> list[HistoryEntry]:
        """Attempt every plan, whatever happens to the others; raises the failures of all as one."""
        entries: list[HistoryEntry] = []
        failures: list[Exception] = []
        for plan in plans:
            siblings = [self._digest(other) for other in plans if other is not plan]
            try:
                ended = self._attempt(plan, event, siblings, idempotency_key, delivered=delivered)
                entries += [log(entry) for entry in ended]
            except Exception as failure:  # noqa: BLE001  raised below, with all others
                failures.append(failure)
        if failures:
            raise _all_of(failures)
        return entries

    @traced("attempt")
    def _attempt(
        self,
        plan: Plan,
        event: ModelRegistered,
        siblings: Iterable[str],
        idempotency_key: str,
        *,
        delivered: bool,
    ) -> list[HistoryEntry]:
        began = self.monotonic()
        target = self.targets.last_resolved(plan.target)
        leased = self.claims.new(plan, event, target, siblings, idempotency_key)
        self.attempts.throttle.read_ahead()
        # The sweep must know of the claim before it exists if nobody delivers its event again, or if the target is new:
        # a later delivery may find the target, and its claims, under another name.
        may_be_left = not (delivered and target.definition_id)
        if may_be_left and not self.claims.find(leased.claim.partition, leased.claim.row):
            self.pending.put(leased.claim, leased.claim.lease_until)
        claim, inserted = self.claims.insert(leased.claim)
        before = None if inserted or self.claims.never_sent(claim) else claim
        if not inserted:
            if claim.state is not State.STARTING:
                return [self._timed(began, self.recorder.already_recorded(claim))]
            leased = self.claims.acquire(claim)
            claim = leased.claim
        attempt = OpenAttempt(claim, before, leased.deadline, event, Routing((plan,), Reason("")), plan)
        claim, result = self.attempts.run(attempt)
        others = self._attempt_all(result.instead, event, idempotency_key, delivered=False)
        return [*others, self._timed(began, self.recorder.record(claim, result, has_pending_row=may_be_left))]

    def _digest(self, plan: Plan) -> str:
        return self.targets.last_resolved(plan.target).target_digest

    def _timed(self, began: float, entry: HistoryEntry) -> HistoryEntry:
        return replace(entry, milliseconds=round((self.monotonic() - began) * 1000))


def _all_of(failures: list[Exception]) -> Exception:
    """Return the failure that matters most, with notes about the others; a lease of another worker matters least."""
    first, *others = sorted(failures, key=lambda failure: isinstance(failure, ClaimLeasedError))
    for other in others:
        first.add_note(f"another target failed too: {type(other).__name__}: {other}")
    for failure in failures if others else ():
        if not isinstance(failure, ClaimLeasedError):
            logger.error("one of several targets failed", exc_info=failure)
    return first
