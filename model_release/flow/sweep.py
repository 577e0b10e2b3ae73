"""The sweep: take up the claims that are pending."""

from collections.abc import Callable, Iterable
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from queue import Empty, SimpleQueue

from azure.core.exceptions import AzureError

from model_release.domain.claims import Claim, State
from model_release.domain.history import HistoryEntry
from model_release.domain.retry import Availability
from model_release.errors import ClaimLeasedError
from model_release.flow.publish import Publisher
from model_release.flow.start_release import StartRelease
from model_release.log import get_logger, log_entry, log_sweep
from model_release.store.claims import Claims, Clock
from model_release.store.history import History
from model_release.store.overview import Overview
from model_release.store.pending import Due, LastSweep, Line, Pending
from model_release.store.throttle import Throttle

logger = get_logger(__name__)

# The sweep runs every minute. It begins attempts for so long, but at most for a third of its lease. An attempt takes at
# most two thirds of the lease of its claim, which is as long. So the lease of a sweep ends after its last attempt.
SWEEP_TIME = timedelta(seconds=50)
SWEEP_THREADS = 8


def sweep_threads() -> Executor:
    """Return the threads of one sweep: as many requests are sent to Azure DevOps at once."""
    return ThreadPoolExecutor(SWEEP_THREADS)


@dataclass(frozen=True, eq=False, repr=False)
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
    last_sweep: LastSweep | None = None
    lease: timedelta = timedelta(minutes=3)
    overview: Overview | None = None

    def run(self) -> list[HistoryEntry]:
        """Attempt each claim that is due; one that fails does not stop the others. Two sweeps never overlap.

        A sweep that was killed keeps its lease, as the claims that it was processing keep theirs.
        """
        if self.last_sweep is None:
            return self._run()
        etag = self.last_sweep.begin(self.lease)
        if not etag:
            logger.info("another sweep is running; nothing is done")
            return []
        try:
            entries = self._run()
        except Exception:
            self.last_sweep.end(etag)
            raise
        self.last_sweep.end(etag, len(entries))
        return entries

    def _run(self) -> list[HistoryEntry]:
        now = self.clock()
        until = now + min(SWEEP_TIME, self.lease / 3)
        due = [] if self.throttle.pause_until() else self.pending.due()
        entries = self._attempt_all(due, until)
        self._bring_up_to_date()
        left = self.pending.count()
        log_sweep(left.claims, left.age(self.clock()))
        if self.publisher:
            self.publisher.publish(lambda: self.clock() < until)
        return entries

    def _bring_up_to_date(self) -> None:
        """Prune the history, and read into the overview what has changed in it."""
        try:
            self.history.prune()
            if self.overview:
                self.overview.update()
        except AzureError:
            logger.exception("history and overview are not up to date; the next sweep tries again")

    def _attempt_all(self, due: list[Line], until: datetime) -> list[HistoryEntry]:
        """Attempt one line after the other until Azure DevOps answers, and then several at once."""
        left: SimpleQueue[Line] = SimpleQueue()
        for line in due:
            left.put(line)
        availability = Availability()
        ended = self._attempt_some(left, availability, until, alone=True)
        if availability.answers:
            with self.threads() as pool:
                workers = [pool.submit(self._attempt_some, left, availability, until) for _ in range(SWEEP_THREADS)]
            for worker in workers:
                ended += worker.result()
        # Logged here: the host drops what is logged in a thread that it does not know.
        return logged(ended)

    def _attempt_some(
        self, left: SimpleQueue[Line], availability: Availability, until: datetime, *, alone: bool = False
    ) -> list[HistoryEntry | Exception]:
        ended: list[HistoryEntry | Exception] = []
        # Once there is no time, or Azure DevOps is unavailable, nothing is taken up any more.
        while not (alone and availability.answers):
            try:
                line = left.get_nowait()
            except Empty:
                break
            ended += self.take_up(line, availability, until)
        return ended

    def take_up(self, line: Line, availability: Availability, until: datetime) -> list[HistoryEntry | Exception]:
        """Attempt the claims of a line in their order, up to the first that the others wait for."""
        ended: list[HistoryEntry | Exception] = []
        for due in line:
            # Where the throttle begins or ends here, no version may pass another one.
            if availability.is_unavailable or self.clock() >= until or self.throttle.pause_until():
                break
            try:
                entries = self._take_up(due, has_turn=due.has_order and len(line) > 1)
            except Exception as error:  # noqa: BLE001  logged by the caller
                ended.append(error)
                if due.has_order and isinstance(error, (ClaimLeasedError, AzureError)):
                    break
                continue
            ended += entries
            if entries:
                availability.note(unavailable=entries[-1].unavailable)
                if _others_wait(due, entries[-1]):
                    break
        return ended

    def _take_up(self, due: Due, *, has_turn: bool) -> list[HistoryEntry]:
        claim = self.claims.find(due.partition, due.row)
        if claim is None:
            # It was cut off before its claim was inserted, or is about to insert it.
            self.pending.forget(due)
        elif claim.state.final:
            self.history.write(claim)
            self.pending.delete(due.partition, due.row)
        elif claim.next_attempt <= self.clock() or self._may_go_early(claim, has_turn=has_turn):
            return self.start_release.resume(claim)
        return []

    def _may_go_early(self, claim: Claim, *, has_turn: bool) -> bool:
        """Whether a claim may be attempted before it is due: at its turn, or once no pin keeps it back."""
        if claim.state is State.HELD:
            return self.start_release.attempts.marks.pin(claim.partition, claim.target_digest) is None
        return has_turn


def logged(ended: Iterable[HistoryEntry | Exception]) -> list[HistoryEntry]:
    """Log how attempts ended, and return the entries; what failed is attempted again by the next sweep."""
    entries = []
    for end in ended:
        if isinstance(end, HistoryEntry):
            entries.append(log_entry(end))
        elif not isinstance(end, ClaimLeasedError):
            logger.error("an attempt failed; the next sweep repeats it", exc_info=end)
    return entries


def _others_wait(due: Due, entry: HistoryEntry) -> bool:
    """Whether the attempt of a claim ended so that the other versions of its line must wait for the next one."""
    may_still_go = entry.state in (State.WAITING, State.UNKNOWN) and not entry.absent
    return entry.unavailable or (due.has_order and due.newest_only and may_still_go)
