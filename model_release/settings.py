"""The app's settings, read once and checked whole."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from model_release.domain.events import Workspace, shorten
from model_release.errors import ConfigurationError

_T = TypeVar("_T")

# https://learn.microsoft.com/azure/storage/common/storage-connect-azurite
AZURITE = (
    "DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;"
    "AccountKey=Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==;"
    "TableEndpoint=http://127.0.0.1:10002/devstoreaccount1;"
)
AZURE = "https://management.azure.com"
LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class Storage:
    """Where the ledger is: a connection string, or an endpoint that a managed identity opens."""

    connection_string: str = ""
    table_endpoint: str = ""
    client_id: str = ""


@dataclass(frozen=True)
class Settings:
    """Everything that a deployment can set."""

    storage: Storage
    azure_devops_url: str
    azure_devops_pat: str
    workspaces: frozenset[Workspace]
    resource_manager_url: str
    timeout: timedelta
    lease: timedelta
    first_retry: timedelta
    outcome_topic: str


def release_map_path(environment: Mapping[str, str], folder: Path) -> Path:
    """Where the release map is; a relative path is taken from the folder."""
    return folder / (environment.get("RELEASE_MAP", "").strip() or "release_map.yaml")


def read(environment: Mapping[str, str]) -> Settings:
    """Read the settings; raises ConfigurationError with every fault."""
    faults: list[str] = []

    def take(name: str, parse: Callable[[str], _T], default: str = "") -> _T | None:
        text = environment.get(name, "").strip() or default
        try:
            return parse(text)
        except ValueError as error:
            faults.append(f"{name} {error}")
            return None

    timeout = take("AZURE_DEVOPS_TIMEOUT_SECONDS", _seconds, "20")
    lease = take("CLAIM_LEASE_SECONDS", _seconds, "180")
    if timeout and lease and lease < 3 * timeout:
        faults.append("CLAIM_LEASE_SECONDS must be at least three times AZURE_DEVOPS_TIMEOUT_SECONDS")
    values = {
        "storage": take("AzureWebJobsStorage", lambda text: _storage(text, environment)),
        "azure_devops_url": take("AZURE_DEVOPS_URL", azure_devops_url),
        "azure_devops_pat": take("AZURE_DEVOPS_PAT", _secret),
        "workspaces": take("AML_WORKSPACES", _workspaces),
        "resource_manager_url": take("AZURE_RESOURCE_MANAGER_URL", _url, AZURE),
        "timeout": timeout,
        "lease": lease,
        "first_retry": take("FIRST_RETRY_SECONDS", _seconds, "60"),
        "outcome_topic": take("OUTCOME_TOPIC_ENDPOINT", _topic),
    }
    if faults:
        raise ConfigurationError(faults)
    # Without a fault none of them is None.
    return Settings(**values)  # type: ignore[arg-type]


def _seconds(text: str) -> timedelta:
    if not re.fullmatch(r"[1-9]\d{0,5}", text):
        msg = f"{shorten(text)!r} is not a whole number of seconds above 0"
        raise ValueError(msg)
    return timedelta(seconds=int(text))


def azure_devops_url(text: str) -> str:
    """The address of an organization or an on-premises collection; raises ValueError."""
    if not text:
        msg = "is missing: the organization, such as https://dev.azure.com/contoso"
        raise ValueError(msg)
    parts = urlsplit(_url(text))
    no_organization = parts.hostname == "dev.azure.com" and parts.path in ("", "/")
    if no_organization:
        msg = f"{shorten(text)!r} is not the address of an organization, such as https://dev.azure.com/contoso"
        raise ValueError(msg)
    return text.rstrip("/")


def _url(text: str) -> str:
    parts = urlsplit(text)
    if "@" in text or parts.query or parts.fragment:
        # What is wrong may be a secret, and is not repeated.
        msg = "is an address with a user, a password, a query or a fragment; it needs none of them"
        raise ValueError(msg)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOOPBACK):
        msg = f"{shorten(text)!r} does not begin with https://"
        raise ValueError(msg)
    # A port that is no number is a ValueError, which says so.
    if not parts.hostname or parts.port == 0:
        msg = f"{shorten(text)!r} names no server"
        raise ValueError(msg)
    return text.rstrip("/")


def _topic(text: str) -> str:
    if text and urlsplit(_url(text)).path.rstrip("/") != "/api/events":
        msg = (
            f"{shorten(text)!r} is not the endpoint of an Event Grid topic, such as "
            "https://TOPIC.REGION-1.eventgrid.azure.net/api/events"
        )
        raise ValueError(msg)
    return text.rstrip("/")


def _secret(text: str) -> str:
    if text.startswith("@Microsoft.KeyVault("):
        msg = (
            "is a Key Vault reference that the Function App did not resolve: its identity needs Key Vault Secrets User"
        )
        raise ValueError(msg)
    return text


def _workspaces(text: str) -> frozenset[Workspace]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts:
        msg = "is missing: the resource ids of the Azure ML workspaces whose events count, comma separated"
        raise ValueError(msg)
    found, faults = set(), []
    for part in parts:
        try:
            found.add(Workspace.parse(part))
        except ValueError as error:
            faults.append(str(error))
    if faults:
        raise ValueError("; ".join(faults))
    return frozenset(found)


def _connection_string(text: str) -> str:
    names = {part.partition("=")[0].strip().lower() for part in _secret(text).split(";")}
    if not names & {"accountname", "tableendpoint"} or not names & {"accountkey", "sharedaccesssignature"}:
        # What is wrong may be a secret, and is not repeated.
        msg = "is no connection string of a storage account: it has AccountName and AccountKey"
        raise ValueError(msg)
    return text


def _storage(text: str, environment: Mapping[str, str]) -> Storage:
    account = environment.get("AzureWebJobsStorage__accountName", "")
    endpoint = environment.get("AzureWebJobsStorage__tableServiceUri", "")
    if text.lower().startswith("usedevelopmentstorage=true"):
        return Storage(connection_string=AZURITE)
    if text:
        return Storage(connection_string=_connection_string(text))
    if not account and not endpoint:
        msg = "is missing: a connection string, or AzureWebJobsStorage__accountName for a managed identity"
        raise ValueError(msg)
    return Storage(
        table_endpoint=endpoint or f"https://{account}.table.core.windows.net",
        client_id=environment.get("AzureWebJobsStorage__clientId", ""),
    )
