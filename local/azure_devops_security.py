"""Permissions on release definitions as Azure DevOps' security service evaluates them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

NAMESPACE = "c788c23e-1b46-4162-8f5e-d7585343b5de"
LOCATION = (
    "dd3b8bd6-c7fc-4cbd-929a-933d9c011c9d",
    "Security",
    "permissions",
    "_apis/{resource}/{securityNamespaceId}/{permissions}",
    2,
)
BITS = {
    "View release pipeline": 1,
    "Edit release pipeline": 2,
    "View releases": 32,
    "Create releases": 64,
}


def token_of(definition: Mapping[str, Any]) -> str:
    """Return the token that a definition's permissions are kept under: project, folders and id.

    https://learn.microsoft.com/azure/devops/organizations/security/namespace-reference
    """
    folders = [folder for folder in definition["path"].split("\\") if folder]
    return "/".join([definition["projectReference"]["id"], *folders, str(definition["id"])]).lower()


def allows(bits: int, token: str, granted: Collection[str], denied: Mapping[str, Collection[str]]) -> bool:
    """Tell whether all permissions are had: granted on the project, denied on the token or on what it is below."""
    wanted = {name for name, bit in BITS.items() if bits & bit}
    unknown = bits & ~sum(BITS.values())
    below = f"{token.lower()}/"
    lost = {name for place, names in denied.items() if below.startswith(f"{place}/") for name in names}
    return not unknown and wanted <= set(granted) - lost
