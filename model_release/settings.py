"""The app's settings, read once and checked completely."""

import binascii
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import TypeVar
from urllib.parse import SplitResult, urlsplit

from azure.core.utils import parse_connection_string

from model_release.domain.events import Workspace
from model_release.domain.lease import LEAST_TIMEOUTS
from model_release.errors import ConfigurationError, Fault
from model_release.schedule import Schedule
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
LOOPBACK = ("127.0.0.1", "localhost", "::1")
_ORGANIZATION = "https://dev.azure.com/contoso"
_SERVICE_HOSTS = ("dev.azure.com", ".visualstudio.com")


@dataclass(frozen=True)
class Storage:
    """The storage account: a connection string, or an endpoint that the managed identity opens."""

    connection_string: str = ""
    table_endpoint: str = ""
    client_id: str = ""


@dataclass(frozen=True)
class Settings:
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

    @property
    def secrets(self) -> Mapping[str, str]:
        """The secrets by name."""
        names = parse_connection_string(self.storage.connection_string) if self.storage.connection_string else {}
        keys = {name: names.get(name, "") for name in ("accountkey", "sharedaccesssignature")}
        return {"AZURE_DEVOPS_PAT": self.azure_devops_pat, **keys}


class InvalidValueError(ValueError):
    """A value is invalid: the problem and its fix."""

    def __init__(self, problem: str, fix: str = "") -> None:
        super().__init__(problem)
        self.fix = fix


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
        "resource_manager_url": get("AZURE_RESOURCE_MANAGER_URL", _url, AZURE),
        "confirm_models": get("CONFIRM_MODELS", _boolean, "true"),
        "timeout": timeout,
        "lease": lease,
        "first_retry": get("FIRST_RETRY_SECONDS", _seconds, "60"),
        "outcome_topic": get("OUTCOME_TOPIC_ENDPOINT", _topic),
        "catch_up_schedule": get("CATCH_UP_SCHEDULE", Schedule.parse, CATCH_UP_SCHEDULE),
    }
    if faults:
        raise ConfigurationError(faults)
    # Without a fault none of them is None.
    return Settings(**values)  # type: ignore[arg-type]


def azure_devops_url(text: str, token: str) -> str:
    """Check the address of an organization or an on-premises collection; raises ValueError with a `fix`."""
    fix = f"set it to the address of your organization, such as {_ORGANIZATION}"
    if not text:
        raise InvalidValueError("missing", fix)
    parts = urlsplit(_url(text))
    segments = [segment for segment in parts.path.split("/") if segment]
    host = (parts.hostname or "").lower()
    in_service = host.endswith(_SERVICE_HOSTS)
    right = _organization(host, segments) if in_service else _collection(parts, segments)
    if not right:
        raise InvalidValueError(f"{shorten(text)!r} does not name an organization", fix)
    given = f"{parts.scheme}://{'/'.join([parts.netloc, *segments])}"
    if given.lower() != right.lower():
        kind = "an organization" if in_service else "a collection"
        raise InvalidValueError(f"{shorten(text)!r} is not the address of {kind}", f"set it to {right}")
    # Without a token, one of Entra ID would be sent, which belongs to Azure DevOps Services.
    if not (is_service(host) or token):
        problem = f"{shorten(text)!r} is not an address of Azure DevOps Services, and AZURE_DEVOPS_PAT is missing"
        raise InvalidValueError(problem, f"{fix}, or set AZURE_DEVOPS_PAT for Azure DevOps Server")
    return given


def is_service(host: str) -> bool:
    """Whether a host belongs to Azure DevOps Services, or is a local emulator of it."""
    return host.lower().endswith(_SERVICE_HOSTS) or host in LOOPBACK


def _organization(host: str, segments: Sequence[str]) -> str:
    """Return the address of the organization, without the service of a host such as vsrm, and without a project."""
    if host.endswith("dev.azure.com"):
        return f"https://dev.azure.com/{segments[0]}" if segments and segments[0][0] != "_" else ""
    name = host.partition(".")[0]
    # A part of each address of the time before `dev.azure.com`.
    collection = segments[:1] if [segment.lower() for segment in segments[:1]] == ["defaultcollection"] else []
    return "" if name in ("app", "www") else "/".join([f"https://{name}.visualstudio.com", *collection])


def _collection(parts: SplitResult, segments: Sequence[str]) -> str:
    """Return the address without `_apis` and what follows."""
    return f"{parts.scheme}://{'/'.join([parts.netloc, *takewhile(lambda segment: segment[0] != '_', segments)])}"


def _seconds(text: str) -> timedelta:
    if not re.fullmatch(r"[1-9][0-9]{0,5}", text):
        raise InvalidValueError(f"{shorten(text)!r} is not a whole number of seconds above 0")
    return timedelta(seconds=int(text))


def _boolean(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise InvalidValueError(f"{shorten(text)!r} is not true or false")
    return text.lower() == "true"


def _url(text: str) -> str:
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise InvalidValueError("the address has an invalid host or port") from error
    if "@" in text or parts.query or parts.fragment:
        # The value may contain a secret and is not repeated.
        raise InvalidValueError("the address has a user, a password, a query or a fragment", "remove it")
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOOPBACK):
        raise InvalidValueError(f"{shorten(text)!r} does not begin with https://")
    if not parts.hostname or port == 0:
        raise InvalidValueError(f"{shorten(text)!r} does not name a server")
    return text.rstrip("/")


def _topic(text: str) -> str:
    if text and urlsplit(_url(text)).path.rstrip("/") != "/api/events":
        example = "https://TOPIC.REGION-1.eventgrid.azure.net/api/events"
        raise InvalidValueError(f"{shorten(text)!r} is not the endpoint of an Event Grid topic, such as {example}")
    return text.rstrip("/")


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
        _url(names.get("tableendpoint") or f"{protocol}://storage")
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
        table_endpoint=_url(endpoint) if endpoint else f"https://{account}.table.core.windows.net",
        client_id=environment.get("AzureWebJobsStorage__clientId", ""),
    )
