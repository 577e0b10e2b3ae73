"""The local Azure ML lists models as the real one is documented to."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests

from local.azure_devops_faults import Fault
from local.azure_ml import AzureMl
from local.serving import Server

ID = "/subscriptions/1/resourceGroups/Group/providers/Microsoft.MachineLearningServices/workspaces/Prod"
START = datetime(2026, 1, 1, 12, tzinfo=UTC)
TOKEN = {"Authorization": "Bearer token"}


@dataclass
class Site:
    azure_ml: AzureMl
    url: str

    def add(self, model: str, *days: int, **data: Any) -> None:
        for day in days:
            self.azure_ml.add_version(ID, model, str(day), created=START + timedelta(day), **data)

    def get(self, path: str = "/models", workspace: str = ID, **query: Any) -> requests.Response:
        parameters = {"api-version": "2024-10-01", **{name.replace("_", "$"): value for name, value in query.items()}}
        return requests.get(f"{self.url}{workspace}{path}", params=parameters, headers=TOKEN, timeout=5)

    def names(self, path: str = "/models/churn/versions", **query: Any) -> list[str]:
        return [item["name"] for item in self.get(path, **query).json()["value"]]


@pytest.fixture
def site() -> Iterator[Site]:
    azure_ml = AzureMl([ID], page_size=3)
    with Server(azure_ml) as server:
        yield Site(azure_ml, server.url)


def error(answer: requests.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def test_a_version_has_the_documented_form(site: Site) -> None:
    site.add("churn", 1, tags={"stage": "production"}, properties={"by": "me"})

    (version,) = site.get("/models/churn/versions").json()["value"]

    assert (version["id"], version["name"]) == (f"{ID}/models/churn/versions/1", "1")
    assert version["type"] == "Microsoft.MachineLearningServices/workspaces/models/versions"
    assert version["systemData"]["createdAt"] == "2026-01-02T12:00:00.0000000+00:00"
    described = {key: version["properties"][key] for key in ("tags", "properties", "isArchived", "isAnonymous")}
    assert described == {
        "tags": {"stage": "production"},
        "properties": {"by": "me"},
        "isArchived": False,
        "isAnonymous": False,
    }


def test_models_are_listed_once_each(site: Site) -> None:
    site.add("churn", 1, 2)
    site.add("Churn", 1)

    assert site.names("/models") == ["Churn", "churn"]


def test_resource_ids_have_no_case_and_model_names_do(site: Site) -> None:
    site.add("churn", 1)

    assert site.get("/MODELS/churn/Versions", workspace=ID.upper()).json()["value"]
    assert error(site.get("/models/CHURN/versions")) == (404, "UserError")


@pytest.mark.parametrize(
    ("query", "versions"),
    [
        ({}, ["2", "3", "1"]),
        ({"_orderBy": "createdtime asc"}, ["1", "2", "3"]),
        ({"_orderBy": "createdtime desc"}, ["3", "2", "1"]),
        ({"_orderBy": "createdtime desc", "_top": 1}, ["3"]),
        ({"listViewType": "ArchivedOnly"}, ["4"]),
        ({"listViewType": "All", "_orderBy": "createdtime desc"}, ["4", "3", "2"]),
    ],
)
def test_versions_are_filtered_ordered_and_bounded(site: Site, query: dict[str, Any], versions: list[str]) -> None:
    site.add("churn", 2, 3, 1)
    site.add("churn", 4, archived=True)

    assert site.names(**query) == versions


def test_pages_lead_to_each_other_and_keep_the_query(site: Site) -> None:
    site.add("churn", *range(8))
    page = site.get("/models/churn/versions", _orderBy="createdtime desc", _top=7).json()
    names = [item["name"] for item in page["value"]]

    while "nextLink" in page:
        page = requests.get(page["nextLink"], headers=TOKEN, timeout=5).json()
        names += [item["name"] for item in page["value"]]

    assert names == ["7", "6", "5", "4", "3", "2", "1"]
    assert len(site.azure_ml.requests) == 3


def test_tags_change_and_versions_and_models_are_archived(site: Site) -> None:
    site.add("churn", 1, 2)
    site.add("gone", 1)

    site.azure_ml.set_tags(ID.upper(), "churn", "1", {"stage": "test"})
    site.azure_ml.archive(ID, "churn", "2")
    site.azure_ml.archive(ID, "gone")

    (version,) = site.get("/models/churn/versions").json()["value"]
    assert version["properties"]["tags"] == {"stage": "test"}
    assert site.names("/models") == ["churn"]
    assert site.names("/models", listViewType="ArchivedOnly") == ["gone"]


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"_orderBy": "name"}, "UserError"),
        ({"listViewType": "Some"}, "UserError"),
        ({"_skip": "x"}, "UserError"),
        ({"api-version": None}, "MissingApiVersionParameter"),
    ],
)
def test_a_wrong_query_is_refused(site: Site, query: dict[str, Any], code: str) -> None:
    assert error(site.get(**query)) == (400, code)


def test_what_is_not_there_is_refused(site: Site) -> None:
    assert error(site.get(workspace=ID.replace("Prod", "Gone"))) == (404, "ResourceNotFound")
    assert error(site.get("/models/churn/versions")) == (404, "UserError")
    assert error(site.get("/endpoints")) == (404, "InvalidResourceType")


@pytest.mark.parametrize("sign_in", [{}, {"Authorization": "Basic x"}])
def test_whoever_brings_no_bearer_token_is_refused(site: Site, sign_in: dict[str, str]) -> None:
    assert error(requests.get(f"{site.url}{ID}/models", headers=sign_in, timeout=5)) == (401, "AuthenticationFailed")


def test_it_misbehaves_until_it_is_told_to_behave(site: Site) -> None:
    site.azure_ml.misbehave(Fault(status=503))
    statuses = [site.get().status_code]
    site.azure_ml.behave()

    assert [*statuses, site.get().status_code] == [503, 200]


def test_another_process_adds_versions_and_faults_and_sees_the_requests(site: Site) -> None:
    version = {"workspace_id": ID, "model": "churn", "version": "1"}
    put = [version, {**version, "version": "2", "created": "2020-01-01T00:00:00Z", "tags": {"a": "b"}}]
    fault = {"path": "versions", "status": 429, "headers": {"Retry-After": "0"}}

    for body in (put, {**version, "version": "3"}):
        assert requests.put(f"{site.url}/_local/versions", json=body, timeout=5).status_code == 204
    assert site.names(_orderBy="createdtime asc") == ["2", "1", "3"]
    assert requests.post(f"{site.url}/_local/faults", json=[fault], timeout=5).status_code == 204
    assert site.get("/models/churn/versions").status_code == 429
    assert requests.delete(f"{site.url}/_local/faults", timeout=5).status_code == 204
    assert site.get("/models/churn/versions").status_code == 200
    assert len(requests.get(f"{site.url}/_local/requests", timeout=5).json()) == 3


@pytest.mark.parametrize("body", [{}, {"model": "churn"}, [1], {"created": "yesterday"}])
def test_what_another_process_adds_wrongly_is_refused(site: Site, body: Any) -> None:
    assert requests.put(f"{site.url}/_local/versions", json=body, timeout=5).status_code == 400


def test_it_is_a_program_that_begins_empty() -> None:
    command = [sys.executable, "-m", "local.azure_ml", "--port", "0", "--workspace", ID]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as program:
        try:
            assert program.stdout
            url = program.stdout.readline().split()[-1]
            answer = requests.get(f"{url}{ID}/models?api-version=2024-10-01", headers=TOKEN, timeout=5)
        finally:
            program.terminate()

    assert answer.json() == {"value": []}
