"""The local Azure DevOps starts and lists runs of pipelines as the real one is known to, seen through the SDK."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests
import yaml
from azure.devops.exceptions import AzureDevOpsServiceError
from azure.devops.released.build import BuildClient
from azure.devops.released.pipelines import PipelinesClient, RunPipelineParameters
from azure.devops.released.security import SecurityClient
from azure.devops.v7_0.pipelines.models import RepositoryResourceParameters, RunResourcesParameters, Variable
from jsonschema import Draft202012Validator
from msrest.authentication import BasicAuthentication

from local.azure_devops import AzureDevOps, Fault
from local.azure_devops_pipelines import pipeline_token
from local.serving import Server
from tests import azure_devops_types

BUILD = "33344d9c-fc72-4d6f-aba5-fa317101a7e9"
MODEL = {"modelName": "churn", "modelVersion": "3"}


@dataclass
class Site:
    azure_devops: AzureDevOps
    url: str

    @property
    def client(self) -> PipelinesClient:
        client = PipelinesClient(base_url=f"{self.url}/contoso", creds=BasicAuthentication("", "a token"))
        client.config.retry_policy.retries = 0
        return client

    def run(self, pipeline: int = 1, branch: str = "", parameters: dict[str, str] = MODEL, **start: Any) -> Any:
        if branch:
            start["resources"] = RunResourcesParameters(
                repositories={"self": RepositoryResourceParameters(ref_name=branch)}
            )
        start = RunPipelineParameters(template_parameters=parameters, **start)
        return self.client.run_pipeline(start, "growth", pipeline)

    def builds(self, **filters: Any) -> list[Any]:
        client = BuildClient(base_url=f"{self.url}/contoso", creds=BasicAuthentication("", "a token"))
        return client.get_builds("growth", **filters)


@pytest.fixture
def site() -> Iterator[Site]:
    azure_devops = AzureDevOps()
    azure_devops.add_pipeline(
        "growth",
        "Deploy churn",
        parameters={
            "modelName": None,
            "modelVersion": None,
            "stage": {"default": "test", "values": ["test", "production"]},
        },
        variables=["Settable"],
        branches=("refs/heads/main", "refs/heads/next"),
        stages=("Test", "Production"),
    )
    with Server(azure_devops) as server:
        yield Site(azure_devops, server.url)


# Finding pipelines


def test_pipelines_are_listed_by_name_and_in_pages(site: Site) -> None:
    site.azure_devops.add_pipeline("growth", "Build", folder="\\ci")
    site.azure_devops.add_pipeline("risk", "Other", id=42)

    listed = site.client.list_pipelines("growth")

    assert [(pipeline.id, pipeline.name, pipeline.folder) for pipeline in listed] == [
        (2, "Build", "\\ci"),
        (1, "Deploy churn", "\\"),
    ]
    assert listed[0].configuration is None
    assert [pipeline.id for pipeline in site.client.list_pipelines("growth", top=1)] == [2]
    assert [pipeline.id for pipeline in site.client.list_pipelines("growth", top=1, continuation_token=1)] == [1]


def test_one_pipeline_tells_its_yaml_file(site: Site) -> None:
    pipeline = site.client.get_pipeline("GROWTH", 1)

    assert (pipeline.name, pipeline.configuration.type) == ("Deploy churn", "yaml")
    project = site.azure_devops.pipelines.change(1)["project"]["id"]
    assert pipeline.url.endswith(f"/{project}/_apis/pipelines/1?revision=1")
    assert pipeline._links.additional_properties["web"]["href"].endswith(f"/{project}/_build/definition?definitionId=1")


def test_unknown_projects_pipelines_and_runs_are_not_found(site: Site) -> None:
    with pytest.raises(AzureDevOpsServiceError, match="TF200016"):
        site.client.list_pipelines("sales")
    for call in (lambda: site.client.get_pipeline("growth", 9), lambda: site.run(9)):
        with pytest.raises(AzureDevOpsServiceError) as caught:
            call()
        assert caught.value.type_key == "PipelineNotFoundException"
    with pytest.raises(AzureDevOpsServiceError, match="A run with id 9 was not found"):
        site.client.get_run("growth", 1, 9)


# Running


def test_a_run_carries_what_was_passed(site: Site) -> None:
    site.azure_devops.add_pipeline("growth", "Other")
    run = site.run(branch="refs/heads/next", variables={"Settable": Variable(value="x")})

    assert (run.id, run.state, run.pipeline.name) == (1, "inProgress", "Deploy churn")
    assert run.name == f"{datetime.now(UTC):%Y%m%d}.1"
    # The SDK's model of a run does not know them.
    assert run.additional_properties["templateParameters"] == MODEL
    assert run.variables["Settable"].value == "x"
    assert run.resources.repositories["self"].ref_name == "refs/heads/next"
    assert run._links.additional_properties["web"]["href"].endswith("/growth/_build/results?buildId=1")
    assert site.client.get_run("growth", 1, 1).additional_properties["templateParameters"] == MODEL


def test_without_a_branch_the_default_one_is_built(site: Site) -> None:
    assert site.run().resources.repositories["self"].ref_name == "refs/heads/main"


def refused(site: Site, **start: Any) -> AzureDevOpsServiceError:
    with pytest.raises(AzureDevOpsServiceError) as caught:
        site.run(**start)
    assert site.azure_devops.runs == []
    return caught.value


def test_undeclared_parameters_are_all_named(site: Site) -> None:
    error = refused(site, parameters=MODEL | {"a": "1", "b": "2"})

    assert error.type_key == "PipelineValidationException"
    assert error.message == "Unexpected parameter 'a'\nUnexpected parameter 'b'"


def test_what_is_wrong_with_values_and_branches_is_told_in_validation_results(site: Site) -> None:
    values = refused(site, parameters={"MODELNAME": "churn", "stage": "moon"})
    branch = refused(site, branch="refs/heads/gone")

    assert values.type_key == branch.type_key == "BuildRequestValidationFailedException"
    assert values.message == "Could not queue the build because there were validation errors or warnings."
    assert values.custom_properties["ValidationResults"] == [
        {"result": "error", "message": "A value for the 'modelVersion' parameter must be provided."},
        {"result": "error", "message": "The 'stage' parameter value 'moon' is not an allowed value."},
    ]
    (result,) = branch.custom_properties["ValidationResults"]
    assert "refs/heads/gone" in result["message"]


def test_variables_must_be_settable_at_queue_time(site: Site) -> None:
    error = refused(site, variables={"settable": Variable(value="x"), "Fixed": Variable(value="y")})

    assert "You can't set the following variables (Fixed)" in error.message


def test_a_disabled_pipeline_runs_nothing(site: Site) -> None:
    site.azure_devops.pipelines.change(1, disabled=True)

    assert refused(site).type_key == "DefinitionDisabledException"


def test_a_preview_run_checks_everything_and_starts_nothing(site: Site) -> None:
    start = RunPipelineParameters(template_parameters=MODEL)
    previewed = site.client.preview(start, "growth", 1)
    run = site.run(preview_run=True)

    assert previewed.final_yaml == run.final_yaml
    assert [stage["stage"] for stage in yaml.safe_load(previewed.final_yaml)["stages"]] == ["Test", "Production"]
    refused(site, preview_run=True, parameters={})
    assert refused(site, yaml_override="stages: []").message.startswith("YAML override")


def test_missing_permissions_refuse_single_things_and_empty_lists(site: Site) -> None:
    site.run()
    client = site.client
    site.azure_devops.permissions.clear()

    assert client.list_pipelines("growth") == client.list_runs("growth", 1) == site.builds() == []
    for call, permission in (
        (lambda: client.get_pipeline("growth", 1), "View build pipeline"),
        (lambda: client.get_run("growth", 1, 1), "View builds"),
        (site.run, "Queue builds"),
    ):
        with pytest.raises(AzureDevOpsServiceError, match=f"TF215106: Access denied. .* needs {permission} perm"):
            call()


def test_a_permission_may_be_denied_on_one_pipeline(site: Site) -> None:
    other = site.azure_devops.add_pipeline("growth", "Other", folder="\\more")
    site.run()
    site.run(other["id"], parameters={})
    site.azure_devops.denied[pipeline_token(other)] = {"View builds", "View build pipeline"}

    assert [pipeline.name for pipeline in site.client.list_pipelines("growth")] == ["Deploy churn"]
    assert [build.definition.id for build in site.builds()] == [1]
    security = SecurityClient(f"{site.url}/contoso", BasicAuthentication("", "a token"))
    project = other["project"]["id"]
    for token, allowed in ((f"{project}/1", [True, True]), (f"{project}/more/{other['id']}", [False, True])):
        assert [security.has_permissions(BUILD, bit, token)[0] for bit in (1, 128)] == allowed


# Listing runs


def test_runs_are_listed_newest_first_ten_thousand_at_most_and_unfiltered(site: Site) -> None:
    site.run()
    site.run(parameters=MODEL | {"stage": "production"})

    newest, oldest = site.client.list_runs("growth", 1)
    assert (newest.id, oldest.id) == (2, 1)
    assert newest.additional_properties["templateParameters"]["stage"] == "production"

    site.azure_devops.runs.extend({**site.azure_devops.runs[0], "id": number} for number in range(3, 10_003))
    answer = requests.get(f"{site.url}/contoso/growth/_apis/pipelines/1/runs", auth=("", "a token"), timeout=10)
    assert [run["id"] for run in answer.json()["value"][::9_999]] == [10_002, 3]


def test_runs_are_builds_too_with_filters_and_pages(site: Site) -> None:
    site.azure_devops.add_pipeline("growth", "Other")
    before = datetime.now(UTC) - timedelta(seconds=1)
    for pipeline, parameters in ((1, MODEL), (2, {}), (1, MODEL)):
        site.run(pipeline, parameters=parameters)
    after = datetime.now(UTC) + timedelta(seconds=1)
    order = {"query_order": "queueTimeDescending"}

    assert [build.id for build in site.builds(**order)] == [3, 2, 1]
    assert [build.id for build in site.builds(definitions=[1], min_time=before, **order)] == [3, 1]
    assert [build.id for build in site.builds(definitions=[1], top=1, **order)] == [3]
    assert [build.id for build in site.builds(definitions=[1], top=1, continuation_token=1, **order)] == [1]
    assert site.builds(min_time=after) == site.builds(max_time=before) == site.builds(branch_name="x") == []
    assert site.builds(definitions=[1])[0].template_parameters == MODEL


def test_lists_may_keep_the_parameters_to_themselves(site: Site) -> None:
    site.run()
    site.azure_devops.pipelines.runs_tell_parameters = False
    site.azure_devops.pipelines.builds_tell_parameters = False

    assert "templateParameters" not in site.client.get_run("growth", 1, 1).additional_properties
    assert site.builds()[0].template_parameters is None


# Misbehaving and driving it from outside


def test_runs_meet_the_same_faults_as_releases(site: Site) -> None:
    site.azure_devops.misbehave(Fault("POST", "/runs", status=500, apply=True, body={"message": "broken"}, times=1))

    with pytest.raises(AzureDevOpsServiceError, match="broken"):
        site.run()
    assert len(site.azure_devops.runs) == 1


def test_pipelines_over_http_and_runs_on_the_page(site: Site) -> None:
    new = {"project": "risk", "name": "Deploy risk", "id": 42, "parameters": {"a": "<b>"}}
    assert requests.post(f"{site.url}/_local/pipelines", json=new, timeout=5).json()["id"] == 42
    assert requests.post(f"{site.url}/_local/pipelines", json=new, timeout=5).status_code == 400
    assert requests.patch(f"{site.url}/_local/pipelines/42", json={"disabled": True}, timeout=5).json()["disabled"]

    run = site.run(parameters={**MODEL, "modelName": "<churn>"})

    assert requests.get(f"{site.url}/_local/runs", timeout=5).json() == site.azure_devops.runs
    page = requests.get(run._links.additional_properties["web"]["href"], timeout=5).text
    assert "modelName: &lt;churn&gt;" in page


def test_answers_are_as_microsoft_describes_them(site: Site) -> None:
    types = azure_devops_types.types()
    # What JSON really looks like here is known from recorded answers; the description shows .NET's classes.
    types["ReferenceLinks"] = {"additionalProperties": {"required": ["href"]}}
    types["Run"]["properties"]["templateParameters"] = {"additionalProperties": {"type": "string"}}
    types["PipelineConfiguration"]["properties"] |= {"path": {"type": "string"}, "repository": {"type": "object"}}
    for each in types.values():
        for base in each.get("allOf", ()):
            each["properties"] |= types[base["$ref"].rpartition("/")[2]]["properties"]
    for each in types.values():
        if each.pop("allOf", None) or "properties" in each:
            each["additionalProperties"] = False
    site.run()

    def faults(name: str, path: str) -> list[str]:
        answer = requests.get(f"{site.url}/contoso/growth/_apis/{path}", auth=("", "a token"), timeout=5).json()
        validator = Draft202012Validator({"$ref": f"#/definitions/{name}", "definitions": types})
        return [fault.message for value in answer.get("value", [answer]) for fault in validator.iter_errors(value)]

    assert faults("Pipeline", "pipelines") == faults("Pipeline", "pipelines/1") == []
    assert faults("Run", "pipelines/1/runs") == faults("Run", "pipelines/1/runs/1") == []
    assert faults("Variable", "pipelines/1") != []
