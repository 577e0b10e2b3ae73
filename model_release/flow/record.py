"""Record what happened: in the claim, in the history, and for the sweep and the outbox."""

from dataclasses import dataclass, replace
from datetime import timedelta

from model_release.domain.claims import TRANSITIONS, Attempt, AttemptResult, Claim, State
from model_release.domain.events import ModelRegistered
from model_release.domain.history import ByHand, HistoryEntry
from model_release.domain.retry import abandon
from model_release.domain.targets import NOTHING_CREATED
from model_release.reason import Reason
from model_release.store.claims import Claims, Clock
from model_release.store.high_water_mark import HighWaterMarks
from model_release.store.history import History
from model_release.store.outbox import Outbox
from model_release.store.pending import Pending
from model_release.text import as_reason
from model_release.tracing import traced

_TICK = timedelta(microseconds=1)
# Twenty of them fit into one property of a row.
_ATTEMPTS = 20
_ATTEMPT_CHARACTERS = 500


@dataclass(frozen=True, eq=False, repr=False)
class Recorder:
    """Writes records; every method raises azure-core's errors if storage fails."""

    claims: Claims
    marks: HighWaterMarks
    pending: Pending
    history: History
    clock: Clock
    outbox: Outbox | None = None

    @traced("record")
    def record(
        self,
        claim: Claim,
        result: AttemptResult,
        confirmed: ModelRegistered | None = None,
        *,
        has_pending_row: bool = True,
    ) -> HistoryEntry:
        """End an attempt: write first what remains to be done, then the claim, then the history; safe to be cut off.

        The claim keeps the event as Azure ML confirmed it.
        """
        # Another worker's clock may be ahead. The history needs another time for each attempt.
        began = max(self.clock(), claim.changed + _TICK) if claim.attempts else self.clock()
        result = abandon(claim, result, began)
        assert result.state in TRANSITIONS[claim.state], f"{claim.state} cannot become {result.state}"  # noqa: S101
        attempt = Attempt(claim.attempt, began, result.state, as_reason(result.reason.text)[:_ATTEMPT_CHARACTERS])
        recorded = _recorded(claim, attempt, result)
        if confirmed and confirmed.registered_at:
            recorded = replace(recorded, event=confirmed.body, registered_at=confirmed.registered_at)
        if not recorded.state.final:
            self.pending.put(recorded, recorded.next_attempt)
        if self.outbox:
            self.outbox.put(claim, attempt)
        self.claims.update(claim, recorded)
        self.marks.land(recorded)
        self.history.write(recorded)
        if recorded.state.final and (has_pending_row or recorded.attempt > 1):
            self.pending.delete(recorded.partition, recorded.row)
        entry = replace(HistoryEntry.of(recorded), log_reason=result.reason.log)
        return replace(entry, unavailable=result.unavailable, absent=result.absent)

    def already_recorded(self, claim: Claim) -> HistoryEntry:
        """Return the entry of a claim that an event asks for again."""
        # The process that recorded a final claim may have died before it wrote the history. The sweep writes the
        # entries of all others, and may have done so since the claim was read.
        if claim.state.final:
            self.history.write(claim)
        entry = HistoryEntry.of(claim)
        return replace(entry, reason=f"already recorded: {entry.reason}", log_reason="already recorded")

    def note(self, claim: Claim, reason: Reason, by_hand: ByHand) -> HistoryEntry:
        """Record what a person did with the line of a claim."""
        entry = replace(HistoryEntry.of(claim), time=self.clock(), attempt=0)
        entry = replace(entry, reason=as_reason(reason.text), reason_kind=reason.kind)
        entry = replace(entry, by=by_hand.by, by_verified=by_hand.by_verified, comment=by_hand.comment)
        self.history.write_alone(entry)
        return entry

    def ignore(
        self,
        reason: Reason,
        subject: str,
        event_id: str,
        event: ModelRegistered | None = None,
        *,
        again: bool = False,
    ) -> HistoryEntry:
        """Record an event that starts nothing; an event of a workspace of ours is kept, to compare later tags with.

        `again` if a person matched it again.
        """
        entry = HistoryEntry(self.clock(), State.IGNORED, as_reason(reason.text), reason.kind, event_id, subject)
        if event:
            self.take_over(event)
            entry = replace(entry, workspace=event.workspace.id)
            self.claims.keep_ignored(event, reason._replace(text=entry.reason), again=again)
        self.history.write_alone(entry)
        return replace(entry, log_reason=reason.log)

    def take_over(self, event: ModelRegistered) -> None:
        """End what a process with another release map began for this event, if it was cut off."""
        recorded = self.claims.recorded(event.workspace, event.model, event.version).get(event.version)
        for claim in recorded.claims if recorded else ():
            if claim.state is State.STARTING:
                self.pending.add(claim, claim.lease_until)
            elif claim.state.final:
                self.history.write(claim)


def _recorded(claim: Claim, attempt: Attempt, result: AttemptResult) -> Claim:
    created = result.created or NOTHING_CREATED
    return replace(
        claim,
        state=result.state,
        reason=as_reason(result.reason.text),
        reason_kind=result.reason.kind,
        next_attempt=result.next_attempt,
        in_flight_until=result.in_flight_until or claim.in_flight_until,
        release_id=created.id,
        release_name=created.name,
        release_url=created.url,
        attempts=(*claim.attempts, attempt)[-_ATTEMPTS:],
    )
