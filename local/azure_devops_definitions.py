"""The definitions of the local Azure DevOps: release definitions, their artifacts' versions, and variable groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from werkzeug.wrappers import Response

from local import azure_devops_releases as shapes
from local.azure_devops_http import Call, Handler, Json, Refusal, json_of, list_of, now
from local.azure_devops_security import Organization, token_of


class Definitions(Organization):
    """The release definitions and variable groups of an organization."""

    def __init__(self) -> None:
        super().__init__()
        self.model_version_id = "{version}"
        self.model_version_name = "{version}"
        # Why the versions of an artifact cannot be listed, by its model or definition.
        self.version_errors: dict[str, str] = {}
        self._definitions: dict[int, Json] = {}
        self._versions: dict[str, list[Json]] = {}
        self._groups: dict[int, Json] = {}

    def add_definition(
        self,
        project: str,
        name: str,
        *,
        id: int | None = None,  # noqa: A002  Azure DevOps' word
        path: str = "\\",
        model_artifacts: Mapping[str, str] | None = None,
        other_artifacts: Sequence[Json] = (),
        trigger: bool = False,
        variables: Mapping[str, str | Json] | None = None,
        stages: Sequence[str] = ("Production",),
        disabled: bool = False,
        groups: Sequence[int] = (),
    ) -> Json:
        """Add a release definition and return it, to be changed by the caller.

        Model artifacts are models by alias; other artifacts are as Azure DevOps describes them, such as a build.
        """
        models = [shapes.model_artifact(alias, model) for alias, model in (model_artifacts or {}).items()]
        artifacts = [*models, *other_artifacts]
        for artifact in artifacts[:1]:
            artifact["isPrimary"] = True
        cause = {"triggerType": "artifactSource", "triggerConditions": []}
        with self._lock:
            number = id or max(self._definitions, default=0) + 1
            if number in self._definitions:
                raise ValueError(f"There is a definition {number} already.")
            self._definitions[number] = {
                "id": number,
                "name": name,
                "path": path,
                "projectReference": self.add_project(project),
                "isDeleted": False,
                "isDisabled": disabled,
                "revision": 1,
                "createdOn": now(),
                "releaseNameFormat": "Release-$(rev:r)",
                "artifacts": artifacts,
                "triggers": [{"artifactAlias": artifact["alias"], **cause} for artifact in models if trigger],
                "variables": {key: shapes.variable(value) for key, value in (variables or {}).items()},
                "variableGroups": list(groups),
                "environments": shapes.definition_stages(stages),
            }
            return self._definitions[number]

    def add_variable_group(self, project: str, name: str, variables: Mapping[str, str]) -> int:
        """Add a variable group and return its ID."""
        with self._lock:
            number = len(self._groups) + 1
            values = {key: {"value": value} for key, value in variables.items()}
            self._groups[number] = {"id": number, "name": name, "type": "Vsts", "variables": values}
            self.add_project(project)
            return number

    def add_model_version(self, model: str, version: str) -> None:
        """Add a version to the list of artifact versions, as the latest."""
        self.add_artifact_version(model, version, version)

    def add_artifact_version(self, definition: str, id: str, name: str) -> None:  # noqa: A002  Azure DevOps' word
        """Add a version, such as a build, to those of all artifacts with this definition, as the latest."""
        with self._lock:
            self._versions.setdefault(definition, []).append({"id": id, "name": name})

    def definition_handlers(self) -> dict[str, Handler]:
        """Return the handler of each request."""
        release = "/{organization}/{project}/_apis/Release"
        return {
            f"GET {release}/definitions": self._list_definitions,
            f"GET {release}/definitions/{{id}}": self._get_definition,
            f"PUT {release}/definitions": self._update_definition,
            f"GET {release}/artifacts/versions": self._list_artifact_versions,
            "GET /{organization}/{project}/_apis/distributedtask/variablegroups": self._list_groups,
        }

    def _list_definitions(self, call: Call) -> Response:
        # Without the permission the list is empty; this is not an error.
        visible = [d for d in self._definitions_of(call.project) if self._permits("View release pipeline", d)]
        found = [definition for definition in visible if shapes.is_wanted_definition(definition, call.query)]
        page, token = shapes.page(found, call.query, newest_first=False, default=10_000, most=10_000)
        listed = [shapes.listed_definition(definition, call.query) for definition in page]
        return list_of([{**definition, **address_of(definition, call)} for definition in listed], token)

    def _get_definition(self, call: Call) -> Response:
        self._require("View release pipeline", self._definitions.get(int(call.id)))
        definition = self._definition(call.project, int(call.id))
        return json_of({**definition, **address_of(definition, call), "projectReference": None})

    def _update_definition(self, call: Call) -> Response:
        definition = self._definition(call.project, int(call.body.get("id") or 0))
        self._require("Edit release pipeline", definition)
        updated = shapes.updated_definition(definition, call.body)
        self._definitions[definition["id"]] = updated
        return json_of({**updated, **address_of(updated, call), "projectReference": None})

    def _list_artifact_versions(self, call: Call) -> Response:
        definition = self._definition(call.project, int(call.query.get("releaseDefinitionId", 0)))
        self._require("View release pipeline", definition)
        return json_of({"artifactVersions": [self.versions_of(artifact) for artifact in definition["artifacts"]]})

    def versions_of(self, artifact: Json) -> Json:
        """Return what the list of artifact versions shows of an artifact."""
        source = (artifact["definitionReference"].get("definition") or {}).get("id", "")
        shown = {"alias": artifact["alias"], "sourceId": artifact["sourceId"]}
        if error := self.version_errors.get(source):
            return {**shown, "versions": None, "defaultVersion": None, "errorMessage": error}
        versions = list(reversed(self._versions.get(source, [])))
        if artifact["type"] == shapes.MODEL_ARTIFACT:
            versions = [self._model_version(source, version["name"]) for version in versions]
        elif not versions:
            versions = [{"id": "1", "name": "1"}]
        return {**shown, "versions": versions, **({"defaultVersion": versions[0]} if versions else {})}

    def _model_version(self, model: str, version: str) -> Json:
        values = {"model": model, "version": version}
        return {"id": self.model_version_id.format(**values), "name": self.model_version_name.format(**values)}

    def _list_groups(self, call: Call) -> Response:
        """List variable groups by ID; an unknown ID is left out."""
        self.project(call.project)
        wanted = call.query.get("groupIds", "").split(",")
        return list_of([group for group in self._groups.values() if str(group["id"]) in wanted])

    def _definitions_of(self, project: str) -> list[Json]:
        identity = self.project(project)["id"]
        return [
            definition for definition in self._definitions.values() if definition["projectReference"]["id"] == identity
        ]

    def _definition(self, project: str, number: int) -> Json:
        for definition in self._definitions_of(project):
            if definition["id"] == number and not definition["isDeleted"]:
                return definition
        raise Refusal(shapes.DEFINITION_NOT_FOUND, f"Release pipeline with ID {number} does not exist.")

    def _permits(self, permission: str, definition: Json | None) -> bool:
        return self.allows(definition_token(definition), permission)

    def _require(self, permission: str, definition: Json | None) -> None:
        if not self._permits(permission, definition):
            denied = f"VS402904: Access denied: User Model Release does not have {permission.lower()} permission."
            raise Refusal(shapes.ACCESS_DENIED, f"{denied} Contact your release manager.")


def definition_token(definition: Json | None) -> str:
    """Return the security token of a release definition; empty if there is none."""
    if definition is None:
        return ""
    return token_of(definition["projectReference"]["id"], definition["path"], definition["id"])


def address_of(definition: Json, call: Call) -> dict[str, Any]:
    """Return the API address and the web address of a definition."""
    number = definition["id"]
    # Azure DevOps names the project by its ID here, and here alone.
    project = definition["projectReference"]["id"]
    links = call.links(project, f"Release/definitions/{number}", f"_release?definitionId={number}")
    return {"url": links["self"]["href"], "_links": links}
