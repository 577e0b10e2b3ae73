"""The local Azure DevOps answers as the real one is recorded to answer, seen through the unmodified SDK."""

import re
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests
from azure.core.exceptions import DeserializationError
from azure.devops.exceptions import (
    AzureDevOpsAuthenticationError,
    AzureDevOpsClientRequestError,
    AzureDevOpsServiceError,
)
from msrest.exceptions import ClientRequestError

from local.azure_devops import AzureDevOps, Fault, Received, sample
from local.azure_devops_releases import SELECTED, build_artifact
from local.serving import Server
from tests.local.azure_devops import SIGN_IN, ServedAzureDevOps, faults_of, validator

ARTIFACT_VERSIONS = "30fc787e-a9e0-4a07-9fbc-3e903aa051d2"
SOURCE = "0a1b2c3d-0000-4000-8000-4d4c53657276:churn"
DEFINITIONS, RELEASES = "fraud/_apis/release/definitions", "fraud/_apis/release/releases"


@pytest.fixture
def served() -> Iterator[ServedAzureDevOps]:
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
        yield ServedAzureDevOps(azure_devops, server.url)


def version(name: str, alias: str = "_churn") -> dict[str, Any]:
    return {"alias": alias, "instanceReference": {"id": name, "name": name}}


def error(kind: str, message: str = "busy") -> dict[str, Any]:
    return {"$id": "1", "message": message, "typeKey": kind, "errorCode": 0, "eventId": 3000}


# Addresses and sign-in


def test_paths_and_project_names_are_case_insensitive(served: ServedAzureDevOps) -> None:
    assert served.get("FRAUD/_APIS/RELEASE/Definitions/1").json()["name"] == "Deploy churn"


def test_an_unknown_project_and_an_unknown_path_are_not_found(served: ServedAzureDevOps) -> None:
    for path in ("sales/_apis/release/releases", "fraud/_apis/git/repositories"):
        assert served.get(path).status_code == 404

    with pytest.raises(AzureDevOpsServiceError, match="TF200016"):
        served.client().get_releases("sales")


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_a_request_without_sign_in_is_redirected_to_the_sign_in_page(served: ServedAzureDevOps, method: str) -> None:
    url = f"{served.url}/contoso/fraud/_apis/release/releases"
    answer = requests.request(method, url, timeout=5, allow_redirects=False)

    assert (answer.status_code, answer.headers["Location"].partition("?")[0]) == (302, f"{served.url}/_signin")
    page = requests.get(answer.headers["Location"], timeout=5)
    assert (page.status_code, page.headers["Content-Type"]) == (203, "text/html; charset=utf-8")


def test_a_wrong_token_is_redirected_to_the_sign_in_page(served: ServedAzureDevOps) -> None:
    served.azure_devops._pat = "another"
    answer = requests.get(f"{served.url}/contoso/{RELEASES}", auth=("", "x"), timeout=5, allow_redirects=False)
    assert answer.status_code == 302

    served.azure_devops._pat = "a token"
    assert served.client().get_releases("fraud") == []


# Locations and versions


@pytest.mark.parametrize(
    ("path", "version", "kind"),
    [
        (RELEASES, "7.1", None),
        (RELEASES, "5.0-preview.8", None),
        (RELEASES, "7.2-preview.9", None),
        (RELEASES, "7.2", "VssInvalidPreviewVersionException"),
        (RELEASES, "8.0-preview", "VssVersionOutOfRangeException"),
        (RELEASES, "latest", "VssInvalidApiResourceVersionException"),
        (f"{DEFINITIONS}/1", "7.2", "VssInvalidPreviewVersionException"),
        ("fraud/_apis/release/artifacts/versions?releaseDefinitionId=1", "7.1", "VssInvalidPreviewVersionException"),
        ("fraud/_apis/release/artifacts/versions?releaseDefinitionId=1", "7.1-preview.1", None),
        ("_apis/ResourceAreas", "7.1", "VssInvalidPreviewVersionException"),
        ("_apis/ResourceAreas", "7.1-preview", None),
    ],
)
@pytest.mark.parametrize("place", ["Accept", "query"])
def test_an_api_version_must_be_one_of_the_resource(
    served: ServedAzureDevOps, path: str, version: str, kind: str | None, place: str
) -> None:
    in_header = place == "Accept"
    answer = requests.get(
        f"{served.url}/contoso/{path}",
        params=None if in_header else {"api-version": version},
        headers={"Accept": f"application/json;api-version={version};excludeUrls=true"} if in_header else None,
        auth=SIGN_IN,
        timeout=5,
    )

    assert (answer.status_code, answer.json().get("typeKey")) == (400 if kind else 200, kind)


