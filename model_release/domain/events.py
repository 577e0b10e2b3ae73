"""Read ModelRegistered events of Event Grid, in the Event Grid schema and as CloudEvents (pure)."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple, Self

from azure.core.messaging import CloudEvent
from azure.eventgrid import EventGridEvent, SystemEventNames

from model_release.errors import EventError
from model_release.text import shorten

MODEL_REGISTERED = SystemEventNames.MachineLearningServicesModelRegisteredEventName.value
# A claim keeps the event in one property, which holds 32,768 UTF-16 characters.
# https://learn.microsoft.com/rest/api/storageservices/understanding-the-table-service-data-model
MAX_CHARACTERS = 32_000

# Names and versions of models that Azure ML allows.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")
_SUBJECT = re.compile(r"models/([^:]*):(.*)", re.DOTALL)
_WORKSPACE = re.compile(
    r"/subscriptions/[^/]+/resourceGroups/[^/]+"
    r"/providers/Microsoft\.MachineLearningServices/workspaces/(?P<name>[A-Za-z0-9][A-Za-z0-9_-]{0,254})",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Workspace:
    """An Azure ML workspace; equal if the resource IDs are equal, without regard to case."""

    id: str
    name: str = field(compare=False)

    @classmethod
    def parse(cls, resource_id: str) -> Self:
        """Read a resource ID; raises ValueError."""
        match = _WORKSPACE.fullmatch(resource_id.rstrip("/"))
        if not match:
            raise ValueError(f"{shorten(resource_id)!r} is not the resource ID of an Azure ML workspace")
        return cls(match[0].lower(), match["name"])


@dataclass(frozen=True)
class ModelRegistered:
    """A registered model version; `registered_at` is when it was registered, if Azure ML has said so."""

    id: str
    workspace: Workspace
    model: str
    version: str
    tags: Mapping[str, str]
    properties: Mapping[str, str]
    body: str
    registered_at: datetime | None = None

    @property
    def number(self) -> int | None:
        """The version as a whole number; None if it is not one and so has no order."""
        return int(self.version) if self.version.isdecimal() else None


class _Envelope(NamedTuple):
    id: Any
    source: Any
    type: Any
    subject: Any
    data: Any


def parse(body: str) -> ModelRegistered:
    """Read one event as the trigger receives it; raises EventError with every problem.

    Keys match without regard to case, because the documentation of Azure ML and its REST specification differ. A
    missing name or version is read from the subject `models/{name}:{version}`.
    https://learn.microsoft.com/azure/event-grid/event-schema-machine-learning
    """
    envelope = _envelope(body)
    subject = envelope.subject if isinstance(envelope.subject, str) else ""
    if envelope.type != MODEL_REGISTERED:
        raise EventError([f"event type is {shorten(envelope.type)!r}, not {MODEL_REGISTERED!r}"], shorten(subject))
    problems: list[str] = []
    workspace = _workspace(envelope.source, problems)
    data = _lower_keys(envelope.data, "data", problems)
    in_subject = _SUBJECT.fullmatch(subject)
    model, version = in_subject.groups() if in_subject else (None, None)
    event = ModelRegistered(
        id=shorten(envelope.id),
        workspace=workspace,
        model=_name("model name", data.get("modelname", model), problems),
        version=_name("model version", data.get("modelversion", version), problems),
        tags=_texts("tags", data.get("modeltags"), problems),
        properties=_texts("properties", data.get("modelproperties"), problems),
        body=body,
    )
    if problems:
        raise EventError(problems, shorten(subject))
    return event


def _envelope(body: str) -> _Envelope:
    try:
        characters = len(body.encode("utf-16-le")) // 2
        content = json.loads(body)
        json.dumps(content, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        raise EventError([f"the event is not JSON: line {error.lineno}, column {error.colno}"]) from error
    except (ValueError, RecursionError) as error:
        problem = "it is nested too deeply" if isinstance(error, RecursionError) else "it is not valid Unicode text"
        raise EventError([f"the event cannot be read: {problem}"]) from error
    if characters > MAX_CHARACTERS:
        raise EventError([f"the event has {characters:,} characters; the limit is {MAX_CHARACTERS:,}"])
    if not isinstance(content, dict):
        raise EventError(["the event is not a JSON object"])
    try:
        if "specversion" in content:
            cloud: CloudEvent[Any] = CloudEvent.from_dict(content)
            return _Envelope(cloud.id, cloud.source, cloud.type, cloud.subject, cloud.data)
        grid = EventGridEvent.from_dict(content)
        return _Envelope(grid.id, grid.topic, grid.event_type, grid.subject, grid.data)
    # Both raise any error of their parsing: ValueError, IndexError, AttributeError, TypeError.
    except Exception as error:
        schema = "CloudEvents" if "specversion" in content else "Event Grid"
        raise EventError([f"the event does not follow the {schema} schema"]) from error


def _workspace(source: Any, problems: list[str]) -> Workspace:
    try:
        return Workspace.parse(source if isinstance(source, str) else "")
    except ValueError as error:
        problems.append(str(error))
        return Workspace("", "")


def _lower_keys(data: Any, name: str, problems: list[str]) -> dict[str, Any]:
    if data is None:
        return {}
    if not isinstance(data, dict):
        problems.append(f"{name} is not a JSON object")
        return {}
    lowered = {key.lower(): value for key, value in data.items() if value is not None}
    if len({key.lower() for key in data}) < len(data):
        problems.append(f"{name} has duplicate keys")
    return lowered


def _name(what: str, value: Any, problems: list[str]) -> str:
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if text is None:
        problems.append(f"the {what} is missing")
    elif not isinstance(text, str) or not NAME.fullmatch(text):
        problems.append(
            f"the {what} is {shorten(value)!r}; expected up to 255 letters, digits, '-', '_' and '.', beginning with a "
            "letter or digit"
        )
    else:
        return text
    return ""


def _texts(what: str, value: Any, problems: list[str]) -> Mapping[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        problems.append(f"the {what} are not a JSON object")
        return {}
    return {key: text_of(item) for key, item in value.items()}


def text_of(value: Any) -> str:
    """Return the value of a tag or property as text."""
    return value if isinstance(value, str) else "" if value is None else json.dumps(value)
