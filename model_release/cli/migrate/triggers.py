"""From the triggers of the classic extension to the release map that does the same (pure)."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from fnmatch import fnmatchcase
from textwrap import indent
from typing import Any

import yaml

from model_release.azure_devops.release_request import MODEL_ARTIFACT
from model_release.cli.migrate.definition_parts import parts
from model_release.domain.events import NAME, shorten
from model_release.domain.release_map import MARKER_PARAMETER, Kind, Pipeline, ReleaseMap, Route

Json = dict[str, Any]

_HEAD = """\
# yaml-language-server: $schema=release_map.schema.json
# Starts what the triggers of the AzureML model artifacts started; written by `python -m model_release migrate`.
# Each route says `order: every`, because those triggers released each version, also an older one that came late.
# Without that line a route has `order: newest` and never goes backwards: better where not every version must be out.
version: 1
"""
_NO_DEFAULT = "selectDuringReleaseCreationType"


class Becomes(StrEnum):
    """What the release map makes of an old trigger."""

    ROUTE = "route"
    DISABLED_ROUTE = "disabled route"
    BY_HAND = "to do by hand"
    NOTHING = "nothing"


@dataclass(frozen=True)
class OldDefinition:
    """A release definition.

    `namesakes` are the places of the project's other definitions of the same name, `parts` what it consists of.
    """

    project: str
    id: int
    name: str
    path: str
    revision: int
    disabled: bool
    namesakes: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        """Folder and name."""
        return place(self.path, self.name)

    @property
    def written(self) -> int | str:
        """How the release map names it, so that neither a person nor the app takes it for another."""
        looks_like_a_number = not any(character.isalpha() for character in self.name)
        in_root = not self.path.strip("\\")
        is_double = self.place.casefold() in (namesake.casefold() for namesake in self.namesakes)
        if is_double or "\\" in self.name or (in_root and looks_like_a_number):
            return self.id
        return self.name if in_root and not self.namesakes else self.place

    @property
    def pipeline(self) -> Pipeline:
        """The pipeline that takes its place: of the same name, in the same folder."""
        # With its folder always: a build pipeline elsewhere may well have the same name.
        return Pipeline(project=self.project, pipeline=self.place)


@dataclass(frozen=True)
class OldTrigger:
    """The trigger of one AzureML model artifact, what becomes of it and why, and what else there is to know."""

    definition: OldDefinition
    alias: str
    model: str
    connection: str
    connection_id: str
    on: bool
    becomes: Becomes
    why: str = ""
    notes: tuple[str, ...] = ()
    kind: Kind = "release"

    @property
    def has_route(self) -> bool:
        """Whether it becomes a route, be it a disabled one."""
        return self.becomes in (Becomes.ROUTE, Becomes.DISABLED_ROUTE)

    @property
    def left_over(self) -> bool:
        """Whether a release would be missing, were the trigger switched off."""
        return self.on and self.becomes is not Becomes.ROUTE and not self.definition.disabled

    @property
    def names(self) -> tuple[str, str, str]:
        """Definition, artifact and model, as a table shows them."""
        old = self.definition
        return shorten(f"{old.project}{old.place}"), shorten(self.alias), shorten(self.model)

    def told(self) -> Json:
        """It as JSON, with the name that the release map gives its definition, or the pipeline in its place."""
        old = self.definition
        return {
            "definition": {
                "project": old.project,
                "id": old.id,
                "name": old.name,
                "path": old.path,
                "revision": old.revision,
                "disabled": old.disabled,
                "in_map": old.pipeline.pipeline if self.kind == "pipeline" else old.written,
            },
            "artifact": self.alias,
            "model": self.model,
            "connection": self.connection,
            "on": self.on,
            "becomes": self.becomes,
            "why": self.why,
            "notes": list(self.notes),
        }


def place(path: str, name: str) -> str:
    """Folder and name of a definition."""
    return "\\".join(["", *filter(None, path.split("\\")), name])


def has_model_artifact(definition: Json) -> bool:
    """Whether a definition, as a list tells it, uses the AzureML model artifact."""
    return bool(_model_artifacts(definition))


def read_triggers(project: str, definition: Json, namesakes: Sequence[str] = ()) -> tuple[OldTrigger, ...]:
    """One for each AzureML model artifact of a definition in raw JSON.

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
        parts=parts(definition),
    )
    return tuple(_trigger(old, artifact, definition) for artifact in _model_artifacts(definition))


