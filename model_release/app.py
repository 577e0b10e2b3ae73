"""Build the services of the app; alone reads the environment."""

import hashlib
import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from functools import cached_property, partial
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

from azure.core.credentials import AccessToken, TokenCredential
from azure.core.pipeline.transport import RequestsTransport

from model_release import __version__, settings
from model_release.azure_devops.client import AzureDevOps
from model_release.azure_devops.session import EntraSignIn, PatSignIn, SignIn
from model_release.azure_ml.models import AzureMl
from model_release.domain import release_map
from model_release.domain.lease import Lease
from model_release.errors import ConfigurationError, Fault
from model_release.flow.attempt import Attempts
from model_release.flow.catch_up import CatchUp
from model_release.flow.confirm import Confirm
from model_release.flow.publish import Publisher, Topic
from model_release.flow.record import Recorder
from model_release.flow.start_release import StartRelease
from model_release.flow.sweep import Sweep
from model_release.log import get_logger, only_warnings
from model_release.session import PlainSession
from model_release.settings import Settings
from model_release.store.catch_up_cursor import CatchUpCursors, CatchUpLease
from model_release.store.claims import Claims, Clock
from model_release.store.high_water_mark import HighWaterMarks
from model_release.store.history import History
from model_release.store.outbox import Outbox
from model_release.store.overview import Overview
from model_release.store.pending import LastSweep, Pending
from model_release.store.table import Patience, Table, table_client
from model_release.store.targets import Targets
from model_release.store.throttle import Throttle
from model_release.text import keep_secret
from model_release.web import outcome
from model_release.web.cannot_start import CannotStart
from model_release.web.health import Health
from model_release.web.outcome import Outcomes
from model_release.web.records import Records
from model_release.web.timers import Timers

HOME = Path(__file__).parent.parent
# If storage hangs, an event is answered within 30 seconds, and a page within 6.
_FOR_EVENTS = Patience(connect=3, read=5, retries=2)
FOR_PAGES = Patience(connect=1.5, read=2.5, retries=1)


def _now() -> datetime:
    return datetime.now(UTC)


class Services(NamedTuple):
    """The services that the triggers call; `signs_people_in` is whether App Service authentication is on."""

    start_release: StartRelease
    sweep: Sweep
    catch_up: CatchUp
    records: Records
    health: Health
    catch_up_schedule: str = settings.CATCH_UP_SCHEDULE
    signs_people_in: bool = False


def build(
    environment: Mapping[str, str] = os.environ,
    clock: Clock = _now,
    sleep: Callable[[float], None] = time.sleep,
    for_pages: Patience = FOR_PAGES,
) -> Services:
    """Build the services; raises ConfigurationError with every fault of settings and release map."""
    read, routes = configuration(environment)
    # They log each request in twenty lines, and the host cannot filter what comes from the worker.
    only_warnings("azure.core", "azure.identity")
    for name, secret in read.secrets.items():
        keep_secret(name, secret)
    credential = LazyCredential(read.storage.client_id)
    table = Table(table_client(read.storage, credential, _FOR_EVENTS))
    lease = Lease(read.lease, read.timeout)
    claims, pending = Claims(table, lease=lease, clock=clock), Pending(table, clock)
    history, throttle = History(table, clock), Throttle(table, clock, ThreadPoolExecutor(thread_name_prefix="throttle"))
    marks, targets = HighWaterMarks(table, claims, clock), Targets(table)
    outbox = Outbox(table) if read.outcome_topic else None
    signed_in = sign_in(read.azure_devops_pat, credential)
    connect = partial(AzureDevOps, read.azure_devops_url, signed_in, throttled=throttle.extend)
    threads = ThreadPoolExecutor(thread_name_prefix="azure-devops")
    azure_devops = connect(timeout=read.timeout.total_seconds(), threads=threads)
    azure_ml = AzureMl(credential, endpoint=read.resource_manager_url)
    confirm = Confirm(azure_ml if read.confirm_models else None, ThreadPoolExecutor(thread_name_prefix="confirm"))
    start_release = StartRelease(
        release_map=routes,
        workspaces=read.workspaces | read.registries,
        claims=claims,
        targets=targets,
        pending=pending,
        attempts=Attempts(azure_devops, claims, targets, marks, throttle, confirm, read.first_retry, clock, sleep),
        recorder=Recorder(claims, marks, pending, history, clock, outbox),
    )
    publisher = Publisher(outbox, claims, Topic(read.outcome_topic, credential)) if outbox else None
    last_sweep, overview = LastSweep(table, clock), Overview(table, history, marks, clock)
    cursors, catch_up_lease = CatchUpCursors(table), CatchUpLease(table, clock, read.lease)
    outcomes = Outcomes(connect(timeout=outcome.SECONDS), ThreadPoolExecutor(8, thread_name_prefix="outcomes"))
    pages_table = Table(table_client(read.storage, credential, for_pages))
    records = _records(pages_table, read, environment, clock, outcomes)
    health = Health(
        routes,
        Pending(pages_table, clock),
        azure_devops,
        records.timers,
        clock,
        read.confirm_models,
        records.versions,
        ThreadPoolExecutor(thread_name_prefix="health"),
    )
    return Services(
        start_release,
        Sweep(
            start_release,
            claims,
            pending,
            throttle,
            history,
            clock,
            publisher,
            last_sweep=last_sweep,
            lease=read.lease,
            overview=overview,
        ),
        CatchUp(azure_ml, start_release, claims, cursors, catch_up_lease, clock),
        records,
        health,
        read.catch_up_schedule.text,
        # Set by the platform. https://learn.microsoft.com/azure/app-service/reference-app-settings
        signs_people_in=environment.get("WEBSITE_AUTH_ENABLED", "").strip().casefold() == "true",
    )


