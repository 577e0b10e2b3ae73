"""Release definitions and releases as Azure DevOps describes them, finds them and refuses to make them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from datetime import UTC, datetime
from typing import Any, NamedTuple

Json = dict[str, Any]

_SERVICE_CONNECTION = {"id": "0a1b2c3d-0000-4000-8000-4d4c53657276", "name": "Azure ML workspace"}
_DEFINITION_PARTS = {"artifacts", "environments", "triggers", "variables"}
_SERVERS_OWN = ("id", "projectReference", "isDeleted", "createdOn")
_RELEASE_PARTS: Json = {"artifacts": [], "environments": [], "variables": {}}


class Kind(NamedTuple):
    """One of Azure DevOps' own exceptions, the status that it is answered with, and where its type is at home."""

    name: str
    status: int
    namespace: str = "Microsoft.VisualStudio.Services.ReleaseManagement.Data.Exceptions"
    assembly: str = "Microsoft.VisualStudio.Services.ReleaseManagement2.Data"


ACCESS_DENIED = Kind("AccessDeniedException", 403)
DEFINITION_DISABLED = Kind("ReleaseDefinitionDisabledException", 403)
DEFINITION_NOT_FOUND = Kind("ReleaseDefinitionNotFoundException", 404)
INVALID_REQUEST = Kind("InvalidRequestException", 400)
NAMESPACE_NOT_FOUND = Kind("InvalidSecurityNamespaceException", 404)
PROJECT_NOT_FOUND = Kind("ProjectDoesNotExistWithNameException", 404)
RELEASE_NOT_FOUND = Kind("ReleaseNotFoundException", 404)
RESOURCE_NOT_FOUND = Kind("ResourceNotFoundException", 404)


class Refusal(Exception):  # noqa: N818  it is an answer
    """Azure DevOps says no."""

    def __init__(self, kind: Kind, message: str, **custom_properties: Any) -> None:
        """Say no with one of Azure DevOps' exceptions, its message, and the properties that only it has."""
        super().__init__(message)
        self.status = kind.status
        self.body = {
            "$id": "1",
            **({"customProperties": custom_properties} if custom_properties else {}),
            "innerException": None,
            "message": message,
            "typeName": f"{kind.namespace}.{kind.name}, {kind.assembly}",
            "typeKey": kind.name,
            "errorCode": 0,
            "eventId": 3000,
        }


def no_version(alias: str) -> Refusal:
    """Refuse because an artifact has no version, neither a given nor a default one."""
    message = f"VS402962: No artifact version id is specified corresponding to artifact source '{alias}'."
    return Refusal(INVALID_REQUEST, f"{message} Specify a valid value and try again.")


def now() -> str:
    """Return the time as Azure DevOps writes it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def model_artifact(alias: str, model: str) -> Json:
    """Describe an AzureML model artifact."""
    return {
        "sourceId": f"{_SERVICE_CONNECTION['id']}:{model}",
        "type": "AzureMLMMS",
        "alias": alias,
        "definitionReference": {
            "connection": dict(_SERVICE_CONNECTION),
            "defaultVersionType": {"id": "latestType", "name": "Latest version for the specified models"},
            "definition": {"id": model, "name": model},
        },
        "isPrimary": False,
        "isRetained": False,
    }


def variable(value: str | Json) -> Json:
    """Describe a variable; a secret's value is never told."""
    if isinstance(value, str):
        return {"value": value, "allowOverride": True}
    return {**value, "value": None} if value.get("isSecret") else dict(value)


def definition_stages(names: Sequence[str]) -> list[Json]:
    """Describe stages of which each starts when the one before it has succeeded."""
    started = {"conditionType": "event", "name": "ReleaseStarted", "value": ""}
    succeeded = "4"
    after = [{"conditionType": "environmentState", "name": name, "value": succeeded} for name in names[:-1]]
    return [
        {"id": rank, "name": name, "rank": rank, "variables": {}, "conditions": [condition]}
        for rank, (name, condition) in enumerate(zip(names, [started, *after], strict=False), start=1)
    ]


def release_stages(stages: list[Json], start: Json) -> list[Json]:
    """Describe a definition's stages in the release that is asked for."""
    manual = {name.lower() for name in start.get("manualEnvironments") or []}
    metadata = start.get("environmentsMetadata") or []
    variables = {stage.get("definitionEnvironmentId"): stage.get("variables") for stage in metadata}
    return [
        {
            "id": stage["id"],
            "name": stage["name"],
            "rank": stage["rank"],
            "definitionEnvironmentId": stage["id"],
            "status": "notStarted",
            "conditions": [] if stage["name"].lower() in manual else deepcopy(stage["conditions"]),
            "variables": overlaid(stage["variables"], variables.get(stage["id"]), scope=stage["name"]),
        }
        for stage in stages
    ]


def release_properties(given: Json) -> Json:
    """Return properties as they are read back."""
    kinds = {int: "System.Int32", float: "System.Double"}
    return {key: {"$type": kinds.get(type(value), "System.String"), "$value": value} for key, value in given.items()}


def chosen_versions(start: Json) -> dict[str, Json]:
    """Return the artifact versions that a request names, by alias in lower case."""
    chosen: dict[str, Json] = {}
    for artifact in start.get("artifacts") or []:
        alias, version = artifact.get("alias") or "", artifact.get("instanceReference") or {}
        if not alias.strip():
            raise Refusal(INVALID_REQUEST, "An artifact source has no alias. Specify a valid value and try again.")
        if not str(version.get("id") or "").strip():
            raise no_version(alias)
        if alias.lower() in chosen:
            raise Refusal(INVALID_REQUEST, f"Artifact source '{alias}' is specified more than once.")
        chosen[alias.lower()] = version
    return chosen