def test_the_resources_of_an_area_are_listed(served: ServedAzureDevOps) -> None:
    def names(path: str) -> set[tuple[str, str]]:
        answer = requests.options(f"{served.url}/contoso/{path}", auth=SIGN_IN, timeout=5)
        return {(one["area"], one["resourceName"]) for one in answer.json()["value"]}

    assert names("_apis/release") == {("Release", name) for name in ("releases", "definitions", "versions")}
    assert names("_apis/none") == set()
    assert names("_apis") >= names("_apis/Pipelines") | {("Location", "ResourceAreas"), ("Build", "Builds")}


def test_each_resource_area_is_at_this_server(served: ServedAzureDevOps) -> None:
    areas = {area["name"]: area for area in served.get("_apis/ResourceAreas").json()["value"]}

    assert {"Release", "build", "core", "wit"} <= areas.keys()
    assert {area["locationUrl"] for area in areas.values()} == {f"{served.url}/contoso/"}
    assert served.get(f"_apis/ResourceAreas/{areas['Release']['id'].upper()}").json() == areas["Release"]


# Definitions


def test_definitions_are_found_by_name_and_folder(served: ServedAzureDevOps) -> None:
    served.azure_devops.add_definition("fraud", "Deploy churn again", path="\\models\\new")
    served.azure_devops.add_definition("risk", "Deploy churn")

    def names(**query: Any) -> list[str]:
        return [definition.name for definition in served.client().get_release_definitions("fraud", **query)]

    assert names() == names(search_text="CHURN") == ["Deploy churn", "Deploy churn again"]
    assert names(search_text="deploy CHURN", is_exact_name_match=True) == ["Deploy churn"]
    assert names(path="\\Models") == names(path="\\models\\new") == ["Deploy churn again"]
    assert names(path="\\mod") == []


def test_a_list_of_definitions_has_only_the_expanded_parts(served: ServedAzureDevOps) -> None:
    client = served.client()

    (plain,) = client.get_release_definitions("fraud")
    (expanded,) = client.get_release_definitions("fraud", expand="artifacts,variables")

    assert (plain.artifacts, plain.variables, plain.environments) == (None, None, None)
    assert expanded.artifacts[0].source_id == SOURCE
    assert expanded.variables["ModelVersion"].allow_override
    assert expanded.environments is None


def test_a_list_of_definitions_has_pages(served: ServedAzureDevOps) -> None:
    served.azure_devops.add_definition("fraud", "Second", id=7)

    first = served.get(DEFINITIONS, **{"$top": 1})
    second = served.get(DEFINITIONS, continuationToken=first.headers["x-ms-continuationtoken"])

    assert [definition["id"] for definition in first.json()["value"]] == [1]
    assert [definition["id"] for definition in second.json()["value"]] == [7]
    assert "x-ms-continuationtoken" not in second.headers


def test_a_definition_shows_everything_but_secrets(served: ServedAzureDevOps) -> None:
    served.azure_devops.add_definition("fraud", "Triggered", id=2, model_artifacts={"_m": "m"}, trigger=True)

    definition = served.client().get_release_definition("fraud", 1)
    triggered = served.client().get_release_definition("fraud", 2)

    assert definition.artifacts[0].definition_reference["definition"].id == "churn"
    assert definition.variables["Token"].value is None
    assert [stage.name for stage in definition.environments] == ["Test", "Production"]
    assert triggered.triggers == [{"artifactAlias": "_m", "triggerType": "artifactSource", "triggerConditions": []}]


def test_a_definition_of_another_project_is_not_found(served: ServedAzureDevOps) -> None:
    served.azure_devops.add_definition("risk", "Deploy risk", id=42)

    with pytest.raises(AzureDevOpsServiceError) as caught:
        served.client().get_release_definition("fraud", 42)
    assert caught.value.type_key == "ReleaseDefinitionNotFoundException"


