"""The local Azure DevOps starts and lists runs of pipelines as the real one is recorded to, seen through the SDK."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests
import yaml
from azure.devops.exceptions import AzureDevOpsServiceError
from azure.devops.released.build import BuildClient
from azure.devops.released.pipelines import PipelinesClient, RunPipelineParameters
from azure.devops.released.security import SecurityClient

from local.azure_devops import AzureDevOps, Fault
from local.azure_devops_pipelines import pipeline_token
from local.serving import Server
from tests.local.azure_devops import MODEL, SIGN_IN, ServedAzureDevOps, faults_of

BUILD = "33344d9c-fc72-4d6f-aba5-fa317101a7e9"
YEAR_2020 = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture
def served() -> Iterator[ServedAzureDevOps]:
    azure_devops = AzureDevOps()
    azure_devops.add_pipeline(
        "growth",
        "Deploy churn",
        parameters={"modelName": None, "modelVersion": None, "stage": "test"},
        branches=("refs/heads/main", "refs/heads/next"),
        stages=("Test", "Production"),
    )
    with Server(azure_devops) as server:
        yield ServedAzureDevOps(azure_devops, server.url)


@pytest.fixture
def pipelines(served: ServedAzureDevOps) -> Any:
    return served.client(PipelinesClient)


def builds(served: ServedAzureDevOps, **filters: Any) -> list[Any]:
    wanted = {"definitions": [1], "min_time": YEAR_2020, "query_order": "queueTimeDescending", **filters}
    return served.client(BuildClient).get_builds("growth", **wanted)


# Finding pipelines


def test_pipelines_are_listed_by_name_and_in_pages(served: ServedAzureDevOps, pipelines: Any) -> None:
    served.azure_devops.add_pipeline("growth", "Build", folder="\\ci")
    served.azure_devops.add_pipeline("risk", "Other", id=42)

    listed = pipelines.list_pipelines("growth")

    assert [(pipeline.id, pipeline.name, pipeline.folder) for pipeline in listed] == [
        (2, "Build", "\\ci"),
        (1, "Deploy churn", "\\"),
    ]
    assert listed[0].configuration is None
    assert [pipeline.id for pipeline in pipelines.list_pipelines("growth", top=1)] == [2]
    assert [pipeline.id for pipeline in pipelines.list_pipelines("growth", top=1, continuation_token=1)] == [1]


def test_a_single_pipeline_has_its_configuration(served: ServedAzureDevOps, pipelines: Any) -> None:
    pipeline = pipelines.get_pipeline("GROWTH", 1)

    assert (pipeline.name, pipeline.configuration.type) == ("Deploy churn", "yaml")
    project = served.azure_devops.pipelines.change(1)["project"]["id"]
    assert pipeline.url.endswith(f"/{project}/_apis/pipelines/1?revision=1")
    assert pipeline._links.additional_properties["web"]["href"].endswith(f"/{project}/_build/definition?definitionId=1")


def test_unknown_projects_pipelines_and_runs_are_not_found(served: ServedAzureDevOps, pipelines: Any) -> None:
    with pytest.raises(AzureDevOpsServiceError, match="TF200016"):
        pipelines.list_pipelines("sales")
    for call in (lambda: pipelines.get_pipeline("growth", 9), lambda: served.run(9)):
        with pytest.raises(AzureDevOpsServiceError) as caught:
            call()
        assert caught.value.type_key == "PipelineNotFoundException"
    preview = f"{served.url}/contoso/growth/_apis/pipelines/9/preview"
    answer = requests.post(preview, json={}, auth=SIGN_IN, timeout=5)
    assert (answer.status_code, answer.json()["typeKey"]) == (500, "PipelineNotFoundException")
    assert answer.json()["message"] == "The pipeline '9' does not exist"
    with pytest.raises(AzureDevOpsServiceError, match="A run with id 9 was not found"):
        pipelines.get_run("growth", 1, 9)


# Running


def test_a_run_has_the_requested_parameters_and_branch(served: ServedAzureDevOps, pipelines: Any) -> None:
    run = served.run(branch="refs/heads/next")

    assert (run.id, run.state, run.pipeline.name) == (1, "inProgress", "Deploy churn")
    assert run.name == f"{datetime.now(UTC):%Y%m%d}.1"
    # The SDK's model of a run does not have them.
    assert run.additional_properties["templateParameters"] == MODEL
    assert run.resources.repositories["self"].ref_name == "refs/heads/next"
    assert run._links.additional_properties["web"]["href"].endswith("/growth/_build/results?buildId=1")
    assert pipelines.get_run("growth", 1, 1).additional_properties["templateParameters"] == MODEL


def test_a_run_without_a_requested_branch_has_the_default_branch(served: ServedAzureDevOps) -> None:
    assert served.run().resources.repositories["self"].ref_name == "refs/heads/main"


def refused(served: ServedAzureDevOps, **request: Any) -> AzureDevOpsServiceError:
    with pytest.raises(AzureDevOpsServiceError) as caught:
        served.run(**request)
    assert served.azure_devops.runs == []
    return caught.value


def test_the_refusal_names_all_undeclared_parameters(served: ServedAzureDevOps) -> None:
    error = refused(served, parameters=MODEL | {"a": "1", "b": "2"})

    assert error.type_key == "PipelineValidationException"
    assert error.message == "Unexpected parameter 'a'\nUnexpected parameter 'b'"


def test_the_refusal_names_all_unknown_stages_to_skip(served: ServedAzureDevOps) -> None:
    error = refused(served, stages_to_skip=["test", "Tset", "Prodution"])

    assert error.type_key == "PipelineValidationException"
    assert error.message == "'Tset' is not a valid stage to skip.\n'Prodution' is not a valid stage to skip."


def test_missing_values_and_unknown_branches_are_in_the_validation_results(served: ServedAzureDevOps) -> None:
    values = refused(served, parameters={"MODELNAME": "churn"})
    branch = refused(served, branch="refs/heads/gone")

    assert values.type_key == branch.type_key == "BuildRequestValidationFailedException"
    assert values.message == "Could not queue the build because there were validation errors or warnings."
    assert values.custom_properties["ValidationResults"] == [
        {"result": "error", "message": "A value for the 'modelVersion' parameter must be provided."}
    ]
    (result,) = branch.custom_properties["ValidationResults"]
    assert "refs/heads/gone" in result["message"]


@pytest.mark.parametrize(
    ("kind", "value", "problem"),
    [
        ("boolean", "maybe", "is not a valid Boolean."),
        ("boolean", "True", None),
        ("boolean", True, None),
        ("number", "three", "is not a valid Number."),
        ("number", "-3.5", None),
        ("object", "{a: [", "is not a valid Object."),
        ("object", "{a: [1]}", None),
        ("string", ["a"], "Unable to convert from Array to String"),
        ("object", {"a": 1}, "Unable to convert from Object to String"),
    ],
)
def test_a_value_must_have_the_type_of_its_parameter(
    served: ServedAzureDevOps, kind: str, value: Any, problem: str | None
) -> None:
    served.azure_devops.add_pipeline("growth", "Typed", id=5, parameters={"Given": None}, types={"Given": kind})
    runs = f"{served.url}/contoso/growth/_apis/pipelines/5/runs"

    answer = requests.post(runs, json={"templateParameters": {"given": value}}, auth=SIGN_IN, timeout=5)

    if problem:
        assert (answer.status_code, answer.json()["typeKey"]) == (400, "PipelineValidationException")
        assert problem in answer.json()["message"]
    else:
        assert answer.json()["templateParameters"] == {"given": str(value)}


def test_a_build_without_parameters_has_no_key_for_them(served: ServedAzureDevOps) -> None:
    served.azure_devops.add_pipeline("growth", "Other")
    served.run(2, parameters={})

    listed = served.get("growth/_apis/build/builds", definitions=2, minTime=YEAR_2020.isoformat()).json()["value"]
    assert "templateParameters" not in listed[0]


def test_a_disabled_pipeline_is_refused(served: ServedAzureDevOps) -> None:
    served.azure_devops.pipelines.change(1, disabled=True)

    assert refused(served).type_key == "DefinitionDisabledException"


def test_a_preview_checks_everything_and_starts_nothing(served: ServedAzureDevOps, pipelines: Any) -> None:
    previewed = pipelines.preview(RunPipelineParameters(template_parameters=MODEL), "growth", 1)

    assert [stage["stage"] for stage in yaml.safe_load(previewed.final_yaml)["stages"]] == ["Test", "Production"]
    with pytest.raises(AzureDevOpsServiceError, match="validation errors"):
        pipelines.preview(RunPipelineParameters(template_parameters={}), "growth", 1)
    assert served.azure_devops.runs == []


def test_missing_permissions_refuse_single_things_and_empty_lists(served: ServedAzureDevOps, pipelines: Any) -> None:
    served.run()
    served.azure_devops.permissions.clear()

    assert pipelines.list_pipelines("growth") == builds(served) == []
    for call, permission in (
        (lambda: pipelines.get_pipeline("growth", 1), "View build pipeline"),
        (lambda: pipelines.get_run("growth", 1, 1), "View builds"),
        (served.run, "Queue builds"),
    ):
        with pytest.raises(AzureDevOpsServiceError, match=f"TF215106: Access denied. .* needs {permission} perm"):
            call()


def test_a_permission_can_be_denied_on_one_pipeline(served: ServedAzureDevOps, pipelines: Any) -> None:
    other = served.azure_devops.add_pipeline("growth", "Other", folder="\\more")
    served.run()
    served.run(other["id"], parameters={})
    served.azure_devops.denied[pipeline_token(other)] = {"View builds", "View build pipeline"}

    assert [pipeline.name for pipeline in pipelines.list_pipelines("growth")] == ["Deploy churn"]
    assert [build.definition.id for build in builds(served, definitions=[1, other["id"]])] == [1]
    security = served.client(SecurityClient)
    project = other["project"]["id"]
    for token, allowed in ((f"{project}/1", [True, True]), (f"{project}/more/{other['id']}", [False, True])):
        assert [security.has_permissions(BUILD, bit, token)[0] for bit in (1, 128)] == allowed


# Listing runs


def test_runs_are_listed_as_builds_newest_first_with_filters_and_pages(served: ServedAzureDevOps) -> None:
    served.azure_devops.add_pipeline("growth", "Other")
    for pipeline, parameters in ((1, MODEL), (2, {}), (1, MODEL)):
        served.run(pipeline, parameters=parameters)

    assert [build.id for build in builds(served)] == [3, 1]
    assert [build.id for build in builds(served, definitions=[1, 2])] == [3, 2, 1]
    assert [build.id for build in builds(served, top=1)] == [3]
    page = served.get("growth/_apis/build/builds", definitions=1, minTime=YEAR_2020.isoformat(), **{"$top": 1})
    token = page.headers["x-ms-continuationtoken"]
    assert datetime.fromisoformat(token) > YEAR_2020
    assert [build.id for build in builds(served, top=1, continuation_token=token)] == [1]
    assert builds(served, min_time=datetime.now(UTC) + timedelta(seconds=1)) == []
    assert builds(served)[0].template_parameters == MODEL


def test_parameters_can_be_hidden_in_runs_and_builds(served: ServedAzureDevOps, pipelines: Any) -> None:
    served.run()
    served.azure_devops.pipelines.runs_tell_parameters = False
    served.azure_devops.pipelines.builds_tell_parameters = False

    assert "templateParameters" not in pipelines.get_run("growth", 1, 1).additional_properties
    assert builds(served)[0].template_parameters is None


# Faults, page and description


def test_faults_happen_to_runs_too(served: ServedAzureDevOps) -> None:
    served.azure_devops.misbehave(Fault("POST", "/runs", status=500, apply=True, body={"message": "broken"}, times=1))

    with pytest.raises(AzureDevOpsServiceError, match="broken"):
        served.run()
    assert len(served.azure_devops.runs) == 1


def test_the_page_lists_the_runs_escaped(served: ServedAzureDevOps) -> None:
    run = served.run(parameters={**MODEL, "modelName": "<churn>"})

    page = requests.get(run._links.additional_properties["web"]["href"], timeout=5).text
    assert "modelName: &lt;churn&gt;" in page


def test_answers_have_the_types_that_microsoft_describes(served: ServedAzureDevOps) -> None:
    served.run()

    for name, path in (("Pipeline", "pipelines"), ("Pipeline", "pipelines/1"), ("Run", "pipelines/1/runs/1")):
        assert faults_of(name, served.get(f"growth/_apis/{path}")) == []
    assert faults_of("Variable", served.get("growth/_apis/pipelines/1")) != []
