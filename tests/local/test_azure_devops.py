"""The local Azure DevOps behaves as the real one is known to, seen through the unmodified SDK."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests
from azure.core.exceptions import DeserializationError
from azure.devops.connection import Connection
from azure.devops.exceptions import (
    AzureDevOpsAuthenticationError,
    AzureDevOpsClientRequestError,
    AzureDevOpsServiceError,
)
from azure.devops.released.release import ReleaseClient
from azure.devops.v7_0.release.models import ReleaseStartMetadata
from jsonschema import Draft202012Validator
from msrest.authentication import BasicAuthentication
from msrest.exceptions import ClientRequestError

from local.azure_devops import AzureDevOps, Fault, Received, sample
from local.serving import Server
from tests import azure_devops_types

ARTIFACT_VERSIONS = "30fc787e-a9e0-4a07-9fbc-3e903aa051d2"
SOURCE = "0a1b2c3d-0000-4000-8000-4d4c53657276:churn"


@dataclass
class Site:
    azure_devops: AzureDevOps
    url: str

    def client(self, pat: str = "a token") -> ReleaseClient:
        client = ReleaseClient(base_url=f"{self.url}/contoso", creds=BasicAuthentication("", pat))
        client.config.retry_policy.retries = 0
        return client

    def create(self, **start: Any) -> Any:
        return self.client().create_release(ReleaseStartMetadata(definition_id=1, **start), "fraud")

    def refusal(self, **start: Any) -> tuple[int, str, str]:
        """Status, type and message of the answer to a request that names what the SDK might leave out."""
        answer = self.post({"definitionId": 1, **start})
        return answer.status_code, answer.json()["typeKey"], answer.json()["message"]

    def post(self, start: Any, project: str = "fraud") -> requests.Response:
        url = f"{self.url}/contoso/{project}/_apis/release/releases"
        return requests.post(url, json=start, auth=("", "a token"), timeout=5)

    def put(self, definition: Any) -> requests.Response:
        url = f"{self.url}/contoso/fraud/_apis/release/definitions"
        return requests.put(url, json=definition, auth=("", "a token"), timeout=5)

    def get(self, path: str, **query: Any) -> requests.Response:
        return requests.get(f"{self.url}/contoso/{path}", params=query, auth=("", "a token"), timeout=5)

    def ids(self, **query: Any) -> list[int]:
        return [release["id"] for release in self.get("fraud/_apis/release/releases", **query).json()["value"]]


@pytest.fixture
def site() -> Iterator[Site]:
    azure_devops = AzureDevOps()
    azure_devops.add_definition(
        "fraud",
        "Deploy churn",
        model_artifacts={"_Churn": "churn"},
        variables={
            "ModelVersion": "",
            "Fixed": {"value": "stays"},
            "Token": {"value": "hidden", "isSecret": True, "allowOverride": True},
        },
        stages=("Test", "Production"),
    )
    for version in ("1", "2"):
        azure_devops.add_model_version("churn", version)
    with Server(azure_devops) as server:
        yield Site(azure_devops, server.url)


def version(name: str, alias: str = "_churn") -> dict[str, Any]:
    return {"alias": alias, "instanceReference": {"id": name, "name": name}}


def error(kind: str, message: str = "busy") -> dict[str, Any]:
    return {"$id": "1", "message": message, "typeKey": kind, "errorCode": 0, "eventId": 3000}


# Finding it


def test_connection_finds_the_release_area(site: Site) -> None:
    # The SDK remembers for the whole process what it learned of an address, and another test may have had this port.
    connection = Connection(base_url=f"{site.url}/Northwind", creds=BasicAuthentication("", "a token"))

    release = connection.clients.get_release_client().create_release({"definitionId": 1}, "fraud")

    assert release.name == "Release-1"
    assert [(received.method, received.path) for received in site.azure_devops.requests] == [
        ("OPTIONS", "/northwind/_apis"),
        ("GET", "/Northwind/_apis/ResourceAreas"),
        ("POST", "/Northwind/fraud/_apis/Release/releases"),
    ]


def test_client_built_directly_needs_no_resource_area(site: Site) -> None:
    assert site.client().get_release_definition("fraud", 1).name == "Deploy churn"
    assert not [received for received in site.azure_devops.requests if "ResourceAreas" in received.path]


def test_release_area_is_where_the_caller_came_in(site: Site) -> None:
    answer = requests.get(
        f"{site.url}/contoso/_apis/ResourceAreas",
        headers={"Host": "proxy.example:8080", "Authorization": "Bearer x"},
        timeout=5,
    )

    assert answer.json()["value"][0]["locationUrl"] == "http://proxy.example:8080/contoso/"


def test_paths_and_project_names_have_no_case(site: Site) -> None:
    assert site.get("FRAUD/_APIS/RELEASE/Definitions/1").json()["name"] == "Deploy churn"


def test_unknown_project_and_unknown_path_are_not_found(site: Site) -> None:
    for path in ("sales/_apis/release/releases", "fraud/_apis/git/repositories"):
        assert site.get(path).status_code == 404

    with pytest.raises(AzureDevOpsServiceError, match="TF200016"):
        site.client().get_releases("sales")


def test_without_sign_in_there_is_only_the_sign_in_page(site: Site) -> None:
    answer = requests.get(f"{site.url}/contoso/fraud/_apis/release/releases", timeout=5)

    assert (answer.status_code, answer.headers["Content-Type"]) == (203, "text/html; charset=utf-8")


def test_wrong_token_gets_the_sign_in_page() -> None:
    azure_devops = AzureDevOps(pat="right")
    azure_devops.add_definition("fraud", "Deploy churn")
    with Server(azure_devops) as server:
        site = Site(azure_devops, server.url)

        with pytest.raises(DeserializationError, match="text/html"):
            site.client("wrong").get_releases("fraud")
        assert site.client("right").get_releases("fraud") == []


# Definitions


def test_definitions_are_found_by_name_and_folder(site: Site) -> None:
    site.azure_devops.add_definition("fraud", "Deploy churn again", path="\\models\\new")
    site.azure_devops.add_definition("risk", "Deploy churn")
    client = site.client()

    def names(**query: Any) -> list[str]:
        return [definition.name for definition in client.get_release_definitions("fraud", **query)]

    assert names() == names(search_text="CHURN") == ["Deploy churn", "Deploy churn again"]
    assert names(search_text="deploy CHURN", is_exact_name_match=True) == ["Deploy churn"]
    assert names(path="\\Models") == names(path="\\models\\new") == ["Deploy churn again"]
    assert names(path="\\mod") == []


def test_definition_list_tells_only_what_is_expanded(site: Site) -> None:
    client = site.client()

    (plain,) = client.get_release_definitions("fraud")
    (expanded,) = client.get_release_definitions("fraud", expand="artifacts,variables")

    assert (plain.artifacts, plain.variables, plain.environments) == (None, None, None)
    assert expanded.artifacts[0].source_id == SOURCE
    assert expanded.variables["ModelVersion"].allow_override
    assert expanded.environments is None


def test_definition_list_continues(site: Site) -> None:
    site.azure_devops.add_definition("fraud", "Second", id=7)

    first = site.get("fraud/_apis/release/definitions", **{"$top": 1})
    second = site.get("fraud/_apis/release/definitions", continuationToken=first.headers["x-ms-continuationtoken"])

    assert [definition["id"] for definition in first.json()["value"]] == [1]
    assert [definition["id"] for definition in second.json()["value"]] == [7]
    assert "x-ms-continuationtoken" not in second.headers


def test_definition_by_id_tells_everything_but_secrets(site: Site) -> None:
    definition = site.client().get_release_definition("fraud", 1)

    assert definition.artifacts[0].definition_reference["definition"].id == "churn"
    assert definition.variables["Token"].value is None
    assert [stage.name for stage in definition.environments] == ["Test", "Production"]


def test_definition_of_another_project_is_not_found(site: Site) -> None:
    site.azure_devops.add_definition("risk", "Deploy risk", id=42)

    with pytest.raises(AzureDevOpsServiceError) as caught:
        site.client().get_release_definition("fraud", 42)
    assert caught.value.type_key == "ReleaseDefinitionNotFoundException"


def test_updated_definition_has_the_next_revision_and_keeps_what_is_the_servers(site: Site) -> None:
    before = site.get("fraud/_apis/release/definitions/1").json()

    answer = site.put({**before, "description": "new", "createdOn": "never", "somethingNew": 1})

    after = site.get("fraud/_apis/release/definitions/1").json()
    assert after == answer.json()
    changed = {"description": "new", "somethingNew": 1, "revision": 2, "modifiedOn": after["modifiedOn"]}
    assert after == {**before, **changed}


def test_sdk_updates_a_definition(site: Site) -> None:
    client = site.client()
    definition = client.get_release_definition("fraud", 1)
    definition.release_name_format = "R-$(rev:r)"

    assert client.update_release_definition(definition, "fraud").revision == definition.revision + 1


@pytest.mark.parametrize(
    ("changes", "status", "message"),
    [
        ({"revision": 2}, 400, "You are using an old copy of the release pipeline. Refresh your copy and try again."),
        (
            {"revision": None},
            400,
            "You are using an old copy of the release pipeline. Refresh your copy and try again.",
        ),
        ({"environments": []}, 400, "VS402875: Release pipeline needs to have at least one stage."),
        ({"id": 99}, 404, "Release pipeline with ID 99 does not exist."),
    ],
)
def test_update_of_a_definition_is_refused(site: Site, changes: dict[str, Any], status: int, message: str) -> None:
    before = site.get("fraud/_apis/release/definitions/1").json()

    answer = site.put({**before, **changes})

    assert (answer.status_code, answer.json()["message"]) == (status, message)
    assert site.get("fraud/_apis/release/definitions/1").json() == before


def test_update_of_a_definition_needs_its_permission(site: Site) -> None:
    site.azure_devops.permissions.remove("Edit release pipeline")

    assert site.put(site.get("fraud/_apis/release/definitions/1").json()).status_code == 403


def test_own_trigger_of_a_definition_is_told(site: Site) -> None:
    site.azure_devops.add_definition("fraud", "Triggered", id=2, model_artifacts={"_m": "m"}, trigger=True)

    assert site.client().get_release_definition("fraud", 2).triggers == [
        {"artifactAlias": "_m", "triggerType": "artifactSource", "triggerConditions": []}
    ]


def test_artifact_versions_are_listed_newest_first(site: Site) -> None:
    site.azure_devops.model_version_id = "{model}:{version}"
    client = site.client()

    answer = client._send(
        "GET",
        ARTIFACT_VERSIONS,
        "7.1-preview.1",
        route_values={"project": "fraud"},
        query_parameters={"releaseDefinitionId": 1},
    )
    (artifact,) = client._deserialize("ArtifactVersionQueryResult", answer).artifact_versions

    assert (artifact.alias, artifact.source_id, artifact.default_version.id) == ("_Churn", SOURCE, "churn:2")
    assert [(found.id, found.name) for found in artifact.versions] == [("churn:2", "2"), ("churn:1", "1")]


# Creating releases


def test_created_release_tells_what_was_asked_for(site: Site) -> None:
    release = site.create(
        artifacts=[version("1")],
        variables={"modelversion": {"value": "1"}},
        description="churn 1",
        reason="none",
        manual_environments=["production"],
    )

    assert (release.id, release.name, release.status, release.reason) == (1, "Release-1", "active", "manual")
    assert release.description == "churn 1"
    assert datetime.now(UTC) - release.created_on < timedelta(minutes=1)
    assert (release.release_definition.id, release.release_definition.path) == (1, "\\")
    assert release.project_reference.name == "fraud"
    assert release.artifacts[0].definition_reference["version"].id == "1"
    assert {name: variable.value for name, variable in release.variables.items()} == {
        "ModelVersion": "1",
        "Fixed": "stays",
        "Token": None,
    }
    assert [len(stage.conditions) for stage in release.environments] == [1, 0]
    assert release._links.additional_properties["web"]["href"] == (
        f"{site.url}/contoso/fraud/_release?releaseId=1&_a=release-summary"
    )
    assert site.client().get_release("fraud", 1).as_dict() == release.as_dict()


def test_version_that_is_not_asked_for_is_the_latest_known(site: Site) -> None:
    (artifact,) = site.create().artifacts

    assert artifact.definition_reference["version"].as_dict() == {"id": "2", "name": "2"}


def test_version_that_does_not_exist_is_not_noticed(site: Site) -> None:
    (artifact,) = site.create(artifacts=[version("no such")]).artifacts

    assert artifact.definition_reference["version"].id == "no such"


def test_draft_is_not_started_and_gets_no_default_versions(site: Site) -> None:
    release = site.create(is_draft=True)

    assert (release.name, release.status) == ("Draft-1", "draft")
    assert "version" not in release.artifacts[0].definition_reference


def test_definition_keeps_its_releases_as_they_were(site: Site) -> None:
    site.create(artifacts=[version("1")], variables={"ModelVersion": {"value": "1"}})

    definition = site.client().get_release_definition("fraud", 1)

    assert "version" not in definition.artifacts[0].definition_reference
    assert definition.variables["ModelVersion"].value == ""


def test_variables_in_an_array_are_ignored(site: Site) -> None:
    answer = site.post({"definitionId": 1, "variables": [{"ModelVersion": {"value": "1"}}]})

    assert answer.json()["variables"]["ModelVersion"]["value"] == ""


def test_properties_are_told_to_those_who_name_them(site: Site) -> None:
    site.create(properties={"ModelId": "churn:1", "Number": 1})

    plain = site.client().get_release("fraud", 1)
    asked = site.client().get_release("fraud", 1, property_filters=["modelid"])

    assert plain.properties == {}
    assert asked.properties == {"ModelId": {"$type": "System.String", "$value": "churn:1"}}


def test_no_version_is_available(site: Site) -> None:
    site.azure_devops.add_definition("fraud", "Deploy unknown", id=3, model_artifacts={"_unknown": "unknown"})

    status, kind, message = site.refusal(definitionId=3)

    assert (status, kind) == (400, "InvalidRequestException")
    assert message.startswith(
        "VS402962: No artifact version id is specified corresponding to artifact source '_unknown'."
    )


@pytest.mark.parametrize(
    ("start", "status", "kind", "message"),
    [
        ({"artifacts": [version("1", alias="")]}, 400, "InvalidRequestException", "has no alias"),
        ({"artifacts": [version(" ")]}, 400, "InvalidRequestException", "VS402962: .* '_churn'"),
        ({"artifacts": [version("1"), version("2", "_CHURN")]}, 400, "InvalidRequestException", "more than once"),
        ({"definitionId": 99}, 404, "ReleaseDefinitionNotFoundException", "ID 99 does not exist"),
        ({"artifacts": [version("1", "_other")]}, 400, "InvalidRequestException", "_other do not exist"),
        (
            {"variables": {"Stage": {"value": "x"}}},
            400,
            "InvalidRequestException",
            r"Failed to build release: Variable\(s\) Stage do not exist in the release pipeline at scope: Release\.",
        ),
        ({"variables": {"FIXED": {"value": "x"}}}, 400, "InvalidRequestException", "Fixed .* not being settable"),
        ({"variables": {"Token": {"value": "x"}}}, 400, "InvalidRequestException", "Token .* must be secret"),
        (
            {"environmentsMetadata": [{"definitionEnvironmentId": 2, "variables": {"Stage": {"value": "x"}}}]},
            400,
            "InvalidRequestException",
            "Stage do not exist in the release pipeline at scope: Production",
        ),
    ],
)
def test_release_is_refused(site: Site, start: dict[str, Any], status: int, kind: str, message: str) -> None:
    answer = site.refusal(**start)

    assert answer[:2] == (status, kind)
    assert re.search(message, answer[2])
    assert site.azure_devops.releases == []


def test_checks_come_in_the_order_of_the_server(site: Site) -> None:
    wrong = {
        "definitionId": 99,
        "artifacts": [version(""), version("1", "_other")],
        "variables": {"Stage": {"value": "x"}},
    }
    site.azure_devops.permissions.remove("Create releases")

    assert site.refusal(**wrong)[1] == "AccessDeniedException"
    site.azure_devops.permissions.add("Create releases")
    assert "VS402962" in site.refusal(**wrong)[2]
    wrong["artifacts"] = [version("1", "_other")]
    assert site.refusal(**wrong)[1] == "ReleaseDefinitionNotFoundException"
    wrong["definitionId"] = 1
    assert "_other do not exist" in site.refusal(**wrong)[2]
    del wrong["artifacts"]
    assert "Stage do not exist" in site.refusal(**wrong)[2]


def test_body_of_another_shape_is_refused(site: Site) -> None:
    for start in ([], {"definitionId": "x"}, {"definitionId": 1, "artifacts": ["x"]}):
        assert site.post(start).status_code == 400


def test_disabled_definition_starts_nothing(site: Site) -> None:
    site.azure_devops.add_definition("fraud", "Off", id=2, disabled=True)

    assert site.refusal(definitionId=2)[:2] == (403, "ReleaseDefinitionDisabledException")


def test_missing_permissions_refuse_single_things_and_empty_lists(site: Site) -> None:
    site.create()
    client = site.client()
    site.azure_devops.permissions.clear()

    assert client.get_releases("fraud") == client.get_release_definitions("fraud") == []
    for request, permission in (
        (lambda: client.get_release("fraud", 1), "view releases"),
        (lambda: client.get_release_definition("fraud", 1), "view release pipeline"),
        (site.create, "create releases"),
    ):
        with pytest.raises(AzureDevOpsServiceError, match=f"VS402904: .* does not have {permission} permission"):
            request()


def test_releases_created_at_once_have_their_own_numbers(site: Site) -> None:
    threads = [threading.Thread(target=site.post, args=({"definitionId": 1},)) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [release["name"] for release in site.azure_devops.releases] == [f"Release-{n}" for n in range(1, 21)]


# Listing releases


def test_list_filters(site: Site) -> None:
    site.azure_devops.add_definition("fraud", "Without a model", id=2)
    site.create(artifacts=[version("1")])
    site.create(is_draft=True)
    site.post({"definitionId": 2})

    assert site.ids() == [3, 2, 1]
    assert site.ids(queryOrder="ascending") == [1, 2, 3]
    assert site.ids(definitionId=1) == [2, 1]
    assert site.ids(artifactTypeId="AzureMLMMS", sourceId=SOURCE, artifactVersionId="1") == [1]
    assert site.ids(artifactTypeId="Build") == site.ids(sourceId="x") == site.ids(artifactVersionId="2") == []
    assert site.ids(searchText="draft") == site.ids(statusFilter="draft") == [2]
    assert site.ids(propertyFilters="ModelId") == [3, 2, 1]


def test_list_filters_by_time(site: Site) -> None:
    before = datetime.now(UTC) - timedelta(seconds=1)
    site.create()
    after = datetime.now(UTC) + timedelta(seconds=1)
    client = site.client()

    assert [release.id for release in client.get_releases("fraud", min_created_time=before)] == [1]
    assert [release.id for release in client.get_releases("fraud", max_created_time=after)] == [1]
    assert client.get_releases("fraud", min_created_time=after) == []
    assert client.get_releases("fraud", max_created_time=before) == []
    assert site.get("fraud/_apis/release/releases", minCreatedTime="yesterday").status_code == 400


def test_deleted_releases_are_listed_only_when_asked_for(site: Site) -> None:
    site.create()
    site.create()
    site.azure_devops.releases[0]["isDeleted"] = True

    assert site.ids() == [2]
    assert site.ids(isDeleted="true") == [1]
    with pytest.raises(AzureDevOpsServiceError) as caught:
        site.client().get_release("fraud", 1)
    assert caught.value.type_key == "ReleaseNotFoundException"


def test_list_tells_artifacts_only_when_expanded(site: Site) -> None:
    site.create(description="kept")
    client = site.client()

    (plain,) = client.get_releases("fraud")
    (expanded,) = client.get_releases("fraud", expand="artifacts")

    assert (plain.artifacts, plain.variables, plain.description) == ([], {}, "kept")
    assert expanded.artifacts[0].definition_reference["version"].id == "2"
    assert expanded.variables == {}


def test_list_comes_in_pages_of_fifty_and_a_hundred_at_most(site: Site) -> None:
    for _ in range(102):
        site.post({"definitionId": 1})

    first = site.get("fraud/_apis/release/releases")
    largest = site.get("fraud/_apis/release/releases", **{"$top": 1000})
    last = site.client().get_releases("fraud", continuation_token=2)

    assert [release["id"] for release in first.json()["value"]] == list(range(102, 52, -1))
    assert first.headers["X-MS-ContinuationToken"] == "52"
    assert (largest.json()["count"], largest.headers["X-MS-ContinuationToken"]) == (100, "2")
    assert [release.id for release in last] == [2, 1]


# Misbehaving


def test_fault_happens_as_often_as_it_says_and_where_it_says(site: Site) -> None:
    site.azure_devops.misbehave(Fault("post", "/RELEASE/releases", times=2, status=500, body=error("X")))

    assert [site.post({"definitionId": 1}).status_code for _ in range(3)] == [500, 500, 200]
    assert site.get("fraud/_apis/release/releases").status_code == 200


def test_faults_happen_in_turn_until_cleared(site: Site) -> None:
    site.azure_devops.misbehave(Fault(times=1, status=503), Fault(status=502))

    assert [site.get("_apis/ResourceAreas").status_code for _ in range(3)] == [503, 502, 502]
    site.azure_devops.behave()
    assert site.get("_apis/ResourceAreas").status_code == 200


def test_too_many_requests_tells_when_to_come_back(site: Site) -> None:
    client = site.client()
    seen: list[requests.Response] = []
    client.config.hooks.append(lambda response, *_, **__: seen.append(response))
    site.azure_devops.misbehave(
        Fault(
            "POST", status=429, headers={"Retry-After": "30"}, body=error("RequestBlockedException", "TF400733: busy")
        )
    )

    with pytest.raises(AzureDevOpsServiceError, match="TF400733: busy"):
        client.create_release({"definitionId": 1}, "fraud")
    assert (seen[-1].status_code, seen[-1].headers["Retry-After"]) == (429, "30")
    assert site.azure_devops.releases == []


def test_headers_alone_are_added_to_the_true_answer(site: Site) -> None:
    site.azure_devops.misbehave(Fault(headers={"Retry-After": "5"}))

    answer = site.post({"definitionId": 1})

    assert (answer.json()["id"], answer.headers["Retry-After"]) == (1, "5")


def test_text_body_is_html(site: Site) -> None:
    site.azure_devops.misbehave(Fault("POST", status=401, body="<h1>Who are you?</h1>"))

    with pytest.raises(AzureDevOpsAuthenticationError):
        site.create()


def test_sign_in_page_on_request(site: Site) -> None:
    site.azure_devops.misbehave(Fault("POST", sign_in=True))

    with pytest.raises(DeserializationError, match="text/html"):
        site.create()
    assert site.azure_devops.releases == []


@pytest.mark.parametrize(("close", "created"), [("before", 0), ("after", 1)])
def test_connection_is_closed_before_or_after_the_release_was_created(site: Site, close: Any, created: int) -> None:
    site.azure_devops.misbehave(Fault("POST", close=close))

    with pytest.raises(ClientRequestError, match="RemoteDisconnected"):
        site.create()
    assert len(site.azure_devops.releases) == created


def test_truncated_answer_breaks_off(site: Site) -> None:
    site.azure_devops.misbehave(Fault("POST", truncate=True))

    # Not one of the SDK's own exceptions.
    with pytest.raises(requests.exceptions.ChunkedEncodingError, match="IncompleteRead"):
        site.create()
    assert len(site.azure_devops.releases) == 1


def test_unparsable_answer_looks_complete(site: Site) -> None:
    site.azure_devops.misbehave(Fault("POST", unparsable=True))

    with pytest.raises(DeserializationError, match="JSON"):
        site.create()
    assert len(site.azure_devops.releases) == 1


def test_error_is_answered_although_the_release_was_created(site: Site) -> None:
    site.azure_devops.misbehave(Fault("POST", status=500, apply=True))

    with pytest.raises(AzureDevOpsClientRequestError, match="500"):
        site.create()
    assert len(site.azure_devops.releases) == 1


def test_delay_comes_before_the_release(site: Site) -> None:
    client = site.client()
    client.get_releases("fraud")
    client.config.connection.timeout = 0.05
    site.azure_devops.misbehave(Fault("POST", delay=0.3, times=1))

    with pytest.raises(ClientRequestError, match="timed out"):
        client.create_release({"definitionId": 1}, "fraud")
    assert site.azure_devops.releases == []


def test_fault_that_cannot_happen_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="'before' or 'after'"):
        Fault(close="sometimes")  # type: ignore[arg-type]


# Driving it from outside


def test_everything_that_came_in_is_told_and_nothing_of_our_own(site: Site) -> None:
    site.post({"definitionId": 1})
    site.get("fraud/_apis/release/releases", **{"$top": 1})

    received = requests.get(f"{site.url}/_local/requests", timeout=5).json()

    assert site.azure_devops.requests == [
        Received("POST", "/contoso/fraud/_apis/release/releases", '{"definitionId": 1}'),
        Received("GET", "/contoso/fraud/_apis/release/releases", "", "%24top=1"),
    ]
    assert [Received(**each) for each in received] == site.azure_devops.requests
    assert requests.get(f"{site.url}/_local/releases", timeout=5).json() == site.azure_devops.releases


def test_faults_over_http(site: Site) -> None:
    faults = [{"method": "POST", "status": 429, "headers": {"Retry-After": "1"}, "body": error("X")}]

    assert requests.post(f"{site.url}/_local/faults", json=faults, timeout=5).status_code == 204
    assert site.post({"definitionId": 1}).headers["Retry-After"] == "1"
    assert requests.delete(f"{site.url}/_local/faults", timeout=5).status_code == 204
    assert site.post({"definitionId": 1}).status_code == 200
    assert requests.post(f"{site.url}/_local/faults", json=[{"nonsense": 1}], timeout=5).status_code == 400


def test_definitions_and_permissions_over_http(site: Site) -> None:
    new = {"project": "risk", "name": "Deploy risk", "id": 42, "variables": {"Stage": "x"}}

    assert requests.post(f"{site.url}/_local/definitions", json=new, timeout=5).json()["id"] == 42
    assert requests.post(f"{site.url}/_local/definitions", json=new, timeout=5).status_code == 400
    assert site.post({"definitionId": 42}, "risk").json()["variables"]["Stage"]["value"] == "x"
    requests.patch(f"{site.url}/_local/definitions/42", json={"isDisabled": True}, timeout=5)
    assert site.post({"definitionId": 42}, "risk").status_code == 403
    assert requests.patch(f"{site.url}/_local/definitions/43", json={}, timeout=5).status_code == 400
    requests.post(f"{site.url}/_local/permissions", json=["View releases"], timeout=5)
    assert site.azure_devops.permissions == {"View releases"}


def test_page_lists_the_releases_newest_first_and_escaped(site: Site) -> None:
    site.create(description="<first>", artifacts=[version("1")])
    site.create(description="second")

    page = requests.get(site.url, timeout=5)

    assert page.headers["Content-Type"].startswith("text/html")
    assert page.text.index("second") < page.text.index("&lt;first&gt;") < page.text.index("_Churn: 1")
    assert requests.get(site.azure_devops.releases[0]["_links"]["web"]["href"], timeout=5).text == page.text


def test_sample_has_what_the_sample_release_map_names() -> None:
    with Server(sample()) as server:
        client = Site(sample(), server.url).client()

        (by_name,) = client.get_release_definitions(
            "fraud", search_text="Deploy sklearn model", is_exact_name_match=True, expand="artifacts"
        )
        by_id = client.get_release_definition("risk", 42)

        assert by_name.artifacts[0].alias == "_sklearn_regression_model"
        assert list(by_id.variables) == ["ModelName", "ModelVersion", "ModelWorkspace", "Stage"]


# As described


def described(name: str) -> dict[str, Any]:
    """JSON schema of a type in Microsoft's description, in which an unknown property is a fault."""
    types = azure_devops_types.types()
    # What JSON really looks like here is known from recorded answers; the description shows .NET's classes.
    types["ReferenceLinks"] = {"additionalProperties": {"required": ["href"]}}
    types["PropertiesCollection"] = {"additionalProperties": {"required": ["$type", "$value"]}}
    # Azure DevOps sends these, and the SDK knows most of them, but the description does not.
    types["Artifact"]["properties"]["sourceId"] = {"type": "string"}
    types["ArtifactVersion"]["properties"]["sourceId"] = {"type": "string"}
    types["ReleaseDefinition"]["properties"]["isDisabled"] = {"type": "boolean"}
    types["ConfigurationVariableValue"]["properties"]["value"]["type"] = ["string", "null"]
    # Of one definition the project stands in its address alone.
    del types["ReleaseDefinitionShallowReference"]["properties"]["projectReference"]["$ref"]
    types["ReleaseTriggerBase"]["properties"] |= types["ArtifactSourceTrigger"]["properties"]
    for each in types.values():
        if "properties" in each:
            each["unevaluatedProperties"] = False
    # A base type forbids what its descendants add.
    for each in types.values():
        for base in each.get("allOf", ()):
            parent = types[base.pop("$ref").rpartition("/")[2]]
            base["properties"] = {**parent["properties"]}
    return {"$ref": f"#/definitions/{name}", "definitions": types}


