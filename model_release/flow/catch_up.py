"""Catch-up: list the model versions of Azure ML, and start what no event started."""

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from operator import attrgetter

from model_release.azure_ml.models import AzureMl, AzureMlError, ModelListError, ModelVersion
from model_release.domain.claims import RecordedVersion, State
from model_release.domain.events import MODEL_REGISTERED, Workspace, parse
from model_release.domain.history import HistoryEntry
from model_release.errors import ClaimLeasedError, EventError
from model_release.flow.start_release import StartRelease
from model_release.log import log_catch_up
from model_release.store.catch_up_cursor import CatchUpCursor, CatchUpCursors
from model_release.store.claims import Claims, Clock

logger = logging.getLogger(__name__)

# A version that was registered shortly before a run may be listed shortly after it.
OVERLAP = timedelta(hours=1)
# For this long after its registration, a version starts if its tags come to match a route.
PROMOTED_WITHIN = timedelta(days=14)
# So many models are listed at once; Azure Resource Manager allows 25 reads a second.
# https://learn.microsoft.com/azure/azure-resource-manager/management/request-limits-and-throttling
LIST_THREADS = 4


def list_threads() -> Executor:
    """Return the threads of one run."""
    return ThreadPoolExecutor(LIST_THREADS)


@dataclass
class _Run:
    """One run for a workspace; it is not `complete` if something must be listed again."""

    entries: list[HistoryEntry] = field(default_factory=list)
    listed: int = 0
    complete: bool = True


@dataclass(frozen=True)
class CatchUp:
    """Lists each workspace; the first run starts nothing, it only sets the cursor."""

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
            try:
                run = self._list(workspace)
            except AzureMlError as error:
                logger.error("%s", error)  # noqa: TRY400  the message says what to do
                run = _Run(complete=False)
            started = sum(entry.state is State.STARTED for entry in run.entries)
            log_catch_up(workspace.id, listed=run.listed, started=started, complete=run.complete)
            entries += run.entries
        return entries

    def _list(self, workspace: Workspace) -> _Run:
        now = self.clock()
        cursor = self.cursors.read(workspace)
        if cursor is None:
            self.cursors.write(workspace, CatchUpCursor(began=now, complete=now))
            return _Run()
        since = max(cursor.began, min(cursor.complete - OVERLAP, now - PROMOTED_WITHIN))
        run = _Run()
        for model, versions in self._versions(workspace, since):
            if isinstance(versions, ModelListError):
                logger.error("%s", versions)
                run.complete = False
            elif versions:
                self._start_all(run, versions, self.claims.recorded(workspace, model))
        if run.complete:
            self.cursors.write(workspace, CatchUpCursor(began=cursor.began, complete=now))
        return run

    def _versions(
        self, workspace: Workspace, since: datetime
    ) -> Iterator[tuple[str, list[ModelVersion] | ModelListError]]:
        """Read the versions of each model, oldest first, as their events would have come."""

        def versions(model: str) -> list[ModelVersion] | ModelListError:
            try:
                return sorted(self.azure_ml.versions(workspace, model, since=since), key=attrgetter("created"))
            except ModelListError as error:
                return error

        models = list(self.azure_ml.models(workspace))
        with self.threads() as pool:
            yield from zip(models, pool.map(versions, models), strict=True)

    def _start_all(self, run: _Run, versions: list[ModelVersion], recorded: Mapping[str, RecordedVersion]) -> None:
        run.listed += len(versions)
        for version in versions:
            try:
                run.entries += self._start(version, recorded.get(version.version))
            except ClaimLeasedError:
                run.complete = False
            except EventError as error:
                logger.warning("%s:%s cannot be released: %s", version.model, version.version, error)

    def _start(self, version: ModelVersion, recorded: RecordedVersion | None) -> list[HistoryEntry]:
        event = parse(event_of(version))
        if recorded is None:
            return self.start_release.registered(event.body, delivered=False)
        entries = []
        for claim in recorded.claims:
            # Its process died, and Event Grid has no reason to deliver the event again.
            if claim.state is State.STARTING and claim.lease_until <= self.clock():
                entries += self.start_release.try_now(claim)
        return entries + self.start_release.start_missing(event, recorded)


def event_of(version: ModelVersion) -> str:
    """Build the event that Azure ML sends for a version with these tags."""
    workspace = version.workspace
    return json.dumps(
        {
            "id": f"catch-up {workspace.name} {version.model} {version.version}",
            "topic": f"{workspace.id[: -len(workspace.name)]}{workspace.name}",
            "subject": f"models/{version.model}:{version.version}",
            "eventType": MODEL_REGISTERED,
            "eventTime": version.created.isoformat(),
            "dataVersion": "",
            "metadataVersion": "1",
            "data": {
                "ModelName": version.model,
                "ModelVersion": version.version,
                "ModelTags": dict(version.tags),
                "ModelProperties": dict(version.properties),
            },
        },
        ensure_ascii=False,
    )
