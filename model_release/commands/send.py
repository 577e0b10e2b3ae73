"""Send events to the app as Event Grid does."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click
import requests

ACCEPTED = requests.codes.accepted


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--url", default="http://127.0.0.1:7071", show_default=True, help="The address of the app.")
@click.option("--key", envvar="EVENT_GRID_KEY", help="Its system key eventgrid_extension. [env: EVENT_GRID_KEY]")
def send(files: tuple[Path, ...], url: str, key: str | None) -> None:
    """Send events to the app as Event Grid does; a dead-letter file is sent as it is.

    FILES hold one event or an array of them, in either schema.
    """
    webhook = f"{url.rstrip('/')}/runtime/webhooks/EventGrid"
    headers = {"aeg-event-type": "Notification"} | ({"x-functions-key": key} if key else {})
    refused = 0
    with requests.Session() as session:
        for event in [event for file in files for event in read_events(file)]:
            try:
                answer = session.post(
                    webhook, params={"functionName": "model_registered"}, json=[event], headers=headers, timeout=60
                )
            except requests.RequestException as error:
                raise click.ClickException(f"{url} does not answer: {error}") from error  # noqa: EM102, TRY003
            refused += answer.status_code != ACCEPTED
            click.echo(f"{event.get('subject', '(no subject)')}  {answer.status_code} {answer.text}".rstrip())
    sys.exit(bool(refused))


def read_events(file: Path) -> list[dict[str, Any]]:
    """The events of a file; raises click.BadParameter."""
    try:
        content = json.loads(file.read_text("utf-8"))
    except ValueError as error:
        raise click.BadParameter(f"{file} is not JSON: {error}") from error  # noqa: EM102, TRY003
    events = content if isinstance(content, list) else [content]
    if not all(isinstance(event, dict) for event in events):
        raise click.BadParameter(f"{file} does not hold events")  # noqa: EM102, TRY003
    return events
