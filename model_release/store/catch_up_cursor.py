"""Catch-up cursors: how far catch-up has listed each workspace, and what existed before.

| partition | row | for |
|---|---|---|
| `catch_up_cursor` | HASH of the workspace | from when on the workspace is caught up, and how the last run ended |
| `catch_up_existing HASH` | a number | one part of the tags and properties that the existing versions had |
"""

import json
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import NamedTuple

from model_release.domain.claims import NEVER, digest
from model_release.domain.events import Workspace
from model_release.store.table import Table

_CURSOR, _EXISTING = "catch_up_cursor", "catch_up_existing"
# A property holds 64 KiB.
# https://learn.microsoft.com/rest/api/storageservices/understanding-the-table-service-data-model
_PART_BYTES = 60_000


@dataclass(frozen=True)
class CatchUpCursor:
    """How far a workspace is caught up; a time is NEVER before there is one.

    `began` is the time of the first run. Every version that was created before `complete` was listed. `recorded` is
    when the versions that had existed before the first run were recorded. The last run was at `ran`, with `problem` if
    it was not complete; the last complete one was at `succeeded`.
    """

    began: datetime
    complete: datetime
    recorded: datetime = NEVER
    ran: datetime = NEVER
    succeeded: datetime = NEVER
    problem: str = ""


_FIELDS = {field.name for field in fields(CatchUpCursor)}


class TagsAndProperties(NamedTuple):
    """The tags and properties that a version had."""

    tags: Mapping[str, str]
    properties: Mapping[str, str]


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
        self._table.put(_CURSOR, digest(workspace.id), workspace=workspace.id, **asdict(cursor))

    def record_existing(self, workspace: Workspace, existing: Existing) -> None:
        """Write what the versions have that exist before the first run; 20,000 versions need a few rows."""
        data = zlib.compress(json.dumps(existing).encode())
        for number, start in enumerate(range(0, len(data), _PART_BYTES)):
            self._table.put(_existing(workspace), f"{number:05}", part=data[start : start + _PART_BYTES])

    def existing(self, workspace: Workspace) -> Existing:
        """Read what was recorded; empty before that."""
        rows = self._table.query("PartitionKey eq @partition", partition=_existing(workspace))
        data = b"".join(row["part"] for row in sorted(rows, key=lambda row: str(row["RowKey"])))
        # Parts of a longer record, which was cut off before the cursor was written, are ignored at the end.
        models = json.loads(zlib.decompressobj().decompress(data)) if data else {}
        return {
            model: {version: TagsAndProperties(*had) for version, had in versions.items()}
            for model, versions in models.items()
        }


def _existing(workspace: Workspace) -> str:
    return f"{_EXISTING} {digest(workspace.id)}"
