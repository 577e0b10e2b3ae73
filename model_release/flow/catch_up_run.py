"""One catch-up run of a workspace: what it lists, what it has found, and what it keeps for the next one (pure)."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from model_release.azure_ml.items import AzureMlError, ModelContainer, ModelVersion
from model_release.domain.claims import NEVER, RecordedVersion, State
from model_release.domain.events import Workspace
from model_release.domain.history import HistoryEntry
from model_release.flow.confirm import event_of
from model_release.store.catch_up_cursor import CatchUpCursor, ListedModel, TagsAndProperties

# A version that was registered shortly before a run may be listed shortly after it.
OVERLAP = timedelta(hours=1)
# For this long after its registration, a version starts if its tags come to match a route.
PROMOTED_WITHIN = timedelta(days=14)
# A model that seems unchanged is listed once an hour; the timer may be some seconds early.
LISTED_EVERY = timedelta(minutes=59)
# An event arrives within seconds; one that is late may be delivered again after minutes.
EVENT_WITHIN = timedelta(minutes=15)
_CREATING = "Creating"
_NEVER_READY = ("Failed", "Canceled", "Deleting")


@dataclass
class CatchUpRun:
    """One run for a workspace; `listed` and `existing` are what earlier runs recorded, and this one completes them."""

    workspace: Workspace
    now: datetime
    cursor: CatchUpCursor
    listed: dict[str, ListedModel]
    existing: dict[str, dict[str, TagsAndProperties]]
    models: dict[str, ModelContainer] = field(default_factory=dict)
    entries: list[HistoryEntry] = field(default_factory=list)
    versions: int = 0
    unannounced: int = 0
    problem: str = ""
    ended: bool = False
    cut_short: bool = False
    skipped: list[AzureMlError] = field(default_factory=list)
    paused: timedelta | None = None
    changed: set[str] = field(default_factory=set)
    recorded: set[str] = field(default_factory=set)

    @property
    def started(self) -> int:
        """The number of releases that were started."""
        return sum(entry.state is State.STARTED for entry in self.entries)

    @property
    def lists_all(self) -> bool:
        """Whether every version is listed, to record it or to compare it with what was recorded."""
        return self.cursor.recorded == NEVER or self.now - self.cursor.recorded < PROMOTED_WITHIN

    def of(self, models: Iterable[ModelContainer]) -> None:
        """Take the models that the workspace has now."""
        self.models = {model.name: model for model in models}
        for name in self.listed.keys() - self.models.keys():
            del self.listed[name]
            self.changed.add(name)

    def due(self, *, changed: bool) -> list[ModelContainer]:
        """Return the models to list: those that have changed, or the others that were not listed for an hour."""
        found = [
            model
            for model in self.models.values()
            if self._has_changed(model) == changed and (changed or self._is_old(model))
        ]
        return found if changed else sorted(found, key=lambda model: self.listed[model.name].until)

    def since(self, model: str) -> datetime:
        """Return the registration time of the oldest version of a model to list."""
        if self.lists_all or self._is_recording(model):
            return NEVER
        until = self.listed[model].until if model in self.listed else self.cursor.complete
        return max(self.cursor.began, min(until - OVERLAP, self.now - PROMOTED_WITHIN))

    def found(self, model: ModelContainer, versions: Iterable[ModelVersion], *, again: bool = False) -> None:
        """Record that a model was listed; its next run does not pass a version whose registration has not ended."""
        coming = [version.created for version in versions if _is_coming(version)]
        if self._is_recording(model.name):
            self._record(model.name, versions)
        self.listed[model.name] = ListedModel("" if again or coming else model.stamp, min([self.now, *coming]))
        self.changed.add(model.name)

    def not_found(self, model: ModelContainer) -> None:
        """Record that a model could not be listed, and must be in the next run."""
        until = NEVER if self.cursor.recorded == NEVER else self.cursor.complete
        if listed := self.listed.get(model.name):
            until = listed.until
        self.listed[model.name] = ListedModel("", until)
        self.changed.add(model.name)

    def fail(self, problem: object) -> None:
        """Let the run be incomplete."""
        self.problem = self.problem or str(problem)

    def end(self, problem: object, pause: timedelta | None = None) -> None:
        """List nothing more of this workspace, and nothing during the pause."""
        self.ended = True
        self.paused = pause
        self.fail(problem)

    def stop(self) -> None:
        """End for lack of time; unchanged models may be listed by the next run, unless they waited for hours."""
        late = [one for one in self.due(changed=False) if self.now - self.listed[one.name].until > 2 * LISTED_EVERY]
        if left := len(self.due(changed=True)) + len(late):
            self.end(f"{left} models are not listed yet; the next run continues")
        self.cut_short = True

    def next_cursor(self) -> CatchUpCursor:
        """Return the cursor after this run."""
        ran = self.cursor._replace(ran=self.now, problem=self.problem)
        if self.ended:
            return ran._replace(paused_until=self.now + self.paused) if self.paused else ran
        ran = ran._replace(recorded=self.now) if ran.recorded == NEVER else ran
        if self.problem:
            return ran
        return ran._replace(complete=ran.complete if self.cut_short else self.now, succeeded=self.now)

    def is_new(self, version: ModelVersion) -> bool:
        """Return whether a version was registered after the first run, or so shortly before that it was not listed."""
        if version.created >= self.cursor.began:
            return True
        is_known = self._is_recording(version.model) or version.version in self.existing.get(version.model, {})
        return not is_known and version.created >= self.cursor.began - OVERLAP

    def awaited(self, version: ModelVersion) -> bool:
        """Whether an event should have announced a new version already; registries send none."""
        return not self.workspace.is_registry and self.now - version.created > EVENT_WITHIN

    def as_it_existed(self, version: ModelVersion) -> RecordedVersion | None:
        """Return a version as it was recorded before the first run, None if it was not or has not changed since."""
        had = self.existing.get(version.model, {}).get(version.version)
        if had is None or had == (version.tags, version.properties):
            return None
        return RecordedVersion(claims=(), event=event_of(version._replace(**had._asdict())))

    def _has_changed(self, model: ModelContainer) -> bool:
        return model.name not in self.listed or self.listed[model.name].stamp != model.stamp

    def _is_old(self, model: ModelContainer) -> bool:
        return self.now - self.listed[model.name].until >= LISTED_EVERY

    def _is_recording(self, model: str) -> bool:
        """Whether the versions of a model that existed before the first run are not recorded yet."""
        if model in self.listed:
            return self.listed[model].until == NEVER
        return self.cursor.recorded == NEVER

    def _record(self, model: str, versions: Iterable[ModelVersion]) -> None:
        existing = self.existing.setdefault(model, {})
        for version in versions:
            if version.created < self.cursor.began and version.provisioning_state != _CREATING:
                # A run that was cut off may have recorded it, before its tags changed.
                existing.setdefault(version.version, TagsAndProperties(version.tags, version.properties))
        if existing:
            self.recorded.add(model)
        else:
            del self.existing[model]


def _is_coming(version: ModelVersion) -> bool:
    return not version.ready and version.provisioning_state not in _NEVER_READY
