"""The ledger: every model version's way to its release, in Table storage.

| partition | row | for |
|---|---|---|
| `claim HASH MODEL` | `VERSION TARGET` | the claim of a model version on a target, kept forever |
| `claim HASH MODEL` | `TARGET` | the line: which version holds the target, so that none overtakes it |
| `open` | the claim's key | a claim that was acknowledged unfinished, for the sweep |
| `recent` | newest first | one line of the history for each claim or ignored event, pruned after 90 days |

HASH is of the workspace's resource id, TARGET of the target. All writes are single and conditional, in an order that is
safe to be cut off anywhere; where a write's answer was lost, its repetition conflicts, and what stands is compared.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import cached_property
from itertools import islice
from typing import Any

from azure.core import MatchConditions
from azure.core.exceptions import ResourceExistsError, ResourceModifiedError, ResourceNotFoundError
from azure.data.tables import TableClient, TableEntity, UpdateMode

from model_release.errors import ClaimHeld
from model_release.events import ModelRegistered
from model_release.release_map import Start, StartedRelease, Target

TABLE = "modelreleases"
KEEP_HISTORY = timedelta(days=90)
_OPEN = "open"
_RECENT = "recent"
_PRUNED_AT_ONCE = 100
_REASON_CHARACTERS = 4_000
_LAST = 10**16 - 1
_NEVER = datetime(1970, 1, 1, tzinfo=UTC)

Clock = Callable[[], datetime]


class State(StrEnum):
    """Where a claim is on its way."""

    STARTING = "starting"
    WAITING = "waiting"
    REFUSED = "refused"
    UNKNOWN = "unknown"
    STARTED = "started"
    SUPERSEDED = "superseded"
    WITHDRAWN = "withdrawn"
    IGNORED = "ignored"

    @property
    def final(self) -> bool:
        """Nothing more will happen."""
        return self in (State.STARTED, State.SUPERSEDED, State.WITHDRAWN, State.IGNORED)

    @property
    def may_exist(self) -> bool:
        """An attempt was cut off or got no answer, so a release may exist."""
        return self in (State.STARTING, State.UNKNOWN)


@dataclass(frozen=True)
class Claim:
    """A model version's claim on a target; times are UTC."""

    partition: str
    row: str
    workspace: str
    model: str
    version: str
    project: str
    definition: int | str
    route: str
    event_id: str
    event: str
    created: datetime
    state: State
    lease_until: datetime
    attempts: int = 1
    holder: str = ""
    next_try: datetime = _NEVER
    reason: str = ""
    release_id: int = 0
    release_name: str = ""
    release_url: str = ""
    etag: str = ""

    def in_flight(self, now: datetime) -> bool:
        """A request that creates its release may be under way."""
        return self.state.may_exist and self.lease_until > now

    @property
    def target(self) -> Target:
        """What it claims."""
        return Target(self.project, self.definition)

    @property
    def key(self) -> str:
        """Names the claim in one word of 32 hexadecimal digits."""
        return _digest(f"{self.partition}\n{self.row}", 32)

    @property
    def marker(self) -> str:
        """Stands in the release's description, and by it the release is found again."""
        return f"[model-release {self.key}]"


@dataclass(frozen=True)
class Outcome:
    """What an attempt came to; `next_try` only where the state is not final."""

    state: State
    reason: str
    next_try: datetime = _NEVER
    release: StartedRelease | None = None
    lease_until: datetime | None = None


@dataclass(frozen=True)
class Decision:
    """What became of an event: one line of the history."""

    when: datetime
    state: State
    reason: str
    event_id: str
    subject: str
    workspace: str = ""
    target: str = ""
    route: str = ""
    attempts: int = 0
    next_try: datetime = _NEVER
    release_id: int = 0
    release_name: str = ""
    release_url: str = ""

    @classmethod
    def of(cls, claim: Claim) -> Decision:
        """The line that tells of this claim."""
        return cls(
            when=claim.created,
            state=claim.state,
            reason=claim.reason,
            event_id=claim.event_id,
            subject=f"models/{claim.model}:{claim.version}",
            workspace=claim.workspace,
            target=str(claim.target),
            route=claim.route,
            attempts=claim.attempts,
            next_try=claim.next_try,
            release_id=claim.release_id,
            release_name=claim.release_name,
            release_url=claim.release_url,
        )


@dataclass(frozen=True)
class Line:
    """A claim's place in its target's line: a newer version that went ahead, or an older one that is still starting."""

    newer: str = ""
    older: Claim | None = None


