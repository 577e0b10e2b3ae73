"""Microsoft's Node client, which nobody here wrote, works with the local Azure DevOps."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from local import azurite
from local.azure_devops import sample
from local.serving import Server

SCRIPT = Path(__file__).parent / "node_client.js"


@pytest.fixture(scope="module")
def read() -> dict[str, Any]:
    """Return what the client read of the sample."""
    azure_devops = sample()
    azure_devops.pipelines.change(1, stages=["Test", "Production"])
    with Server(azure_devops) as server:
        done = subprocess.run(
            [azurite.node(azurite.PLACE / "node_modules/azure-devops-node-api"), str(SCRIPT), f"{server.url}/contoso"],
            env=os.environ | {"NODE_PATH": str(azurite.PLACE / "node_modules")},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


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
