"""The timers of the Functions host: each runs its functions on their schedules."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self

from local.functions_worker import Function

if TYPE_CHECKING:
    from croniter import croniter


class Timers:
    """Threads that run timer functions; as a context manager they are started and stopped."""

    def __init__(self, functions: Iterable[Function], run: Callable[[Function], Any]) -> None:
        """Run these functions with `run`, which may raise what a function raises."""
        self._run = run
        self._stopped = threading.Event()
        schedules = [(function, _schedule(function)) for function in functions]
        self._clocks = [threading.Thread(target=self._keep_time, args=schedule) for schedule in schedules]

    def __enter__(self) -> Self:
        for clock in self._clocks:
            clock.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for clock in self._clocks:
            clock.join()

    def _keep_time(self, timer: Function, schedule: croniter) -> None:
        if timer.trigger.get("runOnStartup"):
            self._run_logged(timer)
        due = datetime.now(UTC)
        while True:
            # A wait may end a little early, which must not run the same schedule twice.
            due = schedule.get_next(datetime, start_time=max(due, datetime.now(UTC)))
            if self._stopped.wait((due - datetime.now(UTC)).total_seconds()):
                return
            self._run_logged(timer)

    def _run_logged(self, timer: Function) -> None:
        with suppress(Exception):  # the worker logs it
            self._run(timer)


def _schedule(timer: Function) -> croniter:
    # Without timers the host needs only the packages that are deployed.
    from croniter import croniter  # noqa: PLC0415

    # NCRONTAB begins with seconds, and both the day of the month and the day of the week must match.
    return croniter(timer.trigger["schedule"], second_at_beginning=True, day_or=False)
