"""Build the real collaborators; alone reads the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from azure.data.tables import TableClient

from model_release import release_map, settings
from model_release.azure_devops import AzureDevOps, EntraSignIn, pat_sign_in
from model_release.errors import ConfigurationError
from model_release.ledger import TABLE, Clock, Ledger
from model_release.settings import Settings, Storage
from model_release.start_release import StartRelease

HOME = Path(__file__).parent.parent


def _now() -> datetime:
    return datetime.now(UTC)


def start_release(environment: Mapping[str, str] = os.environ, clock: Clock = _now) -> StartRelease:
    """Build it from the environment; raises ConfigurationError with every fault of settings and release map."""
    read, routes = _configuration(environment)
    return StartRelease(
        release_map=routes,
        workspaces=read.workspaces,
        ledger=Ledger(_table(read.storage), lease=read.lease, clock=clock),
        azure_devops=_azure_devops(read),
        first_retry=read.first_retry,
        clock=clock,
    )


def _configuration(environment: Mapping[str, str]) -> tuple[Settings, release_map.ReleaseMap]:
    faults: list[str] = []
    try:
        read = settings.read(environment)
    except ConfigurationError as error:
        faults += error.faults
    try:
        routes = release_map.load(settings.release_map_path(environment, HOME))
    except ConfigurationError as error:
        faults += error.faults
    if faults:
        raise ConfigurationError(faults)
    return read, routes


def _azure_devops(read: Settings) -> AzureDevOps:
    if read.azure_devops_pat:
        sign_in = pat_sign_in(read.azure_devops_pat)
    else:
        sign_in = EntraSignIn(_credential(read.storage.client_id))
    return AzureDevOps(read.azure_devops_url, sign_in, timeout=read.timeout.total_seconds())


def _table(storage: Storage) -> TableClient:
    # An event must be answered within 30 seconds, also when storage hangs.
    patience: dict[str, Any] = {"retry_total": 2, "connection_timeout": 3, "read_timeout": 5}
    if storage.connection_string:
        return TableClient.from_connection_string(storage.connection_string, TABLE, **patience)
    credential = _credential(storage.client_id)
    return TableClient(endpoint=storage.table_endpoint, table_name=TABLE, credential=credential, **patience)


def _credential(client_id: str) -> Any:
    # It takes a quarter of the app's start, and a connection string and a token make it needless.
    from azure.identity import DefaultAzureCredential  # noqa: PLC0415

    return DefaultAzureCredential(managed_identity_client_id=client_id or None)
