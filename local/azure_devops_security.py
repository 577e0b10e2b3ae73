"""Permissions on release definitions and pipelines as Azure DevOps' security service evaluates them."""

from __future__ import annotations

from collections.abc import Collection, Mapping

LOCATION = (
    "dd3b8bd6-c7fc-4cbd-929a-933d9c011c9d",
    "Security",
    "permissions",
    "_apis/{resource}/{securityNamespaceId}/{permissions}",
    2,
)
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


def token_of(project_id: str, folder: str, number: int) -> str:
    """Return the token that the permissions on a definition or pipeline are kept under: project, folders and id.

    https://learn.microsoft.com/azure/devops/organizations/security/namespace-reference
    """
    return "/".join([project_id, *filter(None, folder.split("\\")), str(number)]).lower()


def has_bits(
    namespace: str, bits: int, token: str, granted: Collection[str], denied: Mapping[str, Collection[str]]
) -> bool:
    """Tell whether all permissions are had that these bits of the namespace mean."""
    known = NAMESPACES[namespace]
    wanted = {name for name, bit in known.items() if bits & bit}
    return not bits & ~sum(known.values()) and allows(wanted, token, granted, denied)


def allows(
    wanted: Collection[str], token: str, granted: Collection[str], denied: Mapping[str, Collection[str]]
) -> bool:
    """Tell whether all permissions are had: granted on the project, denied on the token or on what it is below."""
    below = f"{token.lower()}/"
    lost = {name for place, names in denied.items() if below.startswith(f"{place}/") for name in names}
    return set(wanted) <= set(granted) - lost
