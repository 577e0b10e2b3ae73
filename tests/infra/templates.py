"""The compiled templates and their predicted resources."""

import json
from typing import Any

from model_release.app import HOME

INFRA = HOME / "infra"
SNAPSHOTS = ("durable", "everything", "existing", "plain", "private", "restricted", "second", "two-workspaces")


def predicted(snapshot: str, kind: str = "") -> list[Any]:
    """Return the predicted resources of a parameter file, of this type if one is named."""
    resources = _read(snapshot)["predictedResources"]
    return [one for one in resources if kind in ("", one["type"])]


def outputs(snapshot: str) -> dict[str, Any]:
    return dict(_read(snapshot)["outputs"])


def only(kind: str, snapshot: str = "everything") -> Any:
    (resource,) = predicted(snapshot, kind)
    return resource


def _read(snapshot: str) -> dict[str, Any]:
    return dict(json.loads((INFRA / f"snapshots/{snapshot}.snapshot.json").read_text()))


def compiled(name: str) -> Any:
    """Return a compiled template with its modules."""
    return json.loads((INFRA / f"{name}.json").read_text())


def template_resources(template: Any) -> list[Any]:
    """Return the resources of a compiled template and of its modules; `existing` ones only exist."""
    found = []
    resources = template["resources"]
    for resource in resources.values() if isinstance(resources, dict) else resources:
        found.append(resource)
        if resource["type"] == "Microsoft.Resources/deployments":
            found += template_resources(resource["properties"]["template"])
    return found
