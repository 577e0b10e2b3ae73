"""Registries: their versions start as those of workspaces do, with records of their own."""

import re
from dataclasses import replace
from typing import Any

import pytest
import yaml

from model_release.app import HOME
from model_release.azure_devops.model_version import Version
from model_release.azure_devops.release_request import missing_from, read_definition, release_request
from model_release.azure_ml.items import AzureMlError, ModelContainer, ModelVersion
from model_release.domain.claims import State
from model_release.domain.events import Workspace, parse
from model_release.domain.map_file import MapFile
from model_release.domain.placeholders import asset_id
from model_release.domain.release_map import MARKER_PARAMETER, build_map
from model_release.domain.targets import TargetId
from model_release.flow.confirm import event_of
from model_release.flow.manually import unrecorded
from model_release.store.catch_up_cursor import CatchUpCursor
from tests.in_memory import DAY, HOUR, NOON, WORKSPACE, Process, a_plan

OTHER = Workspace.parse(WORKSPACE.id.removesuffix("prod") + "Dev")
REGISTRY = Workspace.parse(WORKSPACE.id.replace("workspaces/prod", "registries/Shared"))
SOURCES = (WORKSPACE, OTHER, REGISTRY)


class AzureMl:
    """Lists the same version in each source, but in those that are refused."""

    def __init__(self) -> None:
        self.refused: set[Workspace] = set()
        self.tags: dict[str, str] = {}
        self.version = "5"

    def models(self, source: Workspace, **_: Any) -> list[ModelContainer]:
        if source in self.refused:
            raise AzureMlError("403", "grant the actions")
        return [ModelContainer("churn", str(self.tags))]

    def versions(self, source: Workspace, model: str, **_: Any) -> list[ModelVersion]:
        return [self.model_version(source, model, self.version)]

    def model_version(self, source: Workspace, model: str, version: str) -> ModelVersion:
        return ModelVersion(source, model, version, NOON, self.tags, {}, "Succeeded")


def a_process(azure_ml: AzureMl, *routes: dict[str, Any]) -> Process:
    process = Process(azure_ml=azure_ml)
    written = [
        {
            "model": "churn",
            "release": {"project": "p", "definition": f"d{number}", "variables": {"V": "{asset_id}"}},
            **route,
        }
        for number, route in enumerate(routes)
    ]
    release_map = build_map(MapFile({"version": 1, "routes": written}))
    targets = [route.target for route in release_map.routes]
    process.azure_devops.ids = {one: TargetId("release", "p-id", number) for number, one in enumerate(targets, 1)}
    process.start_release = replace(process.start_release, release_map=release_map, workspaces=frozenset(SOURCES))
    for source in SOURCES:
        process.cursors.write(source, CatchUpCursor(NOON - 30 * DAY, NOON - HOUR, recorded=NOON - 30 * DAY))
    return process


def test_the_same_model_in_two_workspaces_and_a_registry_has_three_claims_that_the_map_routes() -> None:
    azure_ml = AzureMl()
    process = a_process(azure_ml, {"workspace": "prod"}, {"registry": "shared"}, {"workspace": "DEV"})

    entries = process.catch_up(azure_ml).run()

    assert {(entry.workspace, entry.target, entry.state) for entry in entries} == {
        (WORKSPACE.id, "p/d0", State.STARTED),
        (REGISTRY.id, "p/d1", State.STARTED),
        (OTHER.id, "p/d2", State.STARTED),
    }
    plans = {plan.target.definition: plan.variables["V"] for plan, *_ in process.azure_devops.created}
    assert plans["d1"] == "azureml://registries/Shared/models/churn/versions/5"
    process.later(HOUR)
    assert process.catch_up(azure_ml).run() == []


def test_a_person_starts_a_registrys_version_that_no_run_has_listed() -> None:
    process = a_process(AzureMl(), {"registry": "shared"})

    (entry,) = process.start_release.match_again(unrecorded(REGISTRY, "churn", "5"))

    assert (entry.state, entry.workspace, entry.target) == (State.STARTED, REGISTRY.id, "p/d0")


def test_a_route_without_a_source_matches_versions_of_all_and_each_line_has_its_own_order() -> None:
    azure_ml = AzureMl()
    process = a_process(azure_ml, {})

    assert [entry.state for entry in process.catch_up(azure_ml).run()] == [State.STARTED] * 3


def test_a_registry_that_cannot_be_read_does_not_stop_the_others(caplog: pytest.LogCaptureFixture) -> None:
    azure_ml = AzureMl()
    azure_ml.refused.add(REGISTRY)
    process = a_process(azure_ml, {})

    assert len(process.catch_up(azure_ml).run()) == 2
    cursor = process.cursors.read(REGISTRY)
    assert cursor
    assert cursor.problem == "403; grant the actions"
    azure_ml.refused.clear()
    process.later(HOUR / 12)

    assert [entry.workspace for entry in process.catch_up(azure_ml).run()] == [REGISTRY.id]


def test_a_tag_in_a_registry_starts_its_version_in_the_next_run() -> None:
    azure_ml = AzureMl()
    process = a_process(azure_ml, {"registry": "Shared", "tags": {"stage": "production"}})
    entries = process.catch_up(azure_ml).run()
    assert {entry.state for entry in entries} == {State.IGNORED}
    reasons = {entry.workspace: entry.reason for entry in entries}
    assert "workspace is 'Prod', not registry 'Shared'" in reasons[WORKSPACE.id]
    azure_ml.tags = {"stage": "production"}
    process.later(HOUR / 12)

    assert [entry.workspace for entry in process.catch_up(azure_ml).run()] == [REGISTRY.id]


