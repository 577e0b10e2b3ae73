"""The body of the request that creates a release (pure)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from model_release.azure_devops.model_version import Version
from model_release.azure_devops.target_name import project_id_of
from model_release.domain.claims import MARKER_BEGINS
from model_release.domain.events import ModelRegistered
from model_release.domain.targets import ReleasePlan
from model_release.errors import Fault, RefusedError
from model_release.reason import ReasonKind

# The type of the "AzureML model" artifact.
MODEL_ARTIFACT = "AzureMLMMS"
_SELECTED = "selectDuringReleaseCreationType"
_DESCRIPTION_CHARACTERS = 400


class Variable(NamedTuple):
    """A variable of a release definition."""

    name: str
    settable: bool
    secret: bool


@dataclass(frozen=True)
class Definition:
    """The parts of a release definition that a request depends on.

    `models` are the models of the artifacts by alias. `variables` are those of the scope Release; `of_stages` and
    `of_groups` have the stage or group of other variables. All have lower-case keys, because Azure DevOps ignores the
    case of their names. The variables of `groups`, which are IDs, must be read from the groups. `selected` are the
    aliases of the artifacts whose version is selected when a release is created.
    """

    id: int
    name: str
    models: Mapping[str, str]
    variables: Mapping[str, Variable]
    stages: tuple[str, ...]
    project_id: str = ""
    of_stages: Mapping[str, str] = field(default_factory=dict)
    groups: tuple[int, ...] = ()
    of_groups: Mapping[str, str] = field(default_factory=dict)
    selected: tuple[str, ...] = ()

    def alias_of(self, event: ModelRegistered) -> str | None:
        """Return the alias of the artifact of this model; raises RefusedError if there are several.

        An AzureML model artifact belongs to a workspace, and cannot take a version of a registry.
        """
        if event.workspace.is_registry:
            return None
        model = event.model
        aliases = [alias for alias, name in self.models.items() if name == model]
        if len(aliases) > 1:
            raise RefusedError(
                f"definition {self.name} has the model {model} in {len(aliases)} artifacts: {', '.join(aliases)}",
                "keep one of these artifacts",
                kind=ReasonKind.TARGET_MISFIT,
            )
        return aliases[0] if aliases else None


def read_definition(content: Mapping[str, Any]) -> Definition:
    """Read Azure DevOps' ReleaseDefinition."""
    stages, artifacts = content.get("environments") or [], content.get("artifacts") or []
    return Definition(
        id=content["id"],
        name=content["name"],
        models={
            artifact["alias"]: _reference(artifact, "definition")
            for artifact in artifacts
            if artifact.get("type") == MODEL_ARTIFACT
        },
        variables={
            name.lower(): Variable(name, bool(variable.get("allowOverride")), bool(variable.get("isSecret")))
            for name, variable in (content.get("variables") or {}).items()
        },
        stages=tuple(stage["name"] for stage in stages),
        project_id=project_id_of(content),
        of_stages={name.lower(): stage["name"] for stage in stages for name in stage.get("variables") or {}},
        groups=tuple(group for part in (content, *stages) for group in part.get("variableGroups") or []),
        selected=tuple(one["alias"] for one in artifacts if _reference(one, "defaultVersionType") == _SELECTED),
    )


def _reference(artifact: Mapping[str, Any], key: str) -> str:
    return str(((artifact.get("definitionReference") or {}).get(key) or {}).get("id") or "")


def release_request(
    definition: Definition, plan: ReleasePlan, event: ModelRegistered, *, version: Version | None, marker: str
) -> dict[str, Any]:
    """Build the ReleaseStartMetadata for a definition from which nothing is missing.

    `version` is this version of the model artifact, None if the definition has no such artifact.
    https://learn.microsoft.com/rest/api/azure/devops/release/releases/create
    """
    variables = _variables(definition, plan, event)
    request: dict[str, Any] = {
        "definitionId": definition.id,
        # A value of a tag must not look like a marker.
        "description": f"{plan.description[:_DESCRIPTION_CHARACTERS].replace(MARKER_BEGINS, '[')} {marker}",
        "isDraft": False,
        "reason": "none",
    }
    if version:
        instance = {"id": version.id, "name": version.name}
        request["artifacts"] = [{"alias": definition.alias_of(event), "instanceReference": instance}]
    if variables:
        request["variables"] = variables
    if plan.manual_stages:
        request["manualEnvironments"] = list(plan.manual_stages)
    return request


def missing_from(
    definition: Definition, plan: ReleasePlan, event: ModelRegistered, *, has_artifact: bool
) -> tuple[Fault, ...]:
    """List what the definition lacks for this plan; `has_artifact`: it has an artifact of the model."""
    faults = [fault for name in plan.variables if (fault := _variable_fault(definition, name))]
    settable = {name for name, variable in definition.variables.items() if variable.settable}
    if not (has_artifact or "modelversion" in settable or plan.passes_version):
        fix = "add a variable ModelVersion settable at release time"
        if event.workspace.is_registry:
            fix += ", because an AzureML model artifact cannot take a version of a registry"
        else:
            fix = f"add an AzureML model artifact of {event.model}, or {fix.removeprefix('add ')}"
        faults.append(Fault(f"definition {definition.name} does not accept a model version", fix))
    faults += [
        Fault(
            f"definition {definition.name} expects that the version of artifact {alias} is selected for each release",
            "set its default version, for example to Latest",
        )
        for alias in definition.selected
        if event.workspace.is_registry or definition.models.get(alias) != event.model
    ]
    # Azure DevOps ignores an unknown name, and would deploy to the stage that is meant to be manual.
    stages = {stage.casefold() for stage in definition.stages}
    faults += [
        Fault(f"definition {definition.name} has no stage {stage}", "correct manual_stages in the route")
        for stage in plan.manual_stages
        if stage.casefold() not in stages
    ]
    return tuple(faults)


def _variable_fault(definition: Definition, name: str) -> Fault | None:
    key, correct = name.lower(), "settable at release time, or correct the route"
    variable = definition.variables.get(key)
    of_definition = f"variable {name} of definition {definition.name}"
    if variable and variable.settable:
        return None
    if variable:
        problem = f"{of_definition} is not settable at release time"
        return Fault(problem, "make it settable, or remove it from the route")
    if stage := definition.of_stages.get(key):
        return Fault(f"{of_definition} is a variable of stage {stage}", f"move it to the scope Release, {correct}")
    if group := definition.of_groups.get(key):
        return Fault(f"{of_definition} is a variable of group {group}", f"add it to the definition, {correct}")
    return Fault(f"definition {definition.name} has no variable {name}", f"add it as {correct}")


def _variables(definition: Definition, plan: ReleasePlan, event: ModelRegistered) -> dict[str, dict[str, Any]]:
    values = {definition.variables[name.lower()]: value for name, value in plan.variables.items()}
    place = "ModelRegistry" if event.workspace.is_registry else "ModelWorkspace"
    standard = {"ModelName": event.model, "ModelVersion": event.version, place: event.workspace.name}
    for name, value in standard.items():
        variable = definition.variables.get(name.lower())
        if variable and variable.settable:
            values.setdefault(variable, value)
    return {v.name: {"value": value} | ({"isSecret": True} if v.secret else {}) for v, value in values.items()}
