"""Release definitions and releases as Azure DevOps describes, filters and validates them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy

from local.azure_devops_http import INVALID_REQUEST, ErrorType, Json, Refusal, moment, now

ACCESS_DENIED = ErrorType("AccessDeniedException", 403)
DEFINITION_DISABLED = ErrorType("ReleaseDefinitionDisabledException", 403)
DEFINITION_NOT_FOUND = ErrorType("ReleaseDefinitionNotFoundException", 404)
VERSION_UNAVAILABLE = ErrorType("ArtifactVersionUnavailableException", 400)
RELEASE_NOT_FOUND = ErrorType("ReleaseNotFoundException", 404)

MODEL_ARTIFACT = "AzureMLMMS"
LATEST, SELECTED = "latestType", "selectDuringReleaseCreationType"
_VERSION_TYPES = {LATEST: "Latest", SELECTED: "Specify at the time of release creation"}
_SERVICE_CONNECTION = {"id": "0a1b2c3d-0000-4000-8000-4d4c53657276", "name": "Azure ML workspace"}
_DEFINITION_PARTS = {"environments": 2, "artifacts": 4, "triggers": 8, "variables": 16}
_SERVERS_OWN = ("id", "projectReference", "isDeleted", "createdOn")
_RELEASE_FLAGS = {"environments": 2, "artifacts": 4, "variables": 32}
_RELEASE_PARTS: Json = {"artifacts": [], "environments": [], "variables": {}}


def model_artifact(alias: str, model: str, version_type: str = LATEST) -> Json:
    """Describe an AzureML model artifact."""
    return {
        "sourceId": f"{_SERVICE_CONNECTION['id']}:{model}",
        "type": MODEL_ARTIFACT,
        "alias": alias,
        "definitionReference": {
            "connection": dict(_SERVICE_CONNECTION),
            "defaultVersionType": {"id": version_type, "name": _VERSION_TYPES[version_type]},
            "definition": {"id": model, "name": model},
        },
        "isPrimary": False,
        "isRetained": False,
    }


def build_artifact(alias: str, definition: str, version_type: str = LATEST) -> Json:
    """Describe an artifact of the builds of a pipeline with this ID."""
    project = {"id": "5f3f8f0e-0000-4000-8000-70726f6a6563", "name": "code"}
    return {
        "sourceId": f"{project['id']}:{definition}",
        "type": "Build",
        "alias": alias,
        "definitionReference": {
            "project": project,
            "defaultVersionType": {"id": version_type, "name": _VERSION_TYPES[version_type]},
            "definition": {"id": definition, "name": f"Pipeline {definition}"},
        },
        "isPrimary": False,
        "isRetained": False,
    }


def variable(value: str | Json) -> Json:
    """Describe a variable; the value of a secret is never shown."""
    if isinstance(value, str):
        return {"value": value, "allowOverride": True}
    return {**value, "value": None} if value.get("isSecret") else dict(value)


def definition_stages(names: Sequence[str]) -> list[Json]:
    """Describe stages that run one after another."""
    started = {"conditionType": "event", "name": "ReleaseStarted", "value": ""}
    succeeded = "4"
    after = [{"conditionType": "environmentState", "name": name, "value": succeeded} for name in names[:-1]]
    return [
        {"id": rank, "name": name, "rank": rank, "variables": {}, "conditions": [condition]}
        for rank, (name, condition) in enumerate(zip(names, [started, *after], strict=False), start=1)
    ]


def release_stages(stages: list[Json], request: Json) -> list[Json]:
    """Describe a definition's stages in the requested release."""
    manual = {name.lower() for name in request.get("manualEnvironments") or []}
    return [
        {
            "id": stage["id"],
            "name": stage["name"],
            "rank": stage["rank"],
            "definitionEnvironmentId": stage["id"],
            "status": "notStarted",
            "preDeployApprovals": [],
            "postDeployApprovals": [],
            "conditions": [] if stage["name"].lower() in manual else deepcopy(stage["conditions"]),
            "variables": deepcopy(stage["variables"]),
        }
        for stage in stages
    ]


def release_artifacts(artifacts: list[Json], request: Json, default: Mapping[str, Json | None]) -> list[Json]:
    """Describe a definition's artifacts with the requested or default versions; raises Refusal."""
    requested = {one["alias"].lower(): one["instanceReference"] for one in request.get("artifacts") or []}
    described: list[Json] = deepcopy(artifacts)
    for artifact in described:
        alias = artifact["alias"]
        version = requested.get(alias.lower())
        version_type = artifact["definitionReference"].get("defaultVersionType") or {}
        if not version and version_type.get("id") == SELECTED:
            message = (
                f"No version is available for artifact '{alias}'. Its version is selected when a release is created."
            )
            raise Refusal(VERSION_UNAVAILABLE, message)
        version = version or default[alias]
        if version is None:
            message = f"VS402962: No artifact version id is specified corresponding to artifact source '{alias}'."
            raise Refusal(INVALID_REQUEST, f"{message} Specify a valid value and try again.")
        # Azure DevOps does not check whether the source has this version; in the end a stage fails to download it.
        artifact["definitionReference"]["version"] = {"id": version["id"], "name": version.get("name") or version["id"]}
    if unknown := requested.keys() - {artifact["alias"].lower() for artifact in artifacts}:
        message = f"Artifact source(s) {', '.join(sorted(unknown))} do not exist in the release pipeline."
        raise Refusal(INVALID_REQUEST, message)
    return described


