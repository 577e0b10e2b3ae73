"""Read Event Grid's ModelRegistered event, in the Event Grid schema and as a CloudEvent."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from azure.core.messaging import CloudEvent
from azure.eventgrid import EventGridEvent, SystemEventNames

from model_release.errors import EventError

MODEL_REGISTERED = SystemEventNames.MachineLearningServicesModelRegisteredEventName.value
# The ledger keeps the event in one property, which holds 32,768 UTF-16 characters.
# https://learn.microsoft.com/rest/api/storageservices/understanding-the-table-service-data-model
MAX_CHARACTERS = 32_000

# What Azure ML allows as the name or version of a model.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")
_SUBJECT = re.compile(r"models/([^:]*):(.*)", re.DOTALL)
_WORKSPACE = re.compile(
    r"/subscriptions/[^/]+/resourceGroups/[^/]+"
    r"/providers/Microsoft\.MachineLearningServices/workspaces/(?P<name>[A-Za-z0-9][A-Za-z0-9_-]{0,254})",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Workspace:
    """An Azure ML workspace; two are equal when their resource ids are, without regard to case."""

    id: str
    name: str = field(compare=False)

    @classmethod
    def parse(cls, resource_id: str) -> Workspace:
        """Read a resource id; raises ValueError."""
        match = _WORKSPACE.fullmatch(resource_id.rstrip("/"))
        if not match:
            msg = f"{shorten(resource_id)!r} is not the resource id of an Azure ML workspace"
            raise ValueError(msg)
        return cls(match[0].lower(), match["name"])


@dataclass(frozen=True)
class ModelRegistered:
    """A model version was registered in a workspace."""

    id: str
    workspace: Workspace
    model: str
    version: str
    tags: Mapping[str, str]
    properties: Mapping[str, str]
    body: str

    @property
    def number(self) -> int | None:
        """The version as a whole number, or None: then it has no order."""
        return int(self.version) if self.version.isdecimal() else None


class _Envelope(NamedTuple):
    id: Any
    source: Any
    type: Any
    subject: Any
    data: Any


def parse(body: str) -> ModelRegistered:
    """Read one event as the trigger gives it.

    Keys match without regard to case, because Azure ML's documentation and its REST specification differ in it; the
    subject `models/{name}:{version}` stands in for a missing name or version. Raises EventError with every fault.
    https://learn.microsoft.com/azure/event-grid/event-schema-machine-learning
    """
    envelope = _envelope(body)
    subject = envelope.subject if isinstance(envelope.subject, str) else ""
    if envelope.type != MODEL_REGISTERED:
        raise EventError([f"the event type {shorten(envelope.type)!r} is not {MODEL_REGISTERED}"], shorten(subject))
    faults: list[str] = []
    workspace = _workspace(envelope.source, faults)
    data = _lower_keys(envelope.data, "data", faults)
    in_subject = _SUBJECT.fullmatch(subject)
    model, version = in_subject.groups() if in_subject else (None, None)
    event = ModelRegistered(
        id=shorten(envelope.id),
        workspace=workspace,
        model=_name("model name", data.get("modelname", model), faults),
        version=_name("model version", data.get("modelversion", version), faults),
        tags=_texts("tags", data.get("modeltags"), faults),
        properties=_texts("properties", data.get("modelproperties"), faults),
        body=body,
    )
    if faults:
        raise EventError(faults, shorten(subject))
    return event


def shorten(value: object) -> str:
    """Quote foreign text in a message: at most 200 characters, all of them printable."""
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    printable = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text[:200])
    return printable + "…" * (len(text) > 200)  # noqa: PLR2004  the bound is told above


def _envelope(body: str) -> _Envelope:
    try:
        characters = len(body.encode("utf-16-le")) // 2
        content = json.loads(body)
        json.dumps(content, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise EventError([f"the event is not JSON text: {shorten(str(error))}"]) from error
    if characters > MAX_CHARACTERS:
        raise EventError([f"the event has {characters:,} characters, and at most {MAX_CHARACTERS:,} are accepted"])
    if not isinstance(content, dict):
        raise EventError(["the event is not a JSON object"])
    try:
        if "specversion" in content:
            cloud: CloudEvent[Any] = CloudEvent.from_dict(content)
            return _Envelope(cloud.id, cloud.source, cloud.type, cloud.subject, cloud.data)
        grid = EventGridEvent.from_dict(content)
        return _Envelope(grid.id, grid.topic, grid.event_type, grid.subject, grid.data)
    # Both raise whatever their parsing stumbles over: ValueError, IndexError, AttributeError, TypeError.
    except Exception as error:
        raise EventError([f"the event's envelope cannot be read: {shorten(str(error))}"]) from error


def _workspace(source: Any, faults: list[str]) -> Workspace:
    try:
        return Workspace.parse(source if isinstance(source, str) else "")
    except ValueError as error:
        faults.append(str(error))
        return Workspace("", "")


def _lower_keys(data: Any, name: str, faults: list[str]) -> dict[str, Any]:
    if data is None:
        return {}
    if not isinstance(data, dict):
        faults.append(f"{name} is not a JSON object")
        return {}
    lowered = {key.lower(): value for key, value in data.items() if value is not None}
    if len({key.lower() for key in data}) < len(data):
        faults.append(f"{name} has the same key twice")
    return lowered


def _name(what: str, value: Any, faults: list[str]) -> str:
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if text is None:
        faults.append(f"the {what} is missing")
    elif not isinstance(text, str) or not NAME.fullmatch(text):
        faults.append(
            f"the {what} {shorten(value)!r} is not letters, digits, '-', '_' and '.', "
            "beginning with a letter or digit, at most 255"
        )
    else:
        return text
    return ""


def _texts(what: str, value: Any, faults: list[str]) -> Mapping[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        faults.append(f"the {what} are not a JSON object")
        return {}
    return {key: text_of(item) for key, item in value.items()}


def text_of(value: Any) -> str:
    """A tag's or property's value as text."""
    return value if isinstance(value, str) else "" if value is None else json.dumps(value)
