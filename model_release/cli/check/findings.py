"""What a check finds, what it tells of the release map alone, and how patterns are compared (pure)."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from model_release.domain.events import Workspace
from model_release.domain.release_map import ReleaseMap, Route

_GLOB = re.compile(r"\*|\?|\[[^]]*\]")


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


def literal_start(pattern: str) -> str:
    """What every text begins with that a glob matches."""
    return _GLOB.split(pattern, maxsplit=1)[0]


def is_glob(pattern: str) -> bool:
    """Whether a pattern matches more than itself."""
    return bool(_GLOB.search(pattern))


def only_version(route: Route) -> str:
    """The one version that a route takes, or nothing where it takes several."""
    pattern = str(route.version or "")
    return "" if is_glob(pattern) or pattern[:1] in ("<", ">") else pattern


def _has_no_order(pattern: str) -> bool:
    return pattern[:1] not in ("<", ">") and bool(re.search(r"\D", _GLOB.sub("", pattern)))
