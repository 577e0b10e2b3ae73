"""The command `send`."""

import json
import sys
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import requests

from model_release.azure_ml.items import ModelVersion
from model_release.cli.app import (
    TIMEOUT_SECONDS,
    AppClient,
    app_session,
    model_and_version,
    redirection,
    unreachable,
)
from model_release.cli.terminal import as_json, environment, progress, read_json, show_json, show_text, url_option
from model_release.domain.events import Workspace, parse
from model_release.errors import EventError
from model_release.flow.confirm import event_of
from model_release.text import shorten

_PAGE = 200


@click.command()
@click.argument("subjects", metavar="FILE|MODEL:VERSION...", nargs=-1, required=True)
@click.option(
    "--workspace",
    help="The resource ID of the workspace of MODEL:VERSION, or its name in AML_WORKSPACES; default: the only one.",
)
@url_option
@click.option(
    "--key",
    envvar="EVENT_GRID_KEY",
    show_envvar=True,
    help="The app's system key eventgrid_extension; prefer the variable, which other users of the machine cannot see.",
)
@click.option(
    "--history-key",
    envvar="MODEL_RELEASE_KEY",
    show_envvar=True,
    help="A host key of the app, to read what was decided.",
)
@as_json
def send(
    *,
    subjects: tuple[str, ...],
    workspace: str | None,
    url: str,
    key: str | None,
    history_key: str | None,
    as_json: bool,
) -> None:
    """Send events to the app as Event Grid does, and print what was decided.

    A FILE holds one event or an array of events, in either schema; dead-letter files too. For MODEL:VERSION the event
    is built, without tags. The exit code is 1 if an event is not accepted.
    """
    events = [event for subject in subjects for event in _events(subject, workspace)]
    webhook = f"{url}/runtime/webhooks/EventGrid?functionName=model_registered"
    headers = {"aeg-event-type": "Notification"} | ({"x-functions-key": key} if key else {})
    app, results = AppClient(url, history_key), []
    with app_session(url, key) as session:
        # Otherwise the lines show the progress.
        for event in progress(events, "Sending") if as_json else events:
            try:
                response = session.post(
                    webhook, json=[event], headers=headers, timeout=TIMEOUT_SECONDS, allow_redirects=False
                )
            except (requests.RequestException, UnicodeError) as error:
                raise unreachable(url, error) from error
            answer = shorten(" ".join(response.text.split())) + redirection(response)
            result = {"subject": event.get("subject"), "status": response.status_code, "answer": answer}
            result |= (
                _decided(app, event)
                if response.status_code == requests.codes.accepted
                else {"entries": None, "problem": None}
            )
            results.append(result)
            if not as_json:
                show_text(_line(result))
    if as_json:
        show_json(results)
    sys.exit(any(result["status"] != requests.codes.accepted for result in results))


def _decided(app: AppClient, event: dict[str, Any]) -> dict[str, Any]:
    """Read the history entries of an event, which was answered with its state recorded."""
    filters = {}
    try:
        registered = parse(json.dumps(event))
        subject, source = registered.subject, registered.workspace.id
        filters["model"] = registered.model
    except EventError as error:
        subject, source = error.subject, ""
    try:
        page = app.history(ignored="yes", limit=_PAGE, **filters)
    except click.ClickException as error:
        return {"entries": None, "problem": error.message.splitlines()[0]}
    ours = [one for one in page["entries"] if one["subject"] == subject]
    ours = [one for one in ours if not (source and one["workspace"]) or one["workspace"] == source]
    # The newest is first, and a person's restart, which says nothing of the event, last. The last of a target wins.
    ours.sort(key=lambda one: bool(one["manual"]))
    return {"entries": list({one["target"]: one for one in reversed(ours)}.values()), "problem": None}


def _line(result: dict[str, Any]) -> str:
    name = shorten(result["subject"] or "(no subject)").removeprefix("models/")
    sent = f"{name}  {result['status']} {result['answer']}".rstrip()
    if problem := result["problem"]:
        return f"{sent}  (what was decided cannot be read: {problem})"
    entries = result["entries"] or []
    states = [f"{one['state']}{' at ' + one['target'] if one['target'] else ''}: {one['reason']}" for one in entries]
    return f"{sent}  {states[0]}" if len(states) == 1 else "\n  ".join([sent, *states])


def _events(subject: str, workspace: str | None) -> list[dict[str, Any]]:
    """Read the events of a file, or build the one of MODEL:VERSION; raises click.BadParameter."""
    if Path(subject).is_file():
        return read_events(Path(subject))
    found = model_and_version(subject)
    if found is None:
        raise click.BadParameter(f"{shorten(subject)!r} is neither a file nor MODEL:VERSION")
    version = ModelVersion(_workspace(workspace), *found, created=datetime.now(UTC), tags={}, properties={})
    return [dict(json.loads(event_of(version, str(uuid.uuid4()))))]


def _workspace(asked: str | None) -> Workspace:
    listed = [asked] if asked and asked.startswith("/") else environment().get("AML_WORKSPACES", "").split(",")
    try:
        ours = [Workspace.parse(one.strip()) for one in listed if one.strip()]
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--workspace") from error
    found = [one for one in ours if not asked or asked.startswith("/") or one.name.casefold() == asked.casefold()]
    if len(found) != 1:
        names = ", ".join(one.name for one in ours) or "none"
        raise click.BadParameter(
            f"set it to the resource ID of the workspace, or to a name in AML_WORKSPACES, which has: {names}",
            param_hint="--workspace",
        )
    return found[0]


def read_events(file: Path) -> list[dict[str, Any]]:
    """Read the events of a file; raises click.BadParameter."""
    try:
        content = read_json(file)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
    events = content if isinstance(content, list) else [content]
    if not (events and all(isinstance(event, dict) for event in events)):
        raise click.BadParameter(f"{file} is neither an event nor an array of events")
    for number, event in enumerate(events, 1):
        if not {"eventtype", "type"} & {name.lower() for name in event}:
            raise click.BadParameter(
                f"{file}: object {number} has neither `eventType` nor `type`, so it is not an event; "
                "write the event itself, without another object around it"
            )
    return events
