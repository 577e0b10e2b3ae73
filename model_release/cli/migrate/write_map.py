"""Write the release map that does what the old triggers did (pure)."""

import glob
from collections.abc import Iterable, Iterator, Mapping
from textwrap import indent
from typing import Any

import yaml

from model_release.cli.migrate.triggers import Becomes, Json, OldTrigger
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
        options = trigger.definition.pipeline
        route["pipeline"] = {
            "project": options.project,
            "pipeline": options.pipeline,
            "parameters": dict(options.parameters),
        }
    else:
        route["release"] = {"project": trigger.definition.project, "definition": trigger.definition.in_map}
    lines = "".join(f"# {comment}\n" for comment in comments)
    return indent(lines + yaml.safe_dump([route], sort_keys=False, allow_unicode=True, width=1000), "  ")


def _pipeline_comments(trigger: OldTrigger) -> list[str]:
    declared = ", ".join([*trigger.definition.pipeline.parameters, MARKER_PARAMETER])
    return [
        f"The YAML pipeline {shorten(trigger.definition.place)} must declare the parameters {declared}",
        "(example: docs/pipelines/deploy-model.yml), and replace these parts of the definition:",
        *(f"  {part}" for part in _parts(trigger.definition.content)),
    ]


def _parts(definition: Json) -> tuple[str, ...]:
    """Return one line with the names of each kind of part of a definition in raw JSON.

    https://learn.microsoft.com/rest/api/azure/devops/release/definitions/get
    """
    stages = sorted(definition.get("environments") or [], key=lambda stage: stage.get("rank") or 0)
    artifacts = [f"{one['alias']} ({one.get('type')})" for one in definition.get("artifacts") or []]
    return (
        *_line("stages", [stage["name"] for stage in stages]),
        *(line for stage in stages for line in _approvals(stage)),
        *_line("variables", _variables(definition)),
        *(line for stage in stages for line in _line(f"variables of stage {stage['name']}", _variables(stage))),
        *_line("IDs of variable groups", sorted({group for one in (definition, *stages) for group in _groups(one)})),
        *_line("artifacts", artifacts),
    )


def _approvals(stage: Json) -> Iterator[str]:
    for when, approvals, gates in (
        ("before", "preDeployApprovals", "preDeploymentGates"),
        ("after", "postDeployApprovals", "postDeploymentGates"),
    ):
        steps = (stage.get(approvals) or {}).get("approvals") or []
        people = [(step.get("approver") or {}).get("displayName") for step in steps if not step.get("isAutomated")]
        yield from _line(f"approval {when} stage {stage['name']}", people)
        checks = stage.get(gates) or {}
        if (checks.get("gatesOptions") or {}).get("isEnabled"):
            tasks = [task.get("name") for gate in checks.get("gates") or [] for task in gate.get("tasks") or []]
            yield from _line(f"gates {when} stage {stage['name']}", tasks)


def _variables(owner: Json) -> list[str]:
    variables = (owner.get("variables") or {}).items()
    return [f"{name} (secret)" if (variable or {}).get("isSecret") else name for name, variable in variables]


def _groups(owner: Json) -> list[int]:
    return owner.get("variableGroups") or []


def _line(title: str, names: list[Any]) -> list[str]:
    return [f"{shorten(title)}: {', '.join(shorten(name) for name in names)}"] if names else []
