"""Find the registered models that no event told of, and send them the way of an event."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Protocol

from model_release.azure_ml.models import CannotList, CannotListModel, ModelVersion
from model_release.domain.claims import Decision, Known, State
from model_release.domain.events import MODEL_REGISTERED, Workspace, parse
from model_release.errors import ClaimHeld, EventError
from model_release.flow.start_release import StartRelease
from model_release.log import log_catch_up
from model_release.store.ledger import Clock, Ledger, Looks

logger = logging.getLogger(__name__)

# What was registered a little before the last look may have been listed a little after it.
OVERLAP = timedelta(hours=1)
# So long after its registration a version is still released when its tags come to match a route.
PROMOTED_WITHIN = timedelta(days=14)
# As many models are listed at once; more would soon be throttled, at 25 reads a second.
# https://learn.microsoft.com/azure/azure-resource-manager/management/request-limits-and-throttling
LOOK_THREADS = 4


def look_threads() -> Executor:
    """The threads of one look."""
    return ThreadPoolExecutor(LOOK_THREADS)


class Registry(Protocol):
    """Where registered models are listed; raises CannotList."""

    def models(self, workspace: Workspace) -> Iterable[str]:
        """List the models."""

    def versions(self, workspace: Workspace, model: str, *, since: datetime) -> Iterable[ModelVersion]:
        """List the versions of a model that were created since then; raises CannotListModel too."""


@dataclass
class _Looked:
    """What came of one look at a workspace; `complete` unless something must be looked at again."""

    decisions: list[Decision] = field(default_factory=list)
    listed: int = 0
    complete: bool = True


@dataclass(frozen=True)
class CatchUp:
    """Looks at each workspace; the first look starts nothing, it only notes where catching up begins."""

    azure_ml: Registry
    start_release: StartRelease
    ledger: Ledger
    clock: Clock
    threads: Callable[[], Executor] = look_threads

    def missed(self) -> list[Decision]:
        """Release what was missed; a workspace that fails is looked at again from where it was last looked at whole."""
        decisions: list[Decision] = []
        for workspace in sorted(self.start_release.workspaces, key=lambda workspace: workspace.id):
            try:
                looked = self._look(workspace)
            except CannotList as error:
                logger.error("%s", error)  # noqa: TRY400  the sentence says what to do
                looked = _Looked(complete=False)
            released = sum(decision.state is State.STARTED for decision in looked.decisions)
            log_catch_up(workspace.id, listed=looked.listed, released=released, complete=looked.complete)
            decisions += looked.decisions
        return decisions

    def _look(self, workspace: Workspace) -> _Looked:
        now = self.clock()
        looks = self.ledger.looks(workspace)
        if looks is None:
            self.ledger.note_looks(workspace, Looks(began=now, complete=now))
            return _Looked()
        since = max(looks.began, min(looks.complete - OVERLAP, now - PROMOTED_WITHIN))
        looked = _Looked()
        for model, versions in self._listed(workspace, since):
            if isinstance(versions, CannotListModel):
                logger.error("%s", versions)
                looked.complete = False
            elif versions:
                self._catch_up_all(looked, versions, self.ledger.known(workspace, model))
        if looked.complete:
            self.ledger.note_looks(workspace, Looks(began=looks.began, complete=now))
        return looked

    def _listed(
        self, workspace: Workspace, since: datetime
    ) -> Iterator[tuple[str, list[ModelVersion] | CannotListModel]]:
        """Each model's versions, the oldest first, as their events would have come."""

        def versions(model: str) -> list[ModelVersion] | CannotListModel:
            try:
                return sorted(self.azure_ml.versions(workspace, model, since=since), key=attrgetter("created"))
            except CannotListModel as error:
                return error

        models = list(self.azure_ml.models(workspace))
        with self.threads() as pool:
            yield from zip(models, pool.map(versions, models), strict=True)

    def _catch_up_all(self, looked: _Looked, versions: list[ModelVersion], known: Mapping[str, Known]) -> None:
        looked.listed += len(versions)
        for version in versions:
            try:
                looked.decisions += self._catch_up(version, known.get(version.version))
            except ClaimHeld:
                looked.complete = False
            except EventError as error:
                logger.warning("%s %s is no model version to release: %s", version.model, version.version, error)

    def _catch_up(self, version: ModelVersion, known: Known | None) -> list[Decision]:
        event = parse(event_of(version))
        if known is None:
            return self.start_release.registered(event.body)
        decisions = []
        for claim in known.claims:
            # A process died at it, and Event Grid has no reason to deliver the event again.
            if claim.state is State.STARTING and not claim.in_flight(self.clock()):
                decisions += self.start_release.try_now(claim)
        return decisions + self.start_release.missing(event, known)


def event_of(version: ModelVersion) -> str:
    """The event that Azure ML would have sent, had the version been registered with the tags that it has now."""
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
