"""When a claim is attempted again, and when it is abandoned (pure)."""

from datetime import datetime, timedelta

from model_release.domain.claims import AttemptResult, Claim, State
from model_release.errors import AzureDevOpsError, RefusedError

LONGEST_RETRY = timedelta(hours=1)
ABANDON_AFTER = timedelta(days=7)
# In the next sweep.
SOON = timedelta(seconds=1)
_MOST_DOUBLINGS = 16


def pause(error: AzureDevOpsError, attempt: int, first_retry: timedelta) -> timedelta:
    """Return the pause after a failed attempt: doubled each time, at most an hour, but at least Retry-After."""
    doubled: int = 2 ** min(attempt - 1, _MOST_DOUBLINGS)
    wait = LONGEST_RETRY if isinstance(error, RefusedError) else first_retry * doubled
    return max(min(wait, LONGEST_RETRY), error.retry_after or timedelta())


def abandon(claim: Claim, result: AttemptResult, now: datetime) -> AttemptResult:
    """Replace the result of a claim that is too old for another attempt, unless a request may still be carried out."""
    in_flight = result.state is State.UNKNOWN and (result.in_flight_until or claim.in_flight_until) > now
    if result.state.final or in_flight or now - claim.created < ABANDON_AFTER:
        return result
    days = f"all attempts failed for {ABANDON_AFTER.days} days"
    return AttemptResult(State.ABANDONED, f"{days}; last: {result.state}: {result.reason}")
