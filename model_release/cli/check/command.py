"""Find every fault before a model does."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

from model_release import app as wiring
from model_release.azure_devops.client import AzureDevOps
from model_release.azure_ml.resource_manager import NotRead, ResourceManager
from model_release.cli.check.azure_devops import check_azure_devops
from model_release.cli.check.event_subscriptions import is_subscription_id, read_subscription
from model_release.cli.check.findings import Finding, State, check_map, worst_first
from model_release.cli.check.subscription import check_subscription
from model_release.cli.check.subscription import read as subscription_of
from model_release.cli.definitions import ReleaseDefinitions
from model_release.cli.terminal import as_json, environment, progress, show_json, show_table
from model_release.domain import release_map
from model_release.domain.events import Workspace
from model_release.errors import ConfigurationError
from model_release.settings import AZURE, azure_devops_url

_STYLES: Mapping[str, str] = {State.FAULT: "bold red", State.WARNING: "yellow", State.OK: "green"}
_WHAT_TO_DO = {
    403: "give this identity Reader on the workspace or its system topic",
    404: "correct its resource id, or create it as the README tells",
}


@dataclass(frozen=True)
class _Asked:
    """What to check; `workspaces` are None where the app's settings are not known."""

    release_map: release_map.ReleaseMap
    azure_devops_url: str
    azure_devops_pat: str
    client_id: str
    timeout: float
    resource_manager_url: str
    workspaces: frozenset[Workspace] | None


@click.command()
@click.option("--map", "map_path", type=click.Path(path_type=Path), help="The release map. [env: RELEASE_MAP]")
@click.option("--url", help="The organization; with --map the app's settings are not needed. [env: AZURE_DEVOPS_URL]")
@click.option(
    "--subscription",
    metavar="RESOURCE_ID|FILE.json",
    help="Also check this event subscription; a file holds what `az eventgrid … show` prints.",
)
@as_json
def check(map_path: Path | None, url: str | None, subscription: str | None, *, as_json: bool) -> None:
    """Check the release map, the settings, Azure DevOps and the event subscription.

    Changes nothing. Faults come first, each with what to do. Ends with 1 when there is a fault; warnings are none.
    """
    if subscription and not Path(subscription).is_file() and not is_subscription_id(subscription):
        what = f"{subscription} is neither a file nor the resource id of an event subscription"
        raise click.BadParameter(what, param_hint="--subscription")
    try:
        findings = worst_first(_findings(_asked(map_path, url, environment()), subscription))
    except ConfigurationError as error:
        findings = [_of_configuration(fault) for fault in error.faults]
    faults = sum(finding.state is State.FAULT for finding in findings)
    if as_json:
        show_json({"faults": faults, "findings": [asdict(finding) for finding in findings]})
    else:
        rows = [(finding.state, finding.what, finding.where, finding.what_to_do) for finding in findings]
        show_table(("state", "what", "where", "what to do"), rows, _STYLES)
        click.echo("\n1 fault" if faults == 1 else f"\n{faults or 'no'} faults")
    sys.exit(bool(faults))


def _asked(map_path: Path | None, url: str | None, values: Mapping[str, str]) -> _Asked:
    if map_path and url:
        return _without_settings(map_path, url, values)
    given = {"AZURE_DEVOPS_URL": url, "RELEASE_MAP": map_path and str(map_path.absolute())}
    settings, routes = wiring.configuration({**values, **{name: value for name, value in given.items() if value}})
    return _Asked(
        release_map=routes,
        azure_devops_url=settings.azure_devops_url,
        azure_devops_pat=settings.azure_devops_pat,
        client_id=settings.storage.client_id,
        timeout=settings.timeout.total_seconds(),
        resource_manager_url=settings.resource_manager_url,
        workspaces=settings.workspaces,
    )


def _without_settings(map_path: Path, url: str, values: Mapping[str, str]) -> _Asked:
    faults: list[str] = []
    try:
        address = azure_devops_url(url)
    except ValueError as error:
        faults.append(f"--url {error}")
    try:
        routes = release_map.load(map_path)
    except ConfigurationError as error:
        faults += error.faults
    if faults:
        raise ConfigurationError(faults)
    return _Asked(
        release_map=routes,
        azure_devops_url=address,
        azure_devops_pat=values.get("AZURE_DEVOPS_PAT", ""),
        client_id="",
        timeout=20,
        resource_manager_url=values.get("AZURE_RESOURCE_MANAGER_URL") or AZURE,
        workspaces=None,
    )


def _findings(asked: _Asked, subscription: str | None) -> Iterator[Finding]:
    credential = wiring.LateCredential(asked.client_id)
    azure_devops = AzureDevOps(
        asked.azure_devops_url, wiring.sign_in(asked.azure_devops_pat, credential), timeout=asked.timeout
    )
    yield from check_map(asked.release_map, asked.workspaces)
    yield from check_azure_devops(
        asked.release_map,
        azure_devops,
        ReleaseDefinitions(azure_devops.releases),
        asked.workspaces or (),
        lambda routes: progress(routes, "Asking Azure DevOps"),
    )
    if subscription:
        resource_manager = ResourceManager(credential, asked.resource_manager_url)
        yield from _of_subscription(subscription, resource_manager, asked.release_map, asked.workspaces)


def _of_subscription(
    named: str,
    resource_manager: ResourceManager,
    routes: release_map.ReleaseMap,
    workspaces: Iterable[Workspace] | None,
) -> Iterator[Finding]:
    where = f"subscription {named}"
    try:
        content = _read_file(Path(named)) if Path(named).is_file() else read_subscription(resource_manager, named)
        subscription = subscription_of(content)
    except NotRead as error:
        what_to_do = _WHAT_TO_DO.get(error.status, "try again")
        yield Finding(State.FAULT, f"it could not be read: {error}", where, what_to_do)
    except ValueError as error:
        yield Finding(State.FAULT, str(error), where, "give what `az eventgrid … show` prints")
    else:
        yield from check_subscription(subscription, routes, workspaces)


def _read_file(path: Path) -> dict[str, Any]:
    content = json.loads(path.read_text("utf-8-sig"))
    if not isinstance(content, dict):
        msg = "it is not a JSON object"
        raise ValueError(msg)  # noqa: TRY004  the file is wrong, not the call
    return content


def _of_configuration(fault: str) -> Finding:
    name = fault.partition(" ")[0]
    if name.isupper() or name.startswith(("AzureWebJobsStorage", "--")):
        return Finding(State.FAULT, fault, "settings", "correct the setting; what comes after this was not checked")
    return Finding(State.FAULT, fault, "release map", "correct the map; what comes after this was not checked")
