"""The throttle: the pause that Azure DevOps asked for, kept by all instances.

| partition | row | for |
|---|---|---|
| `throttle` | `throttle` | until when no request is sent |
"""

from datetime import datetime, timedelta

from model_release.domain.claims import NEVER
from model_release.store.claims import Clock
from model_release.store.table import Table

_THROTTLE = "throttle"
_REMEMBERED_FOR = timedelta(seconds=5)


class Throttle:
    """The throttle; every method raises azure-core's errors if storage fails."""

    def __init__(self, table: Table, clock: Clock) -> None:
        self._table = table
        self._clock = clock
        self._remembered = (NEVER, NEVER)

    def extend(self, duration: timedelta) -> None:
        """Let all instances pause for this long from now, unless they pause for longer already."""
        now = self._clock()
        if (until := now + duration) > self._read():
            self._table.put(_THROTTLE, _THROTTLE, throttled_until=until)
            self._remembered = (now, until)

    def throttled_until(self) -> datetime:
        """Return when the pause ends, possibly in the past; a pause of another instance is seen within 5 seconds."""
        now = self._clock()
        read, until = self._remembered
        if now - read > _REMEMBERED_FOR:
            until = self._read()
            self._remembered = (now, until)
        return until

    def _read(self) -> datetime:
        found = self._table.find(_THROTTLE, _THROTTLE)
        return found["throttled_until"] if found else NEVER
