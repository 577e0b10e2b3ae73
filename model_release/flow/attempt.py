"""One attempt of a claim: guards, each of which may end it, and then the one request that creates."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import NamedTuple

from model_release.azure_devops.client import AzureDevOps
from model_release.domain.claims import CLOCK_DIFFERENCE, AttemptResult, Claim, State
from model_release.domain.events import ModelRegistered
from model_release.domain.retry import LISTED_WITHIN, LONGEST_RETRY, SOON, abandoned, is_too_old, pause, throttling, utc
from model_release.domain.routing import NO_ROUTING, Routing, matched
from model_release.domain.targets import Plan, Target
from model_release.errors import AzureDevOpsError, RefusedError, TemporaryError
from model_release.flow.confirm import Ask, Confirm, Confirmed
from model_release.flow.manually import kept_back, superseded
from model_release.reason import Reason, ReasonKind
from model_release.store.claims import Claims, Clock
from model_release.store.high_water_mark import HighWaterMarks, Obstacle
from model_release.store.targets import Targets
from model_release.store.throttle import Throttle

_STATES = {TemporaryError: State.WAITING, RefusedError: State.REFUSED}


class OpenAttempt(NamedTuple):
    """An attempt under way: the leased claim, the claim before it was leased (None if it is new), and the deadline.

    `event` is what Azure ML confirmed, and `routing` what the release map plans for it, once `confirmed` was called;
    `plan` is the one of these plans that the claim is for. `by_hand`: a person asked for this attempt, and
    `matched_with` names the tags and properties. `despite_throttle`: this person overrides the pause.
    """

    claim: Claim
    before: Claim | None
    deadline: float
    event: ModelRegistered
    confirmed: Ask
    routing: Routing = NO_ROUTING
    plan: Plan | None = None
    by_hand: bool = False
    matched_with: str = ""
    despite_throttle: bool = False


Guarded = OpenAttempt | AttemptResult


@dataclass(frozen=True, eq=False, repr=False)
class Attempts:
    """Runs attempts; whatever happens is a result, but azure-core's errors are raised if storage fails."""

    azure_devops: AzureDevOps
    claims: Claims
    targets: Targets
    marks: HighWaterMarks
    throttle: Throttle
    confirm: Confirm
    first_retry: timedelta
    clock: Clock
    sleep: Callable[[float], None] = time.sleep

    def run(self, attempt: OpenAttempt) -> tuple[OpenAttempt, AttemptResult]:
        """Create the release or run of an attempt, unless a guard ends it; return how far the attempt came."""
        guards: tuple[Callable[[OpenAttempt], Guarded], ...] = (
            self.already_created,
            self._too_old,
            self._registered,
            self._throttled,
            self._routed,
            self._target,
            self._high_water_mark_and_pin,
        )
        for guard in guards:
            guarded = guard(attempt)
            if isinstance(guarded, AttemptResult):
                return _ended(attempt, guarded)
            attempt = guarded
        claim, plan, event = attempt.claim, _plan(attempt), attempt.event
        try:
            # It compares the deadline immediately before it sends the request.
            created = self.azure_devops.create(plan, event, claim.marker, attempt.deadline, claim.definition_id)
        except AzureDevOpsError as error:
            return _ended(attempt, self._failed(_STATES.get(type(error), State.UNKNOWN), error.reason, attempt, error))
        reason = matched(plan.route, event)
        if claim.idempotency_key:
            manually = "pinned and restarted manually" if claim.pins else "restarted manually"
            reason = Reason(ReasonKind.RESTARTED, f"{manually}; {reason.text}")
        return _ended(attempt, AttemptResult(State.STARTED, reason, created=created))

    def read_ahead(self, target: Target) -> None:
        """Begin to read the target, unless Azure DevOps asked for a pause."""
        self.azure_devops.read_ahead(target, lambda: not self.throttle.pause_until())

    def wait(self, result: AttemptResult, until: datetime) -> bool:
        """Wait for the next attempt of a claim that waits, if it is due until then; return whether it is."""
        if result.state is not State.WAITING or result.next_attempt > until:
            return False
        self.sleep(max((result.next_attempt - self.clock()).total_seconds(), 0))
        return True

    def plan_for(self, claim: Claim, plans: Iterable[Plan]) -> Plan | None:
        """Return the plan for the claim's target, however the release map names it; raises AzureDevOpsError."""
        known = [(plan, self.targets.last_resolved(plan.target)) for plan in plans]
        own = next((plan for plan, last in known if last.target_digest == claim.target_digest), None)
        unresolved = (plan for plan, last in known if not last.definition_id)
        return own or next((plan for plan in unresolved if self._digest(plan) == claim.target_digest), None)

    def already_created(self, attempt: OpenAttempt) -> Guarded:
        """Find the release that an earlier attempt may have created."""
        before, claim = attempt.before, attempt.claim
        # Without an ID no request was ever sent.
        if before is None or before.state in (State.WAITING, State.HELD) or not before.definition_id:
            return attempt
        # A refusal proves that nothing was created. If that is ever wrong, the release is adopted, not created again.
        kept = State.UNKNOWN if before.state.may_be_created else State.REFUSED
        in_flight_until = before.in_flight_until
        if until := self._throttled_until(attempt):
            return AttemptResult(kept, throttling(until), until, in_flight_until=in_flight_until)
        # Asked before the search: a release that is created after the search must not count as never created.
        in_flight = before.in_flight(self.clock())
        # The clock of Azure DevOps may be behind: a release may have been created a little before its claim.
        since = before.created - CLOCK_DIFFERENCE
        try:
            found = self.azure_devops.find_by_marker(
                before.target, before.definition_id, before.marker, since, attempt.deadline
            )
        except AzureDevOpsError as error:
            reason = Reason(ReasonKind.SEARCH_FAILED, f"cannot check whether the release exists: {error}")
            result = replace(self._failed(kept, reason, attempt, error), in_flight_until=in_flight_until)
            # A search that was refused for seven days may be refused for ever.
            over = isinstance(error, RefusedError) and not in_flight and is_too_old(claim, self.clock())
            return abandoned(kept, result.reason) if over else result
        if found:
            reason = Reason(ReasonKind.FOUND_BY_MARKER, f"{found.name} was found; an earlier attempt created it")
            return AttemptResult(State.STARTED, reason.without(attempt.event.values), created=found)
        if in_flight:
            may_come = f"not found yet; the earlier request may still complete until {utc(in_flight_until)}"
            reason = Reason(ReasonKind.NOT_FOUND_YET, may_come)
            return AttemptResult(State.UNKNOWN, reason, in_flight_until, in_flight_until=in_flight_until)
        return attempt

    def _too_old(self, attempt: OpenAttempt) -> Guarded:
        if not is_too_old(attempt.claim, self.clock()):
            return attempt
        last = attempt.before or attempt.claim
        return abandoned(last.state, Reason(last.reason_kind, last.reason).without(attempt.event.values))

    def _registered(self, attempt: OpenAttempt) -> Guarded:
        """Continue with what Azure ML says: the version is registered, and these are its tags and properties."""
        claim, confirmed = attempt.claim, attempt.confirmed()
        if isinstance(confirmed, Confirmed):
            routing, matched_with = confirmed.routing, confirmed.matched_with
            return attempt._replace(event=confirmed.event, routing=routing, matched_with=matched_with)
        now, is_absent = self.clock(), confirmed.absent
        if is_absent and now - claim.created >= LISTED_WITHIN:
            return AttemptResult(State.WITHDRAWN, confirmed.reason)
        next_attempt = now + min(max(self.first_retry, confirmed.retry_after or timedelta()), LONGEST_RETRY)
        return AttemptResult(State.WAITING, confirmed.reason, next_attempt, unavailable=not is_absent, absent=is_absent)

    def _throttled(self, attempt: OpenAttempt) -> Guarded:
        until = self._throttled_until(attempt)
        return AttemptResult(State.WAITING, throttling(until), until, unavailable=True) if until else attempt

    def _throttled_until(self, attempt: OpenAttempt) -> datetime | None:
        return None if attempt.despite_throttle else self.throttle.pause_until()

    def _routed(self, attempt: OpenAttempt) -> Guarded:
        """Select the plan for the claim's target; without one, the claim is withdrawn for what the map plans now."""
        claim, routing = attempt.claim, attempt.routing
        try:
            plan = self.plan_for(claim, routing.plans)
        except AzureDevOpsError as error:
            return self._failed(_STATES.get(type(error), State.WAITING), error.reason, attempt, error)
        if plan:
            return attempt._replace(plan=plan)
        if attempt.event.number is not None and (newer := self.marks.newer_sent(claim)):
            return superseded(newer)
        if not routing.plans:
            return AttemptResult(State.WITHDRAWN, routing.why_nothing)
        targets = ", ".join(str(plan.target) for plan in routing.plans)
        instead = () if claim.pins else routing.plans
        reason = Reason(ReasonKind.ROUTE_MOVED, f"the route's target is now {targets}")
        return AttemptResult(State.WITHDRAWN, reason, instead=instead)

    def _target(self, attempt: OpenAttempt) -> Guarded:
        """Resolve the target, and write its ID into the claim before a request is sent to it."""
        claim, plan = attempt.claim, _plan(attempt)
        try:
            found = self.azure_devops.identify(plan.target)
            resolved = self.targets.resolve(plan.target, found, confirmed=attempt.by_hand)
        except AzureDevOpsError as error:
            return self._failed(_STATES.get(type(error), State.WAITING), error.reason, attempt, error)
        if resolved.target_digest != claim.target_digest:
            renamed = f"{plan.target} is another name of a target that has its own claim"
            reason = Reason(ReasonKind.TARGET_RENAMED, renamed)
            return AttemptResult(State.WITHDRAWN, reason, instead=() if claim.pins else (plan,))
        known = replace(claim, definition_id=resolved.definition_id, newest_only=plan.newest_only)
        return attempt if known == claim else attempt._replace(claim=self.claims.update(claim, known))

    def _high_water_mark_and_pin(self, attempt: OpenAttempt) -> Guarded:
        """Write the claim into the row that has both, unless one of them is an obstacle; without order, ask the pin."""
        has_order = _plan(attempt).newest_only and attempt.event.number is not None
        obstacle = self.marks.advance(attempt.claim) if has_order else self.marks.kept_back(attempt.claim)
        if obstacle and self._begins_a_line(attempt, obstacle):
            obstacle = self.marks.advance(attempt.claim, gone=obstacle.sent)
        if obstacle is None:
            return attempt
        if obstacle.sent:
            return superseded(obstacle.sent, manually=obstacle.manually)
        if obstacle.in_flight:
            reason = Reason(ReasonKind.OLDER_IN_FLIGHT, f"version {obstacle.in_flight} is still being created")
            return AttemptResult(State.WAITING, reason, self.clock() + SOON)
        if obstacle.first:
            reason = Reason(ReasonKind.NEWEST_FIRST, f"version {obstacle.first} is started first")
            return AttemptResult(State.WAITING, reason, self.clock() + SOON)
        return kept_back(attempt.claim, obstacle.pin, self.clock())

    def _begins_a_line(self, attempt: OpenAttempt, obstacle: Obstacle) -> bool:
        """Whether the version was registered after the newer one that was sent, and that one is gone."""
        event = attempt.event
        if not obstacle.brought_by or event.registered_at is None:
            return False
        newer = self.claims.get(attempt.claim.partition, obstacle.brought_by)
        is_later = event.registered_at > newer.registered
        return is_later and self.confirm.is_gone(event.workspace, event.model, newer.version)

    def _digest(self, plan: Plan) -> str:
        return self.targets.resolve(plan.target, self.azure_devops.identify(plan.target)).target_digest

    def _failed(self, state: State, reason: Reason, attempt: OpenAttempt, error: AzureDevOpsError) -> AttemptResult:
        next_attempt = self.clock() + pause(error, attempt.claim, self.first_retry)
        unavailable = not isinstance(error, RefusedError)
        for_log = reason.without(attempt.event.values)
        return AttemptResult(state, for_log, next_attempt, unavailable=unavailable)


def _ended(attempt: OpenAttempt, result: AttemptResult) -> tuple[OpenAttempt, AttemptResult]:
    """Add to the reason with what a person's start was matched."""
    if attempt.matched_with:
        result = replace(result, reason=result.reason.only_for_people(attempt.matched_with))
    return attempt, result


def _plan(attempt: OpenAttempt) -> Plan:
    assert attempt.plan  # noqa: S101  the guard `_routed` selected it
    return attempt.plan
