"""Catch-up: list the model versions of Azure ML, and start what no event started."""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from operator import attrgetter

from model_release.azure_ml.models import AzureMl, AzureMlError, ModelListError, ModelVersion
from model_release.domain.claims import NEVER, RecordedVersion, State
from model_release.domain.events import Workspace, parse
from model_release.domain.history import HistoryEntry
from model_release.errors import ClaimLeasedError, EventError
from model_release.flow.confirm import event_of
from model_release.flow.start_release import StartRelease
from model_release.log import get_logger, log_catch_up
from model_release.store.catch_up_cursor import CatchUpCursor, CatchUpCursors, Existing, TagsAndProperties
from model_release.store.claims import Claims, Clock

logger = get_logger(__name__)

# A version that was registered shortly before a run may be listed shortly after it.
OVERLAP = timedelta(hours=1)
# For this long after its registration, a version starts if its tags come to match a route.
PROMOTED_WITHIN = timedelta(days=14)
# So many models are listed at once; Azure Resource Manager allows 25 reads a second.
# https://learn.microsoft.com/azure/azure-resource-manager/management/request-limits-and-throttling
LIST_THREADS = 4
_CREATING = "Creating"
_NEVER_READY = ("Failed", "Canceled", "Deleting")


def list_threads() -> Executor:
    """Return the threads of one run."""
    return ThreadPoolExecutor(LIST_THREADS)


@dataclass
class _Run:
    """One run for a workspace."""

    now: datetime
    cursor: CatchUpCursor
    existing: Existing
    entries: list[HistoryEntry] = field(default_factory=list)
    listed: list[ModelVersion] = field(default_factory=list)
    problem: str = ""

    @property
    def recording(self) -> bool:
        """Whether this run must record the versions that existed before the first run."""
        return self.cursor.recorded == NEVER

    @property
    def since(self) -> datetime:
        """The registration time of the oldest version to list."""
        if self.recording or self.now - self.cursor.recorded < PROMOTED_WITHIN:
            return NEVER
        return max(self.cursor.began, min(self.cursor.complete - OVERLAP, self.now - PROMOTED_WITHIN))

    def fail(self, problem: object) -> None:
        """Let the next run start from the same cursor."""
        self.problem = self.problem or str(problem)

    def next_cursor(self) -> CatchUpCursor:
        """Return the cursor after this run; it does not pass a version whose registration has not ended."""
        ran = replace(self.cursor, ran=self.now, problem=self.problem)
        if self.problem:
            return ran
        recorded = self.now if self.recording else self.cursor.recorded
        complete = min([self.now, *(version.created for version in self.listed if _is_coming(version))])
        return replace(ran, complete=complete, recorded=recorded, succeeded=self.now)


