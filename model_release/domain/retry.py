"""When a claim is attempted again, and when it is abandoned (pure)."""

from datetime import datetime, timedelta

from model_release.domain.claims import AttemptResult, Claim, State
from model_release.errors import AzureDevOpsError, RefusedError

LONGEST_RETRY = timedelta(hours=1)
ABANDON_AFTER = timedelta(days=7)
# Azure ML may list a version later than it sends the event.
LISTED_WITHIN = timedelta(minutes=10)
# In the next sweep.
SOON = timedelta(seconds=1)
_MOST_DOUBLINGS = 16


def pause(error: AzureDevOpsError, attempt: int, first_retry: timedelta) -> timedelta:
    """Return the pause after a failed attempt: doubled each time, at most an hour, but at least Retry-After."""
    doubled: int = 2 ** min(attempt - 1, _MOST_DOUBLINGS)
    wait = LONGEST_RETRY if isinstance(error, RefusedError) else first_retry * doubled
    return max(min(wait, LONGEST_RETRY), error.retry_after or timedelta())


def is_too_old(claim: Claim, now: datetime) -> bool:
    """Whether nothing may be created for the claim any more."""
    return now - claim.created >= ABANDON_AFTER


def abandoned(state: State, reason: str) -> AttemptResult:
    """Return the result of a claim that is too old; state and reason are the last ones."""
    return AttemptResult(State.ABANDONED, f"all attempts failed for {ABANDON_AFTER.days} days; last: {state}: {reason}")


def abandon(claim: Claim, result: AttemptResult, now: datetime) -> AttemptResult:
    """Replace the result of a claim that is too old, unless a release may exist: it is searched for first."""
    if result.state.final or result.state is State.UNKNOWN or not is_too_old(claim, now):
        return result
    return abandoned(result.state, result.reason)
