"""Claims, kept forever.

| partition | row | for |
|---|---|---|
| `claim HASH MODEL` | `VERSION TARGET` | the claim of a model version on a target |
| `claim HASH MODEL` | `VERSION TARGET KEY` | a person's start, by its idempotency key |
| `claim HASH MODEL` | `VERSION TARGET registered-TIME` | a version that was registered anew at this time |
| `claim HASH MODEL` | `VERSION ignored` | the event of a model version that no route matched |

HASH is the digest of the workspace's resource ID, TARGET that of the target. All writes are conditional. If the answer
to one is lost, the SDK repeats it, the repetition conflicts, and the row is compared with what was written.
"""

import json
import secrets
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import fields, replace
from datetime import datetime
from itertools import groupby
from typing import Any, NamedTuple

from azure.core.exceptions import AzureError, ResourceExistsError, ResourceModifiedError
from azure.data.tables import TableEntity

from model_release.domain.claims import TRANSITIONS, Attempt, Claim, RecordedVersion, State, claim_partition, claim_row
from model_release.domain.events import ModelRegistered, Workspace
from model_release.domain.history import NOBODY, ByHand
from model_release.domain.lease import Lease
from model_release.domain.targets import Plan
from model_release.errors import ClaimLeasedError
from model_release.reason import Reason, ReasonKind
from model_release.store.table import Table, join, split
from model_release.store.targets import Resolved
from model_release.tracing import trace_parent, traced

_IGNORED = "ignored"
_KEYS = ("partition", "row", "etag")
_OUTLINE = ["PartitionKey", "RowKey", *(one.name for one in fields(Claim) if one.name not in _KEYS)]

Clock = Callable[[], datetime]


class Leased(NamedTuple):
    """A claim that this worker has leased, and the deadline of its request in seconds of the monotonic clock."""

    claim: Claim
    deadline: float


