"""The throttle: the pause that Azure DevOps asked for, kept by all instances.

| partition | row | for |
|---|---|---|
| `throttle` | `throttle` | until when no request is sent |
"""

from concurrent.futures import Executor, Future
from contextlib import suppress
from datetime import datetime, timedelta

from azure.core.exceptions import ResourceExistsError, ResourceModifiedError

from model_release.domain.claims import NEVER
from model_release.store.claims import Clock
from model_release.store.table import Table

_THROTTLE = "throttle"
_REMEMBERED_FOR = timedelta(seconds=5)


class Throttle:
    """The throttle; every method raises azure-core's errors if storage fails."""

    def __init__(self, table: Table, clock: Clock, threads: Executor | None = None) -> None:
        """Take the threads that read the throttle in the background; without them it is read when it is needed."""
        self._table = table
        self._clock = clock
        self._threads = threads
        self._remembered = (NEVER, NEVER)
        self._reading: tuple[datetime, Future[tuple[datetime, str]]] | None = None

    def extend(self, duration: timedelta) -> None:
        """Let all instances pause for this long from now, unless they pause for longer already."""
        now = self._clock()
        until, written = now + duration, False
        while not written:
            current, etag = self._read()
            if current >= until:
                return
            with suppress(ResourceExistsError, ResourceModifiedError):
                if etag:
                    self._table.change(_THROTTLE, _THROTTLE, etag, throttled_until=until)
                else:
                    self._table.insert(_THROTTLE, _THROTTLE, throttled_until=until)
                written = True
        self._remembered = (now, until)

    def read_ahead(self) -> None:
        """Begin to read the throttle, if it will be needed, while other requests are under way."""
        if self._threads and self._is_old(self._remembered[0]):
            self._reading = self._clock(), self._threads.submit(self._read)

    def throttled_until(self) -> datetime:
        """Return when the pause ends, possibly in the past; a pause of another instance is seen within 5 seconds."""
        now, (_, until) = self._clock(), self._remembered
        if self._is_old(self._remembered[0]):
            reading, self._reading = self._reading, None
            until, _ = self._read() if reading is None or self._is_old(reading[0]) else reading[1].result()
            self._remembered = (now, until)
        return until

    def pause_until(self) -> datetime | None:
        """Return when the pause ends; None without one."""
        until = self.throttled_until()
        return until if until > self._clock() else None

    def _is_old(self, read: datetime) -> bool:
        return self._clock() - read > _REMEMBERED_FOR

    def _read(self) -> tuple[datetime, str]:
        found = self._table.find(_THROTTLE, _THROTTLE)
        return (found["throttled_until"], str(found.metadata["etag"])) if found else (NEVER, "")
