"""One attempt of a claim: guards, each of which may end it, and then the one request that creates."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from model_release.azure_devops.client import AzureDevOps
from model_release.domain.claims import AttemptResult, Claim, State
from model_release.domain.events import ModelRegistered
from model_release.domain.lease import Lease
from model_release.domain.retry import SOON, pause
from model_release.domain.targets import Plan
from model_release.errors import AzureDevOpsError, RefusedError, TemporaryError
from model_release.store.claims import Clock
from model_release.store.high_water_mark import HighWaterMarks
from model_release.store.throttle import Throttle

_STATES = {TemporaryError: State.WAITING, RefusedError: State.REFUSED}
# The clock of Azure DevOps may be behind: a release may have been created a little before its claim.
_CLOCK_DIFFERENCE = timedelta(minutes=5)


@dataclass(frozen=True)
class OpenAttempt:
    """An attempt under way: the leased claim, the claim before it was leased (None if it is new), and the plan."""

    claim: Claim
    before: Claim | None
    plan: Plan
    event: ModelRegistered


@dataclass(frozen=True)
class Attempts:
    """Runs attempts; whatever happens is a result, but azure-core's errors are raised if storage fails."""

    azure_devops: AzureDevOps
    marks: HighWaterMarks
    throttle: Throttle
    lease: Lease
    first_retry: timedelta
    clock: Clock

    def run(self, attempt: OpenAttempt) -> AttemptResult:
        """Create the release or run of an attempt, unless a guard ends it."""
        guards: tuple[Callable[[OpenAttempt], AttemptResult | None], ...] = (
            self._already_created,
            self._high_water_mark,
            self._throttled,
            self._deadline,
        )
        for guard in guards:
            if result := guard(attempt):
                return result
        try:
            created = self.azure_devops.create(attempt.plan, attempt.event, attempt.claim.marker)
        except AzureDevOpsError as error:
            next_attempt = self.clock() + pause(error, attempt.claim.attempt, self.first_retry)
            return AttemptResult(_STATES.get(type(error), State.UNKNOWN), str(error), next_attempt)
        matched = f"route {attempt.plan.route} matches {attempt.event.model}:{attempt.event.version}"
        reason = f"restarted manually; {matched}" if attempt.claim.idempotency_key else matched
        return AttemptResult(State.STARTED, reason, created=created)

    def find_created(self, before: Claim | None, claim: Claim) -> AttemptResult | None:
        """Find out whether an earlier attempt created the release; None if it is certain that none did."""
        if before is None or before.state is State.WAITING:
            return None
        result = self._find(before, claim)
        # A refusal proves that nothing was created. If that is ever wrong, the release is adopted, not created again.
        return result if before.state.may_be_created or (result and result.created) else None

    def _already_created(self, attempt: OpenAttempt) -> AttemptResult | None:
        return self.find_created(attempt.before, attempt.claim)

    def _high_water_mark(self, attempt: OpenAttempt) -> AttemptResult | None:
        if not attempt.plan.newest_only or attempt.event.number is None or attempt.claim.idempotency_key:
            return None
        obstacle = self.marks.advance(attempt.claim)
        if obstacle is None:
            return None
        if obstacle.newer:
            return AttemptResult(State.SUPERSEDED, f"version {obstacle.newer} was sent first")
        reason = f"version {obstacle.older} is still being created"
        return AttemptResult(State.WAITING, reason, self.clock() + SOON)

    def _throttled(self, _: OpenAttempt) -> AttemptResult | None:
        until = self.throttle.throttled_until()
        return AttemptResult(State.WAITING, _throttling(until), until) if until > self.clock() else None

    def _deadline(self, attempt: OpenAttempt) -> AttemptResult | None:
        if self.clock() <= self.lease.create_by(attempt.claim.lease_until):
            return None
        reason = "preparing the request used up the lease; trying again"
        return AttemptResult(State.WAITING, reason, self.clock() + SOON)

    def _find(self, before: Claim, claim: Claim) -> AttemptResult | None:
        in_flight_until = before.in_flight_until
        if (until := self.throttle.throttled_until()) > self.clock():
            return AttemptResult(State.UNKNOWN, _throttling(until), until, in_flight_until=in_flight_until)
        # Asked before the search: a release that is created after the search must not count as never created.
        in_flight = in_flight_until > self.clock()
        try:
            found = self.azure_devops.find_by_marker(before.target, before.marker, before.created - _CLOCK_DIFFERENCE)
        except AzureDevOpsError as error:
            reason = f"cannot check whether the release exists: {error}"
            next_attempt = self.clock() + pause(error, claim.attempt, self.first_retry)
            return AttemptResult(State.UNKNOWN, reason, next_attempt, in_flight_until=in_flight_until)
        if found:
            return AttemptResult(State.STARTED, f"{found.name} was found; an earlier attempt created it", created=found)
        if in_flight:
            reason = f"not found yet; the earlier request may still complete until {_utc(in_flight_until)}"
            return AttemptResult(State.UNKNOWN, reason, in_flight_until, in_flight_until=in_flight_until)
        return None


def _throttling(until: datetime) -> str:
    return f"Azure DevOps is throttling requests; next attempt at {_utc(until)}"


def _utc(time: datetime) -> str:
    return f"{time:%H:%M:%S} UTC"
