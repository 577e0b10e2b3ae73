"""Azure DevOps on this machine: classic releases, in memory, over HTTP just as the azure-devops SDK expects them."""

from __future__ import annotations

import argparse
import base64
import json
import re
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from html import escape
from typing import Any

from werkzeug.wrappers import Request, Response

from local.azure_devops_faults import Fault, Faults, sign_in_page
from local.serving import Server

__all__ = ["AzureDevOps", "Fault", "Received", "sample"]

Json = dict[str, Any]

# The ids are the SDK's; it joins the template's parts to the address of a resource.
_LOCATIONS = [
    ("e81700f7-3be2-46de-8624-2eb35882fcaa", "Location", "ResourceAreas", "_apis/{resource}/{areaId}", 1),
    ("a166fde7-27ad-408e-ba75-703c2cc9d500", "Release", "releases", "{project}/_apis/{area}/{resource}/{releaseId}", 8),
    ("d8f96f24-8ea7-4cb6-baab-2df8fc515665", "Release", "definitions", "{project}/_apis/{area}/{resource}/{definitionId}", 4),
    ("30fc787e-a9e0-4a07-9fbc-3e903aa051d2", "Release", "versions", "{project}/_apis/{area}/artifacts/{resource}", 1),
]
_RELEASE_AREA = "efc2f575-36ef-48e9-b672-0c6fb4a48ac5"
_MODEL_ARTIFACT = "AzureMLMMS"
_SERVICE_CONNECTION = {"id": "0a1b2c3d-0000-4000-8000-4d4c53657276", "name": "Azure ML workspace"}

_STATUS = {
    "AccessDeniedException": 403,
    "InvalidRequestException": 400,
    "ProjectDoesNotExistWithNameException": 404,
    "ReleaseDefinitionDisabledException": 403,
    "ReleaseDefinitionNotFoundException": 404,
    "ReleaseNotFoundException": 404,
    "ResourceNotFoundException": 404,
}


class _Refusal(Exception):  # noqa: N818  it is an answer
    """Azure DevOps says no, with the type and the message of its own exception."""

    def response(self) -> Response:
        kind, message = self.args
        name_space = "Microsoft.VisualStudio.Services.ReleaseManagement.Data.Exceptions"
        body = {
            "$id": "1",
            "innerException": None,
            "message": message,
            "typeName": f"{name_space}.{kind}, Microsoft.VisualStudio.Services.ReleaseManagement2.Data",
            "typeKey": kind,
            "errorCode": 0,
            "eventId": 3000,
        }
        return _json(body, _STATUS[kind])


@dataclass(frozen=True)
class Received:
    """A request that came in."""

    method: str
    path: str
    body: str
    query: str = ""


@dataclass(frozen=True)
class _Call:
    """A request and what its path names."""

    request: Request
    organization: str = ""
    project: str = ""
    id: str = "0"

    @property
    def query(self) -> Mapping[str, str]:
        return self.request.args

    @property
    def expanded(self) -> set[str]:
        return set(self.query.get("$expand", "").lower().split(","))

    def links(self, project: str, api: str, page: str) -> Json:
        home = f"{self.request.host_url}{self.organization}/{project}"
        return {"self": {"href": f"{home}/_apis/Release/{api}"}, "web": {"href": f"{home}/_release?{page}"}}


