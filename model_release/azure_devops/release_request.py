"""What a release definition is asked to start: the body of the one request that creates a release (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from model_release.domain.events import ModelRegistered
from model_release.domain.release_map import ReleaseStart
from model_release.errors import Refused

# The type of the "AzureML model" artifact.
MODEL_ARTIFACT = "AzureMLMMS"
_DESCRIPTION_CHARACTERS = 400


@dataclass(frozen=True)
class Variable:
    """A variable of a release definition."""

    name: str
    settable: bool
    secret: bool


@dataclass(frozen=True)
class Definition:
    """A release definition, as far as it says how to hand a model version over."""

    id: int
    name: str
    models: Mapping[str, str]
    variables: Mapping[str, Variable]
    stages: tuple[str, ...]

    def alias_of(self, model: str) -> str | None:
        """The alias of the artifact that is this model; raises Refused when there are several."""
        aliases = [alias for alias, name in self.models.items() if name == model]
        if len(aliases) > 1:
            msg = (
                f"definition {self.name} has the model {model} in the artifacts {' and '.join(aliases)}, "
                "so which one is the registered model cannot be told: keep one"
            )
            raise Refused(msg)
        return aliases[0] if aliases else None


class Lack(NamedTuple):
    """Something for which a definition cannot take a model version, and what to do about it."""

    what: str
    what_to_do: str


def read_definition(content: Mapping[str, Any]) -> Definition:
    """Read Azure DevOps' ReleaseDefinition; variables are kept under their lower-cased names, as it compares them."""
    return Definition(
        id=content["id"],
        name=content["name"],
        models={
            artifact["alias"]: artifact.get("definitionReference", {}).get("definition", {}).get("id", "")
            for artifact in content.get("artifacts") or []
            if artifact.get("type") == MODEL_ARTIFACT
        },
        variables={
            name.lower(): Variable(name, bool(variable.get("allowOverride")), bool(variable.get("isSecret")))
            for name, variable in (content.get("variables") or {}).items()
        },
        stages=tuple(stage["name"] for stage in content.get("environments") or []),
    )


def release_request(
    definition: Definition, start: ReleaseStart, event: ModelRegistered, *, version_id: str | None, marker: str
) -> dict[str, Any]:
    """The ReleaseStartMetadata; raises Refused with every reason why the definition cannot take this model version.

    `version_id` is how Azure DevOps names this version of the model artifact, None where the definition has none.
    https://learn.microsoft.com/rest/api/azure/devops/release/releases/create
    """
    if faults := lacks(definition, start, event, has_artifact=version_id is not None):
        raise Refused("; ".join(f"{lack.what}: {lack.what_to_do}" for lack in faults))
    variables = _variables(definition, start, event)
    request: dict[str, Any] = {
        "definitionId": definition.id,
        "description": f"{start.description[:_DESCRIPTION_CHARACTERS]} {marker}",
        "isDraft": False,
        "reason": "none",
    }
    if version_id:
        instance = {"id": version_id, "name": event.version}
        request["artifacts"] = [{"alias": definition.alias_of(event.model), "instanceReference": instance}]
    if variables:
        request["variables"] = variables
    if start.manual_stages:
        request["manualEnvironments"] = list(start.manual_stages)
    return request


def lacks(
    definition: Definition, start: ReleaseStart, event: ModelRegistered, *, has_artifact: bool
) -> tuple[Lack, ...]:
    """Everything for which the definition cannot take this model version; `has_artifact` tells of the model's own."""
    found = []
    for name in start.variables:
        variable = definition.variables.get(name.lower())
        if variable is None:
            what_to_do = "add it, settable at release time, or correct the route"
            found.append(Lack(f"definition {definition.name} has no variable {name}", what_to_do))
        elif not variable.settable:
            what = f"variable {name} of definition {definition.name} is not settable at release time"
            found.append(Lack(what, "let it be settable, or take it out of the route"))
    takes = {variable.name.lower() for variable in definition.variables.values() if variable.settable}
    if not (has_artifact or "modelversion" in takes or start.hands_over_version):
        what_to_do = (
            f"add an AzureML model artifact of {event.model}, "
            "or a variable ModelVersion that is settable at release time"
        )
        found.append(Lack(f"definition {definition.name} takes no model version", what_to_do))
    # Azure DevOps ignores a name that it does not know, and the stage that was to wait would deploy.
    stages = {stage.casefold() for stage in definition.stages}
    found += [
        Lack(f"definition {definition.name} has no stage {stage}", "correct the route's manual_stages")
        for stage in start.manual_stages
        if stage.casefold() not in stages
    ]
    return tuple(found)


def _variables(definition: Definition, start: ReleaseStart, event: ModelRegistered) -> dict[str, dict[str, Any]]:
    values = {definition.variables[name.lower()]: value for name, value in start.variables.items()}
    given = {"ModelName": event.model, "ModelVersion": event.version, "ModelWorkspace": event.workspace.name}
    for name, value in given.items():
        variable = definition.variables.get(name.lower())
        if variable and variable.settable:
            values.setdefault(variable, value)
    return {v.name: {"value": value} | ({"isSecret": True} if v.secret else {}) for v, value in values.items()}