def primary_artifact_values(artifacts: list[Json]) -> dict[str, str]:
    """Return what a release's name may contain of its primary artifact."""
    for artifact in artifacts:
        if artifact["isPrimary"]:
            reference = artifact["definitionReference"]
            return {
                "Build.BuildNumber": reference["version"]["name"],
                "Build.DefinitionName": reference["definition"]["name"],
            }
    return {}


def release_variables(defined: Json, requested: object) -> Json:
    """Return a definition's variables with the values of a request; raises Refusal."""
    # Azure DevOps ignores variables in a JSON array.
    given: Json = requested if isinstance(requested, dict) else {}
    names = {name.lower(): name for name in defined}
    if unknown := [name for name in given if name.lower() not in names]:
        raise Refusal(
            INVALID_REQUEST,
            f"Failed to build release: Variable(s) {', '.join(unknown)} do not exist in the release pipeline"
            " at scope: Release. New variables cannot be added while creating a release."
            " Check the scope of the variable(s) or remove them and try again.",
        )
    values = {names[name.lower()]: value for name, value in given.items()}
    for name, value in values.items():
        _check_override(name, defined[name], value)
    changed = {name: variable({**defined[name], "value": value.get("value")}) for name, value in values.items()}
    return deepcopy(defined) | changed


def _check_override(name: str, defined: Json, requested: Json) -> None:
    problem = ""
    if not defined.get("allowOverride"):
        problem = "cannot be overridden, not being settable at release time"
    elif bool(defined.get("isSecret")) != bool(requested.get("isSecret")):
        problem = "must be secret exactly when secret in the release pipeline"
    if problem:
        message = f"Failed to build release: Variable(s) {name} at scope: Release {problem}."
        raise Refusal(INVALID_REQUEST, message)


def listed_definition(definition: Json, query: Mapping[str, str]) -> Json:
    """Return what a list shows of a definition."""
    left_out = set(_DEFINITION_PARTS) - _expanded(query, _DEFINITION_PARTS)
    return {key: value for key, value in definition.items() if key not in left_out}


def updated_definition(definition: Json, given: Json) -> Json:
    """Return a definition after an update with the whole of it and its latest revision; raises Refusal."""
    if given.get("revision") != definition["revision"]:
        message = "You are using an old copy of the release pipeline. Refresh your copy and try again."
        raise Refusal(INVALID_REQUEST, message)
    if not given.get("environments"):
        raise Refusal(INVALID_REQUEST, "VS402875: Release pipeline needs to have at least one stage.")
    kept = {name: definition[name] for name in _SERVERS_OWN}
    changed = {name: value for name, value in given.items() if name not in ("_links", "url")}
    return {**changed, **kept, "revision": definition["revision"] + 1, "modifiedOn": now()}


def listed_release(release: Json, query: Mapping[str, str]) -> Json:
    """Return what a list shows of a release."""
    return release | {
        part: empty for part, empty in _RELEASE_PARTS.items() if part not in _expanded(query, _RELEASE_FLAGS)
    }


def _expanded(query: Mapping[str, str], flags: Mapping[str, int]) -> set[str]:
    """Return the parts that `$expand` names, in words or, as Microsoft's Node client does, in a sum of flags."""
    wanted = query.get("$expand", "").lower()
    if wanted.isdecimal():
        return {part for part, flag in flags.items() if int(wanted) & flag}
    return set(wanted.split(","))


def is_wanted_definition(definition: Json, query: Mapping[str, str]) -> bool:
    """Return whether a definition passes the filters of a list; a folder includes those below it."""
    name, text = definition["name"].lower(), query.get("searchText", "").lower()
    exact = query.get("isExactNameMatch", "").lower() == "true"
    folder, wanted = (path.lower().strip("\\") for path in (definition["path"], query.get("path", "")))
    return (
        not definition["isDeleted"]
        and (name == text if exact and text else text in name)
        and (not wanted or f"{folder}\\".startswith(f"{wanted}\\"))
    )


def is_wanted_release(release: Json, query: Mapping[str, str]) -> bool:
    """Return whether a release passes the filters of a list."""
    return (
        ("definitionId" not in query or release["releaseDefinition"]["id"] == int(query["definitionId"]))
        and ("minCreatedTime" not in query or moment(release["createdOn"]) >= moment(query["minCreatedTime"]))
        and query.get("artifactTypeId") in (None, *(artifact["type"] for artifact in release["artifacts"]))
    )


def page(
    found: list[Json], query: Mapping[str, str], *, newest_first: bool, default: int, most: int
) -> tuple[list[Json], int | None]:
    """Return one page in the order of the IDs, and the ID that begins the next page."""
    ordered = sorted(found, key=lambda item: int(item["id"]), reverse=newest_first)
    if "continuationToken" in query:
        first = int(query["continuationToken"])
        ordered = [item for item in ordered if (item["id"] <= first if newest_first else item["id"] >= first)]
    top = min(int(query.get("$top", default)), most)
    return ordered[:top], ordered[top]["id"] if ordered[top:] else None