def to_pipeline(trigger: OldTrigger, refusal: str) -> OldTrigger:
    """The trigger as a route to a pipeline, disabled where that is not there or refuses a run."""
    if not refusal:
        return replace(trigger, kind="pipeline")
    why = "; ".join([*filter(None, [trigger.why]), *map(shorten, refusal.split("; "))])
    return replace(trigger, kind="pipeline", becomes=Becomes.DISABLED_ROUTE, why=why)


def write_map(triggers: Iterable[OldTrigger], workspaces: Mapping[str, str]) -> str:
    """The release map's text, empty without routes; `workspaces` are by the name of their service connection."""
    triggers = list(triggers)
    several = len({trigger.connection_id for trigger in triggers if trigger.on}) > 1
    routes = [_route(trigger, workspaces, several=several) for trigger in triggers if trigger.has_route]
    if not routes:
        return ""
    others = [f"# {_title(trigger)}: {trigger.why}.\n" for trigger in triggers if not trigger.has_route]
    left = ["\n# Without a route:\n", *others] if others else []
    return "".join([_HEAD, "routes:\n", "\n".join(routes), *left])


def routes_of(trigger: OldTrigger, release_map: ReleaseMap) -> tuple[Route, ...]:
    """The enabled routes that start the trigger's definition, or a pipeline of its name, with versions of its model."""
    return tuple(
        route
        for route in release_map.routes
        if route.enabled and fnmatchcase(trigger.model, route.model) and _takes_the_place(route, trigger.definition)
    )


def why_left_on(trigger: OldTrigger, release_map: ReleaseMap) -> str:
    """Why the trigger cannot be switched off without losing releases; empty when the map replaces it."""
    if trigger.becomes is Becomes.BY_HAND:
        return trigger.why
    if routes_of(trigger, release_map):
        return ""
    return "no enabled route starts this definition, or a pipeline of its name, with this model"


def without_triggers(definition: Json, aliases: Iterable[str]) -> Json:
    """The definition with the triggers of these artifacts gone, and nothing else changed."""
    gone = {alias.casefold() for alias in aliases}
    kept = [trigger for trigger in definition["triggers"] if _alias(trigger) not in gone]
    return {**definition, "triggers": kept}


def _model_artifacts(definition: Json) -> list[Json]:
    return [artifact for artifact in definition.get("artifacts") or [] if artifact.get("type") == MODEL_ARTIFACT]


def _model(artifact: Json) -> str:
    reference = artifact.get("definitionReference") or {}
    return str((reference.get("definition") or {}).get("id") or "")


def _trigger(definition: OldDefinition, artifact: Json, content: Json) -> OldTrigger:
    model = _model(artifact)
    connection = (artifact.get("definitionReference") or {}).get("connection") or {}
    own = [t for t in content.get("triggers") or [] if _alias(t) == artifact["alias"].casefold()]
    becomes, why = _fate(definition, model, own, content)
    return OldTrigger(
        definition=definition,
        alias=artifact["alias"],
        model=model,
        connection=str(connection.get("name") or connection.get("id") or ""),
        connection_id=str(connection.get("id") or ""),
        on=bool(own),
        becomes=becomes,
        why=why,
        notes=_default_versions(content) if own else (),
    )


