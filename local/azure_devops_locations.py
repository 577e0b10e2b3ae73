"""Where the resources of the local Azure DevOps are, and in which API versions."""

from __future__ import annotations

import re
from typing import NamedTuple

from werkzeug.wrappers import Request

from local.azure_devops_http import ErrorType, Json, Refusal

_PREVIEW_ONLY = "0.0"
_LATEST = "7.2"
_VSS = ("Microsoft.VisualStudio.Services.WebApi", "Microsoft.VisualStudio.Services.WebApi")
OUT_OF_RANGE = ErrorType("VssVersionOutOfRangeException", 400, *_VSS)
NOT_A_VERSION = ErrorType("VssInvalidApiResourceVersionException", 400, *_VSS)
IN_PREVIEW = ErrorType("VssInvalidPreviewVersionException", 400, *_VSS)
_VERSION = re.compile(r"(\d+\.\d+)(-preview(\.\d+)?)?")


class Resource(NamedTuple):
    """A resource with Azure DevOps' own ID, which its clients ask for."""

    id: str
    area: str
    name: str
    template: str
    version: int
    released: str = "7.1"

    def shown(self) -> Json:
        """Return what OPTIONS shows."""
        return {
            "id": self.id,
            "area": self.area,
            "resourceName": self.name,
            "routeTemplate": self.template,
            "resourceVersion": self.version,
            "minVersion": "3.2",
            "maxVersion": _LATEST,
            "releasedVersion": self.released,
        }


_IN_PROJECT = "{project}/_apis/{area}/{resource}"
_PIPELINES = "{project}/_apis/{area}"
_OF_PIPELINE = f"{_PIPELINES}/{{pipelineId}}/{{resource}}"
RESOURCES = (
    Resource(
        "e81700f7-3be2-46de-8624-2eb35882fcaa",
        "Location",
        "ResourceAreas",
        "_apis/{resource}/{areaId}",
        1,
        _PREVIEW_ONLY,
    ),
    Resource(
        "dd3b8bd6-c7fc-4cbd-929a-933d9c011c9d",
        "Security",
        "permissions",
        "_apis/{resource}/{securityNamespaceId}/{permissions}",
        2,
    ),
    Resource("a166fde7-27ad-408e-ba75-703c2cc9d500", "Release", "releases", f"{_IN_PROJECT}/{{releaseId}}", 8),
    Resource("d8f96f24-8ea7-4cb6-baab-2df8fc515665", "Release", "definitions", f"{_IN_PROJECT}/{{definitionId}}", 4),
    Resource(
        "30fc787e-a9e0-4a07-9fbc-3e903aa051d2",
        "Release",
        "versions",
        "{project}/_apis/{area}/artifacts/{resource}",
        1,
        _PREVIEW_ONLY,
    ),
    Resource("f5b09dd5-9d54-45a1-8b5a-1c8287d634cc", "distributedtask", "variablegroups", f"{_IN_PROJECT}/{{id}}", 2),
    Resource(
        "28e1305e-2afe-47bf-abaf-cbb0e6a91988", "Pipelines", "pipelines", "{project}/_apis/{area}/{pipelineId}", 1
    ),
    Resource("7859261e-d2e9-4a68-b820-a5d84cc5bb3d", "Pipelines", "runs", f"{_OF_PIPELINE}/{{runId}}", 2),
    Resource("53df2d18-29ea-46a9-bee0-933540f80abf", "Pipelines", "preview", _OF_PIPELINE, 2),
    Resource("0cd358e1-9217-4d94-8269-1c1ee6f93dcf", "Build", "Builds", f"{_IN_PROJECT}/{{buildId}}", 7),
    Resource(
        "8baac422-4c6e-4de5-8532-db96d92acffa",
        "Build",
        "Timeline",
        "{project}/_apis/{area}/builds/{buildId}/{resource}/{timelineId}",
        2,
    ),
    Resource(
        "37794717-f36f-4d78-b2bf-4dc30d0cfbcd",
        "Pipelines",
        "approvals",
        "{project}/_apis/{area}/{resource}/{approvalId}",
        1,
        _PREVIEW_ONLY,
    ),
)


def _addresses(resource: Resource) -> re.Pattern[str]:
    """Match the addresses of a resource; the last part of its template may be missing."""
    template = f"/{{organization}}/{resource.template}".replace("{area}", resource.area)
    start, _, last = template.replace("{resource}", resource.name).rpartition("/")
    return re.compile(re.sub(r"{\w+}", "[^/]+", f"{start}(/{last})?/?"), re.IGNORECASE)


_ADDRESSES = [(_addresses(resource), resource) for resource in RESOURCES]

# A client asks for the address of its area before its first request, whether this server has the area or not.
RESOURCE_AREAS = {
    "965220d5-5bb9-42cf-8d67-9b146df2a5a4": "build",
    "79134c72-4a58-4b42-976c-04e7115f32bf": "core",
    "31c84e0a-3ece-48fd-a29d-100849af99ba": "Dashboard",
    "a85b8835-c1a1-4aac-ae97-1c3d0ba72dbd": "distributedtask",
    "6c2b0933-3600-42ae-bf8b-93d4f7e83594": "ExtensionManagement",
    "69d21c00-f135-441b-b5ce-3626378e0819": "gallery",
    "4e080c62-fa21-4fbc-8fef-2a10a2b38049": "git",
    "fb13a388-40dd-4a04-b530-013a739c72ef": "policy",
    "8ccfef3d-2b87-4e99-8ccb-66e343d2daa8": "Profile",
    "7658fa33-b1bf-4580-990f-fac5896773d3": "projectanalysis",
    "efc2f575-36ef-48e9-b672-0c6fb4a48ac5": "Release",
    "1814ab31-2f4f-4a9f-8761-f4d77dc5a5d7": "serviceendpoint",
    "c2aa639c-3ccc-4740-b3b6-ce2a1e1d984e": "Test",
    "c83eaf52-edf3-4034-ae11-17d38f25404c": "testresults",
    "8aa40520-446d-40e6-89f6-9c9f9ce44c48": "tfvc",
    "bf7d82a0-8aa5-4613-94ef-6172a5ea01f3": "wiki",
    "5264459e-e5e0-4bd8-b118-0985e68a4ec5": "wit",
    "1d4f49f9-02b9-4e26-b826-2cdb6195f2a9": "work",
}


def check_version(request: Request) -> None:
    """Raise Refusal if the resource does not have the API version that the query or the `Accept` header names."""
    accepted = re.search(r"api-version=\s*([^;,\s]*)", request.headers.get("Accept", ""), re.IGNORECASE)
    wanted = request.args.get("api-version") or (accepted[1] if accepted else "")
    resource = next((found for addresses, found in _ADDRESSES if addresses.fullmatch(request.path)), None)
    if not (wanted and resource):
        return
    version = _VERSION.fullmatch(wanted)
    if version is None:
        raise Refusal(NOT_A_VERSION, f"The api-version {wanted} is not valid.")
    number = _number(version[1])
    if number > _number(_LATEST):
        raise Refusal(
            OUT_OF_RANGE,
            f"The requested REST API version of {wanted} is out of range for this server. "
            f"The latest REST API version this server supports is {_LATEST}.",
        )
    if number > _number(resource.released) and not version[2]:
        raise Refusal(
            IN_PREVIEW,
            f'The requested version "{wanted}" of the resource is under preview. The -preview flag must be supplied '
            f'in the api-version for such requests. For example: "{wanted}-preview"',
        )


def _number(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))