class AzureDevOps:
    """One Azure DevOps, the same for every organization; an application for a Server."""

    def __init__(self, *, pat: str | None = None) -> None:
        """Let everybody in who brings any sign-in, or only who brings this personal access token."""
        self.releases: list[Json] = []
        self.requests: list[Received] = []
        self.permissions = {"View releases", "Create releases", "View release pipeline"}
        self.model_version_id = "{version}"
        self._pat = pat
        self._definitions: dict[int, Json] = {}
        self._versions: dict[str, list[str]] = {}
        self._faults = Faults()
        self._lock = threading.RLock()

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
        """Add a release definition and return it, to be changed at will; artifacts are models by alias."""
        artifacts = [_model_artifact(alias, model) for alias, model in (model_artifacts or {}).items()]
        with self._lock:
            number = id or max(self._definitions, default=0) + 1
            if number in self._definitions:
                msg = f"There is a definition {number} already."
                raise ValueError(msg)
            definition = {
                "id": number,
                "name": name,
                "path": path,
                "projectReference": {"id": str(uuid.uuid5(uuid.NAMESPACE_DNS, project.lower())), "name": project},
                "isDeleted": False,
                "isDisabled": disabled,
                "revision": 1,
                "createdOn": _now(),
                "releaseNameFormat": "Release-$(rev:r)",
                "artifacts": artifacts,
                "triggers": [_trigger(artifact["alias"]) for artifact in artifacts if trigger],
                "variables": {key: _variable(value) for key, value in (variables or {}).items()},
                "environments": _definition_stages(stages),
            }
            self._definitions[number] = definition
        return definition

    def add_model_version(self, model: str, version: str) -> None:
        """Let the artifact version list know this version, as the latest one."""
        with self._lock:
            self._versions.setdefault(model, []).append(version)

    def misbehave(self, *faults: Fault) -> None:
        """Let these faults happen, after those that are waiting already."""
        self._faults.add(faults)

    def behave(self) -> None:
        """Let no more faults happen."""
        self._faults.clear()

    def __call__(self, request: Request) -> Response:
        """Answer a request."""
        if found := _find(_LOCAL_ROUTES, request):
            return self._answer_locally(*found)
        body = request.get_data(as_text=True)
        with self._lock:
            self.requests.append(Received(request.method, request.path, body, request.query_string.decode()))
        return self._faults.take(request).answer(lambda: self._answer(request))

    def _answer(self, request: Request) -> Response:
        if not self._signed_in(request):
            return sign_in_page()
        try:
            if not (found := _find(_API_ROUTES, request)):
                raise _Refusal("ResourceNotFoundException", f"The controller for path '{request.path}' was not found.")
            handle, call = found
            with self._lock:
                return handle(self, call)
        except _Refusal as refusal:
            return refusal.response()
        except ValueError as error:
            return _Refusal("InvalidRequestException", str(error)).response()

    def _answer_locally(self, handle: _Handler, call: _Call) -> Response:
        try:
            with self._lock:
                return handle(self, call)
        except (TypeError, ValueError, KeyError) as error:
            return Response(f"{type(error).__name__}: {error}\n", 400)

    def _signed_in(self, request: Request) -> bool:
        given = request.headers.get("Authorization", "")
        if self._pat is None:
            return bool(given)
        return given == "Basic " + base64.b64encode(f":{self._pat}".encode()).decode()

    def _locations(self, _: _Call) -> Response:
        names = ("id", "area", "resourceName", "routeTemplate", "resourceVersion")
        versions = {"minVersion": "3.2", "maxVersion": "7.2", "releasedVersion": "7.1"}
        return _list([{**dict(zip(names, location, strict=True)), **versions} for location in _LOCATIONS])

    def _resource_areas(self, call: _Call) -> Response:
        # Whoever came through a proxy is sent through it again.
        address = f"{call.request.host_url}{call.organization}/"
        return _list([{"id": _RELEASE_AREA, "name": "Release", "locationUrl": address}])

    def _list_definitions(self, call: _Call) -> Response:
        definitions = self._definitions_of(call.project) if "View release pipeline" in self.permissions else []
        found = [definition for definition in definitions if _is_wanted_definition(definition, call.query)]
        page, token = _page(found, call.query, order="idAscending", default=10_000, most=10_000)
        return _list([_shown_definition(definition, call, call.expanded) for definition in page], token)

    def _get_definition(self, call: _Call) -> Response:
        self._require("View release pipeline")
        return _json(_shown_definition(self._definition(call.project, int(call.id)), call, _DEFINITION_PARTS))

    def _list_artifact_versions(self, call: _Call) -> Response:
        self._require("View release pipeline")
        definition = self._definition(call.project, int(call.query["releaseDefinitionId"]))
        return _json({"artifactVersions": [self._artifact_versions(artifact) for artifact in definition["artifacts"]]})

    def _list_releases(self, call: _Call) -> Response:
        definitions = {definition["id"] for definition in self._definitions_of(call.project)}
        # Without the permission the list is no error, it is empty.
        visible = self.releases if "View releases" in self.permissions else []
        releases = [release for release in visible if release["releaseDefinition"]["id"] in definitions]
        found = [release for release in releases if _is_wanted_release(release, call.query)]
        page, token = _page(found, call.query, order="descending", default=50, most=100)
        return _list([_shown_release(release, call.query, call.expanded) for release in page], token)

    def _get_release(self, call: _Call) -> Response:
        self._require("View releases")
        definitions = {definition["id"] for definition in self._definitions_of(call.project)}
        for release in self.releases:
            here = release["releaseDefinition"]["id"] in definitions and not release.get("isDeleted")
            if here and release["id"] == int(call.id):
                return _json(_shown_release(release, call.query, set(_RELEASE_PARTS)))
        raise _Refusal("ReleaseNotFoundException", f"Release with ID {call.id} does not exist. Specify a valid ID and try again.")

    def _create_release(self, call: _Call) -> Response:
        self._definitions_of(call.project)
        self._require("Create releases")
        start = _body(call)
        versions = _chosen_versions(start)
        definition = self._definition(call.project, int(start.get("definitionId") or 0))
        if definition["isDisabled"]:
            message = f"Release pipeline '{definition['name']}' is disabled. Enable it and try again."
            raise _Refusal("ReleaseDefinitionDisabledException", message)
        artifacts = self._release_artifacts(definition, versions, is_draft=bool(start.get("isDraft")))
        variables = _overlaid(definition["variables"], start.get("variables"), scope="Release")
        stages = _release_stages(definition, start)
        release = self._new_release(call, definition, start)
        self.releases.append({**release, "artifacts": artifacts, "variables": variables, "environments": stages})
        return _json(_shown_release(self.releases[-1], call.query, set(_RELEASE_PARTS)))

    def _new_release(self, call: _Call, definition: Json, start: Json) -> Json:
        number = len(self.releases) + 1
        revision = 1 + sum(release["releaseDefinition"]["id"] == definition["id"] for release in self.releases)
        project = definition["projectReference"]
        address = _shown_definition(definition, call, set())["url"]
        return {
            "id": number,
            "name": f"Draft-{number}" if start.get("isDraft") else f"Release-{revision}",
            "status": "draft" if start.get("isDraft") else "active",
            "createdOn": _now(),
            "description": start.get("description") or "",
            "reason": "manual" if start.get("reason") in (None, "none") else start["reason"],
            "releaseDefinition": {"id": definition["id"], "name": definition["name"], "path": definition["path"], "url": address},
            "releaseDefinitionRevision": definition["revision"],
            "releaseNameFormat": definition["releaseNameFormat"],
            "keepForever": False,
            "tags": [],
            "properties": {key: _typed(value) for key, value in (start.get("properties") or {}).items()},
            "projectReference": project,
            "_links": call.links(project["name"], f"releases/{number}", f"releaseId={number}&_a=release-summary"),
        }

    def _release_artifacts(self, definition: Json, chosen: dict[str, Json], *, is_draft: bool) -> list[Json]:
        artifacts: list[Json] = deepcopy(definition["artifacts"])
        for artifact in artifacts:
            alias = artifact["alias"]
            version = chosen.get(alias.lower()) or (None if is_draft else self._artifact_versions(artifact).get("defaultVersion"))
            if version:
                # That the source has this version is not checked: the first stage would notice.
                name = version.get("name") or version["id"]
                artifact["definitionReference"]["version"] = {"id": version["id"], "name": name}
            elif not is_draft:
                raise _no_version(alias)
        if unknown := chosen.keys() - {artifact["alias"].lower() for artifact in artifacts}:
            message = f"Artifact source(s) {', '.join(sorted(unknown))} do not exist in the release pipeline."
            raise _Refusal("InvalidRequestException", message)
        return artifacts

    def _artifact_versions(self, artifact: Json) -> Json:
        model = artifact["definitionReference"]["definition"]["id"]
        names = reversed(self._versions.get(model, []))
        versions = [{"id": self.model_version_id.format(model=model, version=name), "name": name} for name in names]
        default = {"defaultVersion": versions[0]} if versions else {}
        return {"alias": artifact["alias"], "sourceId": artifact["sourceId"], "versions": versions, **default}

    def _definitions_of(self, project: str) -> list[Json]:
        found = [
            definition
            for definition in self._definitions.values()
            if project.lower() in (definition["projectReference"]["name"].lower(), definition["projectReference"]["id"])
        ]
        if not found:
            message = f"TF200016: The following project does not exist: {project}. Verify that the name is correct."
            raise _Refusal("ProjectDoesNotExistWithNameException", message)
        return found

    def _definition(self, project: str, number: int) -> Json:
        for definition in self._definitions_of(project):
            if definition["id"] == number and not definition["isDeleted"]:
                return definition
        message = f"Release pipeline with ID {number} does not exist. Specify a valid ID and try again."
        raise _Refusal("ReleaseDefinitionNotFoundException", message)

    def _require(self, permission: str) -> None:
        if permission not in self.permissions:
            message = (
                f"VS402904: Access denied: User Model Release does not have {permission.lower()} permission."
                " Contact your release manager."
            )
            raise _Refusal("AccessDeniedException", message)

    def _local_releases(self, _: _Call) -> Response:
        return _json(self.releases)

    def _local_requests(self, _: _Call) -> Response:
        return _json([asdict(received) for received in self.requests])

    def _local_misbehave(self, call: _Call) -> Response:
        self.misbehave(*[Fault(**fields) for fields in call.request.get_json(force=True)])
        return Response(status=204)

    def _local_behave(self, _: _Call) -> Response:
        self.behave()
        return Response(status=204)

    def _local_add_definition(self, call: _Call) -> Response:
        return _json(self.add_definition(**_body(call)))

    def _local_change_definition(self, call: _Call) -> Response:
        definition = self._definitions[int(call.id)]
        definition.update(_body(call))
        return _json(definition)

    def _local_permissions(self, call: _Call) -> Response:
        self.permissions = set(call.request.get_json(force=True))
        return Response(status=204)

    def _page(self, _: _Call) -> Response:
        rows = "".join(_row(release) for release in reversed(self.releases))
        return Response(_PAGE.replace("ROWS", rows or '<tr><td colspan="5">none yet</td></tr>'), mimetype="text/html")