def _records(table: Table, read: Settings, environment: Mapping[str, str], clock: Clock, outcomes: Outcomes) -> Records:
    """Build what the pages read."""
    claims, history = Claims(table, lease=Lease(read.lease, read.timeout), clock=clock), History(table, clock)
    return Records(
        claims,
        history,
        Overview(table, history, HighWaterMarks(table, claims, clock), clock),
        Throttle(table, clock),
        Timers(
            read.workspaces | read.registries,
            LastSweep(table, clock),
            CatchUpCursors(table),
            read.catch_up_schedule.period,
            clock,
        ),
        clock,
        versions(environment),
        outcomes,
        read.operations_url,
    )


def versions(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the version of the app and the digest of the release map, which is empty if the file cannot be read."""
    path = settings.release_map_path(environment, HOME)
    with suppress(OSError):
        return {"app": __version__, "release_map": hashlib.sha256(path.read_bytes()).hexdigest()[:12]}
    return {"app": __version__, "release_map": ""}


def build_or_report(environment: Mapping[str, str] = os.environ) -> Services:
    """Build the services; if a setting or the release map is wrong, each of them only reports every fault."""
    try:
        return build(environment)
    except ConfigurationError as error:
        get_logger(__name__).error("%s", error)
        instead: Any = CannotStart(error)
        return Services(instead, instead, instead, instead, instead)


def sign_in(pat: str, credential: TokenCredential) -> SignIn:
    """Return the sign-in to Azure DevOps: with the personal access token, if there is one."""
    keep_secret("AZURE_DEVOPS_PAT", pat)
    return PatSignIn(pat) if pat else EntraSignIn(credential)


class LazyCredential:
    """Signs in as the app's identity, or locally as the developer; imported and built when it is first needed.

    Importing azure-identity takes a quarter of the app's start; a connection string and a token make it unnecessary.
    """

    def __init__(self, client_id: str) -> None:
        """Take the client ID of a user-assigned identity, or an empty text."""
        self._client_id = client_id
        self._lock = Lock()

    def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        """Return a token that is valid now."""
        # From Python 3.12 on, threads may build a cached property at the same time, and each would acquire a token.
        with self._lock:
            credential = self._built
        token = credential.get_token(*scopes, **options)
        keep_secret(" ".join(scopes), token.token)
        return token

    @cached_property
    def _built(self) -> TokenCredential:
        from azure.identity import DefaultAzureCredential  # noqa: PLC0415

        # By default one request may take minutes, longer than a claim's lease.
        patience = {"connection_timeout": 5, "read_timeout": 10, "retry_total": 1}
        transport = RequestsTransport(session=PlainSession(), session_owner=False)
        return DefaultAzureCredential(
            managed_identity_client_id=self._client_id or None, transport=transport, **patience
        )


def configuration(environment: Mapping[str, str] = os.environ) -> tuple[Settings, release_map.ReleaseMap]:
    """Read settings and release map; raises ConfigurationError with every fault of both."""
    faults: list[Fault] = []
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
