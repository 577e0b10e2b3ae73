"""Check each enabled route against its target in Azure DevOps."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from itertools import combinations

from model_release.azure_devops.client import AzureDevOps
from model_release.azure_devops.target_name import is_bare, project_id_of
from model_release.cli.check.definition import DefinitionCheck, sample_event
from model_release.cli.check.findings import Finding, Severity, is_glob, literal_start, only_version, place_of
from model_release.cli.check.permissions import check_permissions, pipeline
from model_release.cli.terminal import progress
from model_release.domain.events import Workspace
from model_release.domain.release_map import ReleaseMap, ReleaseOptions, Route
from model_release.domain.routing import plan_route
from model_release.errors import AzureDevOpsError, RefusedError


def check_azure_devops(
    release_map: ReleaseMap, azure_devops: AzureDevOps, workspaces: Collection[Workspace]
) -> Iterator[Finding]:
    """Check the targets of all enabled routes; stops when Azure DevOps does not answer."""
    same_definition: dict[tuple[str, int], list[Route]] = defaultdict(list)
    enabled = [route for route in release_map.routes if route.enabled]
    for route in progress(enabled, "Checking Azure DevOps"):
        where, target = place_of(release_map, route), route.target
        try:
            number = azure_devops.find(target).id
            if is_bare(target):
                yield _bare_name(route, number, where)
            if not isinstance(route.options, ReleaseOptions):
                yield from _check_pipeline(route, azure_devops, where)
                continue
            content = azure_devops.releases.definition(target.project, number)
            same_definition[project_id_of(content) or target.project.casefold(), number].append(route)
            yield from DefinitionCheck(route, route.options, content, where).findings(azure_devops, workspaces)
        except RefusedError as error:
            yield Finding.refused(error, target, where)
        except AzureDevOpsError as error:
            fix = error.fix or "check again"
            skipped = "" if error.answered else "; the remaining checks were skipped"
            yield Finding(Severity.FAULT, error.problem, where, fix + skipped)
            if not error.answered:
                return
    yield from _check_spelling(release_map, same_definition.values())


def _bare_name(route: Route, number: int, where: str) -> Finding:
    key = "definition" if isinstance(route.options, ReleaseOptions) else "pipeline"
    message = f"the name {route.target} means ID {number} now; others can give this name to another {key}"
    return Finding(Severity.WARNING, message, where, f"write the ID: `{key}: {number}`, or add the folder")


def _check_pipeline(route: Route, azure_devops: AzureDevOps, where: str) -> Iterator[Finding]:
    event = sample_event(route, route.model)
    yield from check_permissions(pipeline(azure_devops.find(route.target)), azure_devops, where)
    azure_devops.preview(plan_route(route, event), event, "")
    yield Finding(Severity.OK, f"{route.target} accepts the route's parameters", where)


def _check_spelling(release_map: ReleaseMap, same_definition: Iterable[Sequence[Route]]) -> Iterator[Finding]:
    for routes in same_definition:
        for first, second in combinations(routes, 2):
            if first.target.key != second.target.key and _may_both_match(first, second):
                message = (
                    f"{first.target} and {second.target} are the same definition, "
                    "so a version that matches both routes is released twice"
                )
                where = f"{place_of(release_map, first)} and {place_of(release_map, second)}"
                yield Finding(
                    Severity.FAULT, message, where, "write project and definition the same way in both routes"
                )


def _may_both_match(first: Route, second: Route) -> bool:
    """Whether a version may match both routes; patterns that cannot be compared may."""
    values = (first.tags, second.tags), (first.properties, second.properties)
    pairs = [
        (first.workspace, second.workspace),
        (first.registry, second.registry),
        (_kind(first), _kind(second)),
        (only_version(first), only_version(second)),
        *((one[key], other[key]) for one, other in values for key in one.keys() & other.keys()),
    ]
    return _models_overlap(first.model, second.model) and not any(
        one and other and one.casefold() != other.casefold() for one, other in pairs
    )


def _kind(route: Route) -> str:
    return "workspace" if route.workspace else "registry" if route.registry else ""


def _models_overlap(first: str, second: str) -> bool:
    if is_glob(first) and is_glob(second):
        one, other = literal_start(first), literal_start(second)
        return one.startswith(other) or other.startswith(one)
    return fnmatchcase(first, second) or fnmatchcase(second, first)