def test_an_updated_definition_has_the_next_revision_and_keeps_the_servers_fields(served: ServedAzureDevOps) -> None:
    before = served.get(f"{DEFINITIONS}/1").json()

    answer = served.put({**before, "description": "new", "createdOn": "never", "somethingNew": 1})

    after = served.get(f"{DEFINITIONS}/1").json()
    assert after == answer.json()
    changed = {"description": "new", "somethingNew": 1, "revision": 2, "modifiedOn": after["modifiedOn"]}
    assert after == {**before, **changed}


@pytest.mark.parametrize(
    ("changes", "status", "message"),
    [
        ({"revision": 2}, 400, "You are using an old copy of the release pipeline. Refresh your copy and try again."),
        ({"environments": []}, 400, "VS402875: Release pipeline needs to have at least one stage."),
        ({"id": 99}, 404, "Release pipeline with ID 99 does not exist."),
    ],
)
def test_a_wrong_update_is_refused(
    served: ServedAzureDevOps, changes: dict[str, Any], status: int, message: str
) -> None:
    before = served.get(f"{DEFINITIONS}/1").json()

    answer = served.put({**before, **changes})

    assert (answer.status_code, answer.json()["message"]) == (status, message)
    assert served.get(f"{DEFINITIONS}/1").json() == before


def test_an_update_needs_its_permission(served: ServedAzureDevOps) -> None:
    served.azure_devops.permissions.remove("Edit release pipeline")

    assert served.put(served.get(f"{DEFINITIONS}/1").json()).status_code == 403


def test_artifact_versions_are_listed_newest_first(served: ServedAzureDevOps) -> None:
    served.azure_devops.model_version_id = "{model}:{version}"
    client = served.client()

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


def test_the_versions_of_an_artifact_may_be_null_with_a_reason(served: ServedAzureDevOps) -> None:
    served.azure_devops.version_errors["churn"] = "Failed to query service connection API"

    (artifact,) = served.get("fraud/_apis/release/artifacts/versions", releaseDefinitionId=1).json()["artifactVersions"]

    assert (artifact["versions"], artifact["errorMessage"]) == (None, "Failed to query service connection API")


# Creating releases


def test_a_release_has_the_requested_values(served: ServedAzureDevOps) -> None:
    release = served.create(
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
        f"{served.url}/contoso/fraud/_release?releaseId=1&_a=release-summary"
    )
    assert served.client().get_release("fraud", 1).as_dict() == release.as_dict()


def test_a_release_does_not_change_its_definition(served: ServedAzureDevOps) -> None:
    served.create(artifacts=[version("1")], variables={"ModelVersion": {"value": "1"}})

    definition = served.client().get_release_definition("fraud", 1)

    assert "version" not in definition.artifacts[0].definition_reference
    assert definition.variables["ModelVersion"].value == ""


def test_a_release_without_a_requested_version_has_the_latest_one(served: ServedAzureDevOps) -> None:
    (artifact,) = served.create().artifacts

    assert artifact.definition_reference["version"].as_dict() == {"id": "2", "name": "2"}


def test_a_version_that_does_not_exist_is_accepted(served: ServedAzureDevOps) -> None:
    (artifact,) = served.create(artifacts=[version("no such")]).artifacts

    assert artifact.definition_reference["version"].id == "no such"


def test_variables_in_an_array_are_ignored(served: ServedAzureDevOps) -> None:
    answer = served.post({"definitionId": 1, "variables": [{"ModelVersion": {"value": "1"}}]})

    assert answer.json()["variables"]["ModelVersion"]["value"] == ""


