"""The app's settings, read once and checked completely."""

import binascii
import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

from azure.core.utils import parse_connection_string

from model_release.domain.events import Workspace
from model_release.domain.lease import LEAST_TIMEOUTS
from model_release.errors import ConfigurationError, Fault
from model_release.settings.addresses import LOOPBACK as LOOPBACK
from model_release.settings.addresses import InvalidValueError as InvalidValueError
from model_release.settings.addresses import azure_devops_url as azure_devops_url
from model_release.settings.addresses import is_service as is_service
from model_release.settings.addresses import page_url, server_url, topic_endpoint
from model_release.settings.schedule import Schedule
from model_release.text import shorten

_T = TypeVar("_T")

# https://learn.microsoft.com/azure/storage/common/storage-connect-azurite
AZURITE = (
    "DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;"
    "AccountKey=Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==;"
    "TableEndpoint=http://127.0.0.1:10002/devstoreaccount1;"
)
AZURE = "https://management.azure.com"
CATCH_UP_SCHEDULE = "0 */5 * * * *"


class Storage(NamedTuple):
    """The storage account: a connection string, or an endpoint that the managed identity opens."""

    connection_string: str = ""
    table_endpoint: str = ""
    client_id: str = ""


class Settings(NamedTuple):
    """All settings of a deployment."""

    storage: Storage
    azure_devops_url: str
    azure_devops_pat: str
    workspaces: frozenset[Workspace]
    registries: frozenset[Workspace]
    resource_manager_url: str
    confirm_models: bool
    timeout: timedelta
    lease: timedelta
    first_retry: timedelta
    outcome_topic: str
    catch_up_schedule: Schedule
    operations_url: str

    @property
    def secrets(self) -> Mapping[str, str]:
        """The secrets by name."""
        names = parse_connection_string(self.storage.connection_string) if self.storage.connection_string else {}
        keys = {name: names.get(name, "") for name in ("accountkey", "sharedaccesssignature")}
        return {"AZURE_DEVOPS_PAT": self.azure_devops_pat, **keys}


def release_map_path(environment: Mapping[str, str], folder: Path) -> Path:
    """Return the path of the release map; a relative path starts in the folder."""
    return folder / (environment.get("RELEASE_MAP", "").strip() or "release_map.yaml")


def read(environment: Mapping[str, str]) -> Settings:
    """Read the settings; raises ConfigurationError with every fault."""
    faults: list[Fault] = []

    def get(name: str, parse: Callable[[str], _T], default: str = "") -> _T | None:
        text = environment.get(name, "").strip() or default
        try:
            return parse(text)
        except ValueError as error:
            faults.append(Fault(str(error), getattr(error, "fix", ""), where=name))
            return None

    timeout = get("AZURE_DEVOPS_TIMEOUT_SECONDS", _seconds, "20")
    lease = get("CLAIM_LEASE_SECONDS", _seconds, "180")
    if timeout and lease and lease < LEAST_TIMEOUTS * timeout:
        least = round(LEAST_TIMEOUTS * timeout.total_seconds())
        problem = f"{round(lease.total_seconds())} is less than three times AZURE_DEVOPS_TIMEOUT_SECONDS"
        faults.append(Fault(problem, f"set it to {least} or more", where="CLAIM_LEASE_SECONDS"))
    values = {
        "storage": get("AzureWebJobsStorage", lambda text: _storage(text, environment)),
        "azure_devops_url": get(
            "AZURE_DEVOPS_URL", lambda text: azure_devops_url(text, environment.get("AZURE_DEVOPS_PAT", "").strip())
        ),
        "azure_devops_pat": get("AZURE_DEVOPS_PAT", _secret),
        "workspaces": get("AML_WORKSPACES", _workspaces),
        "registries": get("AML_REGISTRIES", partial(_sources, "registry")),
        "resource_manager_url": get("AZURE_RESOURCE_MANAGER_URL", server_url, AZURE),
        "confirm_models": get("CONFIRM_MODELS", _boolean, "true"),
        "timeout": timeout,
        "lease": lease,
        "first_retry": get("FIRST_RETRY_SECONDS", _seconds, "60"),
        "outcome_topic": get("OUTCOME_TOPIC_ENDPOINT", topic_endpoint),
        "catch_up_schedule": get("CATCH_UP_SCHEDULE", Schedule.parse, CATCH_UP_SCHEDULE),
        "operations_url": get("OPERATIONS_URL", page_url),
    }
    if faults:
        raise ConfigurationError(faults)
    # Without a fault none of them is None.
    return Settings(**values)  # type: ignore[arg-type]


def _seconds(text: str) -> timedelta:
    if not re.fullmatch(r"[1-9][0-9]{0,5}", text):
        raise InvalidValueError(f"{shorten(text)!r} is not a whole number of seconds above 0")
    return timedelta(seconds=int(text))


def _boolean(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise InvalidValueError(f"{shorten(text)!r} is not true or false")
    return text.lower() == "true"


def _secret(text: str) -> str:
    if text.startswith("@Microsoft.KeyVault("):
        raise InvalidValueError(
            "the Function App did not resolve the Key Vault reference",
            "assign Key Vault Secrets User on the secret to its identity",
        )
    return text


def _workspaces(text: str) -> frozenset[Workspace]:
    if not text.strip(" ,"):
        raise InvalidValueError("missing", "set it to the resource IDs of your Azure ML workspaces, comma separated")
    return _sources("workspace", text)


def _sources(kind: str, text: str) -> frozenset[Workspace]:
    found, problems = set(), []
    for part in filter(None, map(str.strip, text.split(","))):
        try:
            found.add(Workspace.parse(part, kind))
        except ValueError as error:
            problems.append(str(error))
    if problems:
        raise InvalidValueError("; ".join(problems))
    return frozenset(found)


def _connection_string(text: str) -> str:
    try:
        names = parse_connection_string(_secret(text))
        binascii.a2b_base64(names.get("accountkey", ""), strict_mode=True)
        protocol = names.get("defaultendpointsprotocol", "https")
        server_url(names.get("tableendpoint") or f"{protocol}://storage")
    except InvalidValueError:
        raise
    except ValueError:
        names = {}
    account, key = {"accountname", "tableendpoint"}, {"accountkey", "sharedaccesssignature"}
    if names.keys().isdisjoint(account) or names.keys().isdisjoint(key):
        # The value may contain a secret and is not repeated.
        raise InvalidValueError("not a connection string of a storage account", "include AccountName and AccountKey")
    return text


def _storage(text: str, environment: Mapping[str, str]) -> Storage:
    account = environment.get("AzureWebJobsStorage__accountName", "").strip()
    endpoint = environment.get("AzureWebJobsStorage__tableServiceUri", "").strip()
    if text.lower().startswith("usedevelopmentstorage=true"):
        return Storage(connection_string=AZURITE)
    if text:
        return Storage(connection_string=_connection_string(text))
    if not account and not endpoint:
        raise InvalidValueError(
            "missing", "set a connection string, or AzureWebJobsStorage__accountName for a managed identity"
        )
    if not endpoint and not re.fullmatch(r"[a-z0-9]{3,24}", account):
        raise InvalidValueError(f"AzureWebJobsStorage__accountName {shorten(account)!r} is not a storage account")
    return Storage(
        table_endpoint=server_url(endpoint) if endpoint else f"https://{account}.table.core.windows.net",
        client_id=environment.get("AzureWebJobsStorage__clientId", ""),
    )
