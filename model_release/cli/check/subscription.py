"""Check that an event subscription delivers the events of the release map's models (pure)."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

from model_release.cli.check.findings import Finding, Severity, is_glob, literal_start, only_version, place_of
from model_release.domain.events import MODEL_REGISTERED, Workspace
from model_release.domain.release_map import ReleaseMap, Route

Json = Mapping[str, Any]

_FUNCTION = "model_registered"
_SCHEMAS = ("EventGridSchema", "CloudEventSchemaV1_0")


@dataclass(frozen=True)
class Subscription:
    """The parts of an event subscription that determine what is delivered, and how."""

    id: str
    name: str
    topic: str
    destination: Json
    schema: str
    event_types: Sequence[str]
    begins_with: str
    ends_with: str
    case_sensitive: bool
    advanced: Sequence[Json]
    has_dead_letters: bool
    state: str
    expires: str


def read(content: Json) -> Subscription:
    """Read the JSON of Azure Resource Manager or of `az eventgrid … show`; raises ValueError.

    https://learn.microsoft.com/rest/api/eventgrid/controlplane/event-subscriptions/get
    """
    body = content.get("properties") or content
    identity = body.get("deliveryWithResourceIdentity") or {}
    destination = body.get("destination") or identity.get("destination")
    filtered = body.get("filter")
    if not isinstance(destination, Mapping) or not isinstance(filtered, Mapping):
        raise ValueError("not an event subscription: it has no filter or no destination")  # noqa: TRY004  the content is wrong
    dead_letters = body.get("deadLetterDestination") or body.get("deadLetterWithResourceIdentity")
    return Subscription(
        id=str(content.get("id") or ""),
        name=str(content.get("name") or "(no name)"),
        topic=str(body.get("topic") or ""),
        destination={**destination, **(destination.get("properties") or {})},
        schema=str(body.get("eventDeliverySchema") or "EventGridSchema"),
        event_types=filtered.get("includedEventTypes") or (),
        begins_with=filtered.get("subjectBeginsWith") or "",
        ends_with=filtered.get("subjectEndsWith") or "",
        case_sensitive=bool(filtered.get("isSubjectCaseSensitive")),
        advanced=filtered.get("advancedFilters") or (),
        has_dead_letters=bool(dead_letters),
        state=str(body.get("provisioningState") or "Succeeded"),
        expires=str(body.get("expirationTimeUtc") or ""),
    )


def check_subscription(
    subscription: Subscription, release_map: ReleaseMap, workspaces: Iterable[Workspace] | None
) -> Iterator[Finding]:
    """Check the filters and the delivery; `workspaces` is None if the app's settings are not known."""
    where = f"subscription {subscription.name}"
    found = [
        *_event_types(subscription, where),
        *_prefix(subscription, release_map, where),
        *_suffix(subscription, release_map, where),
        *_ambiguous_prefix(subscription, release_map, where),
        *_advanced(subscription, where),
        *_destination(subscription, where),
        *_source(subscription, workspaces, where),
        *_delivery(subscription, where),
    ]
    yield from found
    if not any(finding.severity is Severity.FAULT for finding in found):
        yield Finding(Severity.OK, "the subscription delivers the events of the map's models", where)


def _event_types(subscription: Subscription, where: str) -> Iterator[Finding]:
    included = {name.casefold() for name in subscription.event_types}
    if included and MODEL_REGISTERED.casefold() not in included:
        message = f"the event types do not include {MODEL_REGISTERED}, so no event arrives"
        yield Finding(Severity.FAULT, message, where, "include it")
    elif len(included) != 1:
        message = "the subscription delivers other events too, and each is recorded as ignored"
        yield Finding(Severity.WARNING, message, where, f"include only {MODEL_REGISTERED}")


def _prefix(subscription: Subscription, release_map: ReleaseMap, where: str) -> Iterator[Finding]:
    prefix = _folded(subscription.begins_with, subscription)
    for route in _enabled(release_map):
        text = f"models/{literal_start(route.model)}"
        if not is_glob(route.model):
            text += f":{only_version(route)}"
        subject = _folded(text, subscription)
        if subject.startswith(prefix):
            continue
        place = f"{where}, {place_of(release_map, route)}"
        setting = f"subjectBeginsWith {subscription.begins_with!r}"
        fix = f"shorten it to {_common_prefix(release_map)!r}; the release map filters"
        if subject.casefold().startswith(prefix.casefold()):
            message = f"{setting} differs in case from {text!r} and isSubjectCaseSensitive is on, so no event arrives"
            fix = "use the case of the model's name, or turn isSubjectCaseSensitive off"
        elif prefix.startswith(subject):
            message = f"{setting} excludes some models or versions that match {route.model}"
        else:
            message = f"{setting} excludes {route.model}"
        yield Finding(Severity.FAULT, message, place, fix)


