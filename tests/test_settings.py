"""Settings: read once, checked whole, told all at once."""

import pytest

from model_release import app as wiring
from model_release import settings
from model_release.errors import ConfigurationError
from tests.environment import WORKSPACE

GOOD = {
    "AzureWebJobsStorage": "UseDevelopmentStorage=true",
    "AZURE_DEVOPS_URL": "https://dev.azure.com/contoso/",
    "AML_WORKSPACES": f"{WORKSPACE}, {WORKSPACE.upper()}2,",
}


def test_defaults_fill_what_need_not_be_set() -> None:
    read = settings.read(GOOD)

    assert (read.timeout.seconds, read.lease.seconds, read.first_retry.seconds) == (20, 180, 60)
    assert read.azure_devops_url == "https://dev.azure.com/contoso"
    assert sorted(workspace.name for workspace in read.workspaces) == ["PROD2", "prod"]
    assert "http://127.0.0.1:10002/devstoreaccount1" in read.storage.connection_string


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
def test_storage_may_be_named_for_a_managed_identity(given: dict[str, str], endpoint: str, client: str) -> None:
    read = settings.read(GOOD | {"AzureWebJobsStorage": ""} | given)

    assert (read.storage.table_endpoint, read.storage.client_id) == (endpoint, client)


@pytest.mark.parametrize(
    ("name", "value", "fault"),
    [
        ("AZURE_DEVOPS_URL", "dev.azure.com/contoso", "does not begin with https://"),
        ("AZURE_DEVOPS_URL", "http://dev.azure.com/contoso", "does not begin with https://"),
        ("AZURE_DEVOPS_URL", "https://dev.azure.com/", "is not the address of an organization"),
        ("AZURE_DEVOPS_PAT", "@Microsoft.KeyVault(SecretUri=x)", "is a Key Vault reference"),
        ("AZURE_DEVOPS_URL", "https:///contoso", "names no server"),
        ("AZURE_DEVOPS_URL", "https://server:port/contoso", "'port'"),
        ("AzureWebJobsStorage", "secret", "is no connection string of a storage account"),
        ("AzureWebJobsStorage", "@Microsoft.KeyVault(SecretUri=x)", "is a Key Vault reference"),
        ("AML_WORKSPACES", " , ", "is missing"),
        ("AML_WORKSPACES", "prod", "'prod' is not the resource id of an Azure ML workspace"),
        ("AML_WORKSPACES", "prod,test", "'test' is not the resource id of an Azure ML workspace"),
        ("CLAIM_LEASE_SECONDS", "59", "must be at least three times AZURE_DEVOPS_TIMEOUT_SECONDS"),
        ("FIRST_RETRY_SECONDS", "1m", "'1m' is not a whole number of seconds above 0"),
    ],
)
def test_a_wrong_setting_is_named_with_what_is_wrong(name: str, value: str, fault: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        settings.read(GOOD | {name: value})

    assert caught.value.faults[0].startswith(name)
    assert fault in caught.value.faults[0]


def test_faults_of_settings_and_map_are_one_message() -> None:
    with pytest.raises(ConfigurationError) as caught:
        wiring.build({"RELEASE_MAP": "none.yaml", "AZURE_DEVOPS_TIMEOUT_SECONDS": "0"})

    told = str(caught.value)
    assert told.startswith("Model Release cannot start, 5 faults:")
    for name in (
        "AzureWebJobsStorage",
        "AZURE_DEVOPS_URL",
        "AML_WORKSPACES",
        "AZURE_DEVOPS_TIMEOUT_SECONDS",
        "none.yaml",
    ):
        assert name in told


def test_without_a_connection_string_and_a_token_the_identity_opens_both() -> None:
    storage = {"AzureWebJobsStorage": "", "AzureWebJobsStorage__accountName": "contoso"}

    app = wiring.build(GOOD | storage).start_release

    assert app.ledger._table._client.url.startswith("https://contoso.table.core.windows.net")
    assert app.clock().tzinfo