@dataclass(frozen=True)
class CatchUp:
    """Lists each workspace; what existed before the first run starts only if its tags or properties change later."""

    azure_ml: AzureMl
    start_release: StartRelease
    claims: Claims
    cursors: CatchUpCursors
    clock: Clock
    threads: Callable[[], Executor] = list_threads

    def run(self) -> list[HistoryEntry]:
        """Start what was missed; if a workspace fails, the next run starts from the same cursor."""
        entries: list[HistoryEntry] = []
        for workspace in sorted(self.start_release.workspaces, key=lambda workspace: workspace.id):
            run = self._begin(workspace)
            try:
                self._list(workspace, run)
            except AzureMlError as error:
                logger.error("%s", error)  # noqa: TRY400  the message says what to do
                run.fail(error)
            self.cursors.write(workspace, run.next_cursor())
            started = sum(entry.state is State.STARTED for entry in run.entries)
            log_catch_up(workspace.id, listed=len(run.listed), started=started, complete=not run.problem)
            entries += run.entries
        return entries

    def _begin(self, workspace: Workspace) -> _Run:
        now, cursor = self.clock(), self.cursors.read(workspace)
        if cursor is None:
            # Written before the list is read: a version that is registered from now on is started, however it ends.
            cursor = CatchUpCursor(began=now, complete=now)
            self.cursors.write(workspace, cursor)
        run = _Run(now, cursor, {})
        if run.since == NEVER:
            run.existing = self.cursors.existing(workspace)
        return run

    def _list(self, workspace: Workspace, run: _Run) -> None:
        skipped: list[AzureMlError] = []
        for model, versions in self._versions(workspace, run.since, skipped):
            if isinstance(versions, ModelListError):
                logger.error("%s", versions)
                run.fail(versions)
            elif versions:
                run.listed += versions
                self._start_all(run, versions, self.claims.recorded(workspace, model))
        for problem in skipped:
            logger.warning("%s", problem)
        if run.recording and not run.problem:
            self.cursors.record_existing(workspace, _existing(run))

    def _versions(
        self, workspace: Workspace, since: datetime, skipped: list[AzureMlError]
    ) -> Iterator[tuple[str, list[ModelVersion] | ModelListError]]:
        """Read the versions of each model, oldest first, as their events would have come."""

        def versions(model: str) -> list[ModelVersion] | ModelListError:
            try:
                listed = self.azure_ml.versions(workspace, model, since=since, skip=skipped.append)
                return sorted(listed, key=attrgetter("created"))
            except ModelListError as error:
                return error

        models = list(self.azure_ml.models(workspace, skip=skipped.append))
        with self.threads() as pool:
            yield from zip(models, pool.map(versions, models), strict=True)

    def _start_all(self, run: _Run, versions: list[ModelVersion], recorded: Mapping[str, RecordedVersion]) -> None:
        for version in versions:
            try:
                run.entries += self._start(run, version, recorded.get(version.version))
            except ClaimLeasedError:
                run.fail(f"another worker processes {version.model}:{version.version}")
            except EventError as error:
                logger.warning("%s:%s cannot be released: %s", version.model, version.version, error)

    def _start(self, run: _Run, version: ModelVersion, recorded: RecordedVersion | None) -> list[HistoryEntry]:
        entries = []
        for claim in recorded.claims if recorded else ():
            # Its process died, and Event Grid has no reason to deliver the event again.
            if claim.state is State.STARTING and claim.lease_until <= self.clock():
                entries += self.start_release.try_now(claim)
        if not version.ready:
            return entries
        event = parse(event_of(version))
        if recorded and recorded.registered and recorded.registered < version.created:
            # It was deleted and registered again.
            return entries + self.start_release.registered(event.body, delivered=False)
        before = recorded or _as_it_existed(run, version)
        if before:
            return entries + self.start_release.start_missing(event, before)
        if _is_new(run, version):
            return self.start_release.registered(event.body, delivered=False)
        return []


def _is_coming(version: ModelVersion) -> bool:
    return not version.ready and version.provisioning_state not in _NEVER_READY


def _is_new(run: _Run, version: ModelVersion) -> bool:
    """Return whether a version was registered after the first run, or so shortly before that it was not listed then."""
    if version.created >= run.cursor.began:
        return True
    is_known = run.recording or version.version in run.existing.get(version.model, {})
    return not is_known and version.created >= run.cursor.began - OVERLAP


def _existing(run: _Run) -> dict[str, dict[str, TagsAndProperties]]:
    existing: dict[str, dict[str, TagsAndProperties]] = {}
    for version in run.listed:
        if version.created < run.cursor.began and version.provisioning_state != _CREATING:
            had = TagsAndProperties(version.tags, version.properties)
            existing.setdefault(version.model, {})[version.version] = had
    return existing


def _as_it_existed(run: _Run, version: ModelVersion) -> RecordedVersion | None:
    """Return a version as it was recorded before the first run, None if it was not or has not changed since."""
    had = run.existing.get(version.model, {}).get(version.version)
    if had is None or had == (version.tags, version.properties):
        return None
    return RecordedVersion(claims=(), event=event_of(replace(version, **had._asdict())))
