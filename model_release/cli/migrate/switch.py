"""Switch off the old triggers that a release map replaces."""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from itertools import groupby

import click

from model_release.azure_devops.releases import ReleaseTargets
from model_release.cli.migrate.triggers import Becomes, OldDefinition, OldTrigger, read_triggers, without_triggers
from model_release.cli.terminal import progress, show_json, show_table, show_text
from model_release.domain.release_map import ReleaseMap, Route
from model_release.errors import AzureDevOpsError, RefusedError

_OFF = "switched off"
_STYLES = {"switch off": "bold", "leave on": "yellow", _OFF: "green"}
_LIMITS = ("version", "workspace", "tags", "properties")
_NO_ROUTE = "no enabled route starts this definition, or a pipeline of the same name, for this model"


def switch_off(
    releases: ReleaseTargets,
    triggers: Sequence[OldTrigger],
    deployed: ReleaseMap,
    *,
    yes: bool,
    as_json: bool,
) -> bool:
    """Show the plan, ask for confirmation, switch off and report; return whether a trigger needs work."""
    on = [(trigger, _why_left_on(trigger, deployed)) for trigger in triggers if trigger.on]
    left = [(trigger, f"left on: {reason}") for trigger, reason in on if reason]
    replaced = [trigger for trigger, reason in on if not reason]
    plan = [
        (*trigger.names, "leave on" if reason else "switch off", reason or _titles(_routes_of(trigger, deployed)))
        for trigger, reason in on
    ]
    if plan:
        show_table(("Definition", "Artifact", "Model", "Trigger", "Reason"), plan, _STYLES, on_stderr=as_json)
    if replaced and not yes:
        count = "1 trigger" if len(replaced) == 1 else f"{len(replaced)} triggers"
        click.confirm(f"Switch off {count}?", abort=True, err=True)
    done = _switch_all(releases, replaced)
    if as_json:
        show_json({"triggers": [trigger.as_json() | {"result": result} for trigger, result in [*done, *left]]})
    elif done:
        results = [(*trigger.names, result) for trigger, result in done]
        show_table(("Definition", "Artifact", "Model", "Result"), results, _STYLES)
    else:
        show_text("There is no trigger to switch off.", on_stderr=True)
    return any(result != _OFF and not trigger.definition.disabled for trigger, result in [*done, *left])


def _why_left_on(trigger: OldTrigger, release_map: ReleaseMap) -> str:
    """Return why switching the trigger off would lose releases; empty if the map replaces it."""
    if trigger.becomes is Becomes.MANUAL:
        return trigger.reason
    return "" if _routes_of(trigger, release_map) else _NO_ROUTE


def _routes_of(trigger: OldTrigger, release_map: ReleaseMap) -> tuple[Route, ...]:
    return tuple(
        route
        for route in release_map.routes
        if route.enabled
        and not route.registry
        and fnmatchcase(trigger.model, route.model)
        and _replaces(route, trigger.definition)
    )


def _replaces(route: Route, definition: OldDefinition) -> bool:
    """Whether the route starts the definition, or the pipeline of the same name."""
    target, name = route.target, str(route.target.definition).casefold()
    if target.project.casefold() != definition.project.casefold():
        return False
    if isinstance(target.definition, int):
        return target.kind == "release" and target.definition == definition.id
    return name == definition.place.casefold() or (name == definition.name.casefold() and not definition.namesakes)


def _titles(routes: Sequence[Route]) -> str:
    titles = [
        " ".join([route.title, *(f"{limit} {getattr(route, limit)}" for limit in _LIMITS if getattr(route, limit))])
        for route in routes
    ]
    return f"route {', '.join(titles)}"


def _switch_all(releases: ReleaseTargets, triggers: Sequence[OldTrigger]) -> list[tuple[OldTrigger, str]]:
    by_definition = groupby(triggers, lambda trigger: (trigger.definition.project, trigger.definition.id))
    groups = [list(group) for _, group in by_definition]
    results = []
    for group in progress(groups, "Switching off"):
        result = _switch(releases, group)
        results += [(trigger, result) for trigger in group]
    return results


def _switch(releases: ReleaseTargets, triggers: Sequence[OldTrigger]) -> str:
    """Remove the triggers from their definition if it is still as it was shown; return the result."""
    shown = triggers[0].definition
    aliases = [trigger.alias for trigger in triggers]
    try:
        content = releases.definition(shown.project, shown.id)
        if content["revision"] != shown.revision:
            change = f"its revision is {content['revision']}, not {shown.revision}"
            return f"left on: the definition was changed meanwhile ({change}); run the command again"
        updated = releases.update(shown.project, without_triggers(content, aliases))
    except RefusedError as error:
        return f"left on: {error}"
    except AzureDevOpsError as error:
        return f"not confirmed: {error.problem}; run the command again"
    on = [trigger.alias for trigger in read_triggers(shown.project, updated) if trigger.on]
    return _OFF if not set(on) & set(aliases) else "left on: Azure DevOps accepted the change but kept the trigger"
