"""Set a high-water mark back, after a version that was registered by mistake."""

from model_release.domain.claims import AttemptResult, Claim, State
from model_release.domain.events import parse
from model_release.domain.history import HistoryEntry
from model_release.errors import RefusedError
from model_release.flow.record import Recorder


def set_mark_back(claim: Claim, by: str, comment: str, recorder: Recorder) -> list[HistoryEntry]:
    """Set the high-water mark of the claim's target back to the claim's version, and start nothing.

    Newer versions that are pending are withdrawn, because their next attempt would raise the mark again. Raises
    RefusedError if the mark is not newer, or if a newer version may have been created, and ClaimLeasedError while
    another worker processes one of them.
    """
    before = recorder.marks.newer_sent(claim) if claim.version.isdecimal() else ""
    if not before:
        raise RefusedError(f"the high-water mark of {claim.target} is not above version {claim.version}")
    newer = _pending_above(claim, recorder)
    if unknown := [one.version for one in newer if one.state.may_be_created]:
        raise RefusedError(f"version {', '.join(unknown)} may have been created", "try again when its state is known")
    why = f"{by}: {comment}"
    # Written before the mark, so that it is never unknown who set it back, and why.
    entry = recorder.set_back(claim, f"high-water mark set back from version {before} by {why}")
    withdrawn = AttemptResult(State.WITHDRAWN, f"high-water mark set back to version {claim.version} by {why}")
    withdrawn_entries = [recorder.record(recorder.claims.acquire(one).claim, withdrawn) for one in newer]
    recorder.marks.set_back(claim)
    return [entry, *withdrawn_entries]


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