_Handler = Callable[[AzureDevOps, _Call], Response]


def _routes(table: Mapping[str, _Handler]) -> list[tuple[re.Pattern[str], _Handler]]:
    return [
        (re.compile(re.sub(r"{(\w+)}", r"(?P<\1>[^/]+)", route), re.IGNORECASE), handler) for route, handler in table.items()
    ]


_API_ROUTES = _routes(
    {
        "OPTIONS /{organization}/_apis": AzureDevOps._locations,
        "GET /{organization}/_apis/ResourceAreas": AzureDevOps._resource_areas,
        "GET /{organization}/{project}/_apis/Release/definitions": AzureDevOps._list_definitions,
        "GET /{organization}/{project}/_apis/Release/definitions/{id}": AzureDevOps._get_definition,
        "GET /{organization}/{project}/_apis/Release/artifacts/versions": AzureDevOps._list_artifact_versions,
        "GET /{organization}/{project}/_apis/Release/releases": AzureDevOps._list_releases,
        "GET /{organization}/{project}/_apis/Release/releases/{id}": AzureDevOps._get_release,
        "POST /{organization}/{project}/_apis/Release/releases": AzureDevOps._create_release,
    }
)
_LOCAL_ROUTES = _routes(
    {
        "GET /": AzureDevOps._page,
        "GET /{organization}/{project}/_release": AzureDevOps._page,
        "GET /_local/releases": AzureDevOps._local_releases,
        "GET /_local/requests": AzureDevOps._local_requests,
        "POST /_local/faults": AzureDevOps._local_misbehave,
        "DELETE /_local/faults": AzureDevOps._local_behave,
        "POST /_local/definitions": AzureDevOps._local_add_definition,
        "PATCH /_local/definitions/{id}": AzureDevOps._local_change_definition,
        "POST /_local/permissions": AzureDevOps._local_permissions,
    }
)


