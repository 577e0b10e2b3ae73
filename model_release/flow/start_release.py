"""The way of an event: parse, match, claim, guards, create, record."""

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from model_release.domain.claims import AttemptResult, Claim, RecordedVersion, State, target_digest
from model_release.domain.events import ModelRegistered, Workspace, parse
from model_release.domain.history import HistoryEntry
from model_release.domain.release_map import ReleaseMap
from model_release.domain.routing import Reason, Routing, route
from model_release.domain.targets import Plan, Target
from model_release.errors import ClaimLeasedError, EventError, RefusedError
from model_release.flow.attempt import Attempts, OpenAttempt
from model_release.flow.record import Recorder
from model_release.log import log_entry
from model_release.store.claims import Claims
from model_release.store.pending import Pending
from model_release.tracing import traced

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class StartRelease:
    """Starts the releases of an event; its fields are its collaborators."""

    release_map: ReleaseMap
    workspaces: frozenset[Workspace]
    claims: Claims
    pending: Pending
    attempts: Attempts
    recorder: Recorder
    monotonic: Callable[[], float] = time.monotonic

    @traced("event")
    def registered(self, body: str) -> list[HistoryEntry]:
        """Start the releases of one event; returning acknowledges it.

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
            ignored = self.recorder.ignore(routing.why_nothing, f"models/{event.model}:{event.version}", ours)
            return [log_entry(self._timed(began, ignored))]
        return self._attempt_all(routing.plans, event, log_entry)

    def start_missing(self, event: ModelRegistered, recorded: RecordedVersion) -> list[HistoryEntry]:
        """Start what was cut off before it was claimed, and what matches only since a tag or property changed."""
        matched_before = {target_digest(plan.target) for plan in self._route(parse(recorded.event)).plans}
        done = (matched_before - recorded.siblings) | recorded.claimed
        missing = tuple(plan for plan in self._route(event).plans if target_digest(plan.target) not in done)
        return self._attempt_all(missing, event, log_entry)

    def try_now(self, claim: Claim) -> list[HistoryEntry]:
        """Attempt a pending claim before it is due; raises ClaimLeasedError while another worker processes it."""
        return [log_entry(entry) for entry in self.resume(claim)]

    def restart(self, claim: Claim, idempotency_key: str) -> HistoryEntry:
        """Start a version again, an older one too; repeating the key starts nothing more.

        Raises RefusedError if no route leads to the target any more, ClaimLeasedError while the same key is processed.
        """
        event = parse(claim.event)
        routing = self._route(event)
        if plan := routing.plan_for(claim.target.key):
            return log_entry(self._attempt(plan, event, idempotency_key=idempotency_key))
        elsewhere = f"no route for {event.model}:{event.version} leads to {claim.target} any more"
        problem = elsewhere if routing.plans else routing.why_nothing.text
        raise RefusedError(problem, "change the release map and deploy it")

    @traced("attempt")
    def resume(self, claim: Claim) -> list[HistoryEntry]:
        """Attempt a pending claim; if no route leads to its target any more, start what the map plans now."""
        began = self.monotonic()
        acquired = self.claims.acquire(claim)
        event = parse(claim.event)
        routing = self._route(event)
        if plan := routing.plan_for(claim.target.key):
            result = self.attempts.run(OpenAttempt(acquired, claim, plan, event))
            return [self._timed(began, self.recorder.record(acquired, result))]
        if found := self.attempts.find_created(claim, acquired):
            return [self._timed(began, self.recorder.record(acquired, found))]
        moved = self._attempt_all(routing.plans, event)
        return [*moved, self._timed(began, self.recorder.record(acquired, _withdrawn(moved, routing)))]

    @traced("match")
    def _route(self, event: ModelRegistered) -> Routing:
        return route(self.release_map, self.workspaces, event)

    def _attempt_all(
        self,
        plans: tuple[Plan, ...],
        event: ModelRegistered,
        log: Callable[[HistoryEntry], HistoryEntry] = lambda entry: entry,
    ) -> list[HistoryEntry]:
        """Attempt every plan, whatever happens to the others; raises the failures of all as one."""
        entries, failures = [], []
        for plan in plans:
            siblings = [other.target for other in plans if other is not plan]
            try:
                entries.append(log(self._attempt(plan, event, siblings)))
            except Exception as failure:  # noqa: BLE001  raised below, with all others
                failures.append(failure)
        if failures:
            raise _all_of(failures)
        return entries

    @traced("attempt")
    def _attempt(
        self, plan: Plan, event: ModelRegistered, siblings: Iterable[Target] = (), idempotency_key: str = ""
    ) -> HistoryEntry:
        began = self.monotonic()
        new = self.claims.new(plan, event, siblings, idempotency_key)
        # A restart is never redelivered, so its pending row is written before its claim and is due when the lease ends.
        if idempotency_key:
            self.pending.put(new, new.lease_until)
        claim, inserted = self.claims.insert(new)
        before = None if inserted else claim
        if before:
            if before.state is not State.STARTING:
                return self._timed(began, self.recorder.already_recorded(before))
            claim = self.claims.acquire(before)
        result = self.attempts.run(OpenAttempt(claim, before, plan, event))
        return self._timed(began, self.recorder.record(claim, result))

    def _timed(self, began: float, entry: HistoryEntry) -> HistoryEntry:
        return replace(entry, milliseconds=round((self.monotonic() - began) * 1000))


def _withdrawn(moved: list[HistoryEntry], routing: Routing) -> AttemptResult:
    if not moved:
        return AttemptResult(State.WITHDRAWN, routing.why_nothing.text, log_reason=routing.why_nothing.log)
    return AttemptResult(State.WITHDRAWN, f"the route's target is now {', '.join(entry.target for entry in moved)}")


def _all_of(failures: list[Exception]) -> Exception:
    """Return the failure that matters most, with notes about the others; a lease of another worker matters least."""
    first, *others = sorted(failures, key=lambda failure: isinstance(failure, ClaimLeasedError))
    for other in others:
        logger.error("another target of the event failed", exc_info=other)
        first.add_note(f"another target failed too: {type(other).__name__}: {other}")
    return first
