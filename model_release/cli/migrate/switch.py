"""Switch off the old triggers that a release map replaces."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import click

from model_release.cli.definitions import ReleaseDefinitions
from model_release.cli.migrate.triggers import OldTrigger, read_triggers, routes_of, why_left_on, without_triggers
from model_release.cli.terminal import progress, show_json, show_table
from model_release.domain.release_map import ReleaseMap, Route
from model_release.errors import Refused, StartError

_OFF = "switched off"
_STYLES = {"switch off": "bold", "leave on": "yellow", _OFF: "green"}
_LIMITS = ("version", "workspace", "tags", "properties")


def switch_off(
    definitions: ReleaseDefinitions,
    triggers: Sequence[OldTrigger],
    deployed: ReleaseMap,
    *,
    yes: bool,
    as_json: bool,
) -> bool:
    """Show what would be switched off, ask, do it and tell; whether something is left to do."""
    on = [(trigger, why_left_on(trigger, deployed)) for trigger in triggers if trigger.on]
    left = [(trigger, f"left on: {why}") for trigger, why in on if why]
    replaced = [trigger for trigger, why in on if not why]
    plan = [
        (*trigger.names, "leave on" if why else "switch off", why or _say(routes_of(trigger, deployed)))
        for trigger, why in on
    ]
    if plan:
        show_table(("definition", "artifact", "model", "trigger", "because"), plan, _STYLES, aside=as_json)
    if replaced and not yes:
        count = "1 trigger" if len(replaced) == 1 else f"{len(replaced)} triggers"
        click.confirm(f"Switch off {count}?", abort=True, err=True)
    done = _switch_all(definitions, replaced)
    if as_json:
        show_json({"triggers": [trigger.told() | {"result": result} for trigger, result in [*done, *left]]})
    elif done:
        results = [(*trigger.names, result) for trigger, result in done]
        show_table(("definition", "artifact", "model", "result"), results, _STYLES)
    else:
        click.echo("No trigger is switched off.", err=True)
    return any(result != _OFF and not trigger.definition.disabled for trigger, result in [*done, *left])


def _say(routes: Sequence[Route]) -> str:
    said = [
        " ".join([route.title, *(f"{limit} {getattr(route, limit)}" for limit in _LIMITS if getattr(route, limit))])
        for route in routes
    ]
    return f"route {', '.join(said)}"


def _switch_all(definitions: ReleaseDefinitions, triggers: Sequence[OldTrigger]) -> list[tuple[OldTrigger, str]]:
    by_definition = groupby(triggers, lambda trigger: (trigger.definition.project, trigger.definition.id))
    groups = [list(group) for _, group in by_definition]
    return [
        (trigger, result)
        for group in progress(groups, "Switching off")
        for result in [_switch(definitions, group)]
        for trigger in group
    ]


def _switch(definitions: ReleaseDefinitions, triggers: Sequence[OldTrigger]) -> str:
    """Take the triggers out of their definition, if that is still as it was shown; what came of it."""
    shown = triggers[0].definition
    aliases = [trigger.alias for trigger in triggers]
    try:
        content = definitions.read(shown.project, shown.id)
        if content["revision"] != shown.revision:
            return f"left on: changed meanwhile, revision {content['revision']} is not {shown.revision}; run this again"
        updated = definitions.update(shown.project, without_triggers(content, aliases))
    except Refused as error:
        return f"left on: {error}"
    except StartError as error:
        return f"not known to be off, run this again: {error}"
    on = [trigger.alias for trigger in read_triggers(shown.project, updated) if trigger.on]
    return _OFF if not set(on) & set(aliases) else "left on: Azure DevOps took the change and kept the trigger"
