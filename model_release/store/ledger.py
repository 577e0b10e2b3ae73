"""The ledger: every model version's way to its release, in Table storage.

| partition | row | for |
|---|---|---|
| `claim HASH MODEL` | `VERSION TARGET` | the claim of a model version on a target, kept forever |
| `claim HASH MODEL` | `VERSION TARGET WISH` | another claim on it, on purpose |
| `claim HASH MODEL` | `VERSION ignored` | the event of a model version that no route took |
| `claim HASH MODEL` | `TARGET` | the line: which version holds the target, so that none overtakes it |
| `open` | the claim's key | a claim that was acknowledged unfinished, for the sweep |
| `looks` | HASH | from when on a workspace is caught up |
| `hold` | `hold` | until when Azure DevOps asked to be left alone |

HASH is of the workspace's resource id, TARGET of the target. All writes are single, in an order that is safe to be cut
off anywhere. Those of claims and lines are conditional; where the answer to one was lost, its repetition conflicts, and
what stands is compared.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime, timedelta
from typing import Any

from azure.core.exceptions import ResourceExistsError, ResourceModifiedError
from azure.data.tables import TableEntity

from model_release.domain.claims import (
    NEVER,
    Answer,
    Claim,
    Decision,
    Known,
    Line,
    Outcome,
    State,
    digest,
    key_of,
    name_of,
    partition_of,
    row_of,
)
from model_release.domain.events import ModelRegistered, Workspace
from model_release.domain.release_map import Start, StartedRelease, Target
from model_release.errors import ClaimHeld
from model_release.store.history import History
from model_release.store.outcomes import Outbox
from model_release.store.table import Table
from model_release.tracing import trace_parent, traced

_OPEN = "open"
_LOOKS = "looks"
_HOLD = "hold"
_IGNORED = "ignored"
_HOLD_IS_KNOWN_FOR = timedelta(seconds=5)
_REASON_CHARACTERS = 4_000
# Twenty of them fit in one property.
_ANSWERS = 20
_ANSWER_CHARACTERS = 500
_SLOW = timedelta(seconds=1)

Clock = Callable[[], datetime]


@dataclass(frozen=True)
class _Head:
    version: str
    until: datetime
    etag: str


@dataclass(frozen=True)
class Looks:
    """When a workspace was looked at first, and when it was last looked at whole."""

    began: datetime
    complete: datetime


@dataclass(frozen=True)
class Unfinished:
    """How many claims the sweep still owns, and since when the oldest waits."""

    claims: int
    oldest: datetime | None

    def age(self, now: datetime) -> int | None:
        """For how many seconds the oldest waits; None where none does."""
        return round((now - self.oldest).total_seconds()) if self.oldest else None


class Ledger:
    """The claims; every method raises azure-core's errors when storage fails."""

    def __init__(
        self, table: Table, history: History, *, lease: timedelta, clock: Clock, outbox: Outbox | None = None
    ) -> None:
        self._table = table
        self._history = history
        self._outbox = outbox
        self._lease = lease
        self._clock = clock
        self._heads: dict[tuple[str, str], _Head] = {}
        self._hold = (NEVER, NEVER)

    @traced("claim")
    def claim(
        self, start: Start, event: ModelRegistered, again: str = "", beside: Iterable[Target] = ()
    ) -> tuple[Claim, bool]:
        """Claim the target for this model version; False with the claim as it stands, if it was claimed before.

        `beside` are the other targets that the event is for: so it is known which of them were never claimed. `again`
        names a wish: each claims anew, and nobody delivers it a second time, so the sweep owns it from here.
        """
        now = self._clock()
        claim = Claim(
            partition=partition_of(event.workspace, event.model),
            row=row_of(event.version, start.target, again),
            workspace=event.workspace.id,
            model=event.model,
            version=event.version,
            project=start.target.project,
            definition=start.target.definition,
            kind=start.target.kind,
            route=start.route,
            event_id=event.id,
            event=event.body,
            created=now,
            state=State.STARTING,
            lease_until=now + self._lease,
            holder=uuid.uuid4().hex,
            again=again,
            beside=" ".join(name_of(target) for target in beside),
            trace=trace_parent(),
        )
        if again:
            self._open(claim, claim.lease_until)
        try:
            return replace(claim, etag=self._table.create(claim.partition, claim.row, **_values(claim))), True
        except ResourceExistsError:
            stands = self.get(claim.partition, claim.row)
            return stands, _same(stands, claim)

    def get(self, partition: str, row: str) -> Claim:
        """The claim as it stands."""
        return _claim(self._table.get(partition, row))

    @traced("claim")
    def take(self, claim: Claim) -> Claim:
        """Begin another attempt; raises ClaimHeld while somebody else is at work on this claim."""
        now = self._clock()
        if claim.state is State.STARTING and claim.lease_until > now:
            raise _held(claim)
        taken = replace(
            claim,
            state=State.STARTING,
            lease_until=now + self._lease,
            holder=uuid.uuid4().hex,
            attempts=claim.attempts + 1,
        )
        return self._update(claim, taken)

    def has_time(self, claim: Claim) -> bool:
        """Whether a start will end within the lease: a third of it to find out what to send, a third to send it."""
        return self._clock() + self._lease * 2 / 3 <= claim.lease_until

    def join_line(self, claim: Claim) -> Line:
        """Hold the target for this version, a whole number, unless a newer one held it or an older one is starting."""
        row = claim.row.partition(" ")[2]
        # What this process wrote last need not be read: if it has changed since, the write conflicts.
        head = self._heads.get((claim.partition, row)) or self._head(claim.partition, row)
        while True:
            place = self._place(head, claim, row)
            if place.newer or place.older:
                return place
            with suppress(ResourceExistsError, ResourceModifiedError):
                self._heads[claim.partition, row] = self._lead(head, claim, row)
                return place
            head = self._head(claim.partition, row)

    @traced("record")
    def close(self, claim: Claim, outcome: Outcome) -> Decision:
        """End the attempt: what remains to be done is noted first, then the claim, then the history."""
        began = self._clock()
        release = outcome.release or StartedRelease(0, "", "")
        answer = Answer(claim.attempts, began, outcome.state, outcome.reason[:_ANSWER_CHARACTERS])
        closed = replace(
            claim,
            state=outcome.state,
            reason=outcome.reason[:_REASON_CHARACTERS],
            next_try=outcome.next_try,
            lease_until=outcome.lease_until or claim.lease_until,
            release_id=release.id,
            release_name=release.name,
            release_url=release.url,
            answers=(*claim.answers, answer)[-_ANSWERS:],
        )
        if not closed.state.final:
            self._open(closed, closed.next_try)
        if self._outbox:
            self._outbox.note(claim, answer)
        self._update(claim, closed)
        self._leave_line(closed)
        decision = self.tell(closed)
        # Whoever was slow here may have been overtaken, and told of a claim as it was.
        if self._clock() - began > _SLOW:
            self.tell(self.get(closed.partition, closed.row))
        if closed.state.final and (closed.attempts > 1 or closed.again):
            self.settle(closed)
        return decision

    def tell(self, claim: Claim) -> Decision:
        """Write the claim's line of the history."""
        decision = Decision.of(claim)
        self._history.note(decision, claim.key)
        return decision

    def settle(self, claim: Claim) -> None:
        """Nothing remains to be done for this claim."""
        self._table.delete(_OPEN, claim.key)

    def ignore(self, reason: str, subject: str, event: ModelRegistered | None = None) -> Decision:
        """Record an event that starts nothing; what could be read of it is kept, to see later what has changed."""
        decision = Decision(self._clock(), State.IGNORED, reason[:_REASON_CHARACTERS], "", subject)
        if event:
            decision = replace(decision, event_id=event.id, workspace=event.workspace.id)
            with suppress(ResourceExistsError):
                self._table.create(
                    partition_of(event.workspace, event.model),
                    f"{event.version} {_IGNORED}",
                    event=event.body,
                    created=decision.when,
                    reason=decision.reason,
                )
        self._history.note(decision, uuid.uuid4().hex)
        return decision

    def known(self, workspace: Workspace, model: str, version: str = "") -> dict[str, Known]:
        """What the ledger holds of each version of a model, or of one."""
        condition, parameters = "PartitionKey eq @partition", {"partition": partition_of(workspace, model)}
        if version:
            condition += " and RowKey ge @first and RowKey lt @after"
            parameters |= {"first": f"{version} ", "after": f"{version}!"}
        rows: dict[str, list[TableEntity]] = {}
        for row in self._table.query(condition, **parameters):
            of, space, _ = row["RowKey"].partition(" ")
            if space:
                rows.setdefault(of, []).append(row)
        return {of: _known(of_version) for of, of_version in rows.items()}

    def due(self) -> Iterator[tuple[str, str]]:
        """The partition and row of the acknowledged claims whose next try has come."""
        for row in self._table.query("PartitionKey eq @open and next_try le @now", open=_OPEN, now=self._clock()):
            yield row["partition"], row["row"]

    def owed(self, partition: str, row: str) -> Claim | None:
        """A claim that was due; None where a wish was cut off before its claim was made, which is forgotten."""
        found = self._table.find(partition, row)
        if found:
            return _claim(found)
        self._table.delete(_OPEN, key_of(partition, row))
        return None

    def unfinished(self) -> Unfinished:
        """How many claims were acknowledged unfinished, and since when the oldest of them waits."""
        rows = list(self._table.query("PartitionKey eq @open", open=_OPEN, select=["created"]))
        return Unfinished(len(rows), min((row["created"] for row in rows), default=None))

    def hold_back(self, duration: timedelta) -> None:
        """Let all instances leave Azure DevOps alone for so long."""
        now = self._clock()
        if (until := now + duration) > self._read_hold():
            self._table.put(_HOLD, _HOLD, until=until)
            self._hold = (now, until)

    def held_until(self) -> datetime:
        """Until when Azure DevOps asked to be left alone, maybe long gone; what others were asked is 5 seconds late."""
        now = self._clock()
        read, until = self._hold
        if now - read > _HOLD_IS_KNOWN_FOR:
            until = self._read_hold()
            self._hold = (now, until)
        return until

    def looks(self, workspace: Workspace) -> Looks | None:
        """When the workspace was looked at, None if never."""
        row = self._table.find(_LOOKS, digest(workspace.id))
        return Looks(row["began"], row["complete"]) if row else None

    def note_looks(self, workspace: Workspace, looks: Looks) -> None:
        """Remember when the workspace was looked at."""
        self._table.put(_LOOKS, digest(workspace.id), workspace=workspace.id, **asdict(looks))

    def prune(self) -> None:
        """Take old lines off the history."""
        self._history.prune()

    def _head(self, partition: str, row: str) -> _Head | None:
        found = self._table.find(partition, row)
        return _Head(found["version"], found["until"], str(found.metadata["etag"])) if found else None

    def _lead(self, head: _Head | None, claim: Claim, row: str) -> _Head:
        leads = {"version": claim.version, "until": claim.lease_until}
        if head:
            etag = self._table.change(claim.partition, row, head.etag, **leads)
        else:
            etag = self._table.create(claim.partition, row, **leads)
        return _Head(claim.version, claim.lease_until, etag)

    def _leave_line(self, closed: Claim) -> None:
        """Remember that no request of the line's head is under way: then the next version need not read its claim."""
        place = closed.partition, closed.row.partition(" ")[2]
        head = self._heads.get(place)
        if closed.state.final and head and head.version == closed.version:
            self._heads[place] = replace(head, until=NEVER)

    def _place(self, head: _Head | None, claim: Claim, row: str) -> Line:
        if head is None or head.version == claim.version:
            return Line()
        if int(head.version) > int(claim.version):
            return Line(newer=head.version)
        now = self._clock()
        if head.until > now:
            before = self.get(claim.partition, f"{head.version} {row}")
            if before.in_flight(now):
                return Line(older=before)
        return Line()

    def _read_hold(self) -> datetime:
        found = self._table.find(_HOLD, _HOLD)
        return found["until"] if found else NEVER

    def _open(self, claim: Claim, next_try: datetime) -> None:
        place = {"partition": claim.partition, "row": claim.row}
        self._table.put(_OPEN, claim.key, **place, next_try=next_try, created=claim.created)

    def _update(self, before: Claim, after: Claim) -> Claim:
        """Write what differs, so that the event is not sent with each attempt."""
        stood = _values(before)
        changes = {name: value for name, value in _values(after).items() if value != stood[name]}
        try:
            return replace(after, etag=self._table.change(after.partition, after.row, before.etag, **changes))
        except ResourceModifiedError:
            stands = self.get(after.partition, after.row)
            if not _same(stands, after):
                raise _held(stands) from None
            return stands


