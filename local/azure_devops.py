"""Azure DevOps on this machine: classic releases and YAML pipelines, in memory, over HTTP as its SDK expects them."""

from __future__ import annotations

import argparse
import base64
import threading
import uuid
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass
from html import escape
from typing import Any

from werkzeug.wrappers import Request, Response

from local import azure_devops_releases as shapes
from local import azure_devops_security as security
from local.azure_devops_faults import Fault, Faults, sign_in_page
from local.azure_devops_http import Call, Handler, find, json_of, list_of, routes
from local.azure_devops_pipelines import LOCATIONS, PERMISSIONS, Pipelines
from local.azure_devops_releases import Json, Refusal
from local.serving import Server

__all__ = ["AzureDevOps", "Fault", "Received", "sample"]

# The ids are the SDK's; area, name and template make the address of a resource.
_LOCATIONS = [
    ("e81700f7-3be2-46de-8624-2eb35882fcaa", "Location", "ResourceAreas", "_apis/{resource}/{areaId}", 1),
    ("a166fde7-27ad-408e-ba75-703c2cc9d500", "Release", "releases", "{project}/_apis/{area}/{resource}/{releaseId}", 8),
    (
        "d8f96f24-8ea7-4cb6-baab-2df8fc515665",
        "Release",
        "definitions",
        "{project}/_apis/{area}/{resource}/{definitionId}",
        4,
    ),
    ("30fc787e-a9e0-4a07-9fbc-3e903aa051d2", "Release", "versions", "{project}/_apis/{area}/artifacts/{resource}", 1),
    security.LOCATION,
]
_RELEASE_AREA = "efc2f575-36ef-48e9-b672-0c6fb4a48ac5"


@dataclass(frozen=True)
class Received:
    """A request that came in."""

    method: str
    path: str
    body: str
    query: str = ""


