"""The triggers of the classic extension: read them, determine their routes, and remove them (pure)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from model_release.azure_devops.release_request import MODEL_ARTIFACT
from model_release.domain.events import NAME
from model_release.domain.release_map import PipelineOptions
from model_release.domain.targets import TargetKind
from model_release.errors import RefusedError
from model_release.text import shorten

Json = dict[str, Any]

_NO_DEFAULT = "selectDuringReleaseCreationType"


class Becomes(StrEnum):
    """The replacement of a trigger in the release map."""

    ROUTE = "route"
    DISABLED_ROUTE = "disabled route"
    MANUAL = "migrate manually"
    NOTHING = "nothing"


@dataclass(frozen=True)
class OldDefinition:
    """A release definition; `namesakes` are the paths of the project's other definitions of the same name.

    `content` is the definition in raw JSON.
    """

    project: str
    id: int
    name: str
    path: str
    revision: int
    disabled: bool
    namesakes: tuple[str, ...] = ()
    content: Json = field(default_factory=dict)

    @property
    def place(self) -> str:
        """Folder and name."""
        return place(self.path, self.name)

    @property
    def in_map(self) -> int | str:
        """The text or ID that identifies the definition in the release map, for people and for the app."""
        looks_like_a_number = not any(character.isalpha() for character in self.name)
        in_root = not self.path.strip("\\")
        has_double = self.place.casefold() in (namesake.casefold() for namesake in self.namesakes)
        if has_double or "\\" in self.name or (in_root and looks_like_a_number):
            return self.id
        return self.name if in_root and not self.namesakes else self.place

    @property
    def pipeline(self) -> PipelineOptions:
        """The options of a route to the pipeline of the same name and folder."""
        # Always with the folder: a build pipeline in another folder may have the same name.
        return PipelineOptions(project=self.project, pipeline=self.place)


@dataclass(frozen=True)
class OldTrigger:
    """The trigger of one AzureML model artifact, its replacement, and the reason if it is not an enabled route."""

    definition: OldDefinition
    alias: str
    model: str
    connection: str
    connection_id: str
    on: bool
    becomes: Becomes
    reason: str = ""
    notes: tuple[str, ...] = ()
    kind: TargetKind = "release"

    @property
    def has_route(self) -> bool:
        """Whether the map has a route for it, enabled or not."""
        return self.becomes in (Becomes.ROUTE, Becomes.DISABLED_ROUTE)

    @property
    def needs_work(self) -> bool:
        """Whether switching the trigger off would lose releases."""
        return self.on and self.becomes is not Becomes.ROUTE and not self.definition.disabled

    @property
    def names(self) -> tuple[str, str, str]:
        """Definition, artifact and model, for a table."""
        old = self.definition
        return shorten(f"{old.project}{old.place}"), shorten(self.alias), shorten(self.model)

    def as_json(self) -> Json:
        """Return the trigger for --json; `in_map` identifies the definition or the pipeline in the map."""
        old = self.definition
        return {
            "definition": {
                "project": old.project,
                "id": old.id,
                "name": old.name,
                "path": old.path,
                "revision": old.revision,
                "disabled": old.disabled,
                "in_map": old.pipeline.pipeline if self.kind == "pipeline" else old.in_map,
            },
            "artifact": self.alias,
            "model": self.model,
            "connection": self.connection,
            "on": self.on,
            "becomes": self.becomes,
            "reason": self.reason,
            "notes": list(self.notes),
        }


def place(path: str, name: str) -> str:
    """Join the folder and the name of a definition."""
    return "\\".join(["", *filter(None, path.split("\\")), name])


def has_model_artifact(definition: Json) -> bool:
    """Whether a definition of a list uses the AzureML model artifact."""
    return bool(_model_artifacts(definition))


def read_triggers(project: str, definition: Json, namesakes: Sequence[str] = ()) -> tuple[OldTrigger, ...]:
    """Read the trigger of each AzureML model artifact of a definition in raw JSON.

    https://learn.microsoft.com/rest/api/azure/devops/release/definitions/get
    """
    old = OldDefinition(
        project=project,
        id=definition["id"],
        name=definition["name"],
        path=definition.get("path") or "\\",
        revision=definition["revision"],
        disabled=bool(definition.get("isDisabled")),
        namesakes=tuple(namesakes),
        content=definition,
    )
    return tuple(_trigger(old, artifact) for artifact in _model_artifacts(definition))


def to_pipeline(trigger: OldTrigger, refusal: RefusedError | None) -> OldTrigger:
    """Return the trigger with a route to a pipeline, which is disabled if the pipeline refuses a run."""
    if not refusal:
        return replace(trigger, kind="pipeline")
    reasons = filter(None, [trigger.reason, shorten(refusal.problem), shorten(refusal.fix)])
    return replace(trigger, kind="pipeline", becomes=Becomes.DISABLED_ROUTE, reason="; ".join(reasons))


def without_triggers(definition: Json, aliases: Iterable[str]) -> Json:
    """Return the definition without the triggers of these artifacts, and otherwise unchanged."""
    removed = {alias.casefold() for alias in aliases}
    kept = [trigger for trigger in definition["triggers"] if _alias(trigger) not in removed]
    return {**definition, "triggers": kept}


def _model_artifacts(definition: Json) -> list[Json]:
    return [artifact for artifact in definition.get("artifacts") or [] if artifact.get("type") == MODEL_ARTIFACT]


def _reference(artifact: Json, name: str) -> Json:
    return (artifact.get("definitionReference") or {}).get(name) or {}


def _model(artifact: Json) -> str:
    return str(_reference(artifact, "definition").get("id") or "")


def _trigger(definition: OldDefinition, artifact: Json) -> OldTrigger:
    model, content = _model(artifact), definition.content
    connection = _reference(artifact, "connection")
    own = [t for t in content.get("triggers") or [] if _alias(t) == artifact["alias"].casefold()]
    becomes, reason = _replacement(definition, model, own)
    return OldTrigger(
        definition=definition,
        alias=artifact["alias"],
        model=model,
        connection=str(connection.get("name") or connection.get("id") or ""),
        connection_id=str(connection.get("id") or ""),
        on=bool(own),
        becomes=becomes,
        reason=reason,
        notes=_default_versions(content) if own else (),
    )


def _replacement(definition: OldDefinition, model: str, own: list[Json]) -> tuple[Becomes, str]:
    if not own:
        return Becomes.NOTHING, "the trigger is off"
    if not NAME.fullmatch(model):
        return Becomes.MANUAL, f"{shorten(model)!r} is not the name of one model"
    aliases = [artifact["alias"] for artifact in _model_artifacts(definition.content) if _model(artifact) == model]
    if len(aliases) > 1:
        return Becomes.MANUAL, f"several artifacts have this model: {shorten(', '.join(aliases))}; keep one"
    if definition.disabled:
        return Becomes.DISABLED_ROUTE, "the definition is disabled, so its trigger started nothing"
    filters = [condition for trigger in own for condition in trigger.get("triggerConditions") or []]
    if any(_restricts(condition) for condition in filters):
        return Becomes.DISABLED_ROUTE, (
            f"the trigger has the filter {shorten(filters)}; add `version`, `tags` or `properties` to the route, "
            "then enable it"
        )
    return Becomes.ROUTE, ""


def _restricts(condition: Json) -> bool:
    return bool(
        condition.get("sourceBranch")
        or condition.get("tags")
        or condition.get("useBuildDefinitionBranch")
        or (condition.get("tagFilter") or {}).get("pattern")
    )


def _default_versions(content: Json) -> tuple[str, ...]:
    notes = []
    for artifact in content["artifacts"]:
        kind = _reference(artifact, "defaultVersionType").get("id") or ""
        alias = shorten(artifact["alias"])
        if kind == _NO_DEFAULT:
            notes.append(f"artifact {alias} has no default version, so a person must choose one for each release")
        elif kind and not kind.startswith("latest"):
            version = _reference(artifact, "defaultVersionSpecific").get("name")
            notes.append(f"the default version of artifact {alias} is {shorten(version or kind)}, not the latest")
    return tuple(notes)


def _alias(trigger: Json) -> str | None:
    """Return the artifact that the trigger watches."""
    return str(trigger.get("artifactAlias")).casefold() if trigger.get("triggerType") == "artifactSource" else None
