"""Catch-up cursors: how far catch-up has listed each workspace.

| partition | row | for |
|---|---|---|
| `catch_up_cursor` | HASH of the workspace | from when on the workspace is caught up |
"""

from dataclasses import asdict, dataclass
from datetime import datetime

from model_release.domain.claims import digest
from model_release.domain.events import Workspace
from model_release.store.table import Table

_CURSOR = "catch_up_cursor"


@dataclass(frozen=True)
class CatchUpCursor:
    """When a workspace was listed for the first time, and when it was last listed completely."""

    began: datetime
    complete: datetime


class CatchUpCursors:
    """The cursors of all workspaces; every method raises azure-core's errors if storage fails."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def read(self, workspace: Workspace) -> CatchUpCursor | None:
        """Read the cursor of a workspace, None if it was never listed."""
        row = self._table.find(_CURSOR, digest(workspace.id))
        return CatchUpCursor(row["began"], row["complete"]) if row else None

    def write(self, workspace: Workspace, cursor: CatchUpCursor) -> None:
        """Write the cursor of a workspace."""
        self._table.put(_CURSOR, digest(workspace.id), workspace=workspace.id, **asdict(cursor))