class AzureDevOps:
    """One Azure DevOps, the same for every organization; an application for a Server."""

    def __init__(self, *, pat: str | None = None) -> None:
        """Let everybody in who brings any sign-in, or only who brings this personal access token."""
        self.releases: list[Json] = []
        self.requests: list[Received] = []
        self.permissions = {"View releases", "Create releases", "View release pipeline", "Edit release pipeline"}
        self.permissions |= PERMISSIONS
        self.denied: dict[str, set[str]] = {}
        self.pipelines = Pipelines(self._project, self._permits)
        self.model_version_id = "{version}"
        self._pat = pat
        self._projects: dict[str, Json] = {}
        self._definitions: dict[int, Json] = {}
        self._versions: dict[str, list[str]] = {}
        self._faults = Faults()
        self._lock = threading.RLock()
        self._api = routes(
            {
                "OPTIONS /{organization}/_apis": self._locations,
                "GET /{organization}/_apis/ResourceAreas": self._resource_areas,
                "GET /{organization}/_apis/permissions/{namespace}/{id}": self._has_permissions,
                "GET /{organization}/{project}/_apis/Release/definitions": self._list_definitions,
                "GET /{organization}/{project}/_apis/Release/definitions/{id}": self._get_definition,
                "PUT /{organization}/{project}/_apis/Release/definitions": self._update_definition,
                "GET /{organization}/{project}/_apis/Release/artifacts/versions": self._list_artifact_versions,
                "GET /{organization}/{project}/_apis/Release/releases": self._list_releases,
                "GET /{organization}/{project}/_apis/Release/releases/{id}": self._get_release,
                "POST /{organization}/{project}/_apis/Release/releases": self._create_release,
                **self.pipelines.handlers(),
            }
        )
        self._local = routes(
            {
                "GET /": self._show_page,
                "GET /{organization}/{project}/_release": self._show_page,
                "GET /{organization}/{project}/_build/results": self._show_page,
                "GET /_local/releases": lambda _: json_of(self.releases),
                "GET /_local/runs": lambda _: json_of(self.runs),
                "GET /_local/requests": lambda _: json_of([asdict(received) for received in self.requests]),
                "POST /_local/faults": self._take_faults,
                "DELETE /_local/faults": self._drop_faults,
                "POST /_local/definitions": lambda call: json_of(self.add_definition(**call.body)),
                "PATCH /_local/definitions/{id}": self._change_definition,
                "POST /_local/pipelines": lambda call: json_of(self.add_pipeline(**call.body)),
                "PATCH /_local/pipelines/{id}": lambda call: json_of(self.pipelines.change(int(call.id), **call.body)),
                "POST /_local/permissions": self._set_permissions,
            }
        )

    def add_definition(
        self,
        project: str,
        name: str,
        *,
        id: int | None = None,  # noqa: A002  Azure DevOps' word
        path: str = "\\",
        model_artifacts: Mapping[str, str] | None = None,
        trigger: bool = False,
        variables: Mapping[str, str | Json] | None = None,
        stages: Sequence[str] = ("Production",),
        disabled: bool = False,
    ) -> Json:
        """Add a release definition and return it, to be changed at will; model artifacts are models by alias."""
        artifacts = [shapes.model_artifact(alias, model) for alias, model in (model_artifacts or {}).items()]
        for artifact in artifacts[:1]:
            artifact["isPrimary"] = True
        cause = {"triggerType": "artifactSource", "triggerConditions": []}
        with self._lock:
            number = id or max(self._definitions, default=0) + 1
            if number in self._definitions:
                msg = f"There is a definition {number} already."
                raise ValueError(msg)
            self._definitions[number] = {
                "id": number,
                "name": name,
                "path": path,
                "projectReference": self._add_project(project),
                "isDeleted": False,
                "isDisabled": disabled,
                "revision": 1,
                "createdOn": shapes.now(),
                "releaseNameFormat": "Release-$(rev:r)",
                "artifacts": artifacts,
                "triggers": [{"artifactAlias": artifact["alias"], **cause} for artifact in artifacts if trigger],
                "variables": {key: shapes.variable(value) for key, value in (variables or {}).items()},
                "environments": shapes.definition_stages(stages),
            }
            return self._definitions[number]

    def add_pipeline(self, project: str, name: str, **options: Any) -> Json:
        """Add a YAML pipeline and return it, to be changed at will; the options are those of `Pipelines.add`."""
        with self._lock:
            return self.pipelines.add(self._add_project(project), name, **options)

    @property
    def runs(self) -> list[Json]:
        """The runs of all pipelines, the oldest first."""
        return self.pipelines.runs

    def add_model_version(self, model: str, version: str) -> None:
        """Let the artifact version list know this version, as the latest one."""
        with self._lock:
            self._versions.setdefault(model, []).append(version)

    def misbehave(self, *faults: Fault) -> None:
        """Let these faults happen too; of those that match a request, the one added first happens."""
        self._faults.add(faults)

    def behave(self) -> None:
        """Let no more faults happen."""
        self._faults.clear()

    def __call__(self, request: Request) -> Response:
        """Answer a request."""
        if found := find(self._local, request):
            return self._answer_locally(*found)
        received = Received(request.method, request.path, request.get_data(as_text=True), request.query_string.decode())
        with self._lock:
            self.requests.append(received)
        return self._faults.take(request).answer(lambda: self._answer(request))

    def _answer_locally(self, handler: Handler, call: Call) -> Response:
        try:
            with self._lock:
                return handler(call)
        except (TypeError, ValueError, KeyError) as error:
            return Response(f"{type(error).__name__}: {error}\n", 400)

    def _answer(self, request: Request) -> Response:
        if not self._is_signed_in(request):
            return sign_in_page()
        try:
            handler, call = find(self._api, request) or (_refuse, Call(request))
            with self._lock:
                return handler(call)
        except Refusal as refusal:
            return json_of(refusal.body, refusal.status)
        except (AttributeError, TypeError, ValueError) as error:  # a number or the body is not what it should be
            return json_of(Refusal(shapes.INVALID_REQUEST, str(error)).body, shapes.INVALID_REQUEST.status)

    def _is_signed_in(self, request: Request) -> bool:
        given = request.headers.get("Authorization", "")
        if self._pat is None:
            return bool(given)
        return given in (f"Bearer {self._pat}", "Basic " + base64.b64encode(f":{self._pat}".encode()).decode())

    def _locations(self, _: Call) -> Response:
        names = ("id", "area", "resourceName", "routeTemplate", "resourceVersion")
        versions = {"minVersion": "3.2", "maxVersion": "7.2", "releasedVersion": "7.1"}
        return list_of(
            [{**dict(zip(names, location, strict=True)), **versions} for location in (*_LOCATIONS, *LOCATIONS)]
        )

    def _resource_areas(self, call: Call) -> Response:
        # Whoever came through a proxy is sent through it again.
        address = f"{call.request.host_url}{call.organization}/"
        return list_of([{"id": _RELEASE_AREA, "name": "Release", "locationUrl": address}])

    def _has_permissions(self, call: Call) -> Response:
        if call.namespace.lower() not in security.NAMESPACES:
            raise Refusal(shapes.NAMESPACE_NOT_FOUND, f"The security namespace {call.namespace} does not exist.")
        tokens = call.query["tokens"].split(call.query.get("delimiter", ","))
        asked = (call.namespace.lower(), int(call.id))
        return list_of([security.has_bits(*asked, token, self.permissions, self.denied) for token in tokens])

    def _list_definitions(self, call: Call) -> Response:
        # Without the permission the list is no error, it is empty.
        visible = [d for d in self._definitions_of(call.project) if self._allows("View release pipeline", d)]
        found = [definition for definition in visible if shapes.is_wanted_definition(definition, call.query)]
        page, token = shapes.page(found, call.query, order="idAscending", default=10_000, most=10_000)
        listed = [shapes.shown_definition(definition, call.query) for definition in page]
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
        model = artifact["definitionReference"]["definition"]["id"]
        names = reversed(self._versions.get(model, []))
        versions = [{"id": self.model_version_id.format(model=model, version=name), "name": name} for name in names]
        default = {"defaultVersion": versions[0]} if versions else {}
        return {"alias": artifact["alias"], "sourceId": artifact["sourceId"], "versions": versions, **default}

    def _list_releases(self, call: Call) -> Response:
        visible = [r for r in self._releases_of(call.project) if self._allows("View releases", self._definition_of(r))]
        found = [release for release in visible if shapes.is_wanted_release(release, call.query)]
        page, token = shapes.page(found, call.query, order="descending", default=50, most=100)
        return list_of([shapes.listed_release(release, call.query) for release in page], token)

    def _get_release(self, call: Call) -> Response:
        for release in self._releases_of(call.project):
            if release["id"] == int(call.id) and not release.get("isDeleted"):
                self._require("View releases", self._definition_of(release))
                return json_of(shapes.shown_release(release, call.query))
        raise Refusal(shapes.RELEASE_NOT_FOUND, f"Release with ID {call.id} does not exist.")

    def _create_release(self, call: Call) -> Response:
        """Create a release after the checks of Azure DevOps, in its order."""
        self._definitions_of(call.project)
        start = call.body
        number = int(start.get("definitionId") or 0)
        self._require("Create releases", self._definitions.get(number))
        versions = shapes.chosen_versions(start)
        definition = self._definition(call.project, number)
        if definition["isDisabled"]:
            raise Refusal(shapes.DEFINITION_DISABLED, f"Release pipeline '{definition['name']}' is disabled.")
        release = {
            "artifacts": self._release_artifacts(definition, versions, is_draft=bool(start.get("isDraft"))),
            "variables": shapes.overlaid(definition["variables"], start.get("variables"), scope="Release"),
            "environments": shapes.release_stages(definition["environments"], start),
        }
        self.releases.append({**self._release_itself(call, definition, start), **release})
        return json_of(shapes.shown_release(self.releases[-1], call.query))

    def _release_artifacts(self, definition: Json, chosen: dict[str, Json], *, is_draft: bool) -> list[Json]:
        artifacts: list[Json] = deepcopy(definition["artifacts"])
        for artifact in artifacts:
            default = None if is_draft else self._versions_of(artifact).get("defaultVersion")
            version = chosen.get(artifact["alias"].lower()) or default
            if version:
                # Whether the source has this version is not checked; in the end a stage fails to download it.
                name = version.get("name") or version["id"]
                artifact["definitionReference"]["version"] = {"id": version["id"], "name": name}
            elif not is_draft:
                raise shapes.no_version(artifact["alias"])
        if unknown := chosen.keys() - {artifact["alias"].lower() for artifact in artifacts}:
            message = f"Artifact source(s) {', '.join(sorted(unknown))} do not exist in the release pipeline."
            raise Refusal(shapes.INVALID_REQUEST, message)
        return artifacts

    def _release_itself(self, call: Call, definition: Json, start: Json) -> Json:
        number = len(self.releases) + 1
        revision = 1 + sum(release["releaseDefinition"]["id"] == definition["id"] for release in self.releases)
        project = definition["projectReference"]
        return {
            "id": number,
            "name": f"Draft-{number}" if start.get("isDraft") else f"Release-{revision}",
            "status": "draft" if start.get("isDraft") else "active",
            "createdOn": shapes.now(),
            "description": start.get("description") or "",
            "reason": "manual" if start.get("reason") in (None, "none") else start["reason"],
            "releaseDefinition": {
                **{key: definition[key] for key in ("id", "name", "path")},
                "url": _address(definition, call)["url"],
            },
            "releaseDefinitionRevision": definition["revision"],
            "releaseNameFormat": definition["releaseNameFormat"],
            "keepForever": False,
            "tags": [],
            "properties": shapes.release_properties(start.get("properties") or {}),
            "projectReference": project,
            "_links": call.links(
                project["name"], f"Release/releases/{number}", f"_release?releaseId={number}&_a=release-summary"
            ),
        }

    def _add_project(self, name: str) -> Json:
        project = {"id": str(uuid.uuid5(uuid.NAMESPACE_DNS, name.lower())), "name": name}
        self._projects |= {name.lower(): project, project["id"]: project}
        return project

    def _project(self, name: str) -> Json:
        if project := self._projects.get(name.lower()):
            return project
        raise Refusal(shapes.PROJECT_NOT_FOUND, f"TF200016: The following project does not exist: {name}.")

    def _definitions_of(self, project: str) -> list[Json]:
        identity = self._project(project)["id"]
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

    def _allows(self, permission: str, definition: Json | None) -> bool:
        return self._permits(permission, definition_token(definition))

    def _permits(self, permission: str, token: str) -> bool:
        return security.allows([permission], token, self.permissions, self.denied)

    def _require(self, permission: str, definition: Json | None) -> None:
        if not self._allows(permission, definition):
            denied = f"VS402904: Access denied: User Model Release does not have {permission.lower()} permission."
            raise Refusal(shapes.ACCESS_DENIED, f"{denied} Contact your release manager.")

    def _take_faults(self, call: Call) -> Response:
        self.misbehave(*[Fault(**fields) for fields in call.request.get_json(force=True)])
        return Response(status=204)

    def _drop_faults(self, _: Call) -> Response:
        self.behave()
        return Response(status=204)

    def _change_definition(self, call: Call) -> Response:
        definition = self._definitions[int(call.id)]
        definition.update(call.body)
        return json_of(definition)

    def _set_permissions(self, call: Call) -> Response:
        self.permissions = set(call.request.get_json(force=True))
        return Response(status=204)

    def _show_page(self, _: Call) -> Response:
        nothing = "<tr><td>none yet"
        releases = "".join(_row(release) for release in reversed(self.releases)) or nothing
        runs = "".join(_run_row(run) for run in reversed(self.runs)) or nothing
        return Response(_PAGE.replace("RELEASES", releases).replace("RUNS", runs), mimetype="text/html")


