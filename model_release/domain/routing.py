"""Match a model version with the routes of the release map, and plan what is to be created (pure)."""

import operator
import re
from collections.abc import Callable, Collection, Mapping
from fnmatch import fnmatchcase
from typing import NamedTuple

from model_release.domain.events import ModelRegistered, Workspace
from model_release.domain.placeholders import (
    HARMLESS,
    all_placeholders,
    missing_values,
    passes_version,
    render,
    render_all,
    tag_or_property,
    value_of,
)
from model_release.domain.release_map import COMPARISON, PipelineOptions, ReleaseMap, ReleaseOptions, Route
from model_release.domain.targets import Plan, ReleasePlan, RunPlan
from model_release.reason import Reason, ReasonKind
from model_release.text import shorten

_COMPARE: Mapping[str, Callable[[int, int], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}


class Match(NamedTuple):
    """Whether a route matches a model version, and why."""

    route: Route
    matches: bool
    why: Reason

    @property
    def reason(self) -> str:
        """The sentence for people."""
        return self.why.text


class Routing(NamedTuple):
    """What is planned for a model version; `why_nothing` holds without plans.

    `named` is whether a route matches but for tags and properties.
    """

    plans: tuple[Plan, ...]
    why_nothing: Reason
    named: bool = False


NO_ROUTING = Routing((), Reason(ReasonKind.NONE, ""))


def route(release_map: ReleaseMap, workspaces: Collection[Workspace], event: ModelRegistered) -> Routing:
    """Plan what an event starts."""
    if event.workspace not in workspaces:
        kind, setting = (
            ("registry", "AML_REGISTRIES") if event.workspace.is_registry else ("workspace", "AML_WORKSPACES")
        )
        return Routing((), Reason(ReasonKind.NOT_A_SOURCE, f"{kind} {shorten(event.workspace.id)} is not in {setting}"))
    matches = match(release_map, event)
    named = any(_name_mismatch(one, event) is None for one in release_map.routes)
    return Routing(plan(matches, event), why_nothing(matches, event), named)


def match(release_map: ReleaseMap, event: ModelRegistered) -> tuple[Match, ...]:
    """Match every route with a model version."""
    return tuple(_match(route, event) for route in release_map.routes)


def plan(matches: Collection[Match], event: ModelRegistered) -> tuple[Plan, ...]:
    """Plan one release for each target; the first of several routes to one target provides the settings."""
    plans: dict[str, Plan] = {}
    for one in matches:
        if one.matches:
            planned = plan_route(one.route, event)
            plans.setdefault(planned.target.key, planned)
    return tuple(plans.values())


def plan_route(route: Route, event: ModelRegistered) -> Plan:
    """Plan what a route that matches starts."""
    newest_only = route.order == "newest"
    if isinstance(route.options, ReleaseOptions):
        return plan_release(route.options, route.title, event, newest_only=newest_only)
    return plan_run(route.options, route.title, event, newest_only=newest_only)


def plan_release(options: ReleaseOptions, route: str, event: ModelRegistered, *, newest_only: bool) -> ReleasePlan:
    """Plan the release of a model version."""
    return ReleasePlan(
        target=options.target,
        route=route,
        newest_only=newest_only,
        variables=render_all(options.variables, event),
        passes_version=passes_version(options.variables),
        manual_stages=tuple(options.manual_stages),
        description=render(options.description, event),
    )


def plan_run(options: PipelineOptions, route: str, event: ModelRegistered, *, newest_only: bool) -> RunPlan:
    """Plan the run for a model version."""
    return RunPlan(
        target=options.target,
        route=route,
        newest_only=newest_only,
        branch=options.branch or "",
        parameters=render_all(options.parameters, event),
        stages_to_skip=tuple(options.stages_to_skip),
    )


def why_nothing(matches: Collection[Match], event: ModelRegistered) -> Reason:
    """Explain why no route matches: with the routes that name the model, if there are any."""
    naming = [one.why for one in matches if fnmatchcase(event.model, one.route.model)]
    if not naming:
        return Reason(ReasonKind.MODEL_NOT_NAMED, f"no route names the model {event.model}")
    kinds = {why.kind for why in naming}
    kind = ReasonKind.NO_ROUTE_MATCHES if len(kinds) > 1 else kinds.pop()
    return Reason(kind, "; ".join(why.text for why in naming), "; ".join(why.for_log for why in naming))


def _match(route: Route, event: ModelRegistered) -> Match:
    mismatch = _mismatch(route, event)
    return Match(route, mismatch is None, mismatch or matched(route.title, event))


def matched(route: str, event: ModelRegistered) -> Reason:
    """Explain that the route with this title matches."""
    return Reason(ReasonKind.ROUTE_MATCHED, f"route {route} matches {event.model}:{event.version}")


def _mismatch(route: Route, event: ModelRegistered) -> Reason | None:
    guards = (_name_mismatch, _value_mismatch, _missing_value, _forbidden_value)
    return next((reason for guard in guards if (reason := guard(route, event))), None)


def _name_mismatch(route: Route, event: ModelRegistered) -> Reason | None:
    if not fnmatchcase(event.model, route.model):
        return Reason(ReasonKind.MODEL_NOT_NAMED, f"model {event.model!r} does not match {route.model!r}")
    if not route.enabled:
        return Reason(ReasonKind.ROUTE_DISABLED, f"route {route.title} is disabled")
    if mismatch := _source_mismatch(route, event.workspace):
        return mismatch
    if route.version is not None and not _version_matches(str(route.version), event):
        problem = f"version {event.version!r} does not match {str(route.version)!r}"
        return Reason(ReasonKind.OTHER_VERSION, problem)
    return None


def _source_mismatch(route: Route, source: Workspace) -> Reason | None:
    wanted, other = (route.registry, route.workspace) if source.is_registry else (route.workspace, route.registry)
    kind, other_kind = ("registry", "workspace") if source.is_registry else ("workspace", "registry")
    if other:
        return Reason(ReasonKind.OTHER_SOURCE, f"{kind} is {source.name!r}, not {other_kind} {other!r}")
    if wanted and wanted.casefold() != source.name.casefold():
        return Reason(ReasonKind.OTHER_SOURCE, f"{kind} is {source.name!r}, not {wanted!r}")
    return None


def _version_matches(pattern: str, event: ModelRegistered) -> bool:
    comparison = COMPARISON.fullmatch(pattern)
    if not comparison:
        return fnmatchcase(event.version, pattern)
    return event.number is not None and _COMPARE[comparison[1]](event.number, int(comparison[2]))


def _value_mismatch(route: Route, event: ModelRegistered) -> Reason | None:
    for kind, expected, values in (
        ("tag", route.tags, event.tags),
        ("property", route.properties, event.properties),
    ):
        for key, value in expected.items():
            found = tag_or_property(values, key)
            if found is None:
                return Reason(ReasonKind.OTHER_VALUE, f"{kind} {key} is missing")
            if found != value:
                problem = f"{kind} {key} is {shorten(found)!r}, not {value!r}"
                return Reason(ReasonKind.OTHER_VALUE, problem, f"{kind} {key} has another value")
    return None


def _missing_value(route: Route, event: ModelRegistered) -> Reason | None:
    missing = missing_values(route.options.templates, event)
    if not missing:
        return None
    names = ", ".join(f"{{{name}}}" for name in missing)
    problem = f"route {route.title} uses {names}, for which this version has no value"
    return Reason(ReasonKind.VALUE_MISSING, problem)


def _forbidden_value(route: Route, event: ModelRegistered) -> Reason | None:
    """Refuse a value that may be dangerous where it is passed; the reason never contains it."""
    for name in all_placeholders(route.options.templates):
        # It consists of names, which are harmless, and may be longer.
        if name == "asset_id":
            continue
        value, allowed = value_of(event, name) or "", route.allowed(name)
        if value in route.required(name) or all(re.fullmatch(regex, value) for regex in allowed or [HARMLESS]):
            continue
        expected = "the route's `allow`" if allowed else f"{HARMLESS}; change it, or add `allow` to the route"
        problem = f"route {route.title} uses {{{name}}}, whose value does not match {expected}"
        return Reason(ReasonKind.VALUE_FORBIDDEN, problem)
    return None