class Ledger:
    """The claims; every method raises azure-core's errors when storage fails."""

    def __init__(self, table: TableClient, *, lease: timedelta, clock: Clock) -> None:
        self._client = table
        self._lease = lease
        self._clock = clock

    def claim(self, start: Start, event: ModelRegistered) -> tuple[Claim, bool]:
        """Claim the target for this model version; False with the claim as it stands, if it was claimed before."""
        now = self._clock()
        claim = Claim(
            partition=_partition(event.workspace.id, event.model),
            row=f"{event.version} {_digest(start.target.key)}",
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
            stands = self._get(claim.partition, claim.row)
            return stands, _same(stands, claim)

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
        """Whether one more request will be over before the lease is."""
        return self._clock() + self._lease / 3 <= claim.lease_until

    def join_line(self, claim: Claim) -> Line:
        """Hold the target for this version, a whole number, unless a newer one held it or an older one is starting."""
        row = claim.row.partition(" ")[2]
        while True:
            head = self._find(claim.partition, row)
            place = self._place(head, claim)
            if place.newer or place.older:
                return place
            holds = {
                "PartitionKey": claim.partition,
                "RowKey": row,
                "version": claim.version,
                "until": claim.lease_until,
            }
            with suppress(ResourceExistsError, ResourceModifiedError, ResourceNotFoundError):
                if head is None:
                    self._table.create_entity(holds)
                else:
                    self._replace(holds, str(head.metadata["etag"]))
                return place

    def close(self, claim: Claim, outcome: Outcome) -> Decision:
        """End the attempt: what remains to be done is noted for the sweep first, then the history, then the claim."""
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
            self._table.upsert_entity(
                {
                    "PartitionKey": _OPEN,
                    "RowKey": closed.key,
                    "partition": closed.partition,
                    "row": closed.row,
                    "next_try": closed.next_try,
                },
                mode=UpdateMode.REPLACE,
            )
        decision = Decision.of(closed)
        self._note(decision, closed.key)
        self._update(closed)
        if closed.state.final and closed.attempts > 1:
            self.settle(closed)
        return decision

    def settle(self, claim: Claim) -> None:
        """Nothing remains to be done for this claim."""
        self._table.delete_entity(_OPEN, claim.key)

    def ignore(self, reason: str, *, event_id: str, subject: str) -> Decision:
        """Record an event that starts nothing."""
        decision = Decision(self._clock(), State.IGNORED, reason[:_REASON_CHARACTERS], event_id, subject)
        self._note(decision, uuid.uuid4().hex)
        return decision

    def due(self) -> Iterator[Claim]:
        """The acknowledged claims whose next try has come."""
        now = self._clock()
        for row in self._table.query_entities(
            "PartitionKey eq @open and next_try le @now", parameters={"open": _OPEN, "now": now}
        ):
            claim = self._get(row["partition"], row["row"])
            if claim.state.final or claim.next_try <= now:
                yield claim

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

    def _place(self, head: TableEntity | None, claim: Claim) -> Line:
        if head is None or head["version"] == claim.version:
            return Line()
        if int(head["version"]) > int(claim.version):
            return Line(newer=head["version"])
        now = self._clock()
        if head["until"] > now:
            before = self._get(claim.partition, f"{head['version']} {head['RowKey']}")
            if before.in_flight(now):
                return Line(older=before)
        return Line()

    def _note(self, decision: Decision, key: str) -> None:
        row = {"PartitionKey": _RECENT, "RowKey": f"{_newest_first(decision.when)} {key}"}
        self._table.upsert_entity(row | _plain(asdict(decision)), mode=UpdateMode.REPLACE)

    def _find(self, partition: str, row: str) -> TableEntity | None:
        try:
            return self._table.get_entity(partition, row)
        except ResourceNotFoundError:
            return None

    def _get(self, partition: str, row: str) -> Claim:
        entity = self._table.get_entity(partition, row)
        names = {field.name for field in fields(Claim)}
        values = {name: value for name, value in entity.items() if name in names}
        values |= {"partition": partition, "row": row, "etag": entity.metadata["etag"], "state": State(entity["state"])}
        return Claim(**values)

    def _update(self, claim: Claim) -> Claim:
        try:
            return replace(claim, etag=self._replace(_entity(claim), claim.etag))
        except ResourceModifiedError:
            stands = self._get(claim.partition, claim.row)
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


def _partition(workspace: str, model: str) -> str:
    return f"claim {_digest(workspace)} {model}"


def _digest(text: str, length: int = 16) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:length]


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
