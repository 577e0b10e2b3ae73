"""The models, targets and release map of a soak run, its records, and the check of what was created."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import yaml
from azure.data.tables import TableClient

from local.azure_devops import AzureDevOps
from model_release.domain.claims import State
from model_release.store.table import TABLE_NAME

_PROJECTS = ("fraud", "risk", "growth", "credit", "care")
_MODELS_OF_A_TARGET = 5
_ARTIFACT = "every-artifact-0"


class ModelVersion(NamedTuple):
    """A model version; the name of the model begins with the order of its route."""

    model: str
    version: int

    @property
    def newest_only(self) -> bool:
        """Whether its route has `order: newest`."""
        return self.model.startswith("newest")


class SoakTarget(NamedTuple):
    """A release definition or a pipeline, and the models that are routed to it."""

    number: int
    kind: str
    project: str
    name: str
    models: str

    def route(self) -> dict[str, Any]:
        """Return the target's route; half of each kind are named by their number."""
        named = self.name if self.number % 4 in (0, 1) else self.number
        key = {"release": "definition", "pipeline": "pipeline"}[self.kind]
        order = self.models.partition("-")[0]
        return {"model": self.models, "order": order, self.kind: {"project": self.project, key: named}}


@dataclass(frozen=True)
class Count:
    """What was created, compared with what was registered; the last three must be empty."""

    created: int
    superseded: int
    doubled: tuple[ModelVersion, ...]
    lost: tuple[ModelVersion, ...]
    backwards: tuple[ModelVersion, ...]


def model_names(count: int) -> list[str]:
    """Name the models: every other one for `order: newest`, and one for a definition with a model artifact."""
    names = []
    for number in range(count - 1):
        order = ("newest", "every")[number % 2]
        names.append(f"{order}-{number // 2 // _MODELS_OF_A_TARGET:02}-{number:04}")
    return [*names, _ARTIFACT]


def versions(models: Sequence[str], count: int) -> list[ModelVersion]:
    """Return the model versions in the order of their registration."""
    return [ModelVersion(models[number % len(models)], number // len(models) + 1) for number in range(count)]


def targets(models: Sequence[str]) -> Iterator[SoakTarget]:
    """Yield release definitions and pipelines in turn, one for every few models."""
    for number, group in enumerate(sorted({model.rpartition("-")[0] for model in models}), start=1):
        # Only a definition can have an artifact.
        kind = "pipeline" if number % 2 == 0 and "artifact" not in group else "release"
        yield SoakTarget(number, kind, _PROJECTS[number % len(_PROJECTS)], f"Deploy {group}", f"{group}-*")


def build_azure_devops(models: Sequence[str]) -> AzureDevOps:
    """Return an Azure DevOps with the targets."""
    azure_devops = AzureDevOps()
    declared = {"modelName": None, "modelVersion": None, "modelReleaseMarker": ""}
    for target in targets(models):
        if target.kind == "pipeline":
            azure_devops.add_pipeline(target.project, target.name, id=target.number, parameters=declared)
            continue
        azure_devops.add_definition(
            target.project,
            target.name,
            id=target.number,
            model_artifacts={"_it": _ARTIFACT} if "artifact" in target.name else {},
            variables={"ModelName": "", "ModelVersion": ""},
        )
    azure_devops.add_model_version(_ARTIFACT, "0")
    return azure_devops


def release_map(models: Sequence[str]) -> str:
    """Return the release map that routes the models to the targets."""
    return yaml.safe_dump({"version": 1, "routes": [target.route() for target in targets(models)]})


def created(azure_devops: AzureDevOps) -> list[ModelVersion]:
    """Return the model versions of all releases, and then of all runs: no model is routed to both."""
    releases = [release["variables"] for release in azure_devops.releases]
    runs = [run["templateParameters"] for run in azure_devops.runs]
    return [
        *(ModelVersion(each["ModelName"]["value"], int(each["ModelVersion"]["value"])) for each in releases),
        *(ModelVersion(each["modelName"], int(each["modelVersion"])) for each in runs),
    ]


def compare(
    registered: Sequence[ModelVersion], claims: Mapping[ModelVersion, State], created: Sequence[ModelVersion]
) -> Count:
    """Compare the registered versions with the created ones, which are in the order of their IDs."""
    highest: dict[str, int] = {}
    backwards = []
    for version in created:
        if version.newest_only and version.version < highest.get(version.model, 0):
            backwards.append(version)
        highest[version.model] = max(version.version, highest.get(version.model, 0))
    superseded = {
        version
        for version in registered
        if claims.get(version) is State.SUPERSEDED and highest.get(version.model, 0) > version.version
    }
    return Count(
        created=len(created),
        superseded=len(superseded - set(created)),
        doubled=tuple((Counter(created) - Counter(set(created))).elements()),
        lost=tuple(set(registered) - set(created) - superseded),
        backwards=tuple(backwards),
    )


class Records:
    """The app's table, read without the proxy."""

    def __init__(self, connection: str) -> None:
        self._table = TableClient.from_connection_string(connection, TABLE_NAME)

    def pending(self) -> int:
        """Return the number of pending claims."""
        return sum(1 for _ in self._table.query_entities("PartitionKey eq 'pending'", select=["RowKey"]))

    def claims(self) -> dict[ModelVersion, State]:
        """Return the state of each claim."""
        rows = self._table.query_entities(
            "PartitionKey ge 'claim ' and PartitionKey lt 'claim!' and state ge ''",
            select=["model", "version", "state"],
        )
        return {ModelVersion(row["model"], int(row["version"])): State(row["state"]) for row in rows}
