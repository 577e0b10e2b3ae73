"""Settings are read once and checked completely; all faults are reported at once."""

import azure.functions as func
import pytest

from model_release import settings
from model_release.app import build
from model_release.errors import ConfigurationError
from tests.environment import WORKSPACE
from triggers import missed_models

REGISTRY = WORKSPACE.replace("workspaces/prod", "registries/shared")
OPERATIONS = "https://github.com/contoso/model-release/blob/main/docs/operations.md"
REPOS = "https://dev.azure.com/contoso/models/_git/model-release?path=/docs/operations.md"
GOOD = {
    "AzureWebJobsStorage": "UseDevelopmentStorage=true",
    "AZURE_DEVOPS_URL": "https://dev.azure.com/contoso/",
    "AML_WORKSPACES": f"{WORKSPACE}, {WORKSPACE.upper()}2,",
}


def test_optional_settings_have_defaults() -> None:
    read = settings.read(GOOD)

    assert (read.timeout.seconds, read.lease.seconds, read.first_retry.seconds) == (20, 180, 60)
    assert read.azure_devops_url == "https://dev.azure.com/contoso"
    assert sorted(workspace.name for workspace in read.workspaces) == ["PROD2", "prod"]
    assert "http://127.0.0.1:10002/devstoreaccount1" in read.storage.connection_string


def test_registries_are_optional_and_separate_from_workspaces() -> None:
    registry = WORKSPACE.replace("workspaces/prod", "registries/Shared")

    assert settings.read(GOOD).registries == frozenset()
    (read,) = settings.read(GOOD | {"AML_REGISTRIES": f"{registry}/,{registry.upper()}"}).registries
    assert read.is_registry
    assert read.title.casefold() == "registry shared"


@pytest.mark.parametrize(("given", "schedule"), [("", "0 */5 * * * *"), ("0 7  * * * *", "0 7 * * * *")])
def test_the_catch_up_has_the_schedule_of_the_settings(given: str, schedule: str) -> None:
    app = func.FunctionApp()
    services = build(GOOD | {"CATCH_UP_SCHEDULE": given})
    missed_models.add_to(app, services.catch_up, services.catch_up_schedule)

    (function,) = app.get_functions()
    assert function.get_trigger().get_dict_repr()["schedule"] == schedule


@pytest.mark.parametrize(
    ("given", "endpoint", "client"),
    [
        ({"AzureWebJobsStorage__accountName": "acc"}, "https://acc.table.core.windows.net", ""),
        (
            {"AzureWebJobsStorage__tableServiceUri": "https://t.example", "AzureWebJobsStorage__clientId": "id"},
            "https://t.example",
            "id",
        ),
    ],
)
def test_storage_can_be_set_for_a_managed_identity(given: dict[str, str], endpoint: str, client: str) -> None:
    read = settings.read(GOOD | {"AzureWebJobsStorage": ""} | given)

    assert (read.storage.table_endpoint, read.storage.client_id) == (endpoint, client)


