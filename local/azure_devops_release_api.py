"""The release half of the local Azure DevOps: definitions, artifact versions and releases over HTTP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from werkzeug.wrappers import Response

from local import azure_devops_releases as shapes
from local.azure_devops_http import Call, Handler, Json, Refusal, json_of, list_of, now
from local.azure_devops_security import Organization, token_of

# The IDs are the SDK's; area, name and template make the address of a resource.
RELEASE_LOCATIONS = [
    ("a166fde7-27ad-408e-ba75-703c2cc9d500", "Release", "releases", "{project}/_apis/{area}/{resource}/{releaseId}", 8),
    (
        "d8f96f24-8ea7-4cb6-baab-2df8fc515665",
        "Release",
        "definitions",
        "{project}/_apis/{area}/{resource}/{definitionId}",
        4,
    ),
    (
        "f5b09dd5-9d54-45a1-8b5a-1c8287d634cc",
        "distributedtask",
        "variablegroups",
        "{project}/_apis/{area}/{resource}/{groupId}",
        2,
    ),
    ("30fc787e-a9e0-4a07-9fbc-3e903aa051d2", "Release", "versions", "{project}/_apis/{area}/artifacts/{resource}", 1),
]


class Releases(Organization):
    """The release definitions of an organization, and the releases of all of them, oldest first."""

    def __init__(self) -> None:
        super().__init__()
        self.releases: list[Json] = []
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

    def release_handlers(self) -> dict[str, Handler]:
        """Return the handler of each request."""
        release = "/{organization}/{project}/_apis/Release"
        return {
            f"GET {release}/definitions": self._list_definitions,
            f"GET {release}/definitions/{{id}}": self._get_definition,
            f"PUT {release}/definitions": self._update_definition,
            f"GET {release}/artifacts/versions": self._list_artifact_versions,
            f"GET {release}/releases": self._list_releases,
            f"GET {release}/releases/{{id}}": self._get_release,
            f"POST {release}/releases": self._create_release,
            "GET /{organization}/{project}/_apis/distributedtask/variablegroups": self._list_groups,
        }

    def _list_definitions(self, call: Call) -> Response:
        # Without the permission the list is empty; this is not an error.
        visible = [d for d in self._definitions_of(call.project) if self._permits("View release pipeline", d)]
        found = [definition for definition in visible if shapes.is_wanted_definition(definition, call.query)]
        page, token = shapes.page(found, call.query, newest_first=False, default=10_000, most=10_000)
        listed = [shapes.listed_definition(definition, call.query) for definition in page]
        return list_of([{**definition, **_address(definition, call)} for definition in listed], token)

    def _get_definition(self, call: Call) -> Response:
        self._require("View release pipeline", self._definitions.get(int(call.id)))
        definition = self._definition(call.project, int(call.id))
        return json_of({**definition, **_address(definition, call), "projectReference": None})

    def _update_definition(self, call: Call) -> Response:
        definition = self._definition(call.project, int(call.body.get("id") or 0))
        self._require("Edit release pipeline", definition)
        updated = shapes.updated_definition(definition, call.body)
        self._definitions[definition["id"]] = updated
        return json_of({**updated, **_address(updated, call), "projectReference": None})

    def _list_artifact_versions(self, call: Call) -> Response:
        definition = self._definition(call.project, int(call.query.get("releaseDefinitionId", 0)))
        self._require("View release pipeline", definition)
        return json_of({"artifactVersions": [self._versions_of(artifact) for artifact in definition["artifacts"]]})

    def _versions_of(self, artifact: Json) -> Json:
        source = artifact["definitionReference"]["definition"]["id"]
        shown = {"alias": artifact["alias"], "sourceId": artifact["sourceId"]}
        if error := self.version_errors.get(source):
            return {**shown, "versions": None, "defaultVersion": None, "errorMessage": error}
        versions = list(reversed(self._versions.get(source, [])))
        if artifact["type"] == shapes.MODEL_ARTIFACT:
            versions = [self._model_version(source, version["name"]) for version in versions]
        return {**shown, "versions": versions, **({"defaultVersion": versions[0]} if versions else {})}

    def _model_version(self, model: str, version: str) -> Json:
        values = {"model": model, "version": version}
        return {"id": self.model_version_id.format(**values), "name": self.model_version_name.format(**values)}

    def _list_groups(self, call: Call) -> Response:
        """List variable groups by ID; an unknown ID is left out."""
        self.project(call.project)
        wanted = call.query.get("groupIds", "").split(",")
        return list_of([group for group in self._groups.values() if str(group["id"]) in wanted])

    def _list_releases(self, call: Call) -> Response:
        visible = [
            release
            for release in self._releases_of(call.project)
            if self._permits("View releases", self._definition_of(release))
        ]
        found = [release for release in visible if shapes.is_wanted_release(release, call.query)]
        page, token = shapes.page(found, call.query, newest_first=True, default=50, most=100)
        return list_of([shapes.listed_release(release, call.query) for release in page], token)

    def _get_release(self, call: Call) -> Response:
        for release in self._releases_of(call.project):
            if release["id"] == int(call.id):
                self._require("View releases", self._definition_of(release))
                return json_of(release)
        raise Refusal(shapes.RELEASE_NOT_FOUND, f"Release with ID {call.id} does not exist.")

    def _create_release(self, call: Call) -> Response:
        """Create a release after the checks of Azure DevOps, in its order."""
        self.project(call.project)
        request = call.body
        number = int(request.get("definitionId") or 0)
        self._require("Create releases", self._definitions.get(number))
        definition = self._definition(call.project, number)
        if definition["isDisabled"]:
            raise Refusal(shapes.DEFINITION_DISABLED, f"Release pipeline '{definition['name']}' is disabled.")
        artifacts: list[Json] = definition["artifacts"]
        default = {artifact["alias"]: self._versions_of(artifact).get("defaultVersion") for artifact in artifacts}
        parts = {
            "artifacts": shapes.release_artifacts(artifacts, request, default),
            "variables": shapes.release_variables(definition["variables"], request.get("variables")),
            "environments": shapes.release_stages(definition["environments"], request),
        }
        self.releases.append({**self._new_release(call, definition, request), **parts})
        return json_of(self.releases[-1])

    def _new_release(self, call: Call, definition: Json, request: Json) -> Json:
        number = len(self.releases) + 1
        revision = 1 + sum(release["releaseDefinition"]["id"] == definition["id"] for release in self.releases)
        project = definition["projectReference"]
        links = call.links(
            project["name"], f"Release/releases/{number}", f"_release?releaseId={number}&_a=release-summary"
        )
        return {
            "id": number,
            "name": f"Release-{revision}",
            "status": "active",
            "createdOn": now(),
            "description": request.get("description") or "",
            "reason": "manual",
            "releaseDefinition": {
                **{key: definition[key] for key in ("id", "name", "path")},
                "url": _address(definition, call)["url"],
            },
            "releaseDefinitionRevision": definition["revision"],
            "releaseNameFormat": definition["releaseNameFormat"],
            "keepForever": False,
            "tags": [],
            "properties": {},
            "projectReference": project,
            "_links": links,
        }

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

    def _releases_of(self, project: str) -> list[Json]:
        definitions = {definition["id"] for definition in self._definitions_of(project)}
        return [release for release in self.releases if release["releaseDefinition"]["id"] in definitions]

    def _definition_of(self, release: Json) -> Json:
        return self._definitions[release["releaseDefinition"]["id"]]

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


def _address(definition: Json, call: Call) -> dict[str, Any]:
    number = definition["id"]
    # Azure DevOps names the project by its ID here, and here alone.
    project = definition["projectReference"]["id"]
    links = call.links(project, f"Release/definitions/{number}", f"_release?definitionId={number}")
    return {"url": links["self"]["href"], "_links": links}
