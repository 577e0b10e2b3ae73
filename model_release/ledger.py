"""The ledger: every model version's way to its release, in Table storage.

| partition | row | for |
|---|---|---|
| `claim HASH MODEL` | `VERSION TARGET` | the claim of a model version on a target, kept forever |
| `claim HASH MODEL` | `VERSION ignored` | the event of a model version that no route took |
| `claim HASH MODEL` | `TARGET` | the line: which version holds the target, so that none overtakes it |
| `open` | the claim's key | a claim that was acknowledged unfinished, for the sweep |
| `recent` | newest first | one line of the history for each claim or ignored event, pruned after 90 days |
| `looks` | HASH | from when on a workspace is caught up |
| `hold` | `hold` | until when Azure DevOps asked to be left alone |

HASH is of the workspace's resource id, TARGET of the target. All writes are single, in an order that is safe to be cut
off anywhere. Those of claims and lines are conditional; where the answer to one was lost, its repetition conflicts, and
what stands is compared.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime, timedelta
from functools import cached_property
from itertools import islice
from typing import Any

from azure.core import MatchConditions
from azure.core.exceptions import ResourceExistsError, ResourceModifiedError, ResourceNotFoundError
from azure.data.tables import TableClient, TableEntity, UpdateMode

from model_release.claim import NEVER, Claim, Decision, Known, Line, Outcome, State, digest
from model_release.errors import ClaimHeld
from model_release.events import ModelRegistered, Workspace
from model_release.release_map import Start, StartedRelease

TABLE = "modelreleases"
KEEP_HISTORY = timedelta(days=90)
_OPEN = "open"
_RECENT = "recent"
_LOOKS = "looks"
_HOLD = "hold"
_IGNORED = "ignored"
_HOLD_IS_KNOWN_FOR = timedelta(seconds=5)
_PRUNED_AT_ONCE = 100
_REASON_CHARACTERS = 4_000
_SLOW = timedelta(seconds=1)
_LAST = 10**16 - 1

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


class Ledger:
    """The claims; every method raises azure-core's errors when storage fails."""

    def __init__(self, table: TableClient, *, lease: timedelta, clock: Clock) -> None:
        self._client = table
        self._lease = lease
        self._clock = clock
        self._heads: dict[tuple[str, str], _Head] = {}
        self._hold = (NEVER, NEVER)

    def claim(self, start: Start, event: ModelRegistered) -> tuple[Claim, bool]:
        """Claim the target for this model version; False with the claim as it stands, if it was claimed before."""
        now = self._clock()
        claim = Claim(
            partition=_partition(event.workspace, event.model),
            row=f"{event.version} {digest(start.target.key)}",
            workspace=event.workspace.id,
            model=event.model,
            version=event.version,
            project=start.target.project,
            definition=start.target.definition,
            route=start.route,
            event_id=event.id,
            event=event.body,
            created=now,
            state=State.STARTING,
            lease_until=now + self._lease,
            holder=uuid.uuid4().hex,
        )
        try:
            return replace(claim, etag=self._table.create_entity(_entity(claim))["etag"]), True
        except ResourceExistsError:
            stands = self.get(claim.partition, claim.row)
            return stands, _same(stands, claim)

    def get(self, partition: str, row: str) -> Claim:
        """The claim as it stands."""
        return _claim(self._table.get_entity(partition, row))

    def take(self, claim: Claim) -> Claim:
        """Begin another attempt; raises ClaimHeld while somebody else is at work on this claim."""
        now = self._clock()
        if claim.state is State.STARTING and claim.lease_until > now:
            raise _held(claim)
        return self._update(
            replace(
                claim,
                state=State.STARTING,
                lease_until=now + self._lease,
                holder=uuid.uuid4().hex,
                attempts=claim.attempts + 1,
            )
        )

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

    def close(self, claim: Claim, outcome: Outcome) -> Decision:
        """End the attempt: what remains to be done is noted for the sweep first, then the claim, then the history."""
        began = self._clock()
        release = outcome.release or StartedRelease(0, "", "")
        closed = replace(
            claim,
            state=outcome.state,
            reason=outcome.reason[:_REASON_CHARACTERS],
            next_try=outcome.next_try,
            lease_until=outcome.lease_until or claim.lease_until,
            release_id=release.id,
            release_name=release.name,
            release_url=release.url,
        )
        if not closed.state.final:
            self._put(_OPEN, closed.key, partition=closed.partition, row=closed.row, next_try=closed.next_try)
        self._update(closed)
        decision = self.tell(closed)
        # Whoever was slow here may have been overtaken, and told of a claim as it was.
        if self._clock() - began > _SLOW:
            self.tell(self.get(closed.partition, closed.row))
        if closed.state.final and closed.attempts > 1:
            self.settle(closed)
        return decision

    def tell(self, claim: Claim) -> Decision:
        """Write the claim's line of the history."""
        decision = Decision.of(claim)
        self._note(decision, claim.key)
        return decision

    def settle(self, claim: Claim) -> None:
        """Nothing remains to be done for this claim."""
        self._table.delete_entity(_OPEN, claim.key)

    def ignore(self, reason: str, subject: str, event: ModelRegistered | None = None) -> Decision:
        """Record an event that starts nothing; what could be read of it is kept, to see later what has changed."""
        if event:
            with suppress(ResourceExistsError):
                self._table.create_entity(
                    {
                        "PartitionKey": _partition(event.workspace, event.model),
                        "RowKey": f"{event.version} {_IGNORED}",
                        "event": event.body,
                        "created": self._clock(),
                    }
                )
        event_id = event.id if event else ""
        decision = Decision(self._clock(), State.IGNORED, reason[:_REASON_CHARACTERS], event_id, subject)
        self._note(decision, uuid.uuid4().hex)
        return decision

    def known(self, workspace: Workspace, model: str) -> dict[str, Known]:
        """What the ledger holds of each version of a model."""
        rows: dict[str, list[TableEntity]] = {}
        for row in self._table.query_entities(
            "PartitionKey eq @partition", parameters={"partition": _partition(workspace, model)}
        ):
            version, space, _ = row["RowKey"].partition(" ")
            if space:
                rows.setdefault(version, []).append(row)
        return {version: _known(of_version) for version, of_version in rows.items()}

    def due(self) -> Iterator[tuple[str, str]]:
        """The partition and row of the acknowledged claims whose next try has come."""
        for row in self._table.query_entities(
            "PartitionKey eq @open and next_try le @now", parameters={"open": _OPEN, "now": self._clock()}
        ):
            yield row["partition"], row["row"]

    def hold_back(self, duration: timedelta) -> None:
        """Let all instances leave Azure DevOps alone for so long."""
        now = self._clock()
        if (until := now + duration) > self._read_hold():
            self._put(_HOLD, _HOLD, until=until)
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
        row = self._find(_LOOKS, digest(workspace.id))
        return Looks(row["began"], row["complete"]) if row else None

    def note_looks(self, workspace: Workspace, looks: Looks) -> None:
        """Remember when the workspace was looked at."""
        self._put(_LOOKS, digest(workspace.id), workspace=workspace.id, **asdict(looks))

    def history(self, count: int) -> list[Decision]:
        """The newest decisions first."""
        rows = self._table.query_entities(
            "PartitionKey eq @recent", parameters={"recent": _RECENT}, results_per_page=count
        )
        return [_decision(row) for row in islice(rows, count)]

    def prune(self) -> None:
        """Take the oldest lines, at most 100 at once, off the history when their time is over."""
        rows = self._table.query_entities(
            "PartitionKey eq @recent and RowKey gt @oldest",
            parameters={"recent": _RECENT, "oldest": _newest_first(self._clock() - KEEP_HISTORY)},
            select=["PartitionKey", "RowKey"],
            results_per_page=_PRUNED_AT_ONCE,
        )
        if old := [("delete", dict(row)) for row in islice(rows, _PRUNED_AT_ONCE)]:
            self._table.submit_transaction(old)

    @cached_property
    def _table(self) -> TableClient:
        with suppress(ResourceExistsError):
            self._client.create_table()
        return self._client

    def _head(self, partition: str, row: str) -> _Head | None:
        found = self._find(partition, row)
        return _Head(found["version"], found["until"], str(found.metadata["etag"])) if found else None

    def _lead(self, head: _Head | None, claim: Claim, row: str) -> _Head:
        leads = {"PartitionKey": claim.partition, "RowKey": row, "version": claim.version, "until": claim.lease_until}
        etag = self._replace(leads, head.etag) if head else str(self._table.create_entity(leads)["etag"])
        return _Head(claim.version, claim.lease_until, etag)

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

    def _note(self, decision: Decision, key: str) -> None:
        self._put(_RECENT, f"{_newest_first(decision.when)} {key}", **_plain(asdict(decision)))

    def _read_hold(self) -> datetime:
        found = self._find(_HOLD, _HOLD)
        return found["until"] if found else NEVER

    def _find(self, partition: str, row: str) -> TableEntity | None:
        try:
            return self._table.get_entity(partition, row)
        except ResourceNotFoundError:
            return None

    def _put(self, partition_key: str, row_key: str, **values: Any) -> None:
        row = {"PartitionKey": partition_key, "RowKey": row_key, **values}
        self._table.upsert_entity(row, mode=UpdateMode.REPLACE)

    def _update(self, claim: Claim) -> Claim:
        try:
            return replace(claim, etag=self._replace(_entity(claim), claim.etag))
        except ResourceModifiedError:
            stands = self.get(claim.partition, claim.row)
            if not _same(stands, claim):
                raise _held(stands) from None
            return stands

    def _replace(self, entity: dict[str, Any], etag: str) -> str:
        return str(
            self._table.update_entity(
                entity, mode=UpdateMode.REPLACE, etag=etag, match_condition=MatchConditions.IfNotModified
            )["etag"]
        )


