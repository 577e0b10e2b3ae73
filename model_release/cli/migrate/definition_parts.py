"""The parts of a release definition that a pipeline in its place must have too (pure)."""

from collections.abc import Iterator, Mapping
from typing import Any

from model_release.text import shorten

Json = Mapping[str, Any]


def parts(definition: Json) -> tuple[str, ...]:
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
