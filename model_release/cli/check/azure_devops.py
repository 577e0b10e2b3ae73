"""Whether a release map fits Azure DevOps: every fault with what to do about it, and what is in order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from itertools import combinations
from typing import Any, Protocol

from model_release.azure_devops.release_request import Definition, Lack, lacks, read_definition
from model_release.cli.check.findings import Finding, State, is_glob, literal_start, only_version, place_of
from model_release.cli.check.permissions import Permissions, check_permissions, pipeline, project_id, release_definition
from model_release.cli.migrate.triggers import read_triggers
from model_release.domain.events import ModelRegistered, Workspace
from model_release.domain.release_map import Kind, Release, ReleaseMap, ReleaseStart, Route, Start, Target, start_of
from model_release.errors import Refused, StartError

Json = Mapping[str, Any]

_TO_DO: Mapping[Kind, str] = {
    "release": "correct the route's project or definition, or give View release pipeline",
    "pipeline": "correct the route or the pipeline, or give View build pipeline and Queue builds",
}


class AzureDevOps(Permissions, Protocol):
    """What is asked of Azure DevOps; raises Busy or Refused."""

    def find(self, target: Target) -> Any:
        """What is known of the target."""

    def request(self, start: Start, event: ModelRegistered, marker: str) -> Any:
        """What would be sent; sends nothing."""

    def rehearse(self, start: Start, event: ModelRegistered, marker: str) -> None:
        """Raise what a start would raise, as far as it can be told; starts nothing."""


class Definitions(Protocol):
    """Release definitions in raw JSON; raises Busy or Refused."""

    def id_of(self, target: Target) -> int:
        """The id of the one definition that the target names."""

    def read(self, project: str, definition_id: int) -> Json:
        """The whole definition."""


def check_azure_devops(
    release_map: ReleaseMap,
    azure_devops: AzureDevOps,
    definitions: Definitions,
    workspaces: Collection[Workspace] = (),
    progress: Callable[[Sequence[Route]], Iterable[Route]] = iter,
) -> Iterator[Finding]:
    """What Azure DevOps says of each enabled route's target; when it does not answer, the rest is not asked."""
    seen: dict[tuple[str, int], list[Route]] = defaultdict(list)
    for route in progress([route for route in release_map.routes if route.enabled]):
        where = place_of(release_map, route)
        target = route.starts.target
        try:
            if route.release is None:
                yield from _check_pipeline(route, azure_devops, where)
                continue
            number = definitions.id_of(target)
            content = definitions.read(target.project, number)
            seen[project_id(content) or target.project.casefold(), number].append(route)
            yield from _check_definition(route, route.release, content, where)
            yield from _check_workspaces(route, content, workspaces, where)
            yield from check_permissions(release_definition(content), azure_devops, where)
            yield from _check_version_ids(route, route.release, content, azure_devops, where)
        except Refused as error:
            yield _refused(str(error), where, target.kind)
        except StartError as error:
            yield Finding(State.FAULT, str(error), where, "try again; what comes after this was not checked")
            return
    yield from _check_targets(release_map, seen.values())


def _check_pipeline(route: Route, azure_devops: AzureDevOps, where: str) -> Iterator[Finding]:
    """Let Azure DevOps plan a run, and ask whether this identity may view the runs: without, a list is empty."""
    target, event = route.starts.target, _sample_event(route, route.model)
    yield from check_permissions(pipeline(azure_devops.find(target)), azure_devops, where)
    azure_devops.rehearse(start_of(route, event), event, "")
    yield Finding(State.OK, f"{target} takes what the route hands over", where)


def _check_definition(route: Route, release: Release, content: Json, where: str) -> Iterator[Finding]:
    definition = read_definition(content)
    name = definition.name
    if content.get("isDisabled"):
        yield Finding(State.FAULT, f"definition {name} is disabled", where, "enable it, or disable the route")
    if content.get("isDeleted"):
        yield Finding(State.FAULT, f"definition {name} is deleted", where, "restore it, or correct the route")
    yield from _check_hand_over(route, release, definition, where)
    for trigger in read_triggers(release.project, dict(content)):
        if trigger.on and fnmatchcase(trigger.model, route.model):
            what = (
                f"definition {name} has its own trigger on artifact {trigger.alias}, "
                f"so each version of {trigger.model} is released twice"
            )
            yield Finding(State.FAULT, what, where, "switch that trigger off; `migrate --switch` does it")
    yield from _check_stages(release, content, where)


def _check_workspaces(route: Route, content: Json, workspaces: Collection[Workspace], where: str) -> Iterator[Finding]:
    """An artifact takes all its versions through one service connection, which is of one workspace."""
    definition = read_definition(content)
    aliases = [alias for alias, model in definition.models.items() if fnmatchcase(model, route.model)]
    if aliases and len(workspaces) > 1 and not route.workspace:
        what = (
            f"artifact {', '.join(aliases)} of definition {definition.name} is of one workspace, and the route takes "
            f"the versions of all {len(workspaces)}"
        )
        what_to_do = "say `workspace` in the route: that of the artifact's service connection"
        yield Finding(State.WARNING, what, where, what_to_do)


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
    fewest = min(lacking.values(), key=len)
    every = [lack for lack in fewest if all(lack in missing for missing in lacking.values())]
    yield from (Finding(State.FAULT, lack.what, where, lack.what_to_do) for lack in every)
    takes = [model for model, missing in lacking.items() if len(missing) == len(every)]
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
        for first, second in combinations(routes, 2):
            one, other = (route.starts.target for route in (first, second))
            if one.key != other.key and _may_both_take(first, second):
                what = f"{one} and {other} are one definition, so a version of both routes is released twice"
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


def _may_both_take(first: Route, second: Route) -> bool:
    """Whether a version may be of both routes; what cannot be told from the patterns may be."""
    pairs = [
        (first.workspace, second.workspace),
        (only_version(first), only_version(second)),
        *((first.tags[key], second.tags[key]) for key in first.tags.keys() & second.tags.keys()),
        *(
            (first.properties[key], second.properties[key])
            for key in first.properties.keys() & second.properties.keys()
        ),
    ]
    return _models_overlap(first.model, second.model) and not any(
        one and other and one.casefold() != other.casefold() for one, other in pairs
    )


def _models_overlap(first: str, second: str) -> bool:
    if is_glob(first) and is_glob(second):
        one, other = literal_start(first), literal_start(second)
        return one.startswith(other) or other.startswith(one)
    return fnmatchcase(first, second) or fnmatchcase(second, first)


def _models_to_try(route: Route, definition: Definition) -> list[str]:
    """The model that the route names; for a glob those of the definition, and the glob itself for all others."""
    own = [model for model in definition.models.values() if fnmatchcase(model, route.model)]
    return list(dict.fromkeys([*own, route.model]))


def _start(route: Route, release: Release, event: ModelRegistered) -> ReleaseStart:
    return release.start(route.title, event, newest_only=route.order == "newest")


def _sample_event(route: Route, model: str) -> ModelRegistered:
    workspace = Workspace("", route.workspace or "workspace")
    return ModelRegistered("", workspace, model, "1", dict(route.tags), dict(route.properties), "")
