"""The command `check`."""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path

import click
from azure.core.credentials import TokenCredential
from azure.core.exceptions import ClientAuthenticationError

from model_release import app as app_module
from model_release.azure_devops.client import AzureDevOps
from model_release.azure_ml.models import AzureMl
from model_release.azure_ml.resource_manager import ResourceManager
from model_release.cli.check.azure_devops import check_azure_devops
from model_release.cli.check.azure_ml import check_azure_ml
from model_release.cli.check.definition import ANY_WORKSPACE
from model_release.cli.check.findings import Finding, Severity, check_map, worst_first
from model_release.cli.check.identity import check_identity
from model_release.cli.check.organization import Addresses, Organization, OrganizationError, grants
from model_release.cli.check.subscription import check_subscription, is_subscription_id
from model_release.cli.terminal import as_json, connect, environment, show_json, show_table, show_text
from model_release.domain.release_map import ReleaseMap
from model_release.errors import AzureDevOpsError, ConfigurationError, Fault
from model_release.settings import Settings

_STYLES: Mapping[str, str] = {Severity.FAULT: "bold red", Severity.WARNING: "yellow", Severity.OK: "green"}
# With --map and --url, the app's settings are not known: only these are read, if they are set.
_USED = ("AZURE_DEVOPS_PAT", "AZURE_RESOURCE_MANAGER_URL")
_UNUSED = {
    "AzureWebJobsStorage": "UseDevelopmentStorage=true",
    "AML_WORKSPACES": ANY_WORKSPACE,
}


@click.command()
@click.option("--map", "map_path", type=click.Path(path_type=Path), help="The release map. [env: RELEASE_MAP]")
@click.option("--url", help="The organization. With --map, no app settings are needed. [env: AZURE_DEVOPS_URL]")
@click.option(
    "--subscription",
    metavar="RESOURCE_ID|FILE.json",
    help="Also check this event subscription; the file holds what `az eventgrid … show` prints.",
)
@click.option("--identity", envvar="IDENTITY_PRINCIPAL_ID", help="Also check the rights of this object ID.")
@as_json
def check(
    map_path: Path | None, url: str | None, subscription: str | None, identity: str | None, *, as_json: bool
) -> None:
    """Check the release map, the settings, Azure DevOps, the workspaces and the event subscription.

    Changes nothing. The exit code is 1 if there is a fault; warnings do not count.
    """
    if subscription and not Path(subscription).is_file() and not is_subscription_id(subscription):
        message = f"{subscription} is neither a file nor the resource ID of an event subscription"
        raise click.BadParameter(message, param_hint="--subscription")
    try:
        findings = worst_first(_findings(map_path, url, subscription, identity))
    except ConfigurationError as error:
        findings = [_of_configuration(fault, url) for fault in error.faults]
    faults = sum(finding.severity is Severity.FAULT for finding in findings)
    if as_json:
        show_json({"faults": faults, "findings": [asdict(finding) for finding in findings]})
    else:
        rows = [(finding.severity, finding.message, finding.where, finding.fix) for finding in findings]
        show_table(("Severity", "Message", "Where", "Fix"), rows, _STYLES)
        show_text("\n1 fault" if faults == 1 else f"\n{faults} faults")
    sys.exit(bool(faults))


def _findings(
    map_path: Path | None, url: str | None, subscription: str | None, identity: str | None
) -> Iterator[Finding]:
    settings, release_map = _configuration(map_path, url)
    workspaces = None if map_path and url else settings.workspaces | settings.registries
    seconds, client_id = settings.timeout.total_seconds(), settings.storage.client_id
    credential = app_module.LazyCredential(client_id)
    azure_devops = connect(settings.azure_devops_url, settings.azure_devops_pat, client_id, seconds)
    yield from check_map(release_map, workspaces)
    yield from check_azure_devops(release_map, azure_devops, workspaces or ())
    if identity:
        yield from _check_identity(identity, settings, release_map, azure_devops, credential)
    if workspaces is not None:
        azure_ml = AzureMl(credential, endpoint=settings.resource_manager_url)
        yield from check_azure_ml(azure_ml, workspaces, settings.catch_up_schedule, confirm=settings.confirm_models)
    if subscription:
        resource_manager = ResourceManager(credential, settings.resource_manager_url)
        yield from check_subscription(subscription, resource_manager, release_map, workspaces)


def _check_identity(
    identity: str, settings: Settings, release_map: ReleaseMap, azure_devops: AzureDevOps, credential: TokenCredential
) -> Iterator[Finding]:
    sign_in = app_module.sign_in(settings.azure_devops_pat, credential)
    try:
        addresses = Addresses.of(settings.azure_devops_url)
        session = addresses.session()
        sign_in.signed_session(session)
        organization = Organization(addresses, session)
        yield from check_identity(identity, grants(release_map, azure_devops), organization)
    except (AzureDevOpsError, ClientAuthenticationError, OrganizationError) as error:
        yield Finding(Severity.WARNING, f"the rights of identity {identity} were not checked: {error}", "--identity")


def _configuration(map_path: Path | None, url: str | None) -> tuple[Settings, ReleaseMap]:
    values = environment()
    if map_path and url:
        values = _UNUSED | {name: values[name] for name in _USED if name in values}
    if url:
        values["AZURE_DEVOPS_URL"] = url
    if map_path:
        values["RELEASE_MAP"] = str(map_path.absolute())
    return app_module.configuration(values)


def _of_configuration(fault: Fault, url: str | None) -> Finding:
    where = "--url" if url and fault.where == "AZURE_DEVOPS_URL" else fault.where
    fix = f"{fault.fix or 'correct it'}; the remaining checks were skipped"
    return Finding(Severity.FAULT, fault.problem, where, fix)
