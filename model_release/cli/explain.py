"""The command `explain`: match and plan a model version as the app would, and create nothing."""

import json
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from model_release.app import LazyCredential
from model_release.azure_devops.client import AzureDevOps
from model_release.azure_devops.sdk import PostRequest
from model_release.azure_ml.items import ModelVersion
from model_release.azure_ml.models import AzureMl
from model_release.cli.send import read_events
from model_release.cli.terminal import (
    as_json,
    configuration,
    connect,
    progress,
    show_json,
    show_table,
    show_text,
)
from model_release.domain.claims import claim_partition, claim_row, marker_of, target_digest
from model_release.domain.events import ModelRegistered, Workspace, parse
from model_release.domain.release_map import ReleaseMap
from model_release.domain.routing import Match, match, route
from model_release.domain.targets import Plan
from model_release.errors import AzureDevOpsError, EventError, RefusedError
from model_release.flow.confirm import event_of
from model_release.settings import Settings
from model_release.text import shorten
from model_release.web.views import routes

_STYLES = {"yes": "green"}
# A claim has a random number here.
_NONCE = "0" * 16


@dataclass(frozen=True)
class PlannedRequest:
    """The request that a plan would send, or the error instead of it."""

    plan: Plan
    marker: str
    result: PostRequest | AzureDevOpsError

    @property
    def order(self) -> str:
        """The order of the route."""
        return "newest" if self.plan.newest_only else "every"

    def as_json(self) -> dict[str, Any]:
        """Return the plan for --json."""
        post = self.result if isinstance(self.result, PostRequest) else None
        return {
            "target": str(self.plan.target),
            "route": self.plan.route,
            "order": self.order,
            "marker": self.marker,
            "reason": "" if post else str(self.result),
            "request": {"method": "POST", "url": post.url, "body": post.body} if post else None,
        }


@dataclass(frozen=True)
class Explanation:
    """The matches and planned requests of a model version; `ignored` is the reason if there are none."""

    event: ModelRegistered
    matches: tuple[Match, ...]
    requests: tuple[PlannedRequest, ...]
    ignored: str

    def as_json(self) -> dict[str, Any]:
        """Return the explanation for --json."""
        return {
            "model": self.event.model,
            "version": self.event.version,
            "workspace": self.event.workspace.id,
            "tags": dict(self.event.tags),
            "properties": dict(self.event.properties),
            "ignored": {"state": "ignored", "reason": self.ignored} if self.ignored else None,
            "routes": routes(self.matches),
            "plans": [planned.as_json() for planned in self.requests],
        }


@click.command()
@click.argument("subject", metavar="EVENT.json|MODEL:VERSION")
@click.option("--workspace", "name", help="The name of the workspace, if AML_WORKSPACES has several.")
@click.option("--registry", help="The name of the registry in AML_REGISTRIES, instead of a workspace.")
@click.option("--tag", "tags", multiple=True, metavar="KEY=VALUE", help="A tag of the version.")
@click.option("--property", "properties", multiple=True, metavar="KEY=VALUE", help="A property of the version.")
@click.option("--registered", is_flag=True, help="Read the current tags and properties from Azure ML.")
@click.option("--map", "map_path", type=click.Path(path_type=Path), help="Another release map. [env: RELEASE_MAP]")
@as_json
def explain(
    *,
    subject: str,
    name: str | None,
    registry: str | None,
    tags: tuple[str, ...],
    properties: tuple[str, ...],
    map_path: Path | None,
    registered: bool,
    as_json: bool,
) -> None:
    """Show which routes match a model version, why, and the exact request that would be sent.

    Reads from Azure DevOps and creates nothing. The exit code is 1 if Azure DevOps cannot be read.
    """
    if not Path(subject).is_file() and ":" not in subject:
        raise click.BadParameter(
            f"{shorten(subject)!r} is neither a file nor MODEL:VERSION", param_hint="EVENT.json|MODEL:VERSION"
        )
    settings, release_map = configuration(map_path)
    seconds, client_id = settings.timeout.total_seconds(), settings.storage.client_id
    azure_devops = connect(settings.azure_devops_url, settings.azure_devops_pat, client_id, seconds)
    if Path(subject).is_file():
        if name or registry or tags or properties or registered:
            options = "--workspace, --registry, --tag, --property and --registered"
            raise click.UsageError(f"Remove {options}: the file has all values.")
        bodies = [json.dumps(event) for event in read_events(Path(subject))]
    else:
        version = _model_version(subject, _source(settings, name, registry), tags, properties)
        if registered:
            version = _registered(version, settings)
        bodies = [event_of(version)]
    events = [_parse(body) for body in bodies]
    explanations = [
        _explain(release_map, settings.workspaces | settings.registries, azure_devops, event)
        for event in progress(events, "Reading from Azure DevOps")
    ]
    if as_json:
        show_json([explanation.as_json() for explanation in explanations])
    else:
        for explanation in explanations:
            _show(explanation)
    results = [planned.result for explanation in explanations for planned in explanation.requests]
    sys.exit(not all(isinstance(result, (PostRequest, RefusedError)) for result in results))