def _refuse(call: Call) -> Response:
    raise Refusal(shapes.RESOURCE_NOT_FOUND, f"The controller for path '{call.request.path}' was not found.")


def _address(definition: Json, call: Call) -> Json:
    number = definition["id"]
    # Azure DevOps names the project by its id here, and here alone.
    project = definition["projectReference"]["id"]
    links = call.links(project, f"Release/definitions/{number}", f"_release?definitionId={number}")
    return {"url": links["self"]["href"], "_links": links}


_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Local Azure DevOps</title><link rel="icon" href="data:,">
<style>
  body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem }
  table { border-collapse: collapse; width: 100% }
  th, td { border-bottom: 1px solid #ddd; padding: .4rem 1rem .4rem 0; text-align: left; vertical-align: top }
  td { white-space: pre-line }
</style></head>
<body><h1>Releases</h1>
<table>
<thead><tr><th>Id<th>Definition<th>Description<th>Artifact versions<th>Variables</thead>
<tbody>RELEASES</tbody>
</table>
<h1>Runs</h1>
<table>
<thead><tr><th>Id<th>Pipeline<th>Branch<th>Parameters</thead>
<tbody>RUNS</tbody>
</table>
</body></html>
"""


def _row(release: Json) -> str:
    versions = {
        artifact["alias"]: artifact["definitionReference"].get("version", {}).get("name", "none")
        for artifact in release["artifacts"]
    }
    variables = {name: variable.get("value") or "" for name, variable in release["variables"].items()}
    where = f"{release['projectReference']['name']}: {release['releaseDefinition']['name']}"
    return _cells(release["id"], where, release["description"], _lines(versions), _lines(variables))


def _run_row(run: Json) -> str:
    return _cells(run["id"], run["pipeline"]["name"], run["sourceBranch"], _lines(run["templateParameters"]))


def _lines(values: Json) -> str:
    return "\n".join(f"{name}: {value}" for name, value in values.items())


def _cells(*values: object) -> str:
    return "<tr>" + "".join(f"<td>{escape(str(value))}</td>" for value in values) + "</tr>\n"


def definition_token(definition: Json | None) -> str:
    """Return what the permissions on a release definition are kept under; nothing where there is none."""
    if definition is None:
        return ""
    return security.token_of(definition["projectReference"]["id"], definition["path"], definition["id"])


def sample() -> AzureDevOps:
    """Return an Azure DevOps with what the sample release map starts."""
    azure_devops = AzureDevOps()
    model = {"ModelName": "", "ModelVersion": "", "ModelWorkspace": ""}
    azure_devops.add_definition(
        "fraud",
        "Deploy sklearn model",
        model_artifacts={"_sklearn_regression_model": "sklearn_regression_model"},
        variables=model,
        stages=("Staging", "Production"),
    )
    azure_devops.add_definition(
        "risk",
        "Deploy fraud model",
        id=42,
        path="\\models",
        variables={**model, "Stage": ""},
        stages=("Test", "Production"),
    )
    azure_devops.add_pipeline(
        "growth", "Deploy churn", parameters={"modelName": None, "modelVersion": None, "modelReleaseMarker": ""}
    )
    for version in ("18", "19"):
        azure_devops.add_model_version("sklearn_regression_model", version)
    return azure_devops


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(prog="python -m local.azure_devops", description="Serve a local Azure DevOps.")
    parser.add_argument("--port", type=int, default=0, help="where to listen; a free port otherwise")
    parser.add_argument("--empty", action="store_true", help="without the sample's release definitions")
    options = parser.parse_args()
    with Server(AzureDevOps() if options.empty else sample(), options.port) as server:
        print(f"Azure DevOps at {server.url}/contoso", flush=True)
        server.wait()


if __name__ == "__main__":
    main()
