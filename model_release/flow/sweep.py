"""The sweep: take up the claims that are pending."""

import logging
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta

from azure.core.exceptions import AzureError

from model_release.domain.history import HistoryEntry
from model_release.errors import ClaimLeasedError
from model_release.flow.publish import Publisher
from model_release.flow.start_release import StartRelease
from model_release.log import log_entry, log_sweep
from model_release.store.claims import Claims, Clock
from model_release.store.history import History
from model_release.store.pending import Due, Pending
from model_release.store.throttle import Throttle

logger = logging.getLogger(__name__)

# The sweep runs every minute, and the next run waits for this one.
SWEEP_TIME = timedelta(seconds=50)
SWEEP_THREADS = 8


def sweep_threads() -> Executor:
    """Return the threads of one sweep: as many requests are sent to Azure DevOps at once."""
    return ThreadPoolExecutor(SWEEP_THREADS)


@dataclass(frozen=True)
class Sweep:
    """Resumes pending claims, prunes the history and publishes outcomes."""

    start_release: StartRelease
    claims: Claims
    pending: Pending
    throttle: Throttle
    history: History
    clock: Clock
    publisher: Publisher | None = None
    threads: Callable[[], Executor] = sweep_threads

    def run(self) -> list[HistoryEntry]:
        """Attempt each claim that is due; one that fails does not stop the others."""
        now = self.clock()
        due = () if self.throttle.throttled_until() > now else self.pending.due()
        entries: list[HistoryEntry] = []
        with self.threads() as pool:
            attempts = [pool.submit(self._take_up, one, now + SWEEP_TIME) for one in due]
        for attempt in attempts:
            try:
                # Logged here: the host drops what is logged in a thread that it does not know.
                entries += [log_entry(entry) for entry in attempt.result()]
            except ClaimLeasedError:
                pass
            except Exception:
                logger.exception("an attempt failed; the next sweep repeats it")
        try:
            self.history.prune()
        except AzureError:
            logger.exception("old history entries were not deleted; the next sweep tries again")
        left = self.pending.count()
        log_sweep(left.claims, left.age(self.clock()))
        if self.publisher:
            self.publisher.publish(lambda: self.clock() < now + SWEEP_TIME)
        return entries

    def _take_up(self, due: Due, until: datetime) -> list[HistoryEntry]:
        if self.clock() >= until:
            return []
        claim = self.claims.find(due.partition, due.row)
        if claim is None:
            # It was cut off before its claim was inserted, or is about to insert it.
            self.pending.forget(due)
        elif claim.state.final:
            self.start_release.recorder.write_history(claim, self.history.etag(claim))
            self.pending.delete(due.partition, due.row)
        elif claim.next_attempt <= self.clock() and self.throttle.throttled_until() <= self.clock():
            return self.start_release.resume(claim)
        return []