def _explain(
    release_map: ReleaseMap, workspaces: Collection[Workspace], azure_devops: AzureDevOps, event: ModelRegistered
) -> Explanation:
    routing = route(release_map, workspaces, event)
    return Explanation(
        event,
        match(release_map, event),
        tuple(_request(plan, event, azure_devops) for plan in routing.plans),
        "" if routing.plans else routing.why_nothing.text,
    )


def _request(plan: Plan, event: ModelRegistered, azure_devops: AzureDevOps) -> PlannedRequest:
    row = claim_row(event.version, target_digest(plan.target))
    marker = marker_of(claim_partition(event.workspace, event.model), row, _NONCE)
    try:
        return PlannedRequest(plan, marker, azure_devops.request(plan, event, marker))
    except AzureDevOpsError as error:
        return PlannedRequest(plan, marker, error)


def _parse(body: str) -> ModelRegistered:
    try:
        return parse(body)
    except EventError as error:
        raise click.ClickException(f"{error.subject or 'The event'} would be ignored: {error}") from error


def _source(settings: Settings, workspace: str | None, registry: str | None) -> Workspace:
    if workspace and registry:
        raise click.UsageError("Remove --workspace or --registry: a version is in one of both.")
    setting, option, sources = "AML_WORKSPACES", "--workspace", settings.workspaces
    if registry:
        setting, option, sources = "AML_REGISTRIES", "--registry", settings.registries
    name = registry or workspace
    found = [one for one in sources if name is None or one.name.casefold() == name.casefold()]
    if len(found) == 1:
        return found[0]
    names = ", ".join(sorted(one.name for one in sources))
    problem = f"{setting} does not contain {name!r}; " if name and not found else ""
    raise click.BadParameter(f"{problem}choose one of: {names or 'none'}", param_hint=option)


def _model_version(subject: str, workspace: Workspace, tags: Sequence[str], properties: Sequence[str]) -> ModelVersion:
    model, _, version = subject.partition(":")
    return ModelVersion(
        workspace=workspace,
        model=model,
        version=version,
        created=datetime.now(UTC),
        tags=_pairs("--tag", tags),
        properties=_pairs("--property", properties),
    )


def _pairs(option: str, given: Sequence[str]) -> dict[str, str]:
    pairs = [pair.partition("=") for pair in given]
    if wrong := [key for key, equals, _ in pairs if not (key and equals)]:
        raise click.BadParameter(f"{', '.join(wrong)} is not KEY=VALUE", param_hint=option)
    return {key: value for key, _, value in pairs}


def _registered(version: ModelVersion, settings: Settings) -> ModelVersion:
    if version.tags or version.properties:
        raise click.UsageError("Remove --tag and --property: --registered reads both from Azure ML.")
    azure_ml = AzureMl(LazyCredential(settings.storage.client_id), endpoint=settings.resource_manager_url)
    registered = azure_ml.model_version(version.workspace, version.model, version.version)
    if registered is None:
        raise click.ClickException(f"{version.model}:{version.version} is not registered in {version.workspace.title}.")
    return registered


def _show(explanation: Explanation) -> None:
    event = explanation.event
    show_text(f"{event.model}:{event.version} in {event.workspace.title}\n")
    rows = [
        (f"routes[{position}]", shorten(one.route.title), "yes" if one.matches else "no", shorten(one.reason))
        for position, one in enumerate(explanation.matches)
    ]
    show_table(("", "Route", "Matches", "Reason"), rows, _STYLES)
    if explanation.ignored:
        show_text(f"\nIgnored: {explanation.ignored}")
    for planned in explanation.requests:
        show_text(f"\n{planned.plan.target}, route {planned.plan.route}, order {planned.order}")
        if isinstance(planned.result, PostRequest):
            show_text(f"POST {planned.result.url}\n{planned.result.body}")
        else:
            state = "refused" if isinstance(planned.result, RefusedError) else "not determined"
            show_text(f"{state}: {planned.result}")
    show_text()
