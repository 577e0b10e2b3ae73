"""Set a high-water mark back, after a version that was registered by mistake."""

from collections.abc import Sequence

from model_release.domain.claims import AttemptResult, Claim, State
from model_release.domain.events import parse
from model_release.domain.history import HistoryEntry
from model_release.domain.routing import NO_ROUTING
from model_release.errors import RefusedError
from model_release.flow.attempt import OpenAttempt
from model_release.flow.confirm import Confirmed
from model_release.flow.record import Recorder
from model_release.flow.start_release import StartRelease


def set_mark_back(claim: Claim, by: str, comment: str, start_release: StartRelease) -> list[HistoryEntry]:
    """Set the high-water mark of the claim's target back to the claim's version, and start nothing.

    Newer versions that are pending are withdrawn, because their next attempt would raise the mark again. Raises
    RefusedError if the mark is not newer, or if a newer version may have been created, and ClaimLeasedError while
    another worker processes one of them.
    """
    recorder = start_release.recorder
    before = recorder.marks.newer_sent(claim) if claim.version.isdecimal() else ""
    if not before:
        raise RefusedError(f"the high-water mark of {claim.target} is not above version {claim.version}")
    newer = _pending_above(claim, recorder)
    _refuse_if_created([one.version for one in newer if one.state.may_be_created])
    why = f"{by}: {comment}"
    # Written before the mark, so that it is never unknown who set it back, and why.
    entry = recorder.set_back(claim, f"high-water mark set back from version {before} by {why}")
    withdrawn = AttemptResult(State.WITHDRAWN, f"high-water mark set back to version {claim.version} by {why}")
    ended = [_withdraw(one, withdrawn, start_release) for one in newer]
    _refuse_if_created([entry.model_version[1] for entry in ended if not entry.state.final])
    recorder.marks.set_back(claim)
    return [entry, *ended]


def _withdraw(claim: Claim, withdrawn: AttemptResult, start_release: StartRelease) -> HistoryEntry:
    """Withdraw a claim, unless its release is found, or cannot be searched for."""
    leased = start_release.claims.acquire(claim)
    event = parse(claim.event)
    attempt = OpenAttempt(leased.claim, claim, leased.deadline, event, lambda: Confirmed(event, NO_ROUTING))
    guarded = start_release.attempts.already_created(attempt)
    return start_release.recorder.record(leased.claim, guarded if isinstance(guarded, AttemptResult) else withdrawn)


def _refuse_if_created(versions: Sequence[str]) -> None:
    if versions:
        raise RefusedError(f"version {', '.join(versions)} may have been created", "try again when its state is known")


def _pending_above(claim: Claim, recorder: Recorder) -> list[Claim]:
    recorded = recorder.claims.recorded(parse(claim.event).workspace, claim.model)
    return [
        one
        for version in recorded.values()
        for one in version.claims
        if one.target_digest == claim.target_digest
        and not (one.state.final or one.idempotency_key)
        and one.version.isdecimal()
        and int(one.version) > int(claim.version)
    ]
