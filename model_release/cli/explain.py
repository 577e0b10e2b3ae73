"""Say what a model version would start, and why; send nothing."""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from model_release import app as wiring
from model_release.azure_devops.client import AzureDevOps
from model_release.azure_ml.models import AzureMl, CannotList, ModelVersion
from model_release.cli.explanation import Explanation, Wanted
from model_release.cli.explanation import explain as explained
from model_release.cli.send import read_events
from model_release.cli.terminal import as_json, configuration, progress, show_json, show_table
from model_release.domain.events import ModelRegistered, Workspace, parse, shorten
from model_release.errors import EventError
from model_release.flow.catch_up import event_of
from model_release.settings import Settings
from model_release.web.views import routes

_STYLES = {"takes it": "green"}


@click.command()
@click.argument("subject", metavar="EVENT.json|MODEL:VERSION")
@click.option("--workspace", "name", help="The workspace's name, where AML_WORKSPACES has several.")
@click.option("--tag", "tags", multiple=True, metavar="KEY=VALUE", help="A tag that the version has.")
@click.option("--property", "properties", multiple=True, metavar="KEY=VALUE", help="A property that the version has.")
@click.option("--registered", is_flag=True, help="Take tags and properties from Azure ML, as they are now.")
@click.option("--map", "map_path", type=click.Path(path_type=Path), help="Another release map. [env: RELEASE_MAP]")
@as_json
def explain(
    subject: str,
    name: str | None,
    tags: tuple[str, ...],
    properties: tuple[str, ...],
    map_path: Path | None,
    *,
    registered: bool,
    as_json: bool,
) -> None:
    """Say which routes match a model version and why, and the exact request that would be sent.

    Asks Azure DevOps about the release definitions, and sends nothing. Ends with 1 when it could not find out.
    """
    settings, release_map = configuration(map_path)
    credential = wiring.LateCredential(settings.storage.client_id)
    azure_devops = AzureDevOps(
        settings.azure_devops_url,
        wiring.sign_in(settings.azure_devops_pat, credential),
        timeout=settings.timeout.total_seconds(),
    )
    if Path(subject).is_file():
        if name or tags or properties or registered:
            raise click.UsageError("a file says all of it: no --workspace, --tag, --property, --registered")  # noqa: EM101, TRY003
        bodies = [json.dumps(event) for event in read_events(Path(subject))]
    else:
        version = _model_version(subject, _workspace(settings.workspaces, name), tags, properties)
        if registered:
            version = _registered(version, settings, credential, given=tags + properties)
        bodies = [event_of(version)]
    events = [_parsed(body) for body in bodies]
    explanations = [
        explained(release_map, settings.workspaces, azure_devops, event)
        for event in progress(events, "Asking Azure DevOps")
    ]
    if as_json:
        show_json([_told(explanation) for explanation in explanations])
    else:
        for explanation in explanations:
            _show(explanation)
    sys.exit(any(not (w.request or w.refused) for explanation in explanations for w in explanation.wanted))


def _parsed(body: str) -> ModelRegistered:
    try:
        return parse(body)
    except EventError as error:
        raise click.ClickException(f"{error.subject or 'the event'} would be ignored: {error}") from error  # noqa: EM102, TRY003


def _workspace(workspaces: Collection[Workspace], name: str | None) -> Workspace:
    found = [w for w in workspaces if name is None or w.name.casefold() == name.casefold()]
    if len(found) == 1:
        return found[0]
    names = ", ".join(sorted(workspace.name for workspace in workspaces))
    what = f"choose one of {names}" if found or not name else f"AML_WORKSPACES has no {name}, but {names}"
    raise click.BadParameter(what, param_hint="--workspace")


def _model_version(subject: str, workspace: Workspace, tags: Sequence[str], properties: Sequence[str]) -> ModelVersion:
    model, colon, version = subject.partition(":")
    if not colon:
        raise click.BadParameter(f"{shorten(subject)} is neither a file nor MODEL:VERSION", param_hint="EVENT.json")  # noqa: EM102, TRY003
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
        raise click.BadParameter(f"{', '.join(wrong)}: write KEY=VALUE", param_hint=option)  # noqa: EM102, TRY003
    return {key: value for key, _, value in pairs}


def _registered(
    version: ModelVersion, settings: Settings, credential: wiring.LateCredential, *, given: Sequence[str]
) -> ModelVersion:
    if given:
        raise click.UsageError("--registered reads tags and properties: no --tag, --property")  # noqa: EM101, TRY003
    azure_ml = AzureMl(credential, endpoint=settings.resource_manager_url)
    try:
        return azure_ml.model_version(version.workspace, version.model, version.version)
    except CannotList as error:
        raise click.ClickException(str(error)) from error


def _told(explanation: Explanation) -> dict[str, Any]:
    event = explanation.event
    return {
        "model": event.model,
        "version": event.version,
        "workspace": event.workspace.id,
        "tags": dict(event.tags),
        "properties": dict(event.properties),
        "ignored": explanation.ignored,
        "routes": routes(explanation.verdicts),
        "starts": [_told_start(wanted) for wanted in explanation.wanted],
    }


def _told_start(wanted: Wanted) -> Mapping[str, Any]:
    post = wanted.request
    return {
        "target": str(wanted.start.target),
        "route": wanted.start.route,
        "order": _order(wanted),
        "marker": wanted.marker,
        "reason": wanted.reason,
        "request": {"method": "POST", "url": post.url, "body": post.body} if post else None,
    }


def _order(wanted: Wanted) -> str:
    return "newest" if wanted.start.newest_only else "every"


def _show(explanation: Explanation) -> None:
    event = explanation.event
    click.echo(f"{event.model} {event.version} of workspace {event.workspace.name}\n")
    rows = [
        (f"routes[{place}]", shorten(v.route.title), "takes it" if v.takes else "does not", shorten(v.reason))
        for place, v in enumerate(explanation.verdicts)
    ]
    show_table(("", "route", "", "because"), rows, _STYLES)
    if explanation.ignored:
        click.echo(f"\nNothing would start: {explanation.ignored}")
    for wanted in explanation.wanted:
        click.echo(f"\n{wanted.start.target}, by route {wanted.start.route}, order {_order(wanted)}")
        if wanted.request:
            click.echo(f"POST {wanted.request.url}\n{wanted.request.body}")
        else:
            click.echo(f"{'refused' if wanted.refused else 'not known'}: {wanted.reason}")
    click.echo()
