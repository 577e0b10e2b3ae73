"""The pace of reads: at most ten a second, and none during a pause that Azure Resource Manager asked for."""

import threading
import time
from collections.abc import Callable
from datetime import timedelta

# Azure Resource Manager allows 25 reads a second for each subscription, which other programs and events use too.
# https://learn.microsoft.com/azure/azure-resource-manager/management/request-limits-and-throttling
READS_A_SECOND = 10


class Pace:
    """One pace for all threads of the process."""

    def __init__(
        self, monotonic: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._monotonic = monotonic
        self._sleep = sleep
        self._next = 0.0
        self._paused_until = 0.0
        self._lock = threading.Lock()

    def wait(self, longest: timedelta) -> timedelta | None:
        """Wait for the turn of one read; if a pause lasts longer than this, return its rest at once."""
        while True:
            with self._lock:
                now = self._monotonic()
                pause = self._paused_until - now
                if pause > longest.total_seconds():
                    return timedelta(seconds=pause)
                delay = max(self._next - now, pause)
                if delay <= 0:
                    self._next = now + 1 / READS_A_SECOND
                    return None
            self._sleep(delay)

    def pause(self, duration: timedelta) -> None:
        """Let no read begin for this time."""
        with self._lock:
            self._paused_until = max(self._paused_until, self._monotonic() + duration.total_seconds())