def _held(claim: Claim) -> ClaimHeld:
    return ClaimHeld(f"{claim.model} {claim.version} is at {claim.target} in other hands; deliver the event again")


def _same(stands: Claim, written: Claim) -> bool:
    return replace(stands, etag="") == replace(written, etag="")


def _partition(workspace: Workspace, model: str) -> str:
    return f"claim {digest(workspace.id)} {model}"


def _known(rows: list[TableEntity]) -> Known:
    first = min(rows, key=lambda row: row["created"])
    return Known(tuple(_claim(row) for row in rows if not row["RowKey"].endswith(_IGNORED)), first["event"])


def _claim(row: TableEntity) -> Claim:
    names = {field.name for field in fields(Claim)}
    values = {name: value for name, value in row.items() if name in names}
    values |= {
        "partition": row["PartitionKey"],
        "row": row["RowKey"],
        "etag": row.metadata["etag"],
        "state": State(row["state"]),
    }
    return Claim(**values)


def _newest_first(time: datetime) -> str:
    return f"{_LAST - int(time.timestamp() * 1_000_000):016d}"


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value.value if isinstance(value, State) else value for name, value in values.items()}


def _entity(claim: Claim) -> dict[str, Any]:
    values = _plain(asdict(claim))
    del values["etag"]
    return {"PartitionKey": values.pop("partition"), "RowKey": values.pop("row"), **values}


def _decision(row: TableEntity) -> Decision:
    names = {field.name for field in fields(Decision)}
    return Decision(**{name: value for name, value in row.items() if name in names} | {"state": State(row["state"])})