def _suffix(subscription: Subscription, release_map: ReleaseMap, where: str) -> Iterator[Finding]:
    suffix = subscription.ends_with
    for route in _enabled(release_map):
        subject = f"models/{'' if is_glob(route.model) else route.model}:{only_version(route)}"
        if not _folded(subject, subscription).endswith(_folded(suffix, subscription)):
            message = f"subjectEndsWith {suffix!r} excludes versions of {route.model} with another ending"
            place = f"{where}, {place_of(release_map, route)}"
            yield Finding(Severity.FAULT, message, place, "leave it empty; the release map filters")


def _ambiguous_prefix(subscription: Subscription, release_map: ReleaseMap, where: str) -> Iterator[Finding]:
    name = subscription.begins_with.casefold().removeprefix("models/")
    named = [route.model for route in _enabled(release_map) if not is_glob(route.model)]
    globs = [literal_start(route.model).casefold() for route in _enabled(release_map) if is_glob(route.model)]
    model = next((model for model in named if model.casefold() == name), "")
    if model and not any(start.startswith(name) for start in globs):
        message = f"subjectBeginsWith {subscription.begins_with!r} also matches other models, such as {model}-v2"
        yield Finding(Severity.WARNING, message, where, f"write 'models/{model}:' with the colon, or leave it empty")


def _advanced(subscription: Subscription, where: str) -> Iterator[Finding]:
    for advanced in subscription.advanced:
        values = advanced.get("values", advanced.get("value", ""))
        text = " ".join(str(part) for part in (advanced.get("key"), advanced.get("operatorType"), values) if part != "")
        message = f"the advanced filter {text} excludes events without a record"
        yield Finding(Severity.WARNING, message, where, "filter in the release map: the history then shows the reason")


def _destination(subscription: Subscription, where: str) -> Iterator[Finding]:
    kind = subscription.destination.get("endpointType")
    function = ""
    if kind == "AzureFunction":
        function = str(subscription.destination.get("resourceId") or "").rpartition("/functions/")[2]
    elif kind == "WebHook":
        # Azure returns the whole address, with its key, only from a separate operation.
        address = urlsplit(
            str(subscription.destination.get("endpointUrl") or subscription.destination.get("endpointBaseUrl"))
        )
        if address.path.casefold().rstrip("/") == "/runtime/webhooks/eventgrid":
            function = parse_qs(address.query).get("functionName", [_FUNCTION])[0]
    if function.casefold() != _FUNCTION:
        message = f"the destination is {function or kind or 'unknown'}, not the function {_FUNCTION}"
        yield Finding(Severity.FAULT, message, where, f"set it to APP_ID/functions/{_FUNCTION}")
    if subscription.schema not in _SCHEMAS:
        message = f"the delivery schema is {subscription.schema}, which the app cannot read"
        yield Finding(Severity.FAULT, message, where, f"set it to {' or '.join(_SCHEMAS)}")


def _source(subscription: Subscription, workspaces: Iterable[Workspace] | None, where: str) -> Iterator[Finding]:
    if workspaces is None:
        return
    try:
        source = Workspace.parse(subscription.topic)
    # The name of a system topic does not contain its workspace.
    except ValueError:
        return
    if source not in set(workspaces):
        message = f"the source is workspace {source.id}, which is not in AML_WORKSPACES, so all its events are ignored"
        yield Finding(Severity.FAULT, message, where, "add the workspace to AML_WORKSPACES, or change the source")


def _delivery(subscription: Subscription, where: str) -> Iterator[Finding]:
    if (batch := subscription.destination.get("maxEventsPerBatch") or 1) > 1:
        message = f"a delivery has up to {batch} events, and all are delivered again if one fails"
        yield Finding(Severity.WARNING, message, where, "set maxEventsPerBatch to 1")
    if not subscription.has_dead_letters:
        message = "the subscription has no dead-letter destination, so events that fail for a day are dropped"
        yield Finding(Severity.WARNING, message, where, "add a dead-letter destination")
    if subscription.state != "Succeeded":
        message = f"the provisioning state is {subscription.state}, not Succeeded"
        yield Finding(Severity.WARNING, message, where, "open the subscription in the portal")
    if subscription.expires:
        message = f"the subscription expires at {subscription.expires}, and no event arrives afterwards"
        yield Finding(Severity.WARNING, message, where, "remove the expiration")


def _enabled(release_map: ReleaseMap) -> list[Route]:
    return [route for route in release_map.routes if route.enabled]


def _common_prefix(release_map: ReleaseMap) -> str:
    """Return the longest prefix that excludes nothing of the map and matches no other model."""
    models = {route.model for route in _enabled(release_map)}
    (only,) = models if len(models) == 1 else ("*",)
    return "models/" if is_glob(only) else f"models/{only}:"


def _folded(text: str, subscription: Subscription) -> str:
    return text if subscription.case_sensitive else text.casefold()
