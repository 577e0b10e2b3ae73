"""What a person decides about a line: pin what is out, remove the pin, or set the high-water mark back."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import NamedTuple

from model_release.domain.claims import AttemptResult, Claim, State
from model_release.domain.events import Workspace, parse
from model_release.domain.history import ByHand, HistoryEntry
from model_release.domain.retry import Availability
from model_release.domain.routing import NO_ROUTING
from model_release.errors import ClaimLeasedError, RefusedError
from model_release.flow.attempt import OpenAttempt
from model_release.flow.confirm import Confirmed
from model_release.flow.manually import pinned
from model_release.flow.record import Recorder
from model_release.flow.start_release import StartRelease
from model_release.flow.sweep import Sweep, logged
from model_release.log import log_entry
from model_release.reason import Reason, ReasonKind
from model_release.store.high_water_mark import Pin

# A request to a function ends after 230 seconds; the sweep does the rest.
_UNPIN_TIME = timedelta(seconds=60)


class LineNow(NamedTuple):
    """A model at a target: the claim that was started last, the pin, and the claims that are pending.

    Only those that are pending have their events.
    `is_kept` is whether the pinned version was started, and not only will be.
    """

    newest: Claim
    out: Claim | None
    pin: Pin | None
    is_kept: bool
    pending: tuple[Claim, ...]


def read_lines(workspace: Workspace, model: str, recorder: Recorder) -> list[LineNow]:
    """Read all lines of a model."""
    lines: dict[str, list[Claim]] = {}
    for _, version in recorder.claims.outlines(workspace, model):
        for claim in version.claims:
            lines.setdefault(claim.target_digest, []).append(claim)
    return [_line(claims, digest, recorder) for digest, claims in lines.items()]


def pin_what_is_out(line: LineNow, by_hand: ByHand, start_release: StartRelease) -> list[HistoryEntry]:
    """Pin the version that was started last; raises RefusedError if none was started."""
    recorder, out = start_release.recorder, line.out
    if out is None:
        problem = f"no version of {line.newest.model} was started at {line.newest.target}"
        raise RefusedError(problem, "start a version with a pin")
    pin = Pin(out.version, "", recorder.clock(), by_hand.by, by_hand.by_verified, by_hand.comment)
    recorder.marks.set_pin(out.partition, out.target_digest, pin)
    may_come = _versions(claim for claim in line.pending if claim.state.may_be_created)
    reason = f"pinned by {by_hand.by}: {by_hand.comment}"
    reason += f"; version {may_come} may still be created, because its request may have been sent" if may_come else ""
    return [log_entry(recorder.note(out, Reason(ReasonKind.PIN_SET, reason), by_hand))]


def unpin(line: LineNow, by_hand: ByHand, sweep: Sweep, *, keep: bool) -> list[HistoryEntry]:
    """Remove the pin and attempt what it kept back, or first close all of that if its version is to be kept.

    Raises RefusedError without a pin, if another person set another one meanwhile, or if a version that is to be closed
    may have been created; ClaimLeasedError while another worker processes that version.
    """
    start_release, pin = sweep.start_release, line.pin
    recorder, at = start_release.recorder, (line.newest.partition, line.newest.target_digest)
    if pin is None:
        raise RefusedError(f"{line.newest.model} is not pinned at {line.newest.target}", "there is nothing to remove")
    why = f"{by_hand.by}: {by_hand.comment}"
    if keep:
        kept = Reason(ReasonKind.OLDER_KEPT, f"{pin.version} is kept by {why}")
        ended = _close_all_but_start(line, pin, kept, start_release)
    else:
        # What the pinned version's start replaces is closed while the pin names that start.
        same = [claim for claim in line.pending if claim.version == pin.version and claim.state is State.HELD]
        ended = [entry for claim in same for entry in start_release.try_now(claim)]
        for claim in line.pending:
            # A row that is due, so that the next sweep goes on if this process dies.
            recorder.pending.put(claim, recorder.clock())
    # Written before, so that it is never unknown who removed the pin.
    removed = Reason(ReasonKind.PIN_REMOVED, f"pin of {pin.version} removed by {why}")
    entry = log_entry(recorder.note(_of_pin(line, pin), removed, by_hand))
    if not recorder.marks.remove_pin(*at, pin, "" if keep else _newest_registered(line)):
        other = recorder.marks.pin(*at)
        raise RefusedError(pinned(other) if other else "the pin has changed", "read it again")
    if keep:
        # Not before: a pin whose start has ended would keep versions back for nothing.
        return [entry, *ended, *_end_start(line, pin, start_release)]
    until = recorder.clock() + _UNPIN_TIME
    return [entry, *ended, *logged(sweep.take_up(recorder.pending.of_line(*at), Availability(), until))]


def set_mark_back(claim: Claim, by_hand: ByHand, start_release: StartRelease) -> list[HistoryEntry]:
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
    _refuse_if_created(newer)
    why = f"{by_hand.by}: {by_hand.comment}"
    # Written before the mark, so that it is never unknown who set it back, and why.
    set_back, to = ReasonKind.MARK_SET_BACK, f"high-water mark set back to version {claim.version} by {why}"
    entry = recorder.note(claim, Reason(set_back, f"high-water mark set back from version {before} by {why}"), by_hand)
    withdrawn = AttemptResult(State.WITHDRAWN, Reason(set_back, to))
    ended = _end_all(newer, lambda _: withdrawn, start_release)
    recorder.marks.set_back(claim)
    return [entry, *ended]


def _close_all_but_start(line: LineNow, pin: Pin, reason: Reason, start_release: StartRelease) -> list[HistoryEntry]:
    """Close what a pin keeps back, but not its own start; a person's other start ends withdrawn."""
    _refuse_if_created(line.pending)

    def closed(claim: Claim) -> AttemptResult:
        return AttemptResult(State.WITHDRAWN if claim.idempotency_key else State.SUPERSEDED, reason)

    others = [claim for claim in line.pending if claim.row != pin.start]
    return [log_entry(entry) for entry in _end_all(others, closed, start_release)]