def _find(routes: list[tuple[re.Pattern[str], _Handler]], request: Request) -> tuple[_Handler, _Call] | None:
    asked = f"{request.method} {request.path.rstrip('/') or '/'}"
    for pattern, handler in routes:
        if match := pattern.fullmatch(asked):
            return handler, _Call(request, **match.groupdict())
    return None


def _json(body: object, status: int = 200) -> Response:
    return Response(json.dumps(body), status, mimetype="application/json")


def _list(values: list[Json], continuation_token: int | None = None) -> Response:
    response = _json({"count": len(values), "value": values})
    if continuation_token is not None:
        response.headers["x-ms-continuationtoken"] = str(continuation_token)
    return response


def _body(call: _Call) -> Json:
    body = call.request.get_json(force=True, silent=True)
    if not isinstance(body, dict):
        msg = "The body is no JSON object."
        raise ValueError(msg)  # noqa: TRY004  both kinds of routes answer 400
    return body


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _model_artifact(alias: str, model: str) -> Json:
    return {
        "sourceId": f"{_SERVICE_CONNECTION['id']}:{model}",
        "type": _MODEL_ARTIFACT,
        "alias": alias,
        "definitionReference": {
            "connection": dict(_SERVICE_CONNECTION),
            "defaultVersionType": {"id": "latestType", "name": "Latest version for the specified models"},
            "definition": {"id": model, "name": model},
        },
        "isPrimary": True,
        "isRetained": False,
    }