class Claims:
    """The claims; every method raises azure-core's errors if storage fails."""

    def __init__(
        self, table: Table, *, lease: Lease, clock: Clock, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._table = table
        self._lease = lease
        self._clock = clock
        self._monotonic = monotonic
        self._failed_inserts: set[str] = set()

    def new(
        self,
        plan: Plan,
        event: ModelRegistered,
        target: Resolved,
        siblings: Iterable[str],
        idempotency_key: str,
        *,
        registration: str = "",
        by_hand: ByHand = NOBODY,
    ) -> Leased:
        """Build the claim of a plan, leased by this worker; writes nothing.

        `siblings` are the digests of targets; `registration` is only for a version that was registered anew; `by_hand`
        is only for a person's start.
        """
        deadline, now = self._lease.deadline(self._monotonic()), self._clock()
        claim = Claim(
            partition=claim_partition(event.workspace, event.model),
            row=claim_row(event.version, target.target_digest, idempotency_key or registration),
            workspace=event.workspace.id,
            model=event.model,
            version=event.version,
            project=plan.target.project,
            definition=plan.target.definition,
            kind=plan.target.kind,
            definition_id=target.definition_id,
            route=plan.route,
            event_id=event.id,
            event=event.body,
            created=now,
            state=State.STARTING,
            lease_until=self._lease.until(now),
            in_flight_until=self._lease.in_flight_until(now),
            worker=uuid.uuid4().hex,
            nonce=secrets.token_hex(8),
            idempotency_key=idempotency_key,
            **by_hand._asdict(),
            newest_only=plan.newest_only,
            sibling_targets=" ".join(siblings),
            trace_parent=trace_parent(),
        )
        return Leased(claim, deadline)

    @traced("claim")
    def insert(self, claim: Claim) -> tuple[Claim, bool]:
        """Insert a claim; if its row exists, return the claim that is there, and False."""
        try:
            return replace(claim, etag=self._table.insert(claim.partition, claim.row, **split(_values(claim)))), True
        except ResourceExistsError:
            found = self.get(claim.partition, claim.row)
            return found, _same(found, claim)
        except AzureError:
            # Storage may carry it out later.
            self._failed_inserts.add(claim.worker)
            raise

    @traced("claim")
    def acquire(self, claim: Claim) -> Leased:
        """Lease the claim for another attempt; raises ClaimLeasedError while another worker has its lease."""
        assert State.STARTING in TRANSITIONS[claim.state], f"{claim.key} is {claim.state}"  # noqa: S101
        deadline, now = self._lease.deadline(self._monotonic()), self._clock()
        if claim.state is State.STARTING and claim.lease_until > now and not self.never_sent(claim):
            raise _leased(claim)
        acquired = replace(
            claim,
            state=State.STARTING,
            lease_until=self._lease.until(now),
            in_flight_until=self._lease.in_flight_until(now),
            worker=uuid.uuid4().hex,
            attempt=claim.attempt + 1,
            pinned_until=now if claim.state is State.HELD else claim.pinned_until,
        )
        return Leased(self.update(claim, acquired), deadline)

    def never_sent(self, claim: Claim) -> bool:
        """Whether this process inserted the claim, got no answer from storage, and so sent nothing."""
        return claim.worker in self._failed_inserts

    def update(self, before: Claim, after: Claim) -> Claim:
        """Write the values that differ; raises ClaimLeasedError if another worker has written meanwhile."""
        old = _values(before)
        changes = {name: value for name, value in _values(after).items() if value != old[name]}
        try:
            return replace(after, etag=self._table.change(after.partition, after.row, before.etag, **split(changes)))
        except ResourceModifiedError:
            found = self.get(after.partition, after.row)
            if not _same(found, after):
                raise _leased(found) from None
            return found

    def get(self, partition: str, row: str) -> Claim:
        """Read a claim."""
        return _claim(self._table.get(partition, row))

    def find(self, partition: str, row: str) -> Claim | None:
        """Read a claim, None if it does not exist."""
        found = self._table.find(partition, row)
        return _claim(found) if found else None

    def keep_ignored(self, event: ModelRegistered, reason: Reason, *, again: bool = False) -> None:
        """Keep the event of a version that no route matched, to compare later tags with.

        The first event is kept, and its reason, unless it was matched `again`.
        """
        partition, row = claim_partition(event.workspace, event.model), f"{event.version} {_IGNORED}"
        why = {"reason": reason.text, "reason_kind": reason.kind}
        try:
            self._table.insert(partition, row, **split({"event": event.body, "created": self._clock(), **why}))
        except ResourceExistsError:
            kept = self._table.get(partition, row) if again else None
            # Otherwise another person matched it at the same moment.
            with suppress(ResourceModifiedError):
                if kept:
                    self._table.change(partition, row, str(kept.metadata["etag"]), **why)

    def recorded(self, workspace: Workspace, model: str, version: str = "") -> dict[str, RecordedVersion]:
        """Read the records of each version of a model, or of one version."""
        condition, parameters = "PartitionKey eq @partition", {"partition": claim_partition(workspace, model)}
        if version:
            condition += " and RowKey ge @first and RowKey lt @after"
            parameters |= {"first": f"{version} ", "after": f"{version}!"}
        return dict(_by_version(self._table.query(condition, **parameters)))

    def outlines(self, workspace: Workspace, model: str) -> Iterator[tuple[str, RecordedVersion]]:
        """Read the records of each version of a model page by page, and no events: those are empty."""
        partition = claim_partition(workspace, model)
        return _by_version(self._table.query("PartitionKey eq @partition", partition=partition, select=_OUTLINE))


def _leased(claim: Claim) -> ClaimLeasedError:
    return ClaimLeasedError(
        f"another worker is processing {claim.model}:{claim.version} for {claim.target}; Event Grid delivers it again"
    )


def _by_version(rows: Iterable[TableEntity]) -> Iterator[tuple[str, RecordedVersion]]:
    # Rows are sorted by their keys. One without a version is a high-water mark.
    of_versions = (row for row in rows if " " in row["RowKey"])
    for version, found in groupby(of_versions, key=lambda row: row["RowKey"].partition(" ")[0]):
        yield version, _recorded(list(found))


def _same(found: Claim, written: Claim) -> bool:
    return replace(found, etag="") == replace(written, etag="")


def _recorded(rows: list[TableEntity]) -> RecordedVersion:
    first = min(rows, key=lambda row: row["created"])
    ignored = [row for row in rows if row["RowKey"].partition(" ")[2] == _IGNORED]
    claims = sorted((_claim(row) for row in rows if row not in ignored), key=lambda claim: claim.created)
    why = [Reason(ReasonKind(row["reason_kind"]), row["reason"]) for row in ignored]
    return RecordedVersion(tuple(claims), join(first), why[0] if why else None)


def _claim(row: TableEntity) -> Claim:
    names = {field.name for field in fields(Claim)}
    # Storage may answer null for a selected value that the row does not have.
    values = {name: value for name, value in row.items() if name in names and value is not None}
    values |= {
        "partition": row["PartitionKey"],
        "row": row["RowKey"],
        "etag": row.metadata["etag"],
        "event": join(row),
        "state": State(row["state"]),
        "reason_kind": ReasonKind(row["reason_kind"]),
        "attempts": tuple(_attempt(*written) for written in json.loads(row["attempts"])),
    }
    return Claim(**values)


def _attempt(number: int, time: str, state: str, reason: str) -> Attempt:
    return Attempt(number, datetime.fromisoformat(time), State(state), reason)


def _values(claim: Claim) -> dict[str, Any]:
    values = {field.name: getattr(claim, field.name) for field in fields(claim) if field.name not in _KEYS}
    attempts = [(one.number, one.time.isoformat(), one.state, one.reason) for one in claim.attempts]
    return values | {"attempts": json.dumps(attempts, ensure_ascii=False)}
