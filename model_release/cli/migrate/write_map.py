"""Write the release map that does what the old triggers did (pure)."""

import glob
from collections.abc import Iterable, Mapping
from textwrap import indent
from typing import Any

import yaml

from model_release.cli.migrate.triggers import Becomes, OldTrigger
from model_release.domain.release_map import MARKER_PARAMETER
from model_release.text import shorten

_HEAD = """\
# yaml-language-server: $schema=release_map.schema.json
# Written by `python -m model_release migrate` from the triggers of the AzureML model artifacts.
# As those triggers did, a route with `order: every` starts each version, even an older one that arrives late.
# Remove that line for `order: newest`, which never starts an older version after a newer one.
version: 1
"""


def write_map(triggers: Iterable[OldTrigger], workspaces: Mapping[str, str]) -> str:
    """Return the text of the release map, empty without routes.

    `workspaces` maps the names of service connections to workspaces.
    """
    triggers = list(triggers)
    several = len({trigger.connection_id for trigger in triggers if trigger.on}) > 1
    routes = [_route(trigger, workspaces, several=several) for trigger in triggers if trigger.has_route]
    if not routes:
        return ""
    others = [f"# {_title(trigger)}: {trigger.reason}.\n" for trigger in triggers if not trigger.has_route]
    return "".join([_HEAD, "routes:\n", "\n".join(routes), *(["\n# Without a route:\n", *others] if others else [])])


def _title(trigger: OldTrigger) -> str:
    old = trigger.definition
    names = (
        f"definition {old.id}, {shorten(old.place)}, artifact {shorten(trigger.alias)}, model {shorten(trigger.model)}"
    )
    return f"{shorten(old.project)}, {names}"


def _route(trigger: OldTrigger, workspaces: Mapping[str, str], *, several: bool) -> str:
    workspace = workspaces.get(trigger.connection)
    comments = [_title(trigger), *filter(None, [trigger.reason]), *trigger.notes]
    if several and not workspace:
        comments.append(
            f"the trigger watched the workspace of the service connection {shorten(trigger.connection)}: "
            "add `workspace: NAME` if the app receives events of several workspaces"
        )
    route: dict[str, Any] = {"model": glob.escape(trigger.model)}
    if workspace:
        route["workspace"] = workspace
    route["order"] = "every"
    if trigger.becomes is Becomes.DISABLED_ROUTE:
        route["enabled"] = False
    if trigger.kind == "pipeline":
        comments += _pipeline_comments(trigger)
        route["pipeline"] = trigger.definition.pipeline.model_dump(include={"project", "pipeline", "parameters"})
    else:
        route["release"] = {"project": trigger.definition.project, "definition": trigger.definition.in_map}
    lines = "".join(f"# {comment}\n" for comment in comments)
    return indent(lines + yaml.safe_dump([route], sort_keys=False, allow_unicode=True, width=1000), "  ")


def _pipeline_comments(trigger: OldTrigger) -> list[str]:
    declared = ", ".join([*trigger.definition.pipeline.parameters, MARKER_PARAMETER])
    return [
        f"The YAML pipeline {shorten(trigger.definition.place)} must declare the parameters {declared}",
        "(example: docs/pipelines/deploy-model.yml), and replace these parts of the definition:",
        *(f"  {part}" for part in trigger.definition.parts),
    ]
