"""Whether a release map fits Azure DevOps: every fault with what to do about it, and what is in order."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any, Protocol

from model_release.errors import Refused, StartError
from model_release.events import ModelRegistered, Workspace
from model_release.migrate import OldTrigger, read_triggers
from model_release.release_map import Kind, Release, ReleaseMap, ReleaseStart, Route, Start, Target, start_of
from model_release.release_request import Definition, Lack, lacks, read_definition

Json = Mapping[str, Any]

# https://learn.microsoft.com/azure/devops/organizations/security/namespace-reference
_RELEASE_MANAGEMENT = "c788c23e-1b46-4162-8f5e-d7585343b5de"
_PERMISSIONS = {"View release pipeline": 1, "View releases": 32, "Create releases": 64}
_GLOB = re.compile(r"\*|\?|\[[^]]*\]")
_PROJECT_IN_URL = re.compile(r"/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})/_apis/", re.IGNORECASE)


class State(StrEnum):
    """How bad it is; only a fault lets a check fail."""

    FAULT = "fault"
    WARNING = "warning"
    OK = "ok"


@dataclass(frozen=True)
class Finding:
    """What was found where, and what to do about it."""

    state: State
    what: str
    where: str
    what_to_do: str = ""


_TO_DO: Mapping[Kind, str] = {
    "release": "correct the route's project or definition, or give View release pipeline",
    "pipeline": "correct the route or the pipeline, or give View build pipeline and Queue builds",
}


class AzureDevOps(Protocol):
    """What is asked of Azure DevOps; raises Busy or Refused."""

    def definition_id(self, target: Target) -> int:
        """The id of the one definition that the target names."""

    def request(self, start: Start, event: ModelRegistered, marker: str) -> Any:
        """What would be sent; sends nothing."""

    def rehearse(self, start: Start, event: ModelRegistered, marker: str) -> None:
        """Raise what a start would raise, as far as it can be told; starts nothing."""

    def has_permissions(self, namespace: str, permissions: int, token: str) -> bool:
        """Whether this identity has all of these permissions."""


class Definitions(Protocol):
    """Release definitions in raw JSON; raises Busy or Refused."""

    def read(self, project: str, definition_id: int) -> Json:
        """The whole definition."""


def worst_first(findings: Iterable[Finding]) -> list[Finding]:
    """Faults, then warnings, then what is in order; what was found in several places is told once."""
    places: dict[tuple[State, str, str], list[str]] = defaultdict(list)
    for found in findings:
        places[found.state, found.what, found.what_to_do].append(found.where)
    merged = [
        Finding(state, what, ", ".join(dict.fromkeys(where)), todo) for (state, what, todo), where in places.items()
    ]
    return sorted(merged, key=lambda finding: list(State).index(finding.state))


def place_of(release_map: ReleaseMap, route: Route) -> str:
    """Where in the map a route stands."""
    number = next(number for number, other in enumerate(release_map.routes) if other is route)
    return f"routes[{number}] {route.title}"


def check_map(release_map: ReleaseMap, workspaces: Iterable[Workspace] | None) -> Iterator[Finding]:
    """What can be seen in the map alone; `workspaces` are those of the app, None if they are not known."""
    names = None if workspaces is None else {workspace.name.casefold() for workspace in workspaces}
    for route in release_map.routes:
        where = place_of(release_map, route)
        if not route.enabled:
            yield Finding(State.OK, "is disabled, and was not checked", where)
            continue
        if names is not None and route.workspace and route.workspace.casefold() not in names:
            what = f"workspace {route.workspace} is not in AML_WORKSPACES, so this route takes nothing"
            yield Finding(
                State.WARNING, what, where, "add its resource id to AML_WORKSPACES, if this app is to take it"
            )
        if route.order == "newest" and _has_no_order(str(route.version or "")):
            what = f"versions such as {route.version} are no whole numbers and have no order: each is started"
            yield Finding(State.WARNING, what, where, "write `order: every`, which says so")


def check_azure_devops(
    release_map: ReleaseMap,
    azure_devops: AzureDevOps,
    definitions: Definitions,
    progress: Callable[[Sequence[Route]], Iterable[Route]] = iter,
) -> Iterator[Finding]:
    """What Azure DevOps says of each enabled route's definition; when it does not answer, the rest is not asked."""
    seen: dict[tuple[str, int], list[Route]] = defaultdict(list)
    for route in progress([route for route in release_map.routes if route.enabled]):
        where = place_of(release_map, route)
        target = route.starts.target
        try:
            if route.release is None:
                yield from _check_pipeline(route, azure_devops, where)
                continue
            number = azure_devops.definition_id(target)
            content = definitions.read(target.project, number)
            seen[_project_id(content) or target.project.casefold(), number].append(route)
            yield from _check_definition(route, route.release, content, where)
            yield from _check_permissions(content, azure_devops, where)
            yield from _check_version_ids(route, route.release, content, azure_devops, where)
        except Refused as error:
            yield _refused(str(error), where, target.kind)
        except StartError as error:
            yield Finding(State.FAULT, str(error), where, "try again; what comes after this was not checked")
            return
    yield from _check_targets(release_map, seen.values())