def test_a_registry_that_is_not_in_the_settings_is_ignored() -> None:
    process = a_process(AzureMl(), {})
    process.start_release = replace(process.start_release, workspaces=frozenset([WORKSPACE]))

    (entry,) = process.start_release.registered(event_of(AzureMl().model_version(REGISTRY, "churn", "5")))

    assert entry.reason == f"registry {REGISTRY.id} is not in AML_REGISTRIES"


def test_the_asset_id_of_a_workspace_has_the_case_that_the_cli_expects() -> None:
    event = parse(event_of(AzureMl().model_version(WORKSPACE, "churn", "5")))

    assert asset_id(event) == (
        "azureml:/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/Prod"
        "/models/churn/versions/5"
    )


@pytest.mark.parametrize(
    ("source", "variables", "artifact"),
    [
        (WORKSPACE, {"ModelVersion": "5", "ModelWorkspace": "Prod"}, True),
        (REGISTRY, {"ModelVersion": "5", "ModelRegistry": "Shared"}, False),
    ],
)
def test_a_release_of_a_registrys_version_has_its_variables_and_not_the_artifact_of_a_workspace(
    source: Workspace, variables: dict[str, str], *, artifact: bool
) -> None:
    settable = {name: {"allowOverride": True} for name in ("ModelVersion", "ModelWorkspace", "ModelRegistry")}
    reference = {"definition": {"id": "churn"}}
    artifacts = [{"alias": "_churn", "type": "AzureMLMMS", "definitionReference": reference}]
    definition = read_definition({"id": 7, "name": "D", "variables": settable, "artifacts": artifacts})
    event = parse(event_of(AzureMl().model_version(source, "churn", "5")))

    alias = definition.alias_of(event)
    version = Version("id of 5", "5") if alias else None
    request = release_request(definition, a_plan(), event, version=version, marker="[m]")

    assert {name: one["value"] for name, one in request["variables"].items()} == variables
    assert ("artifacts" in request) == (alias == "_churn") == artifact


def test_a_definition_with_only_an_artifact_refuses_a_registrys_version_with_a_fix() -> None:
    reference = {"definition": {"id": "churn"}, "defaultVersionType": {"id": "selectDuringReleaseCreationType"}}
    artifacts = [{"alias": "_churn", "type": "AzureMLMMS", "definitionReference": reference}]
    definition = read_definition({"id": 7, "name": "D", "artifacts": artifacts})
    event = parse(event_of(AzureMl().model_version(REGISTRY, "churn", "5")))

    faults = missing_from(definition, a_plan(), event, has_artifact=definition.alias_of(event) is not None)

    assert [(fault.problem, fault.fix) for fault in faults] == [
        (
            "definition D does not accept a model version",
            (
                "add a variable ModelVersion settable at release time, because an AzureML model artifact cannot take a "
                "version of a registry"
            ),
        ),
        (
            "definition D expects that the version of artifact _churn is selected for each release",
            "set its default version, for example to Latest",
        ),
    ]


def test_the_way_to_production_in_the_documentation_comes_true() -> None:
    document = (HOME / "docs/promotion.md").read_text()
    (written,) = re.findall(r"```yaml\n(.*?)```", document, re.DOTALL)
    base = WORKSPACE.id.removesuffix("workspaces/prod")
    dev, shared = Workspace.parse(f"{base}workspaces/dev"), Workspace.parse(f"{base}registries/shared")
    azure_ml = AzureMl()
    process = a_process(azure_ml, {})
    release_map = build_map(MapFile(yaml.safe_load(written)))
    targets = [route.target for route in release_map.routes]
    process.azure_devops.ids = {one: TargetId("pipeline", "p-id", number) for number, one in enumerate(targets, 1)}
    sources = frozenset([dev, shared])
    process.start_release = replace(process.start_release, release_map=release_map, workspaces=sources)
    for source in sources:
        process.cursors.write(source, CatchUpCursor(NOON - 30 * DAY, NOON - HOUR, recorded=NOON - 30 * DAY))

    (registered,) = process.start_release.registered(event_of(azure_ml.model_version(dev, "churn", "3")))
    azure_ml.version = "3"
    (ignored,) = process.catch_up(azure_ml).run()
    azure_ml.tags = {"stage": "production"}
    (released,) = process.catch_up(azure_ml).run()

    entries = [(entry.workspace, entry.state.value, entry.reason) for entry in (registered, ignored, released)]
    assert entries == [
        (dev.id, "started", "route test matches churn:3"),
        (shared.id, "ignored", "registry is 'shared', not workspace 'dev'; tag stage is missing"),
        (shared.id, "started", "route production matches churn:3"),
    ]
    flat = " ".join(document.split())
    assert [reason for _, _, reason in entries if f"*{reason}*" not in flat] == []
    plan = process.azure_devops.created[-1][0]
    assert plan.parameters["modelId"] == "azureml://registries/shared/models/churn/versions/3"
    assert plan.parameters["modelId"] in document
    yaml_pipeline = yaml.safe_load((HOME / "docs/pipelines/deploy-from-registry.yml").read_text())
    assert {one["name"] for one in yaml_pipeline["parameters"]} == {*plan.parameters, MARKER_PARAMETER}
