"""The releases of the local Azure DevOps over HTTP."""

from __future__ import annotations

from werkzeug.wrappers import Response

from local import azure_devops_releases as shapes
from local.azure_devops_definitions import Definitions, address_of
from local.azure_devops_http import Call, Handler, Json, Refusal, json_of, list_of, moment, now
from local.azure_devops_names import release_name


class Releases(Definitions):
    """The release definitions of an organization, and the releases of all of them, oldest first."""

    def __init__(self) -> None:
        super().__init__()
        self.releases: list[Json] = []

    def release_handlers(self) -> dict[str, Handler]:
        """Return the handler of each request."""
        release = "/{organization}/{project}/_apis/Release"
        return {
            **self.definition_handlers(),
            f"GET {release}/releases": self._list_releases,
            f"GET {release}/releases/{{id}}": self._get_release,
            f"POST {release}/releases": self._create_release,
        }

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
        default = {artifact["alias"]: self.versions_of(artifact).get("defaultVersion") for artifact in artifacts}
        parts = {
            "artifacts": shapes.release_artifacts(artifacts, request, default),
            "variables": shapes.release_variables(definition["variables"], request.get("variables")),
            "environments": shapes.release_stages(definition["environments"], request),
        }
        release = {**self._new_release(call, definition), **parts, "description": request.get("description") or ""}
        self.releases.append({**release, "name": self._name(release)})
        return json_of(self.releases[-1])

    def _new_release(self, call: Call, definition: Json) -> Json:
        number, created, project = len(self.releases) + 1, now(), definition["projectReference"]
        links = call.links(
            project["name"], f"Release/releases/{number}", f"_release?releaseId={number}&_a=release-summary"
        )
        return {
            "id": number,
            "status": "active",
            "createdOn": created,
            "reason": "manual",
            "releaseDefinition": {
                **{key: definition[key] for key in ("id", "name", "path")},
                "url": address_of(definition, call)["url"],
            },
            "releaseDefinitionRevision": definition["revision"],
            "releaseNameFormat": definition["releaseNameFormat"],
            "keepForever": False,
            "tags": [],
            "properties": {},
            "projectReference": project,
            "_links": links,
        }

    def _name(self, release: Json) -> str:
        definition = release["releaseDefinition"]
        earlier = [one["name"] for one in self.releases if one["releaseDefinition"]["id"] == definition["id"]]
        values = {
            **{name: value["value"] for name, value in release["variables"].items() if value["value"] is not None},
            "Release.ReleaseId": str(release["id"]),
            "Release.DefinitionName": definition["name"],
            "Release.ReleaseDescription": release["description"][:50],
            **shapes.primary_artifact_values(release["artifacts"]),
        }
        return release_name(release["releaseNameFormat"], values, moment(release["createdOn"]), earlier)

    def _releases_of(self, project: str) -> list[Json]:
        definitions = {definition["id"] for definition in self._definitions_of(project)}
        return [release for release in self.releases if release["releaseDefinition"]["id"] in definitions]

    def _definition_of(self, release: Json) -> Json:
        return self._definitions[release["releaseDefinition"]["id"]]