@pytest.mark.parametrize(
    ("request_", "status", "kind", "message"),
    [
        ([], 400, "InvalidRequestException", "not a JSON object"),
        ({"definitionId": 99}, 404, "ReleaseDefinitionNotFoundException", "ID 99 does not exist"),
        ({"definitionId": 2}, 403, "ReleaseDefinitionDisabledException", "'Off' is disabled"),
        (
            {"definitionId": 3},
            400,
            "InvalidRequestException",
            "VS402962: No artifact version id is specified corresponding to artifact source '_unknown'.",
        ),
        ({"definitionId": 4}, 400, "ArtifactVersionUnavailableException", "'_code'"),
        ({"artifacts": [version("1", "_other")]}, 400, "InvalidRequestException", "_other do not exist"),
        (
            {"variables": {"Stage": {"value": "x"}}},
            400,
            "InvalidRequestException",
            r"Failed to build release: Variable\(s\) Stage do not exist in the release pipeline at scope: Release\.",
        ),
        ({"variables": {"FIXED": {"value": "x"}}}, 400, "InvalidRequestException", "Fixed .* not being settable"),
        ({"variables": {"Token": {"value": "x"}}}, 400, "InvalidRequestException", "Token .* must be secret"),
    ],
)
def test_a_wrong_request_is_refused(
    served: ServedAzureDevOps, request_: Any, status: int, kind: str, message: str
) -> None:
    served.azure_devops.add_definition("fraud", "Off", id=2, disabled=True)
    served.azure_devops.add_definition("fraud", "Deploy unknown", id=3, model_artifacts={"_unknown": "unknown"})

    code = [build_artifact("_code", "7", SELECTED)]
    served.azure_devops.add_definition("fraud", "Deploy code", id=4, other_artifacts=code)

    answer = served.post({"definitionId": 1, **request_} if request_ else request_)

    assert (answer.status_code, answer.json()["typeKey"]) == (status, kind)
    assert re.search(message, answer.json()["message"])
    assert served.azure_devops.releases == []


def test_missing_permissions_refuse_single_things_and_empty_lists(served: ServedAzureDevOps) -> None:
    served.create()
    client = served.client()
    served.azure_devops.permissions.clear()

    assert client.get_releases("fraud") == client.get_release_definitions("fraud") == []
    for request, permission in (
        (lambda: client.get_release("fraud", 1), "view releases"),
        (lambda: client.get_release_definition("fraud", 1), "view release pipeline"),
        (served.create, "create releases"),
    ):
        with pytest.raises(AzureDevOpsServiceError, match=f"VS402904: .* does not have {permission} permission"):
            request()