def _held(claim: Claim) -> ClaimHeld:
    return ClaimHeld(f"{claim.model} {claim.version} is at {claim.target} in other hands; deliver the event again")


def _same(stands: Claim, written: Claim) -> bool:
    return replace(stands, etag="") == replace(written, etag="")


def _known(rows: list[TableEntity]) -> Known:
    first = min(rows, key=lambda row: row["created"])
    ignored = [row for row in rows if row["RowKey"].partition(" ")[2] == _IGNORED]
    claims = sorted((_claim(row) for row in rows if row not in ignored), key=lambda claim: claim.created)
    return Known(tuple(claims), first["event"], ignored[0]["reason"] if ignored else "")


def _claim(row: TableEntity) -> Claim:
    names = {field.name for field in fields(Claim)}
    values = {name: value for name, value in row.items() if name in names}
    values |= {
        "partition": row["PartitionKey"],
        "row": row["RowKey"],
        "etag": row.metadata["etag"],
        "state": State(row["state"]),
        "answers": tuple(_answer(*written) for written in json.loads(row["answers"])),
    }
    return Claim(**values)


def _answer(attempt: int, when: str, state: str, reason: str) -> Answer:
    return Answer(attempt, datetime.fromisoformat(when), State(state), reason)


def _values(claim: Claim) -> dict[str, Any]:
    keys = ("partition", "row", "etag")
    values = {field.name: getattr(claim, field.name) for field in fields(claim) if field.name not in keys}
    values["answers"] = json.dumps(
        [(a.attempt, a.when.isoformat(), a.state, a.reason) for a in claim.answers], ensure_ascii=False
    )
    return values
