"""Microsoft's Node client, which nobody here wrote, reads the local Azure ML."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from local.azure_ml import WORKSPACE, AzureMl
from local.serving import Server
from tests.local import node_script

START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def read() -> dict[str, Any]:
    """Return what the client read."""
    azure_ml = AzureMl([WORKSPACE], page_size=3)
    for number in range(1, 9):
        tags = {"stage": f"s{number}"}
        azure_ml.add_version(WORKSPACE, "churn", str(number), created=START + timedelta(hours=number), tags=tags)
    azure_ml.add_version(WORKSPACE, "old", "1", created=START)
    azure_ml.archive(WORKSPACE, "old")
    _, _, subscription, _, group, *_, workspace = WORKSPACE.split("/")
    package = "@azure/arm-machinelearning"
    with Server(azure_ml) as server:
        return node_script.run("node_ml_client.js", package, server.url, subscription, group, workspace)


def test_the_node_client_reads_containers_with_their_newest_and_next_version(read: dict[str, Any]) -> None:
    (container,) = read["containers"]

    assert container == read["container"]
    properties = container["properties"]
    assert (container["name"], properties["latestVersion"], properties["nextVersion"]) == ("churn", "8", "9")
    assert container["systemData"]["createdAt"] == "2026-01-01T01:00:00.000Z"
    assert [one["name"] for one in read["archived"]] == ["old"]


def test_the_node_client_reads_versions_by_pages_and_in_order(read: dict[str, Any]) -> None:
    assert [one["name"] for one in read["versions"]] == list("87654321")
    assert [one["name"] for one in read["oldest"]] == ["1", "2"]
    assert read["version"] in read["versions"]
    assert read["version"]["properties"]["tags"] == {"stage": "s7"}


def test_the_node_client_reads_what_is_missing(read: dict[str, Any]) -> None:
    assert read["missing"] == {
        "version": "404 UserError ModelNotFound",
        "container": "404 UserError ModelNotFound",
        "versions": "404 UserError ModelNotFound",
        "workspace": "404 ResourceNotFound",
    }