@pytest.mark.parametrize(
    ("name", "value", "fault"),
    [
        ("AZURE_DEVOPS_URL", "", "missing; set it to the address of your organization"),
        ("AZURE_DEVOPS_URL", "dev.azure.com/contoso", "'dev.azure.com/contoso' does not begin with https://"),
        ("AZURE_DEVOPS_URL", "http://dev.azure.com/contoso", "does not begin with https://"),
        ("AZURE_DEVOPS_URL", "https://dev.azure.com/", "does not name an organization; set it to the address"),
        ("AZURE_DEVOPS_PAT", "@Microsoft.KeyVault(SecretUri=x)", "did not resolve the Key Vault reference"),
        ("AZURE_DEVOPS_URL", "https:///contoso", "does not name a server"),
        ("AZURE_DEVOPS_URL", "https://server:port/contoso", "the address has an invalid host or port"),
        ("AzureWebJobsStorage", "secret", "not a connection string of a storage account; include AccountName"),
        ("AzureWebJobsStorage", "@Microsoft.KeyVault(SecretUri=x)", "did not resolve the Key Vault reference"),
        ("AML_WORKSPACES", " , ", "missing; set it to the resource IDs"),
        ("AML_WORKSPACES", "prod", "'prod' is not the resource ID of an Azure ML workspace"),
        ("AML_WORKSPACES", "prod,test", "'test' is not the resource ID of an Azure ML workspace"),
        ("CLAIM_LEASE_SECONDS", "59", "59 is less than three times AZURE_DEVOPS_TIMEOUT_SECONDS; set it to 60 or more"),
        ("AML_WORKSPACES", REGISTRY, "/registries/shared' is not the resource ID of an Azure ML workspace"),
        ("AML_REGISTRIES", WORKSPACE, "/workspaces/prod' is not the resource ID of an Azure ML registry"),
        ("AML_REGISTRIES", f"{REGISTRY},shared", "'shared' is not the resource ID of an Azure ML registry"),
        ("AML_REGISTRIES", REGISTRY[:-4], "/registries/sh' is not the resource ID of an Azure ML registry"),
        ("CATCH_UP_SCHEDULE", "*/5 * * * *", "'*/5 * * * *' has 5 fields, not 6; write six fields, such as '0 */5 * *"),
        ("OPERATIONS_URL", "docs/operations.md", "'docs/operations.md' does not begin with https://"),
        ("OPERATIONS_URL", "http://wiki.contoso.com/operations", "does not begin with https://"),
        ("OPERATIONS_URL", f"{OPERATIONS}#fix", "the address has a user, a password, a query or a fragment; remove it"),
        ("OPERATIONS_URL", "https://me:secret@wiki.contoso.com", "the address has a user, a password"),
        ("OPERATIONS_URL", f"{REPOS}#fix", "the address has a fragment or a credential; remove it"),
        ("OPERATIONS_URL", f"{REPOS}&token=abcdefgh12345678", "the address has a fragment or a credential; remove it"),
        ("FIRST_RETRY_SECONDS", "1m", "'1m' is not a whole number of seconds above 0"),
        (
            "OUTCOME_TOPIC_ENDPOINT",
            "https://t.example",
            "'https://t.example' is not the endpoint of an Event Grid topic",
        ),
    ],
)
def test_a_wrong_setting_is_reported_with_its_name_and_problem(name: str, value: str, fault: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        settings.read(GOOD | {name: value})

    (found,) = caught.value.faults
    assert found.where == name
    assert fault in str(found)
    assert str(found).startswith(f"{name}: ")


@pytest.mark.parametrize("url", ["", OPERATIONS, REPOS, "http://127.0.0.1:8000/operations/"])
def test_the_page_of_operations_may_be_any_page_or_none(url: str) -> None:
    assert settings.read(GOOD | {"OPERATIONS_URL": url}).operations_url == url


ORGANIZATION = "is not the address of an organization; set it to"
NO_TOKEN = "is not an address of Azure DevOps Services, and AZURE_DEVOPS_PAT is missing"


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("https://dev.azure.com/contoso/fraud", f"{ORGANIZATION} https://dev.azure.com/contoso"),
        ("https://dev.azure.com/Contoso/My%20Project/_build?definitionId=1", "a query"),
        ("https://dev.azure.com/contoso/_apis", f"{ORGANIZATION} https://dev.azure.com/contoso"),
        ("https://dev.azure.com/contoso/fraud/_apis/release", f"{ORGANIZATION} https://dev.azure.com/contoso"),
        ("https://dev.azure.com/_apis", "does not name an organization; set it to the address"),
        ("https://vsrm.dev.azure.com/contoso", f"{ORGANIZATION} https://dev.azure.com/contoso"),
        ("https://vssps.dev.azure.com/contoso/_apis", f"{ORGANIZATION} https://dev.azure.com/contoso"),
        ("https://VSRM.dev.azure.com/", "does not name an organization"),
        ("https://contoso.vsrm.visualstudio.com", f"{ORGANIZATION} https://contoso.visualstudio.com"),
        ("https://contoso.vssps.visualstudio.com/_apis", f"{ORGANIZATION} https://contoso.visualstudio.com"),
        (
            "https://contoso.vsrm.visualstudio.com/DefaultCollection/fraud",
            f"{ORGANIZATION} https://contoso.visualstudio.com/DefaultCollection",
        ),
        ("https://contoso.visualstudio.com/fraud", f"{ORGANIZATION} https://contoso.visualstudio.com"),
        ("https://app.vssps.visualstudio.com", "does not name an organization"),
        ("https://tfs.contoso.com/tfs/DefaultCollection", f"{NO_TOKEN}; set it to the address of your organization"),
        ("https://notdev.azure.com.example/contoso", NO_TOKEN),
        ("https://portal.azure.com", NO_TOKEN),
        (
            "https://tfs.contoso.com/tfs/DefaultCollection/_apis/projects",
            "is not the address of a collection; set it to https://tfs.contoso.com/tfs/DefaultCollection",
        ),
    ],
)
def test_another_address_than_that_of_the_organization_is_a_fault_with_the_right_one(url: str, fault: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        settings.read(GOOD | {"AZURE_DEVOPS_URL": url})

    (found,) = caught.value.faults
    assert fault in str(found)
    assert found.where == "AZURE_DEVOPS_URL"


@pytest.mark.parametrize(
    ("url", "token"),
    [
        ("https://dev.azure.com/contoso", ""),
        ("https://DEV.azure.com/My-Org", ""),
        ("https://contoso.visualstudio.com", ""),
        ("https://contoso.visualstudio.com/DefaultCollection", ""),
        ("https://tfs.contoso.com/tfs/DefaultCollection", "a token"),
        ("https://tfs.contoso.com:8443/Collection", "a token"),
        ("http://127.0.0.1:7080/contoso", ""),
    ],
)
def test_the_address_of_an_organization_or_of_a_collection_with_a_token_is_accepted(url: str, token: str) -> None:
    read = settings.read(GOOD | {"AZURE_DEVOPS_URL": url, "AZURE_DEVOPS_PAT": token})

    assert read.azure_devops_url == url


def test_faults_of_settings_and_release_map_are_one_message() -> None:
    with pytest.raises(ConfigurationError) as caught:
        build({"RELEASE_MAP": "none.yaml", "AZURE_DEVOPS_TIMEOUT_SECONDS": "0"})

    message = str(caught.value)
    assert message.startswith("Model Release cannot start, 5 faults:")
    for name in (
        "AzureWebJobsStorage",
        "AZURE_DEVOPS_URL",
        "AML_WORKSPACES",
        "AZURE_DEVOPS_TIMEOUT_SECONDS",
        "none.yaml",
    ):
        assert name in message
    for detail in ("Error", "Errno", "Traceback"):
        assert detail not in message


def test_without_a_connection_string_and_a_token_the_app_uses_its_identity() -> None:
    storage = {"AzureWebJobsStorage": "", "AzureWebJobsStorage__accountName": "contoso"}

    services = build(GOOD | storage)

    assert services.sweep.history._table._client.url.startswith("https://contoso.table.core.windows.net")
    assert services.sweep.clock().tzinfo
