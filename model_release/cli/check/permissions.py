"""Whether this identity may do what the app does to a release definition or a pipeline."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from model_release.azure_devops.pipeline_request import Pipeline
from model_release.cli.check.findings import Finding, State
from model_release.errors import StartError

_RELEASE_MANAGEMENT = "c788c23e-1b46-4162-8f5e-d7585343b5de"
_OF_A_DEFINITION = {"View release pipeline": 1, "View releases": 32, "Create releases": 64}
_BUILD = "33344d9c-fc72-4d6f-aba5-fa317101a7e9"
# A rehearsal tells of the others; without this one the list of runs is empty, and a lost one started twice.
_OF_A_PIPELINE = {"View builds": 1}
_PROJECT_IN_URL = re.compile(r"/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})/_apis/", re.IGNORECASE)


class Permissions(Protocol):
    """Azure DevOps' security service; raises Busy or Refused."""

    def has_permissions(self, namespace: str, permissions: int, token: str) -> bool:
        """Whether this identity has all of these permissions."""


@dataclass(frozen=True)
class Securable:
    """Something that has permissions of its own, and those that the app needs, as bits of their namespace.

    https://learn.microsoft.com/azure/devops/organizations/security/namespace-reference
    """

    kind: str
    name: str
    project_id: str
    folder: str
    id: int
    namespace: str
    permissions: Mapping[str, int]

    @property
    def token(self) -> str:
        """What its permissions are kept under."""
        return "/".join([self.project_id, *filter(None, self.folder.split("\\")), str(self.id)])

    def __str__(self) -> str:
        """The securable as people read it."""
        return f"{self.kind} {self.name}"


def release_definition(content: Mapping[str, Any]) -> Securable:
    """A release definition in raw JSON."""
    folder = content.get("path") or ""
    where = (content["name"], project_id(content), folder, content["id"])
    return Securable("definition", *where, _RELEASE_MANAGEMENT, _OF_A_DEFINITION)


def pipeline(found: Pipeline) -> Securable:
    """A YAML pipeline."""
    where = (found.name, _project_in(found.url), found.folder, found.id)
    return Securable("pipeline", *where, _BUILD, _OF_A_PIPELINE)


def project_id(definition: Mapping[str, Any]) -> str:
    """The project's id, which Azure DevOps tells in one of two places of a release definition."""
    reference = definition.get("projectReference") or {}
    return str(reference.get("id") or "") or _project_in(definition.get("url") or "")


def check_permissions(it: Securable, azure_devops: Permissions, where: str) -> Iterator[Finding]:
    """The permissions that are missing, or that they could not be asked for."""
    look = f"look whether this identity has {', '.join(it.permissions)}"
    if not it.project_id:
        what = f"the permissions on {it} were not checked: Azure DevOps does not tell the project's id"
        yield Finding(State.WARNING, what, where, look)
        return
    try:
        missing = _missing(it, azure_devops)
    except StartError as error:
        yield Finding(State.WARNING, f"the permissions on {it} could not be read: {error}", where, look)
        return
    for permission in missing:
        what = f"this identity has no permission {permission} on {it}"
        yield Finding(State.FAULT, what, where, f"give it {permission} in the {it.kind}'s security")


def _missing(it: Securable, azure_devops: Permissions) -> list[str]:
    if azure_devops.has_permissions(it.namespace, sum(it.permissions.values()), it.token):
        return []
    return [
        permission
        for permission, bit in it.permissions.items()
        if not azure_devops.has_permissions(it.namespace, bit, it.token)
    ]


def _project_in(url: str) -> str:
    found = _PROJECT_IN_URL.search(url)
    return found[1] if found else ""
