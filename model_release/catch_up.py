"""Find the registered models that no event told of, and send them the way of an event."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from model_release.azure_ml import CannotList, ModelVersion
from model_release.claim import Decision, Known, State
from model_release.decision_log import log_catch_up
from model_release.errors import ClaimHeld, EventError
from model_release.events import MODEL_REGISTERED, Workspace, parse
from model_release.ledger import Clock, Ledger, Looks
from model_release.start_release import StartRelease

logger = logging.getLogger(__name__)

# What was registered a little before the last look may have been listed a little after it.
OVERLAP = timedelta(hours=1)
# So long after its registration a version is still released when its tags come to match a route.
PROMOTED_WITHIN = timedelta(days=14)


class ModelVersions(Protocol):
    """Where registered models are listed; raises CannotList."""

    def model_versions(self, workspace: Workspace, *, since: datetime) -> Iterator[ModelVersion]:
        """List the versions created since then."""


@dataclass
class _Looked:
    """What came of one look at a workspace; `complete` unless something must be looked at again."""

    decisions: list[Decision] = field(default_factory=list)
    listed: int = 0
    complete: bool = True


@dataclass(frozen=True)
class CatchUp:
    """Looks at each workspace; the first look starts nothing, it only notes where catching up begins."""

    azure_ml: ModelVersions
    start_release: StartRelease
    ledger: Ledger
    clock: Clock

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
        for model, versions in _by_model(self.azure_ml.model_versions(workspace, since=since)).items():
            known = self.ledger.known(workspace, model)
            looked.listed += len(versions)
            for version in versions:
                try:
                    looked.decisions += self._catch_up(version, known.get(version.version))
                except ClaimHeld:
                    looked.complete = False
                except EventError as error:
                    logger.warning("%s %s is no model version to release: %s", model, version.version, error)
        if looked.complete:
            self.ledger.note_looks(workspace, Looks(began=looks.began, complete=now))
        return looked

    def _catch_up(self, version: ModelVersion, known: Known | None) -> list[Decision]:
        body = event_of(version)
        event = parse(body)
        if known is None or _cut_off(known, self.clock()):
            return self.start_release.registered(body)
        return self.start_release.changed(event, parse(known.event))


def _by_model(versions: Iterable[ModelVersion]) -> dict[str, list[ModelVersion]]:
    """Each model's versions, the oldest first, as their events would have come."""
    found: dict[str, list[ModelVersion]] = {}
    for version in sorted(versions, key=lambda version: version.created):
        found.setdefault(version.model, []).append(version)
    return found


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
        }
    )


def _cut_off(known: Known, now: datetime) -> bool:
    """A process died at it, and Event Grid has no reason to deliver the event again."""
    return any(claim.state.may_exist and not claim.in_flight(now) for claim in known.claims)