def overlaid(defined: Json, given: object, *, scope: str) -> Json:
    """Return a definition's variables with a request's values."""
    # Azure DevOps takes variables in a JSON array for none at all.
    wanted: Json = given if isinstance(given, dict) else {}
    names = {name.lower(): name for name in defined}
    if unknown := [name for name in wanted if name.lower() not in names]:
        message = (
            f"Failed to build release: Variable(s) {', '.join(unknown)} do not exist in the release pipeline"
            f" at scope: {scope}. New variables cannot be added while creating a release."
            " Check the scope of the variable(s) or remove them and try again."
        )
        raise Refusal(INVALID_REQUEST, message)
    values = {names[name.lower()]: value for name, value in wanted.items()}
    for name, value in values.items():
        _check_override(name, defined[name], value, scope)
    changed = {name: variable({**defined[name], "value": value.get("value")}) for name, value in values.items()}
    return deepcopy(defined) | changed


def _check_override(name: str, defined: Json, given: Json, scope: str) -> None:
    problem = ""
    if not defined.get("allowOverride"):
        problem = "cannot be overridden, not being settable at release time"
    elif bool(defined.get("isSecret")) != bool(given.get("isSecret")):
        problem = "must be secret exactly when secret in the release pipeline"
    if problem:
        message = f"Failed to build release: Variable(s) {name} at scope: {scope} {problem}."
        raise Refusal(INVALID_REQUEST, message)


def shown_definition(definition: Json, query: Mapping[str, str]) -> Json:
    """Return what a list tells of a definition."""
    left_out = _DEFINITION_PARTS - _expanded(query)
    return {key: value for key, value in definition.items() if key not in left_out}


def updated_definition(definition: Json, given: Json) -> Json:
    """Return a definition as it is after an update, which must bring the whole of it and know its last revision."""
    if given.get("revision") != definition["revision"]:
        message = "You are using an old copy of the release pipeline. Refresh your copy and try again."
        raise Refusal(INVALID_REQUEST, message)
    if not given.get("environments"):
        raise Refusal(INVALID_REQUEST, "VS402875: Release pipeline needs to have at least one stage.")
    kept = {name: definition[name] for name in _SERVERS_OWN}
    changed = {name: value for name, value in given.items() if name not in ("_links", "url")}
    return {**changed, **kept, "revision": definition["revision"] + 1, "modifiedOn": now()}


def listed_release(release: Json, query: Mapping[str, str]) -> Json:
    """Return what a list tells of a release."""
    left_out = {part: empty for part, empty in _RELEASE_PARTS.items() if part not in _expanded(query)}
    return shown_release(release, query) | left_out


def shown_release(release: Json, query: Mapping[str, str]) -> Json:
    """Return what is told of a release that is asked for by its id."""
    asked_for = query.get("propertyFilters", "").lower().split(",")
    properties = {key: value for key, value in release["properties"].items() if key.lower() in asked_for}
    return {key: value for key, value in release.items() if key != "isDeleted"} | {"properties": properties}


def _expanded(query: Mapping[str, str]) -> set[str]:
    return set(query.get("$expand", "").lower().split(","))


def is_wanted_definition(definition: Json, query: Mapping[str, str]) -> bool:
    """Tell whether a definition passes the filters; a folder includes those below it."""
    name, text = definition["name"].lower(), query.get("searchText", "").lower()
    exact = _is_true(query.get("isExactNameMatch", ""))
    folder, wanted = (path.lower().strip("\\") for path in (definition["path"], query.get("path", "")))
    return (
        definition["isDeleted"] == _is_true(query.get("isDeleted", ""))
        and (name == text if exact and text else text in name)
        and (not wanted or f"{folder}\\".startswith(f"{wanted}\\"))
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


def is_wanted_release(release: Json, query: Mapping[str, str]) -> bool:
    """Tell whether a release passes the filters; all that ask for an artifact mean the same one."""
    asked_for = {name: value_of for name, value_of in _ARTIFACT_FILTERS.items() if name in query}
    has_artifact = not asked_for or any(
        all(value_of(artifact) == query[name] for name, value_of in asked_for.items())
        for artifact in release["artifacts"]
    )
    return (
        has_artifact
        and release.get("isDeleted", False) == _is_true(query.get("isDeleted", ""))
        and all(passes(release, query[name]) for name, passes in _RELEASE_FILTERS.items() if name in query)
    )


def page(
    found: list[Json], query: Mapping[str, str], *, order: str, default: int, most: int
) -> tuple[list[Json], int | None]:
    """Return one page and the id that the next one begins with."""
    descending = query.get("queryOrder", order).lower().endswith("descending")
    ordered = sorted(found, key=lambda item: int(item["id"]), reverse=descending)
    if "continuationToken" in query:
        first = int(query["continuationToken"])
        ordered = [item for item in ordered if (item["id"] <= first if descending else item["id"] >= first)]
    top = min(int(query.get("$top", default)), most)
    return ordered[:top], ordered[top]["id"] if ordered[top:] else None


def _is_true(text: str) -> bool:
    return text.lower() == "true"


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
