"""Catch-up: list the models of Azure ML and the versions of those that changed, and start what no event started."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from operator import attrgetter

from model_release.azure_ml.items import AzureMlError, ModelContainer, ModelListError, ModelVersion
from model_release.azure_ml.models import AzureMl
from model_release.domain.claims import NEVER, Claim, RecordedVersion, State
from model_release.domain.events import ModelRegistered, Workspace, parse
from model_release.domain.history import HistoryEntry
from model_release.errors import ClaimLeasedError, EventError
from model_release.flow.catch_up_run import CatchUpRun
from model_release.flow.confirm import event_of
from model_release.flow.start_release import StartRelease
from model_release.log import get_logger, log_catch_up
from model_release.store.catch_up_cursor import CatchUpCursor, CatchUpCursors, CatchUpLease, HeldLease
from model_release.store.claims import Claims, Clock

logger = get_logger(__name__)

# So many models are listed at once.
LIST_THREADS = 4
# After this time no other model is listed, because the platform ends a run after ten minutes (host.json).
LONGEST_RUN = timedelta(minutes=9)
_Versions = list[ModelVersion] | ModelListError


def list_threads() -> Executor:
    """Return the threads of one run."""
    return ThreadPoolExecutor(LIST_THREADS)


@dataclass(frozen=True, eq=False, repr=False)
class CatchUp:
    """Lists each workspace; what existed before the first run starts only if its tags or properties change later."""

    azure_ml: AzureMl
    start_release: StartRelease
    claims: Claims
    cursors: CatchUpCursors
    lease: CatchUpLease
    clock: Clock
    threads: Callable[[], Executor] = list_threads

    def run(self) -> list[HistoryEntry]:
        """Start what was missed, unless another run is at work; what fails is listed again by the next run."""
        lease = self.lease.acquire()
        if lease is None:
            logger.info("another catch-up is at work")
            return []
        try:
            return self._run(lease)
        finally:
            lease.release()

    def _run(self, lease: HeldLease) -> list[HistoryEntry]:
        runs = []
        for workspace in sorted(self.start_release.workspaces, key=attrgetter("id")):
            runs += self._begin(workspace)
            lease.renew_in_time()
        # The models that changed come first, in all workspaces.
        for changed in (True, False):
            for run in runs:
                self._list(run, run.due(changed=changed), lease)
        for run in runs:
            self._save(run)
            self.cursors.write(run.workspace, run.next_cursor())
            for problem in run.skipped:
                logger.warning("%s", problem)
            if run.unannounced:
                advice = "check that an event subscription delivers ModelRegistered to this app"
                logger.warning("no event announced %s versions of %s; %s", run.unannounced, run.workspace.title, advice)
            log_catch_up(
                run.workspace.id,
                listed=run.versions,
                started=run.started,
                unannounced=run.unannounced,
                complete=not run.problem,
            )
        return [entry for run in runs for entry in run.entries]

    def _begin(self, workspace: Workspace) -> list[CatchUpRun]:
        """List the models of a workspace and return its run; none during a pause."""
        now, cursor = self.clock(), self.cursors.read(workspace)
        if cursor is None:
            # Written before the list is read: a version that is registered from now on is started, however it ends.
            cursor = CatchUpCursor(began=now, complete=now)
            self.cursors.write(workspace, cursor)
        if now < cursor.paused_until:
            return []
        run = CatchUpRun(workspace, now, cursor, self.cursors.listed(workspace), {})
        if run.lists_all or any(one.until == NEVER for one in run.listed.values()):
            run.existing = self.cursors.existing(workspace)
        try:
            run.of(self.azure_ml.models(workspace, skip=run.skipped.append))
        except AzureMlError as error:
            _end(run, error)
        return [run]

    def _list(self, run: CatchUpRun, models: list[ModelContainer], lease: HeldLease) -> None:
        try:
            for model, versions in self._versions(run, models):
                self._found(run, model, versions, lease)
                if self.clock() - lease.acquired >= LONGEST_RUN:
                    run.stop()
                    return
        except AzureMlError as error:
            _end(run, error)

    def _versions(
        self, run: CatchUpRun, models: Iterable[ModelContainer]
    ) -> Iterator[tuple[ModelContainer, _Versions]]:
        """Read the versions of each model, oldest first, as their events would have come."""

        def versions(model: str, since: datetime) -> _Versions:
            try:
                listed = self.azure_ml.versions(run.workspace, model, since=since, skip=run.skipped.append)
                return sorted(listed, key=attrgetter("created"))
            except ModelListError as error:
                return error

        if run.ended:
            return
        reading: deque[tuple[ModelContainer, Future[_Versions]]] = deque()
        with self.threads() as pool:
            for model in models:
                reading.append((model, pool.submit(versions, model.name, run.since(model.name))))
                if len(reading) > LIST_THREADS:
                    first, future = reading.popleft()
                    yield first, future.result()
            for first, future in reading:
                yield first, future.result()

    def _found(self, run: CatchUpRun, model: ModelContainer, versions: _Versions, lease: HeldLease) -> None:
        if isinstance(versions, ModelListError):
            logger.error("%s", versions)
            run.fail(versions)
            run.not_found(model)
            return
        run.versions += len(versions)
        recorded = self._outlines(run.workspace, model.name, {one.version for one in versions})
        all_done, renewed = True, False
        for version in versions:
            all_done &= self._start_missed(run, version, recorded.get(version.version))
            renewed |= lease.renew_in_time()
        run.found(model, versions, again=not all_done)
        if lease.renew_in_time() or renewed:
            self._save(run)

    def _outlines(self, workspace: Workspace, model: str, listed: set[str]) -> dict[str, RecordedVersion]:
        """Read what is recorded of the listed versions; events can name any number of others."""
        outlines = self.claims.outlines(workspace, model) if listed else ()
        return {version: recorded for version, recorded in outlines if version in listed}

    def _save(self, run: CatchUpRun) -> None:
        # In this order: what was listed is recorded, however the process ends.
        self.cursors.record_existing(run.workspace, run.existing, run.recorded)
        self.cursors.record_listed(run.workspace, run.listed, run.changed)
        run.recorded.clear()
        run.changed.clear()

    def _start_missed(self, run: CatchUpRun, version: ModelVersion, recorded: RecordedVersion | None) -> bool:
        """Start what is missing of a version; return whether no other worker processes it."""
        try:
            run.entries += self._start(run, version, recorded)
        except ClaimLeasedError:
            run.fail(f"another worker processes {version.model}:{version.version}")
            return False
        except EventError as error:
            logger.warning("%s:%s cannot be released: %s", version.model, version.version, error)
        return True

    def _start(self, run: CatchUpRun, version: ModelVersion, recorded: RecordedVersion | None) -> list[HistoryEntry]:
        entries = []
        for outline in filter(self._is_cut_off, recorded.claims if recorded else ()):
            claim = self.claims.get(outline.partition, outline.row)
            # Another worker may have taken it over since the version was listed.
            if self._is_cut_off(claim):
                entries += self.start_release.try_now(claim)
        if not version.ready:
            return entries
        event = parse(event_of(version))
        if recorded and recorded.registered and recorded.registered < version.created:
            # It was deleted and registered again.
            return entries + self.start_release.registered(event.body, delivered=False)
        if before := recorded or run.as_it_existed(version):
            first = partial(self._first_event, event, before)
            return entries + self.start_release.start_missing(event, before, first)
        if run.is_new(version):
            run.unannounced += run.awaited(version)
            return self.start_release.registered(event.body, delivered=False)
        return []

    def _is_cut_off(self, claim: Claim) -> bool:
        """Whether the process of a claim died; Event Grid has no reason to deliver the event again."""
        return claim.state is State.STARTING and claim.lease_until <= self.clock()

    def _first_event(self, event: ModelRegistered, before: RecordedVersion) -> str:
        return before.event or self.claims.recorded(event.workspace, event.model, event.version)[event.version].event


def _end(run: CatchUpRun, error: AzureMlError) -> None:
    logger.error("%s", error)
    run.end(error, error.retry_after)