def faults_of(name: str, answer: requests.Response) -> list[str]:
    validator = Draft202012Validator(described(name))
    values = answer.json().get("value", [answer.json()])
    return [f"{fault.json_path}: {fault.message}" for value in values for fault in validator.iter_errors(value)]


def test_answers_are_as_microsoft_describes_them(site: Site) -> None:
    site.azure_devops.add_definition("fraud", "Triggered", id=2, model_artifacts={"_m": "churn"}, trigger=True)
    created = site.post({"definitionId": 1, "artifacts": [version("1")], "properties": {"ModelId": "churn:1"}})
    definitions, releases = "fraud/_apis/release/definitions", "fraud/_apis/release/releases"
    everything = {"$expand": "artifacts,environments,triggers,variables"}

    assert faults_of("Release", created) == []
    assert faults_of("Release", site.get(f"{releases}/1", propertyFilters="ModelId")) == []
    assert faults_of("Release", site.get(releases, **everything)) == faults_of("Release", site.get(releases)) == []
    assert faults_of("ReleaseDefinition", site.get(f"{definitions}/2")) == []
    assert faults_of("ReleaseDefinition", site.get(definitions, **everything)) == []
    assert faults_of("ReleaseDefinition", site.put(site.get(f"{definitions}/2").json())) == []
    versions = site.get("fraud/_apis/release/artifacts/versions", releaseDefinitionId=1)
    assert faults_of("ArtifactVersionQueryResult", versions) == []


def test_comparison_notices_unknown_names_and_wrong_types() -> None:
    validator = Draft202012Validator(described("ReleaseDefinition"))

    assert validator.is_valid({"id": 1, "isDeleted": False})
    assert not validator.is_valid({"id": 1, "isErased": False})
    assert not validator.is_valid({"id": "1"})
    assert not validator.is_valid({"environments": [{"conditions": [{"colour": "red"}]}]})
