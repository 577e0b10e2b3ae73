"""The local Azure ML lists models as the real one is documented to."""

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
OLDEST_FIRST = {"$orderBy": "createdtime asc"}
NEWEST_FIRST = {"$orderBy": "createdtime desc"}


@dataclass
class ServedAzureMl:
    azure_ml: AzureMl
    url: str

    def add(self, model: str, *days: int, **data: Any) -> None:
        for day in days:
            self.azure_ml.add_version(ID, model, str(day), created=START + timedelta(day), **data)

    def get(self, path: str = "/models", workspace: str = ID, **query: Any) -> requests.Response:
        parameters = {"api-version": "2024-10-01", **query}
        return requests.get(f"{self.url}{workspace}{path}", params=parameters, headers=TOKEN, timeout=5)

    def names(self, path: str = "/models/churn/versions", **query: Any) -> list[str]:
        return [item["name"] for item in self.get(path, **query).json()["value"]]


@pytest.fixture
def served() -> Iterator[ServedAzureMl]:
    azure_ml = AzureMl([ID], page_size=3)
    with Server(azure_ml) as server:
        yield ServedAzureMl(azure_ml, server.url)


def error(answer: requests.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def test_a_version_has_the_documented_form(served: ServedAzureMl) -> None:
    served.add("churn", 1, tags={"stage": "production"}, properties={"by": "me"})

    (version,) = served.get("/models/churn/versions").json()["value"]

    assert version == served.get("/models/churn/versions/1").json()
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


def test_each_model_is_listed_once(served: ServedAzureMl) -> None:
    served.add("churn", 1, 2)
    served.add("Churn", 1)

    assert served.names("/models") == ["Churn", "churn"]


def test_resource_ids_are_case_insensitive_and_model_names_are_not(served: ServedAzureMl) -> None:
    served.add("churn", 1)

    assert served.get("/MODELS/churn/Versions", workspace=ID.upper()).json()["value"]
    assert error(served.get("/models/CHURN/versions")) == (404, "UserError")


@pytest.mark.parametrize(
    ("query", "versions"),
    [
        ({}, ["2", "3", "1"]),
        (OLDEST_FIRST, ["1", "2", "3"]),
        (NEWEST_FIRST, ["3", "2", "1"]),
        ({**NEWEST_FIRST, "$top": 1}, ["3"]),
        ({**NEWEST_FIRST, "count": 1}, ["3"]),
        ({"listViewType": "activeonly"}, ["2", "3", "1"]),
        ({"listViewType": "ArchivedOnly"}, ["4"]),
        ({"listViewType": "All", **NEWEST_FIRST}, ["4", "3", "2"]),
    ],
)
def test_versions_are_filtered_ordered_and_limited(
    served: ServedAzureMl, query: dict[str, Any], versions: list[str]
) -> None:
    served.add("churn", 2, 3, 1)
    served.add("churn", 4, archived=True)

    assert served.names(**query) == versions


def test_the_link_to_the_next_page_keeps_the_query(served: ServedAzureMl) -> None:
    served.add("churn", *range(8))
    page = served.get("/models/churn/versions", **NEWEST_FIRST, **{"$top": 7}).json()
    names = [item["name"] for item in page["value"]]

    while "nextLink" in page:
        page = requests.get(page["nextLink"], headers=TOKEN, timeout=5).json()
        names += [item["name"] for item in page["value"]]

    assert names == ["7", "6", "5", "4", "3", "2", "1"]
    assert len(served.azure_ml.requests) == 3


def test_tags_change_and_archived_versions_and_models_are_not_listed(served: ServedAzureMl) -> None:
    served.add("churn", 1, 2)
    served.add("churn", 3, archived=True)
    served.add("gone", 1)

    served.azure_ml.set_tags(ID.upper(), "churn", "1", {"stage": "test"})
    served.azure_ml.archive(ID, "churn", "2")
    served.azure_ml.archive(ID, "gone")

    (version,) = served.get("/models/churn/versions").json()["value"]
    assert version["properties"]["tags"] == {"stage": "test"}
    assert served.names("/models") == ["churn"]
    assert served.names("/models", listViewType="ArchivedOnly") == ["gone"]
    assert served.get("/models/churn/versions/2").status_code == 200


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"$orderBy": "name"}, "UserError"),
        ({"listViewType": "Some"}, "UserError"),
        ({"$skip": "x"}, "UserError"),
        ({"api-version": None}, "MissingApiVersionParameter"),
    ],
)
def test_a_wrong_query_is_refused(served: ServedAzureMl, query: dict[str, Any], code: str) -> None:
    assert error(served.get(**query)) == (400, code)


def test_what_does_not_exist_is_not_found(served: ServedAzureMl) -> None:
    served.add("churn", 1)

    assert error(served.get(workspace=ID.replace("Prod", "Gone"))) == (404, "ResourceNotFound")
    assert error(served.get("/models/risk/versions")) == (404, "UserError")
    assert error(served.get("/models/churn/versions/2")) == (404, "UserError")
    assert error(served.get("/endpoints")) == (404, "InvalidResourceType")


@pytest.mark.parametrize("sign_in", [{}, {"Authorization": "Basic x"}])
def test_a_request_without_a_bearer_token_is_refused(served: ServedAzureMl, sign_in: dict[str, str]) -> None:
    assert error(requests.get(f"{served.url}{ID}/models", headers=sign_in, timeout=5)) == (401, "AuthenticationFailed")


def test_faults_happen_until_they_are_removed(served: ServedAzureMl) -> None:
    served.azure_ml.misbehave(Fault(status=503))
    statuses = [served.get().status_code]
    served.azure_ml.behave()

    assert [*statuses, served.get().status_code] == [503, 200]