def _trigger(alias: str) -> Json:
    return {"artifactAlias": alias, "triggerConditions": [], "triggerType": "artifactSource"}


def _variable(value: str | Json) -> Json:
    if isinstance(value, str):
        return {"value": value, "allowOverride": True}
    # A secret is never told again.
    return {**value, "value": None} if value.get("isSecret") else dict(value)


def _definition_stages(names: Sequence[str]) -> list[Json]:
    started = {"conditionType": "event", "name": "ReleaseStarted", "value": ""}
    # 4 is the number of "succeeded".
    after = [{"conditionType": "environmentState", "name": name, "value": "4"} for name in names[:-1]]
    return [
        {"id": rank, "name": name, "rank": rank, "variables": {}, "conditions": [condition]}
        for rank, (name, condition) in enumerate(zip(names, [started, *after], strict=True), start=1)
    ]


def _typed(value: object) -> Json:
    kinds = {bool: "System.String", int: "System.Int32", float: "System.Double"}
    return {"$type": kinds.get(type(value), "System.String"), "$value": str(value) if isinstance(value, bool) else value}


_DEFINITION_PARTS = {"artifacts", "environments", "triggers", "variables"}
_RELEASE_PARTS: Json = {"artifacts": [], "environments": [], "variables": {}}


def _shown_definition(definition: Json, call: _Call, expanded: set[str]) -> Json:
    shown = {key: value for key, value in definition.items() if key in expanded or key not in _DEFINITION_PARTS}
    number = definition["id"]
    links = call.links(definition["projectReference"]["name"], f"definitions/{number}", f"definitionId={number}")
    return {**shown, "url": links["self"]["href"], "_links": links}


def _shown_release(release: Json, query: Mapping[str, str], expanded: set[str]) -> Json:
    left_out = {part: empty for part, empty in _RELEASE_PARTS.items() if part not in expanded}
    asked_for = query.get("propertyFilters", "").lower().split(",")
    properties = {key: value for key, value in release["properties"].items() if key.lower() in asked_for}
    shown = {**release, **left_out, "properties": properties}
    shown.pop("isDeleted", None)
    return shown


def _is_true(text: str) -> bool:
    return text.lower() == "true"


def _is_wanted_definition(definition: Json, query: Mapping[str, str]) -> bool:
    name, text = definition["name"].lower(), query.get("searchText", "").lower()
    exact = _is_true(query.get("isExactNameMatch", ""))
    folder = query.get("path", "").lower().strip("\\")
    definition_folder = definition["path"].lower().strip("\\")
    return (
        definition["isDeleted"] == _is_true(query.get("isDeleted", ""))
        and (name == text if exact and text else text in name)
        and (not folder or f"{definition_folder}\\".startswith(f"{folder}\\"))
    )


_RELEASE_FILTERS: dict[str, Callable[[Json, str], bool]] = {
    "definitionId": lambda release, wanted: release["releaseDefinition"]["id"] == int(wanted),
    "minCreatedTime": lambda release, wanted: _moment(release["createdOn"]) >= _moment(wanted),
    "maxCreatedTime": lambda release, wanted: _moment(release["createdOn"]) <= _moment(wanted),
    "searchText": lambda release, wanted: wanted.lower() in release["name"].lower(),
    "statusFilter": lambda release, wanted: wanted.lower() == release["status"],
}
_ARTIFACT_FILTERS: dict[str, Callable[[Json], Any]] = {
    "artifactTypeId": lambda artifact: artifact["type"],
    "sourceId": lambda artifact: artifact["sourceId"],
    "artifactVersionId": lambda artifact: artifact["definitionReference"].get("version", {}).get("id"),
}


def _is_wanted_release(release: Json, query: Mapping[str, str]) -> bool:
    about_artifacts = {name: value_of for name, value_of in _ARTIFACT_FILTERS.items() if name in query}
    return (
        release.get("isDeleted", False) == _is_true(query.get("isDeleted", ""))
        and all(passes(release, query[name]) for name, passes in _RELEASE_FILTERS.items() if name in query)
        and (
            not about_artifacts
            or any(
                all(value_of(artifact) == query[name] for name, value_of in about_artifacts.items())
                for artifact in release["artifacts"]
            )
        )
    )


