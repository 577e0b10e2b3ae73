"""Send events to the app as Event Grid does, or to a custom topic."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import requests

from model_release.cli.send_topic import Topic, to_publish
from model_release.cli.terminal import as_json, progress, show_json

Event = dict[str, Any]
Answer = tuple[int, str]

_NOTE = (
    "Event Grid writes its own topic into these events, so an app that gets them from there ignores them as another "
    "workspace's. For a topic that takes CloudEvents, --cloud-events keeps the workspace."
)


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--url", default="http://127.0.0.1:7071", show_default=True, help="The address of the app.")
@click.option("--key", envvar="EVENT_GRID_KEY", help="Its system key eventgrid_extension. [env: EVENT_GRID_KEY]")
@click.option("--topic", metavar="ENDPOINT", help="Publish to this custom topic instead.")
@click.option(
    "--topic-key",
    envvar="EVENT_GRID_TOPIC_KEY",
    help="The topic's key; without it the identity signs in. [env: EVENT_GRID_TOPIC_KEY]",
)
@click.option("--cloud-events", is_flag=True, help="Publish events of the Event Grid schema as CloudEvents.")
@as_json
def send(
    files: tuple[Path, ...],
    url: str,
    key: str | None,
    topic: str | None,
    topic_key: str | None,
    *,
    cloud_events: bool,
    as_json: bool,
) -> None:
    """Send events to the app as Event Grid does, or publish them to a custom topic.

    FILES hold one event or an array of them, in either schema; dead-letter files too. Ends with 1 when one is refused.
    """
    if cloud_events and not topic:
        raise click.UsageError("--cloud-events goes with --topic")  # noqa: EM101, TRY003
    events = [event for file in files for event in read_events(file)]
    with requests.Session() as session:
        if topic:
            deliver, success = _to_topic(topic, topic_key, cloud_events=cloud_events), requests.codes.ok
        else:
            deliver, success = _to_app(session, url, key), requests.codes.accepted
        sent = []
        for event in progress(events, "Sending"):
            status, answer = deliver(event)
            sent.append({"subject": event.get("subject"), "status": status, "answer": answer})
            if not as_json:
                click.echo(f"{event.get('subject', '(no subject)')}  {status} {answer}".rstrip())
    if as_json:
        show_json(sent)
    if topic and not cloud_events and any("specversion" not in event for event in events):
        click.echo(_NOTE, err=True)
    sys.exit(any(one["status"] != success for one in sent))


def _to_app(session: requests.Session, url: str, key: str | None) -> Callable[[Event], Answer]:
    webhook = f"{url.rstrip('/')}/runtime/webhooks/EventGrid"
    headers = {"aeg-event-type": "Notification"} | ({"x-functions-key": key} if key else {})

    def deliver(event: Event) -> Answer:
        try:
            answer = session.post(
                webhook, params={"functionName": "model_registered"}, json=[event], headers=headers, timeout=60
            )
        except requests.RequestException as error:
            raise click.ClickException(f"{url} does not answer: {error}") from error  # noqa: EM102, TRY003
        return answer.status_code, answer.text

    return deliver


def _to_topic(endpoint: str, key: str | None, *, cloud_events: bool) -> Callable[[Event], Answer]:
    topic = Topic(endpoint, key)
    return lambda event: topic.publish(to_publish(event, cloud_events=cloud_events))


def read_events(file: Path) -> list[Event]:
    """The events of a file; raises click.BadParameter."""
    try:
        content = json.loads(file.read_text("utf-8-sig"))
    except ValueError as error:
        raise click.BadParameter(f"{file} is not JSON: {error}") from error  # noqa: EM102, TRY003
    events = content if isinstance(content, list) else [content]
    if not all(isinstance(event, dict) for event in events):
        raise click.BadParameter(f"{file} does not hold events")  # noqa: EM102, TRY003
    return events
