"""Health of the timers: when they ran last, and with which result."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from model_release.domain.claims import NEVER
from model_release.domain.events import Workspace
from model_release.store.catch_up_cursor import CatchUpCursor, CatchUpCursors
from model_release.store.claims import Clock
from model_release.store.pending import LastSweep
from model_release.web.views import time_text

# The sweep runs every minute.
OLDEST_SWEEP = timedelta(minutes=10)
# The longest run of the platform.
_LONGEST_RUN = timedelta(minutes=10)


@dataclass(frozen=True, eq=False, repr=False)
class Timers:
    """Checks that the timers run; every method raises azure-core's errors if storage fails."""

    workspaces: frozenset[Workspace]
    last_sweep: LastSweep
    cursors: CatchUpCursors
    period: timedelta
    clock: Clock

    @property
    def oldest_catch_up(self) -> timedelta:
        """How long ago the last complete catch-up may be: two of them may fail, and one may last long."""
        return 3 * self.period + _LONGEST_RUN

    def sweep(self) -> dict[str, Any]:
        """Return when the last sweep ended, and how many attempts it made."""
        last = self.last_sweep.read()
        if last is None:
            return _not_ok("no sweep has ended yet; it is due within a minute, or read the log of unfinished_releases")
        if self.clock() - last.last > OLDEST_SWEEP:
            return _not_ok(f"the last sweep ended at {time_text(last.last)}; read the log of unfinished_releases")
        return {"last": time_text(last.last), "attempts": last.attempts}

    def catch_up(self) -> dict[str, Any]:
        """Return when each workspace was listed last, and the problem if the list was not complete."""
        ordered = sorted(self.workspaces, key=lambda workspace: workspace.id)
        cursors = [(workspace, self.cursors.read(workspace)) for workspace in ordered]
        faults = [
            f"{workspace.title} {problem}"
            for workspace, cursor in cursors
            if (problem := self._problem(cursor) if cursor else self._never_listed([one for _, one in cursors if one]))
        ]
        listed = {"workspaces": [_listed(workspace, cursor) for workspace, cursor in cursors]}
        return listed | (_not_ok("; ".join(faults)) if faults else {})

    def _never_listed(self, others: list[CatchUpCursor]) -> str:
        """Return an empty text if the app is new, or if the timer ran lately and the workspace is new."""
        sweep = self.last_sweep.read()
        lately = max([*(other.ran for other in others), *([sweep.first] if sweep else [])], default=self.clock())
        return "was never listed; read the log of missed_models" if self.clock() - lately > self.oldest_catch_up else ""

    def _problem(self, cursor: CatchUpCursor) -> str:
        succeeded, is_first = cursor.succeeded, cursor.ran == NEVER
        if self.clock() - (cursor.began if is_first else succeeded) <= self.oldest_catch_up:
            return ""
        last = "never listed completely" if succeeded == NEVER else f"last listed completely at {time_text(succeeded)}"
        return f"was {last}; {cursor.problem or 'read the log of missed_models'}"


def _listed(workspace: Workspace, cursor: CatchUpCursor | None) -> dict[str, Any]:
    ran = cursor is not None and cursor.ran > NEVER
    return {
        "workspace": workspace.id,
        "last": time_text(cursor.ran) if cursor and ran else None,
        "problem": (cursor.problem or None) if cursor else None,
    }


def _not_ok(error: str) -> dict[str, Any]:
    return {"ok": False, "error": error}
