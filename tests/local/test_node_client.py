"""Microsoft's Node client, which nobody here wrote, works with the local Azure DevOps."""

from typing import Any

import pytest

from local.azure_devops import sample
from local.serving import Server
from tests.local import node_script


@pytest.fixture(scope="module")
def read() -> dict[str, Any]:
    """Return what the client read of the sample."""
    azure_devops = sample()
    azure_devops.pipelines.change(1, stages=["Test", "Production"])
    with Server(azure_devops) as server:
        return node_script.run("node_client.js", "azure-devops-node-api", f"{server.url}/contoso")


def test_the_node_client_reads_definitions_and_artifact_versions(read: dict[str, Any]) -> None:
    (listed,) = read["definitions"]

    assert listed["artifacts"][0]["alias"] == "_sklearn_regression_model"
    assert list(listed["variables"]) == ["ModelName", "ModelVersion", "ModelWorkspace"]
    assert [stage["name"] for stage in read["definition"]["environments"]] == ["Staging", "Production"]
    assert read["latest"] == {"id": "19", "name": "19"}


def test_the_node_client_creates_a_release_and_finds_it_in_the_list(read: dict[str, Any]) -> None:
    (listed,) = read["listed"]

    assert read["created"]["id"] == listed["id"] == read["release"]["id"] == 1
    assert listed["description"] == "by Node"
    assert listed["artifacts"][0]["definitionReference"]["version"] == read["latest"]
    assert read["release"]["variables"]["ModelVersion"]["value"] == "19"


def test_the_node_client_starts_a_run_and_reads_its_state(read: dict[str, Any]) -> None:
    (listed,) = read["names"]
    in_progress, of_a_build = 1, 1

    assert (listed["name"], read["pipeline"]["name"]) == ("Deploy churn", "Deploy churn")
    assert (read["started"]["id"], read["run"]["state"]) == (1, in_progress)
    assert read["run"]["templateParameters"] == {"modelName": "churn", "modelVersion": "3"}
    (build,) = read["builds"]
    assert (build["id"], build["status"], build["templateParameters"]["modelVersion"]) == (1, of_a_build, "3")


def test_the_node_client_reads_a_refusal_and_a_preview(read: dict[str, Any]) -> None:
    assert read["refused"] == "400 'Tset' is not a valid stage to skip."
    assert "stage: Production" in read["previewed"]["finalYaml"]
