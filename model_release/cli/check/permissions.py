"""Check the permissions of this identity on a release definition or a pipeline."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from model_release.azure_devops.client import AzureDevOps
from model_release.azure_devops.pipeline_request import Pipeline
from model_release.azure_devops.target_name import project_id_of
from model_release.cli.check.findings import Finding, Severity
from model_release.errors import AzureDevOpsError

_RELEASE_MANAGEMENT = "c788c23e-1b46-4162-8f5e-d7585343b5de"
_ON_DEFINITIONS = {"View release pipeline": 1, "View releases": 32, "Create releases": 64}
_BUILD = "33344d9c-fc72-4d6f-aba5-fa317101a7e9"
# A preview fails without the other permissions. Without this one, the list of runs is empty: a run whose answer was
# lost would be started twice.
_ON_PIPELINES = {"View builds": 1}


@dataclass(frozen=True)
class Securable:
    """An object with permissions: `permissions` are those that the app needs, as bits of their namespace.

    `token` identifies the object in the namespace; it is empty if the project's ID is not known.
    https://learn.microsoft.com/azure/devops/organizations/security/namespace-reference
    """

    kind: str
    name: str
    token: str
    namespace: str
    permissions: Mapping[str, int]

    def __str__(self) -> str:
        """The object as people read it."""
        return f"{self.kind} {self.name}"


def release_definition(content: Mapping[str, Any]) -> Securable:
    """Read a release definition in raw JSON."""
    token = _token(project_id_of(content), content.get("path") or "", content["id"])
    return Securable("definition", content["name"], token, _RELEASE_MANAGEMENT, _ON_DEFINITIONS)


def pipeline(found: Pipeline) -> Securable:
    """Read a YAML pipeline."""
    token = _token(found.project_id, found.folder, found.id)
    return Securable("pipeline", found.name, token, _BUILD, _ON_PIPELINES)


def check_permissions(securable: Securable, azure_devops: AzureDevOps, where: str) -> Iterator[Finding]:
    """Report the permissions that are missing, or that they cannot be read."""
    verify = f"verify that this identity has {', '.join(securable.permissions)}"
    if not securable.token:
        message = f"the permissions on {securable} were not checked: the project's ID is not known"
        yield Finding(Severity.WARNING, message, where, verify)
        return
    try:
        missing = _missing(securable, azure_devops)
    except AzureDevOpsError as error:
        message = f"the permissions on {securable} cannot be read: {error.problem}"
        yield Finding(Severity.WARNING, message, where, verify)
        return
    for permission in missing:
        message = f"this identity does not have the permission {permission} on {securable}"
        yield Finding(Severity.FAULT, message, where, f"grant {permission} in the {securable.kind}'s security")


def _missing(securable: Securable, azure_devops: AzureDevOps) -> list[str]:
    if azure_devops.has_permissions(securable.namespace, sum(securable.permissions.values()), securable.token):
        return []
    return [
        permission
        for permission, bit in securable.permissions.items()
        if not azure_devops.has_permissions(securable.namespace, bit, securable.token)
    ]


def _token(project: str, folder: str, number: int) -> str:
    return project and "/".join([project, *filter(None, folder.split("\\")), str(number)])
