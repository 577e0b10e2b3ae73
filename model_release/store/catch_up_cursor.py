"""Catch-up: how far each workspace is listed, what existed before, and which run is at work.

| partition | row | for |
|---|---|---|
| `catch_up_cursor` | HASH of the workspace | from when on the workspace is caught up, and how the last run ended |
| `catch_up_cursor` | `lease` | until when one run alone may list Azure ML |
| `catch_up_existing HASH` | a digit | the tags and properties that the existing versions of some models had |
| `catch_up_listed HASH` | a digit | when each of some models was listed, and with which stamp |

The digit is the first one of a model's digest, so that a run writes only the rows of models that changed.
"""

import json
from collections.abc import Collection, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from azure.core.exceptions import ResourceExistsError, ResourceModifiedError

from model_release.domain.claims import NEVER, digest
from model_release.domain.events import Workspace
from model_release.store.claims import Clock
from model_release.store.table import Table, join, split

_CURSOR, _EXISTING, _LISTED, _LEASE = "catch_up_cursor", "catch_up_existing", "catch_up_listed", "lease"


class CatchUpCursor(NamedTuple):
    """How far a workspace is caught up; a time is NEVER before there is one.

    `began` is the time of the first run. Every version that was created before `complete` was listed. `recorded` is
    when the versions that had existed before the first run were recorded. The last run was at `ran`, with `problem` if
    it was not complete; the last complete one was at `succeeded`. No run lists the workspace before `paused_until`.
    """

    began: datetime
    complete: datetime
    recorded: datetime = NEVER
    ran: datetime = NEVER
    succeeded: datetime = NEVER
    problem: str = ""
    paused_until: datetime = NEVER


_FIELDS = CatchUpCursor._fields


class TagsAndProperties(NamedTuple):
    """The tags and properties that a version had."""

    tags: Mapping[str, str]
    properties: Mapping[str, str]


class ListedModel(NamedTuple):
    """The stamp of a model when its versions were listed; every one that was created before `until` was listed.

    An empty stamp must be listed again; NEVER that its existing versions are not recorded yet.
    """

    stamp: str
    until: datetime


# By model and version.
Existing = Mapping[str, Mapping[str, TagsAndProperties]]


class CatchUpCursors:
    """The cursors of all workspaces; every method raises azure-core's errors if storage fails."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def read(self, workspace: Workspace) -> CatchUpCursor | None:
        """Read the cursor of a workspace, None if it was never listed."""
        row = self._table.find(_CURSOR, digest(workspace.id))
        return CatchUpCursor(**{name: row[name] for name in row if name in _FIELDS}) if row else None

    def write(self, workspace: Workspace, cursor: CatchUpCursor) -> None:
        """Write the cursor of a workspace."""
        self._table.put(_CURSOR, digest(workspace.id), workspace=workspace.id, **cursor._asdict())

    def record_existing(self, workspace: Workspace, existing: Existing, changed: Collection[str]) -> None:
        """Write what the versions of the changed models had before the first run."""
        self._write(_EXISTING, workspace, existing, changed)

    def existing(self, workspace: Workspace) -> dict[str, dict[str, TagsAndProperties]]:
        """Read what was recorded; empty before that."""
        return {
            model: {version: TagsAndProperties(*had) for version, had in versions.items()}
            for model, versions in self._read(_EXISTING, workspace).items()
        }

    def record_listed(self, workspace: Workspace, listed: Mapping[str, ListedModel], changed: Collection[str]) -> None:
        """Write when the changed models were listed; a changed model that is not among them is removed."""
        models = {model: (one.stamp, int(one.until.timestamp())) for model, one in listed.items()}
        self._write(_LISTED, workspace, models, changed)

    def listed(self, workspace: Workspace) -> dict[str, ListedModel]:
        """Read when each model was listed; empty before the first run."""
        models = self._read(_LISTED, workspace)
        return {
            model: ListedModel(stamp, datetime.fromtimestamp(until, UTC)) for model, (stamp, until) in models.items()
        }

    def _write(self, kind: str, workspace: Workspace, models: Mapping[str, Any], changed: Collection[str]) -> None:
        for digit in sorted({digest(model, 1) for model in changed}):
            content = {model: one for model, one in models.items() if digest(model, 1) == digit}
            self._table.put(f"{kind} {digest(workspace.id)}", digit, **split({"event": json.dumps(content)}))

    def _read(self, kind: str, workspace: Workspace) -> dict[str, Any]:
        rows = self._table.query("PartitionKey eq @partition", partition=f"{kind} {digest(workspace.id)}")
        return {model: one for row in rows for model, one in json.loads(join(row)).items()}


class CatchUpLease:
    """Lets one run at a time list Azure ML, on all instances; every method raises azure-core's errors."""

    def __init__(self, table: Table, clock: Clock, duration: timedelta) -> None:
        """After a crash, the next run waits for the whole duration."""
        self._table = table
        self._clock = clock
        self._duration = duration

    def acquire(self) -> "HeldLease | None":
        """Return the lease, or None while another run has it."""
        row = self._table.find(_CURSOR, _LEASE)
        if row and row["lease_until"] > self._clock():
            return None
        until = self._clock() + self._duration
        try:
            if row is None:
                etag = self._table.insert(_CURSOR, _LEASE, lease_until=until)
            else:
                etag = self._table.change(_CURSOR, _LEASE, str(row.metadata["etag"]), lease_until=until)
        except (ResourceExistsError, ResourceModifiedError):
            return None
        return HeldLease(self._table, self._clock, self._duration, etag)


class HeldLease:
    """The lease of one run."""

    def __init__(self, table: Table, clock: Clock, duration: timedelta, etag: str) -> None:
        self._table = table
        self._clock = clock
        self._duration = duration
        self._etag = etag
        self._renewed = self.acquired = clock()

    def renew_in_time(self) -> bool:
        """Renew the lease if a sixth of it is over, and return whether; raises ResourceModifiedError if it is lost."""
        now = self._clock()
        if now - self._renewed < self._duration / 6:
            return False
        self._etag = self._table.change(_CURSOR, _LEASE, self._etag, lease_until=now + self._duration)
        self._renewed = now
        return True

    def release(self) -> None:
        """End the lease, unless it is lost."""
        with suppress(ResourceModifiedError):
            self._table.change(_CURSOR, _LEASE, self._etag, lease_until=NEVER)
