"""The way of an event: parse, match, claim, guards, create, record."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from model_release.domain.claims import AttemptResult, Claim, RecordedVersion, State
from model_release.domain.events import ModelRegistered, Workspace, parse
from model_release.domain.history import NOBODY, ByHand, HistoryEntry
from model_release.domain.release_map import ReleaseMap
from model_release.domain.retry import PATIENCE
from model_release.domain.routing import Routing, route
from model_release.domain.targets import Plan
from model_release.errors import EventError
from model_release.flow import manually
from model_release.flow.attempt import Attempts, OpenAttempt
from model_release.flow.confirm import Ask, Cause, Confirmed, as_confirmed, besides, registered_anew
from model_release.flow.record import Recorder
from model_release.log import Log, all_of, log_entry
from model_release.store.claims import Claims
from model_release.store.pending import Pending
from model_release.store.targets import Targets
from model_release.tracing import traced


@dataclass(frozen=True, eq=False, repr=False)
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
            event = self._parse(body)
        except EventError as error:
            unread = self.recorder.ignore(error.reason, error.subject, error.event_id)
            return [log_entry(self._timed(began, unread))]
        routing = self._route(event)
        confirmed = self._ask(event, routing) if routing.named else None
        if confirmed and not routing.plans:
            # Azure ML may know tags that the event does not have.
            event, routing = as_confirmed(event, routing, confirmed())
        if confirmed and routing.plans:
            cause = Cause(event, confirmed, delivered=delivered)
            entries = self._attempt_all(routing.plans, cause, log_entry)
            return entries + self._attempt_all(besides(confirmed(), entries), cause, log_entry)
        ours = event if event.workspace in self.workspaces else None
        ignored = self.recorder.ignore(routing.why_nothing, event.subject, event.id, ours)
        return [log_entry(self._timed(began, ignored))]

    def start_missing(self, now: ModelRegistered, was: RecordedVersion, text: Callable[[], str]) -> list[HistoryEntry]:
        """Start what was cut off before it was claimed, and what the first event, with this text, did not match."""
        unclaimed = [plan for plan in self._route(now).plans if self._digest(plan) not in was.claimed]
        matched_before = self._route(self._parse(text())).plans if unclaimed else ()
        done = {self._digest(plan) for plan in matched_before} - was.siblings
        missing = tuple(plan for plan in unclaimed if self._digest(plan) not in done)
        return self._attempt_all(missing, Cause(now, self._ask(now)), log_entry) if missing else []

    def try_now(self, claim: Claim, *, by_hand: bool = False, despite_throttle: bool = False) -> list[HistoryEntry]:
        """Attempt a pending claim before it is due; raises ClaimLeasedError while another worker processes it."""
        return [log_entry(entry) for entry in self.resume(claim, by_hand=by_hand, despite_throttle=despite_throttle)]

    def match_again(self, event: ModelRegistered) -> list[HistoryEntry]:
        """Match a version manually, as it is in Azure ML now; raises RefusedError and TemporaryError if it is not."""
        now = manually.confirmed_now(self._ask(event, by_hand=True))
        if now.routing.plans:
            return self._attempt_all(now.routing.plans, Cause(now.event, lambda: now), log_entry)
        return [log_entry(self.recorder.ignore(now.why_nothing, event.subject, event.id, now.event, again=True))]

    def restart(self, claim: Claim, idempotency_key: str, who: ByHand = NOBODY) -> list[HistoryEntry]:
        """Start a version again, an older one too, or pin and start it; repeating the key starts nothing more.

        Raises RefusedError if no route leads to the target, or the version is not registered, or another one is pinned,
        TemporaryError if target or Azure ML cannot be read, and ClaimLeasedError while the same key is processed.
        """
        event = self._parse(claim.event)
        ask, recorded = self._ask(event, by_hand=True), Confirmed(event, self._route(event)) if who.pins else None
        now = manually.confirmed_now(ask, recorded)
        if plan := self.attempts.plan_for(claim, now.routing.plans):
            manually.pin_or_refuse(claim, idempotency_key, who, self.recorder, self.targets.last_resolved(plan.target))
            return self._attempt_all((plan,), Cause(now.event, ask, idempotency_key, by_hand=True, who=who), log_entry)
        raise manually.not_routed(claim.target, now)

    @traced("attempt")
    def resume(self, claim: Claim, *, by_hand: bool = False, despite_throttle: bool = False) -> list[HistoryEntry]:
        """Attempt a pending claim; if no route leads to its target any more, start what the map plans now."""
        began, event = self.monotonic(), self._parse(claim.event)
        confirmed, leased = self._ask(event, by_hand=by_hand), self.claims.acquire(claim)
        opened = OpenAttempt(leased.claim, claim, leased.deadline, event, confirmed, by_hand=by_hand)
        attempt, result = self.attempts.run(opened._replace(despite_throttle=despite_throttle))
        cause = Cause(event, confirmed, claim.idempotency_key, by_hand=by_hand, who=ByHand.of(claim))
        return self._end(attempt, result, cause, began)

    def _parse(self, body: str) -> ModelRegistered:
        """Read an event; the name of a workspace of ours has the letter case of the setting."""
        event = parse(body)
        workspace = next((ours for ours in self.workspaces if ours == event.workspace), event.workspace)
        return event._replace(workspace=workspace)

    @traced("match")
    def _route(self, event: ModelRegistered) -> Routing:
        return route(self.release_map, self.workspaces, event)

    def _ask(self, event: ModelRegistered, routing: Routing | None = None, *, by_hand: bool = False) -> Ask:
        """Begin to confirm an event; `routing` is what the map plans for it as it is."""
        return self.attempts.confirm.ask(
            event, lambda found: routing if routing and found is event else self._route(found), manually=by_hand
        )

    def _attempt_all(self, plans: tuple[Plan, ...], cause: Cause, log: Log = lambda entry: entry) -> list[HistoryEntry]:
        """Attempt every plan, whatever happens to the others; raises the failures of all as one."""
        entries: list[HistoryEntry] = []
        failures: list[Exception] = []
        for plan in plans:
            siblings = [self._digest(other) for other in plans if other is not plan]
            try:
                entries += [log(entry) for entry in self._attempt(plan, siblings, cause)]
            except Exception as failure:  # noqa: BLE001  raised below, with all others
                failures.append(failure)
        if failures:
            raise all_of(failures)
        return entries

    @traced("attempt")
    def _attempt(self, plan: Plan, siblings: list[str], cause: Cause) -> list[HistoryEntry]:
        began, target = self.monotonic(), self.targets.last_resolved(plan.target)
        key, registration = cause.idempotency_key, cause.registration
        leased = self.claims.new(plan, cause.event, target, siblings, key, registration=registration, by_hand=cause.who)
        self.attempts.throttle.read_ahead()
        # The sweep must know of the claim first if nobody delivers its event again, or if the target is new: a later
        # delivery may find the target, and its claims, under another name.
        may_be_left = not (cause.delivered and target.definition_id)
        unread = may_be_left or self.attempts.azure_devops.reads_ahead(plan.target)
        if unread and not self.claims.find(leased.claim.partition, leased.claim.row):
            self.attempts.read_ahead(plan.target)
            if may_be_left:
                self.pending.put(leased.claim, leased.claim.lease_until)
            if not target.definition_id:
                self.recorder.take_over(cause.event)
        claim, inserted = self.claims.insert(leased.claim)
        before = None if inserted or self.claims.never_sent(claim) else claim
        if not inserted:
            if claim.state is not State.STARTING:
                if anew := registered_anew(claim, cause):
                    return self._attempt(plan, siblings, anew)
                return [self._timed(began, self.recorder.already_recorded(claim))]
            claim = (leased := self.claims.acquire(claim)).claim
        attempt = OpenAttempt(claim, before, leased.deadline, cause.event, cause.confirmed, by_hand=cause.by_hand)
        attempt, result = self.attempts.run(attempt)
        while cause.delivered and self.attempts.wait(result, claim.created + PATIENCE):
            attempt, result = self.attempts.run(attempt)
        return self._end(attempt, result, cause, began, has_pending_row=may_be_left)

    def _end(
        self, attempt: OpenAttempt, result: AttemptResult, cause: Cause, began: float, *, has_pending_row: bool = True
    ) -> list[HistoryEntry]:
        """Start what the map plans instead, and record how the attempt ended."""
        others = self._attempt_all(result.instead, cause._replace(event=attempt.event, delivered=False))
        entry = self.recorder.record(attempt.claim, result, attempt.event, has_pending_row=has_pending_row)
        return [*others, self._timed(began, entry)]

    def _digest(self, plan: Plan) -> str:
        return self.targets.last_resolved(plan.target).target_digest

    def _timed(self, began: float, entry: HistoryEntry) -> HistoryEntry:
        return replace(entry, milliseconds=round((self.monotonic() - began) * 1000))