def _fate(definition: OldDefinition, model: str, own: list[Json], content: Json) -> tuple[Becomes, str]:
    if not own:
        return Becomes.NOTHING, "the trigger is off"
    if not NAME.fullmatch(model):
        return Becomes.BY_HAND, f"{shorten(model)!r} is not the name of one model"
    aliases = [artifact["alias"] for artifact in _model_artifacts(content) if _model(artifact) == model]
    if len(aliases) > 1:
        return Becomes.BY_HAND, (
            f"the model is in the artifacts {shorten(' and '.join(aliases))}, so which one is the registered version "
            "cannot be told: keep one"
        )
    if definition.disabled:
        return Becomes.DISABLED_ROUTE, "the definition is disabled, and its trigger started nothing"
    filters = [condition for trigger in own for condition in trigger.get("triggerConditions") or []]
    if any(_says_something(condition) for condition in filters):
        return Becomes.DISABLED_ROUTE, (
            f"the trigger has the filter {shorten(filters)}: say it with `version`, `tags` or `properties`, then "
            "enable the route"
        )
    return Becomes.ROUTE, ""


def _says_something(condition: Json) -> bool:
    return bool(
        condition.get("sourceBranch")
        or condition.get("tags")
        or condition.get("useBuildDefinitionBranch")
        or (condition.get("tagFilter") or {}).get("pattern")
    )


def _default_versions(content: Json) -> tuple[str, ...]:
    notes = []
    for artifact in content["artifacts"]:
        reference = artifact.get("definitionReference") or {}
        kind = (reference.get("defaultVersionType") or {}).get("id") or ""
        alias = shorten(artifact["alias"])
        if kind == _NO_DEFAULT:
            notes.append(f"artifact {alias} has no default version: its version is asked of whoever creates a release")
        elif kind and not kind.startswith("latest"):
            version = (reference.get("defaultVersionSpecific") or {}).get("name")
            notes.append(f"the default version of artifact {alias} is not the latest: {shorten(version or kind)}")
    return tuple(notes)


def _alias(trigger: Json) -> str | None:
    """The artifact whose new versions the trigger is for."""
    return str(trigger.get("artifactAlias")).casefold() if trigger.get("triggerType") == "artifactSource" else None


def _takes_the_place(route: Route, definition: OldDefinition) -> bool:
    target = route.starts.target
    names = {definition.place.casefold()} | (set() if definition.namesakes else {definition.name.casefold()})
    return target.project.casefold() == definition.project.casefold() and (
        _folded(target.definition) in names or (target.kind == "release" and target.definition == definition.id)
    )


def _folded(definition: int | str) -> str:
    return definition.casefold() if isinstance(definition, str) else ""


def _title(trigger: OldTrigger) -> str:
    old = trigger.definition
    names = (
        f"definition {old.id}, {shorten(old.place)}, artifact {shorten(trigger.alias)}, model {shorten(trigger.model)}"
    )
    return f"{shorten(old.project)}, {names}"


def _route(trigger: OldTrigger, workspaces: Mapping[str, str], *, several: bool) -> str:
    workspace = workspaces.get(trigger.connection)
    comments = [_title(trigger), *filter(None, [trigger.why]), *trigger.notes]
    if several and not workspace:
        comments.append(
            f"the trigger looked at the workspace of the service connection {shorten(trigger.connection)}: "
            "add `workspace: NAME` where the app takes events of several"
        )
    route: Json = {"model": glob.escape(trigger.model)}
    if workspace:
        route["workspace"] = workspace
    route["order"] = "every"
    if trigger.becomes is Becomes.DISABLED_ROUTE:
        route["enabled"] = False
    if trigger.kind == "pipeline":
        comments += _to_carry_over(trigger)
        route["pipeline"] = trigger.definition.pipeline.model_dump(include={"project", "pipeline", "parameters"})
    else:
        route["release"] = {"project": trigger.definition.project, "definition": trigger.definition.written}
    lines = "".join(f"# {comment}\n" for comment in comments)
    return indent(lines + yaml.safe_dump([route], sort_keys=False, allow_unicode=True, width=1000), "  ")


def _to_carry_over(trigger: OldTrigger) -> list[str]:
    declared = ", ".join([*trigger.definition.pipeline.parameters, MARKER_PARAMETER])
    return [
        f"the YAML pipeline {shorten(trigger.definition.place)} declares the parameters {declared}",
        "(docs/pipelines/deploy-model.yml is a start), and does what the definition does:",
        *(f"  {part}" for part in trigger.definition.parts),
    ]