def _check_pipeline(route: Route, azure_devops: AzureDevOps, where: str) -> Iterator[Finding]:
    """Let Azure DevOps plan a run; whether this identity may view the runs is not told by it."""
    event = _sample_event(route, route.model)
    azure_devops.rehearse(start_of(route, event), event, "")
    yield Finding(State.OK, f"{route.starts.target} takes what the route hands over", where)


def _check_definition(route: Route, release: Release, content: Json, where: str) -> Iterator[Finding]:
    definition = read_definition(content)
    if content.get("isDisabled"):
        yield Finding(
            State.FAULT,
            f"definition {definition.name} is disabled",
            where,
            "enable it in Azure DevOps, or the route not",
        )
    if content.get("isDeleted"):
        yield Finding(
            State.FAULT, f"definition {definition.name} is deleted", where, "restore it, or correct the route"
        )
    yield from _check_hand_over(route, release, definition, where)
    for trigger in read_triggers(release.project, dict(content)):
        if trigger.on and fnmatchcase(trigger.model, route.model):
            yield _own_trigger(trigger, definition, where)
    yield from _check_stages(release, content, where)


def _own_trigger(trigger: OldTrigger, definition: Definition, where: str) -> Finding:
    what = (
        f"definition {definition.name} has its own trigger on artifact {trigger.alias}, "
        f"so each version of {trigger.model} is released twice"
    )
    return Finding(State.FAULT, what, where, "switch that trigger off; `migrate --switch` does it")


def _check_hand_over(route: Route, release: Release, definition: Definition, where: str) -> Iterator[Finding]:
    lacking: dict[str, tuple[Lack, ...]] = {}
    for model in _models_to_try(route, definition):
        event = _sample_event(route, model)
        try:
            has_artifact = definition.alias_of(model) is not None
        except Refused as error:
            yield _split(str(error), ": ", where)
            continue
        lacking[model] = lacks(definition, _start(route, release, event), event, has_artifact=has_artifact)
    if not lacking:
        return
    every = set.intersection(*map(set, lacking.values()))
    yield from (Finding(State.FAULT, lack.what, where, lack.what_to_do) for lack in every)
    takes = [model for model, missing in lacking.items() if set(missing) <= every]
    if len(takes) < len(lacking):
        names = ", ".join(takes)
        what = f"definition {definition.name} takes the versions of {names}, and refuses others of {route.model}"
        what_to_do = "add a variable ModelVersion that is settable at release time, or narrow the route"
        yield Finding(State.WARNING, what, where, what_to_do)
    if not every:
        yield Finding(State.OK, f"definition {definition.name} takes {_ways(release, definition, takes)}", where)


def _ways(release: Release, definition: Definition, models: Sequence[str]) -> str:
    aliases = [alias for alias, model in definition.models.items() if model in models]
    variables = {
        v.name
        for v in definition.variables.values()
        if v.settable and v.name.lower() in ("modelname", "modelversion", "modelworkspace")
    } | set(release.variables)
    ways = [f"artifact {', '.join(aliases)}"] * bool(aliases)
    ways += [f"variables {', '.join(sorted(variables))}"] * bool(variables)
    return f"the version by {' and '.join(ways)}"


def _check_stages(release: Release, content: Json, where: str) -> Iterator[Finding]:
    name = content["name"]
    starting = [stage["name"] for stage in content.get("environments") or [] if _starts_by_itself(stage)]
    manual = {stage.casefold() for stage in release.manual_stages}
    if not starting:
        what = f"no stage of definition {name} starts by itself, so each release waits for a person"
        what_to_do = "let the first stage start after the release, if it is not to wait"
        yield Finding(State.WARNING, what, where, what_to_do)
    elif all(stage.casefold() in manual for stage in starting):
        what = f"manual_stages names every stage of definition {name} that starts by itself, so each release waits"
        yield Finding(State.WARNING, what, where, "take the first stage out of manual_stages, if it is not to wait")


def _starts_by_itself(stage: Json) -> bool:
    """After the release is created, or at a time of its own.

    https://learn.microsoft.com/azure/devops/pipelines/release/triggers#stage-triggers
    """
    conditions = stage.get("conditions") or []
    return bool(stage.get("schedules")) or any(
        condition.get("conditionType") == "event" and condition.get("name") == "ReleaseStarted"
        for condition in conditions
    )


