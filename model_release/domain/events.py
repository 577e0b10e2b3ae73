"""Read ModelRegistered events of Event Grid, in the Event Grid schema and as CloudEvents (pure)."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple, Self

from model_release.errors import EventError
from model_release.text import compress, shorten

MODEL_REGISTERED = "Microsoft.MachineLearningServices.ModelRegistered"
# A row holds 1 MiB: so much for the compressed event, the rest for all other values.
# https://learn.microsoft.com/rest/api/storageservices/understanding-the-table-service-data-model
MAX_COMPRESSED_BYTES = 15 * 64_000
# No name or version has more digits, and Python reads no integer of more than 4,300.
_LONGEST_INTEGER = 255
# The attributes that are read. `data_base64` is one, because an event with it has other data.
_CLOUD_EVENT = ("specversion", "id", "source", "type", "subject", "data", "data_base64")

# Names and versions of models that Azure ML allows.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")
_SURROGATE = re.compile("[\ud800-\udfff]")
_SUBJECT = re.compile(r"models/([^:]*):(.*)", re.DOTALL)
_WORKSPACE = re.compile(
    r"/subscriptions/[^/]+/resourceGroups/[^/]+/providers/Microsoft\.MachineLearningServices"
    r"/(?:workspaces/([A-Za-z0-9][A-Za-z0-9_-]{0,254})|registries/([A-Za-z0-9][A-Za-z0-9_-]{2,32}))",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Workspace:
    """An Azure ML workspace, or a registry; equal if the resource IDs are equal, without regard to case."""

    id: str
    name: str = field(compare=False)

    @classmethod
    def parse(cls, resource_id: str, kind: str = "workspace or registry") -> Self:
        """Read a resource ID, of this kind only if it is one; raises ValueError."""
        match = _WORKSPACE.fullmatch(resource_id.rstrip("/"))
        if not match or ("workspace" if match[1] else "registry") not in kind:
            raise ValueError(f"{shorten(resource_id)!r} is not the resource ID of an Azure ML {kind}")
        return cls(match[0].lower(), match[1] or match[2])

    @property
    def is_registry(self) -> bool:
        """Whether it is a registry."""
        return "/registries/" in self.id

    @property
    def title(self) -> str:
        """The kind and the name."""
        return f"{'registry' if self.is_registry else 'workspace'} {self.name}"


class ModelRegistered(NamedTuple):
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
    def subject(self) -> str:
        """The subject of its event, as Azure ML writes it."""
        return f"models/{self.model}:{self.version}"

    @property
    def number(self) -> int | None:
        """The version as a whole number; None if it is not one and so has no order."""
        return int(self.version) if self.version.isdecimal() else None

    @property
    def values(self) -> tuple[str, ...]:
        """The values of all tags and properties."""
        return (*self.tags.values(), *self.properties.values())


class _Envelope(NamedTuple):
    id: Any
    source: Any
    type: Any
    subject: Any
    data: Any


def read_json(body: str) -> Any:
    """Read the JSON of an event; an integer that is too long for a number becomes text."""
    return json.loads(body, parse_int=lambda digits: int(digits) if len(digits) <= _LONGEST_INTEGER else digits)


def parse(body: str) -> ModelRegistered:
    """Read one event as the trigger receives it; raises EventError with every problem, and with what could be read.

    Keys match without regard to case, because the documentation of Azure ML and its REST specification differ. A
    missing name or version is read from the subject `models/{name}:{version}`.
    https://learn.microsoft.com/azure/event-grid/event-schema-machine-learning
    """
    problems: list[str] = []
    content = _content(body, problems)
    event = _event(content, body, problems)
    if event is None or problems:
        raise EventError(problems, *_description(content))
    return event


def _content(body: str, problems: list[str]) -> dict[str, Any]:
    try:
        content = read_json(body)
        text = json.dumps(content, ensure_ascii=False)
    except json.JSONDecodeError as error:
        raise EventError([f"the event is not JSON: line {error.lineno}, column {error.colno}"]) from error
    except RecursionError as error:
        raise EventError(["the event cannot be read: it is nested too deeply"]) from error
    if not isinstance(content, dict):
        raise EventError(["the event is not a JSON object"])
    if _SURROGATE.search(text):
        problems.append("the event cannot be read: it is not valid Unicode text")
    elif (size := len(body.encode())) > MAX_COMPRESSED_BYTES and (
        compressed := len(compress(body))
    ) > MAX_COMPRESSED_BYTES:
        problems.append(
            f"the event has {size:,} bytes, {compressed:,} after compression; the limit is {MAX_COMPRESSED_BYTES:,}"
        )
    return content


def _event(content: Mapping[str, Any], body: str, problems: list[str]) -> ModelRegistered | None:
    envelope = _envelope(content, problems)
    if envelope is None:
        return None
    if envelope.type != MODEL_REGISTERED:
        problems.append(f"event type is {shorten(envelope.type)!r}, not {MODEL_REGISTERED!r}")
        return None
    data = envelope.data
    if not isinstance(data, dict | None):
        problems.append("data is not a JSON object")
        data = None
    model, version = _named(envelope.subject, data, problems)
    return ModelRegistered(
        id=shorten(envelope.id),
        workspace=_workspace(envelope.source, problems),
        model=_name("model name", model, problems),
        version=_name("model version", version, problems),
        tags=_texts("tags", _value(data, "modeltags", problems), problems),
        properties=_texts("properties", _value(data, "modelproperties", problems), problems),
        body=body,
    )


def _envelope(content: Mapping[str, Any], problems: list[str]) -> _Envelope | None:
    """Read with the classes of the SDKs, without the values that nobody uses: an unusual time is not a problem."""
    schema = "CloudEvents" if "specversion" in content else "Event Grid"
    try:
        if schema == "CloudEvents":
            from azure.core.messaging import CloudEvent  # noqa: PLC0415  an app receives one of the schemas

            used = {name: content[name] for name in _CLOUD_EVENT if content.get(name) is not None}
            cloud: CloudEvent[Any] = CloudEvent.from_dict(used)
            return _Envelope(cloud.id, cloud.source, cloud.type, cloud.subject, cloud.data)
        from azure.eventgrid import EventGridEvent  # noqa: PLC0415  as above

        used = {name: value for name, value in content.items() if name.lower() not in ("eventtime", "event_time")}
        grid = EventGridEvent.from_dict(used)
        return _Envelope(grid.id, grid.topic, grid.event_type, grid.subject, grid.data)
    # Both raise any error of their parsing: ValueError, IndexError, AttributeError, TypeError.
    except Exception:  # noqa: BLE001
        problems.append(f"the event does not follow the {schema} schema")
        return None


def _description(content: Mapping[str, Any]) -> tuple[str, str]:
    """Return the subject and the ID of an event, whatever else cannot be read."""
    event_id, subject = _value(content, "id", []), _value(content, "subject", [])
    model, version = _named(subject, _value(content, "data", []), [])
    # The history finds an entry by the model in its subject.
    name = _name("", model, [])
    return f"models/{name}:{_text(version)}" if name else _text(subject), _text(event_id)


def _text(value: Any) -> str:
    return "" if value is None else shorten(value)


def _named(subject: Any, data: Any, problems: list[str]) -> tuple[Any, Any]:
    """Return the model and the version that the data name, or else the subject."""
    in_subject = _SUBJECT.fullmatch(subject) if isinstance(subject, str) else None
    model, version = in_subject.groups() if in_subject else (None, None)
    in_data = [_value(data, key, problems) for key in ("modelname", "modelversion")]
    return model if in_data[0] is None else in_data[0], version if in_data[1] is None else in_data[1]


def _workspace(source: Any, problems: list[str]) -> Workspace:
    try:
        return Workspace.parse(source if isinstance(source, str) else "")
    except ValueError as error:
        problems.append(str(error))
        return Workspace("", "")


def _value(values: Any, key: str, problems: list[str]) -> Any:
    """Return the value of a key without regard to its case; several keys must have equal values."""
    found = {name: value for name, value in values.items() if name.lower() == key} if isinstance(values, dict) else {}
    given = {name: value for name, value in found.items() if value is not None}
    first, *others = given.values() or (None,)
    if any(first != other and text_of(first) != text_of(other) for other in others):
        problems.append(f"data has different values for {' and '.join(given)}")
        return None
    return first


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
