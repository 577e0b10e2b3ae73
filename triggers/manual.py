"""HTTP: what a person does with a claim of a model version."""

import re
from collections.abc import Mapping
from dataclasses import replace

from model_release.domain.claims import Claim
from model_release.domain.history import ByHand, HistoryEntry
from model_release.flow.pin import refuse_if_pinned
from model_release.flow.start_release import StartRelease
from model_release.flow.steer import set_mark_back
from model_release.log import log_entry
from model_release.text import shorten
from model_release.web.views import ModelVersionDetail
from triggers.http import HttpError, problems_of

_IDEMPOTENCY_KEY = re.compile(r"[A-Za-z0-9-]{8,64}")


def do(
    asked: Mapping[str, str], who: ByHand, detail: ModelVersionDetail, start_release: StartRelease
) -> list[HistoryEntry]:
    """Restart a claim with an idempotency key, try a pending claim now without one, and match again without a claim.

    A restart with the key of the request that inserted the claim starts nothing.

    `pin` with an idempotency key also pins the version. `set_mark_back` sets the high-water mark back to the claim's
    version and starts nothing.
    """
    if "set_mark_back" in asked:
        return _set_mark_back(asked, who, detail, start_release)
    if problems := _problems(asked, who):
        raise HttpError(400, "; ".join(problems))
    key, idempotency_key = asked.get("claim", ""), asked.get("idempotency_key", "")
    if idempotency_key and not _IDEMPOTENCY_KEY.fullmatch(idempotency_key):
        raise HttpError(400, "`idempotency_key` is not 8 to 64 letters, digits and '-'; use a new one for each restart")
    event_id = f"started manually: {idempotency_key}"
    if not key:
        event = detail.registered
        return start_release.match_again(replace(event, id=event_id) if idempotency_key else event)
    claim = _claim(key, detail)
    if not idempotency_key:
        return _try_now(asked, claim, start_release)
    if claim.event_id == event_id:
        return [HistoryEntry.of(claim)]
    if not (claim.state.final or "pin" in asked):
        raise HttpError(409, f"this claim is {claim.state}; to try it now, leave out `idempotency_key`")
    return start_release.restart(claim, idempotency_key, replace(who, pins="pin" in asked))


def _try_now(asked: Mapping[str, str], claim: Claim, start_release: StartRelease) -> list[HistoryEntry]:
    """Attempt a claim now; while Azure DevOps throttles requests, only if the person overrides the pause."""
    override = asked.get("despite_throttle", "")
    if override not in ("", "yes"):
        raise HttpError(400, f"despite_throttle: {shorten(override)!r} is not 'yes'")
    if claim.state.final:
        return [HistoryEntry.of(claim)]
    refuse_if_pinned(claim, start_release.recorder)
    return start_release.try_now(claim, by_hand=True, despite_throttle=bool(override))


def _problems(asked: Mapping[str, str], who: ByHand) -> list[str]:
    if "pin" not in asked:
        return problems_of(who)
    problems = problems_of(who, least=1)
    if asked["pin"] != "yes":
        problems.append(f"pin: {shorten(asked['pin'])!r} is not 'yes'")
    if not asked.get("idempotency_key"):
        problems.append("`pin` needs the `idempotency_key` of the start; to pin what is out, use /api/pins/MODEL")
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
