"""HTTP: what a person wants to happen to a model version, named by `action`, and how often it may."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from model_release.domain.claims import Claim
from model_release.domain.history import ByHand, HistoryEntry
from model_release.flow.manually import IDEMPOTENCY_KEY, refuse_if_pinned
from model_release.flow.start_release import StartRelease
from model_release.flow.steer import set_mark_back
from model_release.log import log_entry
from model_release.text import shorten
from model_release.web.views import ModelVersionDetail
from triggers.http import HttpError, problems_of

MATCH, TRY, START = "match", "try", "start"
# Each action with the fields that it needs, and those that it does not have.
_FIELDS: Mapping[str, tuple[frozenset[str], frozenset[str]]] = {
    MATCH: (frozenset(), frozenset({"claim", "pin", "despite_throttle"})),
    TRY: (frozenset({"claim"}), frozenset({"idempotency_key", "pin"})),
    START: (frozenset({"claim", "idempotency_key"}), frozenset({"despite_throttle"})),
}
MOST = 10
# The sweep makes an attempt each minute at most.
_PERIODS = {START: (timedelta(hours=1), "hour"), TRY: (timedelta(minutes=5), "5 minutes")}


def do(
    asked: Mapping[str, str], who: ByHand, detail: ModelVersionDetail, start_release: StartRelease
) -> list[HistoryEntry]:
    """Start a claim again, try a pending claim now, or match a version again.

    A restart with the key of the request that inserted the claim starts nothing. `pin` also pins the version.
    `set_mark_back` sets the high-water mark back to the claim's version and starts nothing.
    """
    if "set_mark_back" in asked:
        return _set_mark_back(asked, who, detail, start_release)
    action, idempotency_key = read_action(asked), asked.get("idempotency_key", "")
    if problems := _problems(asked, who):
        raise HttpError(400, "; ".join(problems))
    event_id = f"started manually: {idempotency_key}"
    if action == MATCH:
        event = detail.registered
        return start_release.match_again(event._replace(id=event_id) if idempotency_key else event)
    claim = _claim(asked["claim"], detail)
    if (action == TRY and claim.state.final) or claim.event_id == event_id:
        return [HistoryEntry.of(claim)]
    if action == START and not (claim.state.final or "pin" in asked):
        raise HttpError(409, f"this claim is {claim.state}; to try it now, set `action` to 'try'")
    check_rate(claim, detail.recorded.claims, idempotency_key, start_release.recorder.clock())
    if action == TRY:
        refuse_if_pinned(claim, start_release.recorder)
        return start_release.try_now(claim, by_hand=True, despite_throttle="despite_throttle" in asked)
    return start_release.restart(claim, idempotency_key, who._replace(pins="pin" in asked))


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


def _problems(asked: Mapping[str, str], who: ByHand) -> list[str]:
    problems = problems_of(who, least=1 if "pin" in asked else 0)
    key = asked.get("idempotency_key", "")
    if key and not IDEMPOTENCY_KEY.fullmatch(key):
        problems.append("`idempotency_key` is not 8 to 64 letters, digits and '-'; use a new one for each restart")
    for name in ("pin", "despite_throttle"):
        if asked.get(name, "yes") != "yes":
            problems.append(f"{name}: {shorten(asked[name])!r} is not 'yes'")
    return problems


def _set_mark_back(
    asked: Mapping[str, str], who: ByHand, detail: ModelVersionDetail, start_release: StartRelease
) -> list[HistoryEntry]:
    """Set the high-water mark back to the version of the claim; raises HttpError with every problem of the request."""
    problems = []
    if asked["set_mark_back"] != "yes":
        problems.append(f"set_mark_back: {shorten(asked['set_mark_back'])!r} is not 'yes'")
    if not asked.get("claim"):
        problems.append("`set_mark_back` needs the `claim` of the version")
    if "idempotency_key" in asked:
        problems.append("`set_mark_back` starts nothing; leave out `idempotency_key`")
    if problems := problems + problems_of(who, least=1):
        raise HttpError(400, "; ".join(problems))
    entries = set_mark_back(_claim(asked["claim"], detail), who, start_release)
    return [log_entry(entry) for entry in entries]


def _claim(key: str, detail: ModelVersionDetail) -> Claim:
    for claim in detail.recorded.claims:
        if claim.key == key:
            return claim
    raise HttpError(404, f"{detail.registered.model}:{detail.registered.version} has no claim {shorten(key)}")