def _check_permissions(content: Json, azure_devops: AzureDevOps, where: str) -> Iterator[Finding]:
    name, project = content["name"], _project_id(content)
    if not project:
        what = f"the permissions on definition {name} were not checked: Azure DevOps does not tell the project's id"
        yield Finding(State.WARNING, what, where, f"look whether this identity has {', '.join(_PERMISSIONS)}")
        return
    token = "/".join([project, *filter(None, (content.get("path") or "").split("\\")), str(content["id"])])
    try:
        if azure_devops.has_permissions(_RELEASE_MANAGEMENT, sum(_PERMISSIONS.values()), token):
            return
        missing = [
            permission
            for permission, bit in _PERMISSIONS.items()
            if not azure_devops.has_permissions(_RELEASE_MANAGEMENT, bit, token)
        ]
    except StartError as error:
        what = f"the permissions on definition {name} could not be read: {error}"
        yield Finding(State.WARNING, what, where, f"look whether this identity has {', '.join(_PERMISSIONS)}")
        return
    for permission in missing:
        what = f"this identity has no permission {permission} on definition {name}"
        yield Finding(State.FAULT, what, where, f"give it {permission} in the definition's security")


def _check_version_ids(
    route: Route, release: Release, content: Json, azure_devops: AzureDevOps, where: str
) -> Iterator[Finding]:
    """Whether Azure DevOps tells how it names the versions of the artifacts that are asked for."""
    definition = read_definition(content)
    models = list(definition.models.values())
    for model in models:
        event = _sample_event(route, model)
        start = _start(route, release, event)
        is_asked = fnmatchcase(model, route.model) and models.count(model) == 1
        if is_asked and not lacks(definition, start, event, has_artifact=True):
            try:
                azure_devops.request(start, event, "")
            except Refused as error:
                yield _split(str(error), "; ", where)


def _check_targets(release_map: ReleaseMap, shared: Iterable[Sequence[Route]]) -> Iterator[Finding]:
    for routes in shared:
        for number, first in enumerate(routes):
            for second in routes[number + 1 :]:
                names = [route.starts.target for route in (first, second)]
                if names[0].key != names[1].key and _may_both_take(first.model, second.model):
                    what = (
                        f"{names[0]} and {names[1]} are one definition, so a version of both routes is released twice"
                    )
                    where = f"{place_of(release_map, first)} and {place_of(release_map, second)}"
                    yield Finding(State.FAULT, what, where, "name project and definition the same way in both routes")


def _refused(reason: str, where: str, kind: Kind) -> Finding:
    if ", so write the folder too: " in reason:
        return _split(reason, ", so ", where)
    if "sign-in" in reason:
        return Finding(State.FAULT, reason, where, "renew the token, or add the identity to the organization")
    return Finding(State.FAULT, reason, where, _TO_DO[kind])


def _split(reason: str, separator: str, where: str) -> Finding:
    what, found, what_to_do = reason.rpartition(separator)
    return Finding(State.FAULT, what if found else reason, where, what_to_do if found else "change the definition")


def literal_start(pattern: str) -> str:
    """What every text begins with that a glob matches."""
    return _GLOB.split(pattern, maxsplit=1)[0]


def is_glob(pattern: str) -> bool:
    """Whether a pattern matches more than itself."""
    return bool(_GLOB.search(pattern))


def _may_both_take(first: str, second: str) -> bool:
    if is_glob(first) and is_glob(second):
        one, other = literal_start(first), literal_start(second)
        return one.startswith(other) or other.startswith(one)
    return fnmatchcase(first, second) or fnmatchcase(second, first)


def _has_no_order(pattern: str) -> bool:
    return pattern[:1] not in ("<", ">") and bool(re.search(r"\D", _GLOB.sub("", pattern)))


def _models_to_try(route: Route, definition: Definition) -> list[str]:
    """The model that the route names; for a glob those of the definition, and the glob itself for all others."""
    own = (
        [model for model in definition.models.values() if fnmatchcase(model, route.model)]
        if is_glob(route.model)
        else []
    )
    return list(dict.fromkeys([*own, route.model]))


def _start(route: Route, release: Release, event: ModelRegistered) -> ReleaseStart:
    return release.start(route.title, event, newest_only=route.order == "newest")


def _sample_event(route: Route, model: str) -> ModelRegistered:
    workspace = Workspace("", route.workspace or "workspace")
    return ModelRegistered("", workspace, model, "1", dict(route.tags), dict(route.properties), "")


def _project_id(content: Json) -> str:
    """The project's id, which Azure DevOps tells in one of two places."""
    reference = content.get("projectReference") or {}
    in_url = _PROJECT_IN_URL.search(content.get("url") or "")
    return str(reference.get("id") or "") or (in_url[1] if in_url else "")
