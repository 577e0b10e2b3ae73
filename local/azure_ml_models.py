"""The models of one Azure ML workspace or registry, as Azure Resource Manager shows them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

Json = dict[str, Any]
_PROVIDER = "Microsoft.MachineLearningServices"


@dataclass
class Model:
    """A model and its versions by name."""

    container: Json
    versions: dict[str, Json] = field(default_factory=dict)

    def add(self, version: str, created: datetime, described: Mapping[str, Any]) -> None:
        """Register a version."""
        id_, type_ = f"{self.container['id']}/versions/{version}", f"{self.container['type']}/versions"
        item = self.versions[version] = _resource(id_, version, type_, created)
        item["properties"] |= {"modelType": "custom_model", "flavors": {}, **described}

    def change(self, *, follows: bool) -> None:
        """Let the container show its newest version and, if it `follows` its versions, the time of this change."""
        newest = max(self.versions.values(), key=lambda item: str(item["systemData"]["createdAt"]))
        numbers = [int(name) for name in self.versions if name.isdecimal()]
        self.container["properties"] |= {
            "latestVersion": newest["name"],
            "nextVersion": str(max(numbers, default=0) + 1),
        }
        if follows:
            self.container["systemData"]["lastModifiedAt"] = _moment(datetime.now(UTC))


def new_model(home: str, name: str, created: datetime) -> Model:
    """Describe a model without versions; the resource ID of its home ends with the kind and the name of that."""
    return Model(_resource(f"{home}/models/{name}", name, f"{_PROVIDER}/{home.split('/')[-2]}/models", created))


def _resource(id_: str, name: str, type_: str, created: datetime) -> Json:
    moment = _moment(created)
    return {
        "id": id_,
        "name": name,
        "type": type_,
        "properties": {
            "description": None,
            "tags": {},
            "properties": {},
            "isArchived": False,
            "provisioningState": "Succeeded",
        },
        "systemData": {"createdAt": moment, "createdBy": "A person", "createdByType": "User", "lastModifiedAt": moment},
    }


def _moment(time: datetime) -> str:
    # Azure ML writes seven digits and an offset instead of milliseconds and Z.
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f0+00:00")