def _page(found: list[Json], query: Mapping[str, str], *, order: str, default: int, most: int) -> tuple[list[Json], int | None]:
    """Return one page and the id that the next one begins with."""
    descending = query.get("queryOrder", order).lower().endswith("descending")
    ordered = sorted(found, key=lambda item: int(item["id"]), reverse=descending)
    if "continuationToken" in query:
        first = int(query["continuationToken"])
        ordered = [item for item in ordered if (item["id"] <= first if descending else item["id"] >= first)]
    top = min(int(query.get("$top", default)), most)
    return ordered[:top], ordered[top]["id"] if ordered[top:] else None


def _no_version(alias: str) -> _Refusal:
    message = (
        f"VS402962: No artifact version id is specified corresponding to artifact source '{alias}'."
        " Specify a valid value and try again."
    )
    return _Refusal("InvalidRequestException", message)


def _chosen_versions(start: Json) -> dict[str, Json]:
    """Return the versions that the request names, by alias in lower case."""
    chosen: dict[str, Json] = {}
    for artifact in start.get("artifacts") or []:
        alias, version = artifact.get("alias") or "", artifact.get("instanceReference") or {}
        if not alias.strip():
            raise _Refusal("InvalidRequestException", "An artifact has no alias. Specify a valid value and try again.")
        if not str(version.get("id") or "").strip():
            raise _no_version(alias)
        if alias.lower() in chosen:
            raise _Refusal("InvalidRequestException", f"Artifact source '{alias}' is specified more than once.")
        chosen[alias.lower()] = version
    return chosen


def _overlaid(defined: Json, given: object, *, scope: str) -> Json:
    """Return the definition's variables with the request's values."""
    # Azure DevOps takes variables in a JSON array for none at all.
    wanted: Json = given if isinstance(given, dict) else {}
    names = {name.lower(): name for name in defined}
    if unknown := [name for name in wanted if name.lower() not in names]:
        message = (
            f"Failed to build release: Variable(s) {', '.join(unknown)} do not exist in the release pipeline at scope: {scope}."
            " New variables cannot be added while creating a release."
            " Check the scope of the variable(s) or remove them and try again."
        )
        raise _Refusal("InvalidRequestException", message)
    overlaid = deepcopy(defined)
    for given_name, value in wanted.items():
        name = names[given_name.lower()]
        _check_override(name, defined[name], value, scope)
        overlaid[name] = _variable({**defined[name], "value": value.get("value")})
    return overlaid


def _check_override(name: str, defined: Json, given: Json, scope: str) -> None:
    problem = ""
    if not defined.get("allowOverride"):
        problem = "cannot be overridden: settable at release time is not enabled"
    elif bool(defined.get("isSecret")) != bool(given.get("isSecret")):
        problem = "must be secret exactly when it is in the release pipeline"
    if problem:
        message = f"Failed to build release: Variable(s) {name} at scope: {scope} {problem}."
        raise _Refusal("InvalidRequestException", message)


def _release_stages(definition: Json, start: Json) -> list[Json]:
    manual = {name.lower() for name in start.get("manualEnvironments") or []}
    given = {stage.get("definitionEnvironmentId"): stage.get("variables") for stage in start.get("environmentsMetadata") or []}
    return [
        {
            "id": stage["id"],
            "name": stage["name"],
            "rank": stage["rank"],
            "definitionEnvironmentId": stage["id"],
            "status": "notStarted",
            "conditions": [] if stage["name"].lower() in manual else deepcopy(stage["conditions"]),
            "variables": _overlaid(stage["variables"], given.get(stage["id"]), scope=stage["name"]),
        }
        for stage in definition["environments"]
    ]


_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Local Azure DevOps</title><link rel="icon" href="data:,">
<style>
  body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem }
  table { border-collapse: collapse; width: 100% }
  th, td { white-space: pre-wrap; border-bottom: 1px solid #ddd; padding: .4rem .8rem .4rem 0; text-align: left; vertical-align: top }
</style></head>
<body><h1>Releases</h1>
<table><thead><tr><th>Id<th>Definition<th>Description<th>Artifact versions<th>Variables</thead><tbody>ROWS</tbody></table>
</body></html>
"""


def _row(release: Json) -> str:
    artifacts = (
        f"{artifact['alias']}: {artifact['definitionReference'].get('version', {}).get('name', '')}"
        for artifact in release["artifacts"]
    )
    variables = (f"{name} = {variable.get('value')}" for name, variable in release["variables"].items())
    definition = f"{release['projectReference']['name']}: {release['releaseDefinition']['name']}"
    cells = [str(release["id"]), definition, release["description"], "\n".join(artifacts), "\n".join(variables)]
    return "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"


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
        try:
            server.wait()
        except KeyboardInterrupt:
            return


if __name__ == "__main__":
    main()
