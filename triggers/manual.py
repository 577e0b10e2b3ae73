"""HTTP: what a person wants to happen to a model version, named by `action`, and how often it may."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from model_release.domain.claims import Claim
from model_release.text import shorten
from triggers.http import HttpError

MATCH, TRY, START = "match", "try", "start"
# Each action with the fields that it needs, and those that it does not have.
_FIELDS: Mapping[str, tuple[frozenset[str], frozenset[str]]] = {
    MATCH: (frozenset(), frozenset({"claim"})),
    TRY: (frozenset({"claim"}), frozenset({"idempotency_key"})),
    START: (frozenset({"claim", "idempotency_key"}), frozenset()),
}
MOST = 10
# The sweep makes an attempt each minute at most.
_PERIODS = {START: (timedelta(hours=1), "hour"), TRY: (timedelta(minutes=5), "5 minutes")}


def read_action(asked: Mapping[str, str]) -> str:
    """Return the action that a body names; raises HttpError with every problem."""
    action = asked.get("action", "")
    if action not in _FIELDS:
        problem = f"action: {shorten(action)!r} is not 'match', 'try' or 'start'" if action else "`action` is missing"
        raise HttpError(400, f"{problem}; set it to 'match', 'try' or 'start'" if not action else problem)
    needed, foreign = _FIELDS[action]
    given = {name for name, text in asked.items() if text}
    problems = [f"action '{action}' needs `{name}`" for name in sorted(needed - given)]
    problems += [f"action '{action}' has no `{name}`; leave it out" for name in sorted(foreign & given)]
    if problems:
        raise HttpError(400, "; ".join(problems))
    return action


def check_rate(claim: Claim, claims: Iterable[Claim], idempotency_key: str, now: datetime) -> None:
    """Refuse the 11th manual start at one target in an hour, and the 11th attempt in 5 minutes; raises HttpError.

    The repetition of a start, which starts nothing, is never refused.
    """
    ours = [one for one in claims if one.target_digest == claim.target_digest]
    if any(one.idempotency_key == idempotency_key for one in ours if idempotency_key):
        return
    if idempotency_key:
        what, times = "started manually", [one.created for one in ours if one.idempotency_key]
    else:
        what, times = "attempted", [attempt.time for attempt in claim.attempts]
    period, name = _PERIODS[START if idempotency_key else TRY]
    lately = sum(time > now - period for time in times)
    if lately >= MOST:
        problem = f"{claim.model}:{claim.version} was {what} at {claim.target} {lately} times in the last {name}"
        raise HttpError(429, f"{problem}; try again later")