def _end_start(line: LineNow, pin: Pin, start_release: StartRelease) -> list[HistoryEntry]:
    """Let the start of a pin that was removed end; if another worker has it, it ends there."""
    with suppress(ClaimLeasedError):
        return [entry for claim in line.pending if claim.row == pin.start for entry in start_release.try_now(claim)]
    return []


def _end_all(
    claims: Sequence[Claim], result: Callable[[Claim], AttemptResult], start_release: StartRelease
) -> list[HistoryEntry]:
    """End claims, unless a release is found, or cannot be searched for: then raises RefusedError."""
    ended = [_end(claim, result(claim), start_release) for claim in claims]
    if unknown := [entry.model_version[1] for entry in ended if not entry.state.final]:
        raise _may_be_created(", ".join(unknown))
    return ended


def _end(claim: Claim, result: AttemptResult, start_release: StartRelease) -> HistoryEntry:
    leased = start_release.claims.acquire(claim)
    event = parse(claim.event)
    attempt = OpenAttempt(leased.claim, claim, leased.deadline, event, lambda: Confirmed(event, NO_ROUTING))
    guarded = start_release.attempts.already_created(attempt)
    return start_release.recorder.record(leased.claim, guarded if isinstance(guarded, AttemptResult) else result)


def _refuse_if_created(claims: Iterable[Claim]) -> None:
    if versions := _versions(claim for claim in claims if claim.state.may_be_created):
        raise _may_be_created(versions)


def _may_be_created(versions: str) -> RefusedError:
    return RefusedError(f"version {versions} may have been created", "try again when its state is known")


def _versions(claims: Iterable[Claim]) -> str:
    return ", ".join(claim.version for claim in claims)


def _line(claims: Sequence[Claim], target_digest: str, recorder: Recorder) -> LineNow:
    pin = recorder.marks.pin(claims[0].partition, target_digest)
    started = [claim for claim in claims if claim.state is State.STARTED]
    return LineNow(
        newest=claims[-1],
        out=max(started, key=lambda claim: claim.attempts[-1].time, default=None),
        pin=pin,
        is_kept=pin is not None and (not pin.start or any(claim.row == pin.start for claim in started)),
        pending=tuple(_pending(claims, recorder)),
    )


def _newest_registered(line: LineNow) -> str:
    """Return the row of the newest claim that is pending, if its version has an order and no person started it."""
    ordered = [one for one in line.pending if one.newest_only and one.version.isdecimal() and not one.idempotency_key]
    return max(ordered, key=lambda claim: int(claim.version)).row if ordered else ""


def _of_pin(line: LineNow, pin: Pin) -> Claim:
    """Return the claim that an entry about a pin is shown with."""
    return line.out if line.out and line.out.version == pin.version else line.newest


def _pending_above(claim: Claim, recorder: Recorder) -> list[Claim]:
    newer = [
        one
        for _, version in recorder.claims.outlines(parse(claim.event).workspace, claim.model)
        for one in version.claims
        if one.target_digest == claim.target_digest
        and not one.idempotency_key
        and one.version.isdecimal()
        and int(one.version) > int(claim.version)
    ]
    return _pending(newer, recorder)


def _pending(outlines: Iterable[Claim], recorder: Recorder) -> list[Claim]:
    """Read the claims that are pending, with their events."""
    read = [recorder.claims.get(one.partition, one.row) for one in outlines if not one.state.final]
    return [claim for claim in read if not claim.state.final]
