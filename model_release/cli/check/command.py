"""The command `check`."""

import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from model_release import app as app_module
from model_release.azure_devops.client import AzureDevOps
from model_release.azure_ml.resource_manager import ResourceManager, ResourceManagerError
from model_release.cli.check.azure_devops import check_azure_devops
from model_release.cli.check.event_subscriptions import is_subscription_id, read_subscription
from model_release.cli.check.findings import Finding, Severity, check_map, worst_first
from model_release.cli.check.subscription import check_subscription
from model_release.cli.check.subscription import read as subscription_of
from model_release.cli.definitions import ReleaseDefinitions
from model_release.cli.terminal import as_json, environment, progress, read_json, show_json, show_table
from model_release.domain import release_map
from model_release.domain.events import Workspace
from model_release.errors import ConfigurationError, Fault
from model_release.settings import AZURE, azure_devops_url

_STYLES: Mapping[str, str] = {Severity.FAULT: "bold red", Severity.WARNING: "yellow", Severity.OK: "green"}
_SKIPPED = "the remaining checks were skipped"
_FIX = {
    403: "grant this identity Reader on the workspace or its system topic",
    404: "correct its resource ID, or deploy it with `azd up`",
}
_SHOW = "pass what `az eventgrid … show` prints"


@dataclass(frozen=True)
class _Subject:
    """What to check; `workspaces` is None if the app's settings are not known."""

    release_map: release_map.ReleaseMap
    azure_devops_url: str
    azure_devops_pat: str
    client_id: str
    timeout: float
    resource_manager_url: str
    workspaces: frozenset[Workspace] | None


@click.command()
@click.option("--map", "map_path", type=click.Path(path_type=Path), help="The release map. [env: RELEASE_MAP]")
@click.option("--url", help="The organization. With --map, no app settings are needed. [env: AZURE_DEVOPS_URL]")
@click.option(
    "--subscription",
    metavar="RESOURCE_ID|FILE.json",
    help="Also check this event subscription; the file holds what `az eventgrid … show` prints.",
)
@as_json
def check(map_path: Path | None, url: str | None, subscription: str | None, *, as_json: bool) -> None:
    """Check the release map, the settings, Azure DevOps and the event subscription.

    Changes nothing. The exit code is 1 if there is a fault; warnings do not count.
    """
    if subscription and not Path(subscription).is_file() and not is_subscription_id(subscription):
        message = f"{subscription} is neither a file nor the resource ID of an event subscription"
        raise click.BadParameter(message, param_hint="--subscription")
    try:
        findings = worst_first(_findings(_subject(map_path, url, environment()), subscription))
    except ConfigurationError as error:
        findings = [_of_configuration(fault) for fault in error.faults]
    faults = sum(finding.severity is Severity.FAULT for finding in findings)
    if as_json:
        show_json({"faults": faults, "findings": [asdict(finding) for finding in findings]})
    else:
        rows = [(finding.severity, finding.message, finding.where, finding.fix) for finding in findings]
        show_table(("Severity", "Message", "Where", "Fix"), rows, _STYLES)
        click.echo("\n1 fault" if faults == 1 else f"\n{faults} faults")
    sys.exit(bool(faults))


def _subject(map_path: Path | None, url: str | None, values: Mapping[str, str]) -> _Subject:
    if map_path and url:
        return _without_settings(map_path, url, values)
    given = {"AZURE_DEVOPS_URL": url, "RELEASE_MAP": map_path and str(map_path.absolute())}
    settings, routes = app_module.configuration({**values, **{name: value for name, value in given.items() if value}})
    return _Subject(
        release_map=routes,
        azure_devops_url=settings.azure_devops_url,
        azure_devops_pat=settings.azure_devops_pat,
        client_id=settings.storage.client_id,
        timeout=settings.timeout.total_seconds(),
        resource_manager_url=settings.resource_manager_url,
        workspaces=settings.workspaces,
    )


def _without_settings(map_path: Path, url: str, values: Mapping[str, str]) -> _Subject:
    faults: list[Fault] = []
    try:
        address = azure_devops_url(url)
    except ValueError as error:
        faults.append(Fault(str(error), getattr(error, "fix", ""), "--url"))
    try:
        routes = release_map.load(map_path)
    except ConfigurationError as error:
        faults += error.faults
    if faults:
        raise ConfigurationError(faults)
    return _Subject(
        release_map=routes,
        azure_devops_url=address,
        azure_devops_pat=values.get("AZURE_DEVOPS_PAT", ""),
        client_id="",
        timeout=20,
        resource_manager_url=values.get("AZURE_RESOURCE_MANAGER_URL") or AZURE,
        workspaces=None,
    )


def _findings(subject: _Subject, subscription: str | None) -> Iterator[Finding]:
    credential = app_module.LazyCredential(subject.client_id)
    azure_devops = AzureDevOps(
        subject.azure_devops_url, app_module.sign_in(subject.azure_devops_pat, credential), timeout=subject.timeout
    )
    yield from check_map(subject.release_map, subject.workspaces)
    yield from check_azure_devops(
        subject.release_map,
        azure_devops,
        ReleaseDefinitions(azure_devops.releases),
        subject.workspaces or (),
        lambda routes: progress(routes, "Checking Azure DevOps"),
    )
    if subscription:
        resource_manager = ResourceManager(credential, subject.resource_manager_url)
        yield from _of_subscription(subscription, resource_manager, subject.release_map, subject.workspaces)


def _of_subscription(
    name: str,
    resource_manager: ResourceManager,
    routes: release_map.ReleaseMap,
    workspaces: Iterable[Workspace] | None,
) -> Iterator[Finding]:
    where = f"subscription {name}"
    try:
        content = read_json(Path(name)) if Path(name).is_file() else read_subscription(resource_manager, name)
        if not isinstance(content, dict):
            yield Finding(Severity.FAULT, f"{name} is not a JSON object", where, _SHOW)
            return
        subscription = subscription_of(content)
    except ResourceManagerError as error:
        fix = _FIX.get(error.status, "check again")
        yield Finding(Severity.FAULT, f"the subscription cannot be read: {error}", where, fix)
    except ValueError as error:
        yield Finding(Severity.FAULT, str(error), where, _SHOW)
    else:
        yield from check_subscription(subscription, routes, workspaces)


def _of_configuration(fault: Fault) -> Finding:
    fix = fault.fix or "correct it"
    return Finding(Severity.FAULT, fault.problem, fault.where, f"{fix}; {_SKIPPED}")
