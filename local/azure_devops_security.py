"""Projects, and permissions as Azure DevOps' security service evaluates them."""

from __future__ import annotations

import threading
import uuid

from local.azure_devops_http import PROJECT_NOT_FOUND, Json, Refusal

_RELEASE_MANAGEMENT = {
    "View release pipeline": 1,
    "Edit release pipeline": 2,
    "View releases": 32,
    "Create releases": 64,
}
_BUILD = {"View builds": 1, "Queue builds": 128, "View build pipeline": 1024}
NAMESPACES = {
    "c788c23e-1b46-4162-8f5e-d7585343b5de": _RELEASE_MANAGEMENT,
    "33344d9c-fc72-4d6f-aba5-fa317101a7e9": _BUILD,
}


class Organization:
    """The projects of an organization, and what its one identity may do: granted on all projects, denied on tokens."""

    def __init__(self) -> None:
        self.permissions = {*_RELEASE_MANAGEMENT, *_BUILD}
        self.denied: dict[str, set[str]] = {}
        self._projects: dict[str, Json] = {}
        self._lock = threading.RLock()

    def add_project(self, name: str) -> Json:
        """Add a project if it is new, and return it."""
        project = {"id": str(uuid.uuid5(uuid.NAMESPACE_DNS, name.lower())), "name": name}
        self._projects |= {name.lower(): project, project["id"]: project}
        return project

    def project(self, name: str) -> Json:
        """Return the project with this name or ID; raises Refusal."""
        if project := self._projects.get(name.lower()):
            return project
        raise Refusal(PROJECT_NOT_FOUND, f"TF200016: The following project does not exist: {name}.")

    def allows(self, token: str, *wanted: str) -> bool:
        """Return whether all permissions are granted, and none is denied on the token or on a folder above it."""
        below = f"{token.lower()}/"
        lost = {name for place, names in self.denied.items() if below.startswith(f"{place}/") for name in names}
        return set(wanted) <= self.permissions - lost

    def allows_bits(self, namespace: str, bits: int, token: str) -> bool:
        """Return whether all permissions are granted that these bits of the namespace mean."""
        known = NAMESPACES[namespace]
        wanted = [name for name, bit in known.items() if bits & bit]
        return not bits & ~sum(known.values()) and self.allows(token, *wanted)


def token_of(project_id: str, folder: str, number: int) -> str:
    """Return the security token of a definition or pipeline: its project, folders and ID.

    https://learn.microsoft.com/azure/devops/organizations/security/namespace-reference
    """
    return "/".join([project_id, *filter(None, folder.split("\\")), str(number)]).lower()
