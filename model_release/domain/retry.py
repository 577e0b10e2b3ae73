"""When a claim is attempted again, and when it is abandoned (pure)."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import takewhile

from model_release.domain.claims import AttemptResult, Claim, State
from model_release.errors import AzureDevOpsError, RefusedError
from model_release.reason import Reason, ReasonKind

LONGEST_RETRY = timedelta(hours=1)
ABANDON_AFTER = timedelta(days=7)
# Azure ML may list a version later than it sends the event.
LISTED_WITHIN = timedelta(minutes=10)
# In the next sweep.
SOON = timedelta(seconds=1)
# So long a delivery waits for what ends soon. Event Grid waits for an answer for 30 seconds.
# https://learn.microsoft.com/azure/event-grid/delivery-and-retry
PATIENCE = timedelta(seconds=5)
_MOST_DOUBLINGS = 16
# After so many attempts in a row that find Azure DevOps unavailable, a sweep ends.
_MOST_UNAVAILABLE = 3
# An attempt that ends with a refusal and one of these has not found out whether the release exists.
_NO_SEARCH = frozenset({ReasonKind.THROTTLED, ReasonKind.SEARCH_FAILED})


def pause(error: AzureDevOpsError, claim: Claim, first_retry: timedelta) -> timedelta:
    """Return the pause after a failed attempt of a claim.

    A refusal belongs to the claim, so its pause doubles, up to an hour. Everything else may belong to Azure DevOps as a
    whole: each sweep tries a few claims, and none of them waits for long after Azure DevOps came back.
    """
    if not isinstance(error, RefusedError):
        return error.retry_after or min(first_retry, LONGEST_RETRY)
    refusals = sum(1 for _ in takewhile(lambda one: one.state is State.REFUSED, reversed(claim.attempts)))
    doubled: int = 2 ** min(refusals, _MOST_DOUBLINGS)
    return max(min(first_retry * doubled, LONGEST_RETRY), error.retry_after or timedelta())


@dataclass
class Availability:
    """What the attempts of a sweep found, one after the other: whether Azure DevOps answers."""

    answers: bool = False
    unavailable: int = 0

    def note(self, *, unavailable: bool) -> None:
        """Note how an attempt ended."""
        self.answers = not unavailable
        self.unavailable = self.unavailable + 1 if unavailable else 0

    @property
    def is_unavailable(self) -> bool:
        """Whether nothing more is worth a request."""
        return self.unavailable >= _MOST_UNAVAILABLE


def is_too_old(claim: Claim, now: datetime) -> bool:
    """Whether nothing may be created for the claim any more."""
    return now - claim.waits_since >= ABANDON_AFTER


def abandoned(state: State, reason: Reason) -> AttemptResult:
    """Return the result of a claim that is too old; state and reason are the last ones."""
    last = f"all attempts failed for {ABANDON_AFTER.days} days; last: {state}: "
    return AttemptResult(State.ABANDONED, Reason(reason.kind, last + reason.text, reason.log and last + reason.log))


def abandon(claim: Claim, result: AttemptResult, now: datetime) -> AttemptResult:
    """Replace the result of a claim that is too old, unless a pin keeps it back.

    If its release may exist, it is searched for first; so it is too after a refusal, which may be wrong.
    """
    may_exist = result.state is State.UNKNOWN or (result.state is State.REFUSED and result.reason.kind in _NO_SEARCH)
    if result.state.final or result.state is State.HELD or may_exist or not is_too_old(claim, now):
        return result
    return abandoned(result.state, result.reason)


def throttling(until: datetime) -> Reason:
    """Return the reason of a claim that waits until the pause ends that Azure DevOps asked for."""
    return Reason(ReasonKind.THROTTLED, f"Azure DevOps is throttling requests; next attempt at {utc(until)}")


def utc(time: datetime) -> str:
    """Return a time of the day as reasons show it."""
    return f"{time:%H:%M:%S} UTC"
