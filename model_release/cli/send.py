"""The command `send`."""

import sys
from pathlib import Path
from typing import Any

import click
import requests

from model_release.cli.app import TIMEOUT_SECONDS, app_session, redirection, unreachable, url_option
from model_release.cli.terminal import as_json, progress, read_json, show_json, show_text
from model_release.text import shorten


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@url_option
@click.option("--key", envvar="EVENT_GRID_KEY", show_envvar=True, help="The app's system key eventgrid_extension.")
@as_json
def send(*, files: tuple[Path, ...], url: str, key: str | None, as_json: bool) -> None:
    """Send events to the app as Event Grid does.

    Each of FILES holds one event or an array of events, in either schema; dead-letter files too.
    The exit code is 1 if an event is not accepted.
    """
    events = [event for file in files for event in read_events(file)]
    webhook = f"{url.rstrip('/')}/runtime/webhooks/EventGrid?functionName=model_registered"
    headers = {"aeg-event-type": "Notification"} | ({"x-functions-key": key} if key else {})
    results = []
    with app_session(url, key) as session:
        for event in progress(events, "Sending"):
            try:
                response = session.post(
                    webhook, json=[event], headers=headers, timeout=TIMEOUT_SECONDS, allow_redirects=False
                )
            except (requests.RequestException, UnicodeError) as error:
                raise unreachable(url, error) from error
            answer = shorten(response.text) + redirection(response)
            results.append({"subject": event.get("subject"), "status": response.status_code, "answer": answer})
            if not as_json:
                subject = shorten(event.get("subject", "(no subject)"))
                show_text(f"{subject}  {response.status_code} {answer}".rstrip())
    if as_json:
        show_json(results)
    sys.exit(any(result["status"] != requests.codes.accepted for result in results))


def read_events(file: Path) -> list[dict[str, Any]]:
    """Read the events of a file; raises click.BadParameter."""
    try:
        content = read_json(file)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
    events = content if isinstance(content, list) else [content]
    if not all(isinstance(event, dict) for event in events):
        raise click.BadParameter(f"{file} is neither an event nor an array of events")
    return events
