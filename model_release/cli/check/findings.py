"""Findings, those of the release map alone, and how patterns are compared (pure)."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from model_release.azure_devops.target_name import NOT_FOUND_FIX
from model_release.domain.events import Workspace
from model_release.domain.placeholders import all_placeholders
from model_release.domain.release_map import ReleaseMap, Route
from model_release.domain.targets import Target
from model_release.errors import RefusedError

_GLOB = re.compile(r"\*|\?|\[[^]]*\]")


class Severity(StrEnum):
    """The severity of a finding; only a fault fails the check."""

    FAULT = "fault"
    WARNING = "warning"
    OK = "ok"


@dataclass(frozen=True)
class Finding:
    """One result of the check."""

    severity: Severity
    message: str
    where: str
    fix: str = ""

    @classmethod
    def refused(cls, error: RefusedError, target: Target, where: str) -> Self:
        """Report a refusal; Azure DevOps' own refusals have no fix."""
        return cls(Severity.FAULT, error.problem, where, error.fix or NOT_FOUND_FIX[target.kind])


def worst_first(findings: Iterable[Finding]) -> list[Finding]:
    """Sort by severity, and merge equal findings at several places."""
    places: dict[tuple[Severity, str, str], list[str]] = defaultdict(list)
    for found in findings:
        places[found.severity, found.message, found.fix].append(found.where)
    merged = [
        Finding(severity, message, ", ".join(dict.fromkeys(where)), fix)
        for (severity, message, fix), where in places.items()
    ]
    return sorted(merged, key=lambda finding: list(Severity).index(finding.severity))


def place_of(release_map: ReleaseMap, route: Route) -> str:
    """Return the path and the title of a route."""
    number = next(number for number, other in enumerate(release_map.routes) if other is route)
    return f"routes[{number}] {route.title}"


def check_map(release_map: ReleaseMap, workspaces: Iterable[Workspace] | None) -> Iterator[Finding]:
    """Check the map alone; `workspaces` is None if the app's settings are not known."""
    sources = None if workspaces is None else {(one.is_registry, one.name.casefold()) for one in workspaces}
    for route in release_map.routes:
        where = place_of(release_map, route)
        if not route.enabled:
            yield Finding(Severity.OK, "the route is disabled and was not checked", where)
            continue
        kind, name = ("registry", route.registry) if route.registry else ("workspace", route.workspace)
        if sources is not None and name and (kind == "registry", name.casefold()) not in sources:
            setting = "AML_REGISTRIES" if kind == "registry" else "AML_WORKSPACES"
            message = f"{kind} {name} is not in {setting}, so the route matches nothing"
            yield Finding(Severity.WARNING, message, where, f"add its resource ID to {setting}, or correct the route")
        if route.order == "newest" and _has_no_order(str(route.version or "")):
            message = (
                f"versions such as {route.version} are not whole numbers, so they have no order and each is started"
            )
            yield Finding(Severity.WARNING, message, where, "write `order: every` to state this")
        yield from _check_values(route, where)


def _check_values(route: Route, where: str) -> Iterator[Finding]:
    for name in all_placeholders(route.options.templates):
        source, _, key = name.partition(".")
        if key and not (route.required(name) or route.allowed(name)):
            yield Finding(
                Severity.WARNING,
                f"everyone who may register models chooses the value of {{{name}}}",
                where,
                f"require a value with `{source}: {{{key}: VALUE}}`, or list those permitted with "
                f"`allow: {{{name}: REGEX}}`",
            )


def literal_start(pattern: str) -> str:
    """Return the text with which each match of a glob begins."""
    return _GLOB.split(pattern, maxsplit=1)[0]


def is_glob(pattern: str) -> bool:
    """Whether a pattern matches more than itself."""
    return bool(_GLOB.search(pattern))


def only_version(route: Route) -> str:
    """Return the one version that a route matches, or nothing if there are several."""
    pattern = str(route.version or "")
    return "" if is_glob(pattern) or pattern[:1] in ("<", ">") else pattern


def _has_no_order(pattern: str) -> bool:
    return pattern[:1] not in ("<", ">") and bool(re.search(r"\D", _GLOB.sub("", pattern)))