def test_releases_that_are_created_in_parallel_have_different_numbers(served: ServedAzureDevOps) -> None:
    threads = [threading.Thread(target=served.post, args=({"definitionId": 1},)) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [release["name"] for release in served.azure_devops.releases] == [f"Release-{n}" for n in range(1, 21)]


@pytest.mark.parametrize(
    ("form", "names"),
    [
        ("Release-$(rev:r)", ["Release-1", "Release-2"]),
        ("Release-$(Rev:rrr)", ["Release-001", "Release-002"]),
        ("v$(ModelVersion).$(rev:r)", ["v7.1", "v7.2"]),
        ("$(Build.BuildNumber) of $(Build.DefinitionName)", ["2 of churn", "2 of churn"]),
        ("$(Date:yyyyMMdd).$(rev:rr)", ["{today}.01", "{today}.02"]),
        (
            "$(date)-$(Release.DefinitionName)-$(Release.ReleaseId)",
            ["{today}-Deploy churn-1", "{today}-Deploy churn-2"],
        ),
        ("$(Release.ReleaseDescription) $(Unknown)", ["about $(Unknown)", "about $(Unknown)"]),
    ],
)
def test_a_release_is_named_in_the_format_of_its_definition(
    served: ServedAzureDevOps, form: str, names: list[str]
) -> None:
    served.azure_devops._definitions[1]["releaseNameFormat"] = form
    created = [served.create(variables={"ModelVersion": {"value": "7"}}, description="about") for _ in names]

    today = f"{created[0].created_on:%Y%m%d}"
    assert [release.name for release in created] == [name.format(today=today) for name in names]


# Listing releases


def test_releases_are_filtered_by_definition_artifact_type_and_time(served: ServedAzureDevOps) -> None:
    served.azure_devops.add_definition("fraud", "Without a model", id=2)
    before = datetime.now(UTC) - timedelta(seconds=1)
    served.create()
    served.post({"definitionId": 2})
    after = datetime.now(UTC) + timedelta(seconds=1)

    def ids(**query: Any) -> list[int]:
        return [release.id for release in served.client().get_releases("fraud", **query)]

    assert ids() == ids(min_created_time=before) == [2, 1]
    assert ids(definition_id=1) == ids(artifact_type_id="AzureMLMMS") == [1]
    assert ids(artifact_type_id="Build") == ids(min_created_time=after) == []


def test_a_list_of_releases_has_artifacts_only_when_they_are_expanded(served: ServedAzureDevOps) -> None:
    served.create(description="kept")
    client = served.client()

    (plain,) = client.get_releases("fraud")
    (expanded,) = client.get_releases("fraud", expand="artifacts")

    assert (plain.artifacts, plain.variables, plain.description) == ([], {}, "kept")
    assert expanded.artifacts[0].definition_reference["version"].id == "2"
    assert expanded.variables == {}


def test_a_list_of_releases_has_pages_of_fifty_and_of_a_hundred_at_most(served: ServedAzureDevOps) -> None:
    for _ in range(102):
        served.post({"definitionId": 1})

    first = served.get(RELEASES)
    largest = served.get(RELEASES, **{"$top": 1000})
    last = served.client().get_releases("fraud", continuation_token=2)

    assert [release["id"] for release in first.json()["value"]] == list(range(102, 52, -1))
    assert first.headers["X-MS-ContinuationToken"] == "52"
    assert (largest.json()["count"], largest.headers["X-MS-ContinuationToken"]) == (100, "2")
    assert [release.id for release in last] == [2, 1]


# Faults


def test_a_fault_happens_a_number_of_times_to_the_requests_that_match(served: ServedAzureDevOps) -> None:
    served.azure_devops.misbehave(Fault("post", "/RELEASE/releases", times=2, status=500, body=error("X")))

    assert [served.post({"definitionId": 1}).status_code for _ in range(3)] == [500, 500, 200]
    assert served.get(RELEASES).status_code == 200


def test_faults_happen_one_after_another_until_they_are_removed(served: ServedAzureDevOps) -> None:
    served.azure_devops.misbehave(Fault(times=1, status=503), Fault(status=502))

    assert [served.get(RELEASES).status_code for _ in range(3)] == [503, 502, 502]
    served.azure_devops.behave()
    assert served.get(RELEASES).status_code == 200


def test_throttling_has_a_retry_after(served: ServedAzureDevOps) -> None:
    client = served.client()
    seen: list[requests.Response] = []
    client.config.hooks.append(lambda response, *_, **__: seen.append(response))
    body = error("RequestBlockedException", "TF400733: busy")
    served.azure_devops.misbehave(Fault("POST", status=429, headers={"Retry-After": "30"}, body=body))

    with pytest.raises(AzureDevOpsServiceError, match="TF400733: busy"):
        client.create_release({"definitionId": 1}, "fraud")
    assert (seen[-1].status_code, seen[-1].headers["Retry-After"]) == (429, "30")
    assert served.azure_devops.releases == []


def test_headers_alone_are_added_to_the_true_answer(served: ServedAzureDevOps) -> None:
    served.azure_devops.misbehave(Fault(headers={"Retry-After": "5"}))

    answer = served.post({"definitionId": 1})

    assert (answer.json()["id"], answer.headers["Retry-After"]) == (1, "5")


@pytest.mark.parametrize(
    ("fault", "raised", "message", "created"),
    [
        (Fault("POST", status=401, body="<h1>Who are you?</h1>"), AzureDevOpsAuthenticationError, ".", 0),
        (Fault("POST", sign_in=True), AzureDevOpsClientRequestError, "302", 0),
        (Fault("POST", close="before"), ClientRequestError, "RemoteDisconnected", 0),
        (Fault("POST", close="after"), ClientRequestError, "RemoteDisconnected", 1),
        # Not one of the SDK's own exceptions.
        (Fault("POST", truncate=True), requests.exceptions.ChunkedEncodingError, "IncompleteRead", 1),
        (Fault("POST", unparsable=True), DeserializationError, "JSON", 1),
        (Fault("POST", status=500, apply=True), AzureDevOpsClientRequestError, "500", 1),
    ],
    ids=["HTML", "sign-in page", "closed before", "closed after", "truncated", "half the JSON", "500 after"],
)
def test_a_fault_reaches_the_caller_before_or_after_the_release_is_created(
    served: ServedAzureDevOps, fault: Fault, raised: type[Exception], message: str, created: int
) -> None:
    served.azure_devops.misbehave(fault)

    with pytest.raises(raised, match=message):
        served.create()
    assert len(served.azure_devops.releases) == created


def test_a_delay_comes_before_the_release_is_created(served: ServedAzureDevOps) -> None:
    client = served.client()
    client.get_releases("fraud")
    client.config.connection.timeout = 0.05
    served.azure_devops.misbehave(Fault("POST", delay=0.3, times=1))

    with pytest.raises(ClientRequestError, match="timed out"):
        client.create_release({"definitionId": 1}, "fraud")
    assert served.azure_devops.releases == []


# From another process


def test_another_process_adds_definitions_and_faults_and_reads_the_requests(served: ServedAzureDevOps) -> None:
    new = {"project": "fraud", "name": "Deploy risk", "id": 42, "variables": {"Stage": "x"}}
    assert requests.post(f"{served.url}/_local/definitions", json=new, timeout=5).json()["id"] == 42
    faults = [{"method": "POST", "headers": {"Retry-After": "1"}}]
    assert requests.post(f"{served.url}/_local/faults", json=faults, timeout=5).status_code == 204

    answer = served.post({"definitionId": 42})
    served.get(RELEASES, **{"$top": 1})

    assert (answer.json()["variables"]["Stage"]["value"], answer.headers["Retry-After"]) == ("x", "1")
    received = requests.get(f"{served.url}/_local/requests", timeout=5).json()
    assert [Received(**each) for each in received] == served.azure_devops.requests
    assert served.azure_devops.requests == [
        Received("POST", f"/contoso/{RELEASES}", '{"definitionId": 42}'),
        Received("GET", f"/contoso/{RELEASES}", "", "%24top=1"),
    ]


def test_the_page_lists_the_releases_newest_first_and_escaped(served: ServedAzureDevOps) -> None:
    served.create(description="<first>", artifacts=[version("1")])
    served.create(description="second")

    page = requests.get(served.url, timeout=5)

    assert page.headers["Content-Type"].startswith("text/html")
    assert page.text.index("second") < page.text.index("&lt;first&gt;") < page.text.index("_Churn: 1")
    assert requests.get(served.azure_devops.releases[0]["_links"]["web"]["href"], timeout=5).text == page.text


def test_the_sample_has_the_targets_of_the_sample_release_map() -> None:
    with Server(sample()) as server:
        client = ServedAzureDevOps(sample(), server.url).client()

        (by_name,) = client.get_release_definitions(
            "fraud", search_text="Deploy sklearn model", is_exact_name_match=True, expand="artifacts"
        )
        by_id = client.get_release_definition("risk", 42)

        assert by_name.artifacts[0].alias == "_sklearn_regression_model"
        assert list(by_id.variables) == ["ModelName", "ModelVersion", "ModelWorkspace", "Stage"]


# Microsoft's description


def test_answers_have_the_types_that_microsoft_describes(served: ServedAzureDevOps) -> None:
    served.azure_devops.add_definition("fraud", "Triggered", id=2, model_artifacts={"_m": "churn"}, trigger=True)
    created = served.post({"definitionId": 1, "artifacts": [version("1")]})
    everything = {"$expand": "artifacts,environments,triggers,variables"}

    assert faults_of("Release", created) == faults_of("Release", served.get(f"{RELEASES}/1")) == []
    assert faults_of("Release", served.get(RELEASES, **everything)) == faults_of("Release", served.get(RELEASES)) == []
    assert faults_of("ReleaseDefinition", served.get(f"{DEFINITIONS}/2")) == []
    assert faults_of("ReleaseDefinition", served.get(DEFINITIONS, **everything)) == []
    assert faults_of("ReleaseDefinition", served.put(served.get(f"{DEFINITIONS}/2").json())) == []
    versions = served.get("fraud/_apis/release/artifacts/versions", releaseDefinitionId=1)
    assert faults_of("ArtifactVersionQueryResult", versions) == []


def test_the_comparison_finds_unknown_names_and_wrong_types() -> None:
    definition = validator("ReleaseDefinition")

    assert definition.is_valid({"id": 1, "isDeleted": False})
    assert not definition.is_valid({"id": 1, "isErased": False})
    assert not definition.is_valid({"id": "1"})
    assert not definition.is_valid({"environments": [{"conditions": [{"colour": "red"}]}]})
