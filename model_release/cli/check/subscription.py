"""Check that an event subscription delivers the events of the release map's models."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

from model_release.azure_ml.resource_manager import ResourceManager, ResourceManagerError
from model_release.cli.check.findings import Finding, Severity, is_glob, literal_start, only_version, place_of
from model_release.cli.terminal import read_json
from model_release.domain.events import MODEL_REGISTERED, Workspace
from model_release.domain.release_map import ReleaseMap, Route
from model_release.text import shorten

Json = Mapping[str, Any]

_API_VERSION = "2025-02-15"
_ID = re.compile(r"/subscriptions/[^/]+/resourceGroups/[^/]+/providers/.+/eventSubscriptions/[^/]+", re.IGNORECASE)
_FIXES = {
    403: "grant this identity Reader on the workspace or its system topic",
    404: "correct its resource ID, or deploy it with `azd up`",
}
_FUNCTION = "model_registered"
_SCHEMAS = ("EventGridSchema", "CloudEventSchemaV1_0")


@dataclass(frozen=True)
class Subscription:
    """An event subscription; destination and filter are parts of its properties.

    https://learn.microsoft.com/rest/api/eventgrid/controlplane/event-subscriptions/get
    """

    name: str
    properties: Json
    destination: Json
    filter: Json

    @property
    def begins_with(self) -> str:
        """The prefix of the subjects that it delivers."""
        return str(self.filter.get("subjectBeginsWith") or "")

    def folded(self, text: str) -> str:
        """Return the text as the filters compare it."""
        return text if self.filter.get("isSubjectCaseSensitive") else text.casefold()

    def fault(self, message: str, fix: str, route: str = "") -> Finding:
        """Report a fault, with the route that it concerns."""
        return Finding(Severity.FAULT, message, ", ".join(filter(None, [f"subscription {self.name}", route])), fix)

    def warning(self, message: str, fix: str) -> Finding:
        """Report a warning."""
        return Finding(Severity.WARNING, message, f"subscription {self.name}", fix)


def is_subscription_id(text: str) -> bool:
    """Whether a text is the resource ID of an event subscription, of a system topic or of another source."""
    return bool(_ID.fullmatch(text))


def check_subscription(
    name: str, resource_manager: ResourceManager, release_map: ReleaseMap, workspaces: Iterable[Workspace] | None
) -> Iterator[Finding]:
    """Check the subscription with this resource ID, or in this file; `workspaces` is None if they are not known."""
    try:
        subscription = _read(name, resource_manager)
    except ResourceManagerError as error:
        fix = error.fix or _FIXES.get(error.status, "check again")
        yield Finding(Severity.FAULT, f"the subscription cannot be read: {error.problem}", f"subscription {name}", fix)
        return
    except ValueError as error:
        yield Finding(Severity.FAULT, str(error), f"subscription {name}", "pass what `az eventgrid … show` prints")
        return
    found = [
        *_event_types(subscription),
        *_prefix(subscription, release_map),
        *_suffix(subscription, release_map),
        *_ambiguous_prefix(subscription, release_map),
        *_advanced(subscription),
        *_destination(subscription),
        *_source(subscription, workspaces),
        *_delivery(subscription),
    ]
    yield from found
    if not any(finding.severity is Severity.FAULT for finding in found):
        yield Finding(
            Severity.OK, "the subscription delivers the events of the map's models", f"subscription {subscription.name}"
        )


def _read(name: str, resource_manager: ResourceManager) -> Subscription:
    """Read the JSON of Azure Resource Manager or of `az eventgrid … show`."""
    content = read_json(Path(name)) if Path(name).is_file() else _get(name, resource_manager)
    if not isinstance(content, dict):
        raise ValueError(f"{name} is not a JSON object")  # noqa: TRY004  the content is wrong
    properties = content.get("properties") or content
    identity = properties.get("deliveryWithResourceIdentity") or {}
    destination = properties.get("destination") or identity.get("destination")
    filtered = properties.get("filter")
    if not isinstance(destination, dict) or not isinstance(filtered, dict):
        raise ValueError("not an event subscription: it has no filter or no destination")  # noqa: TRY004
    destination = destination | (destination.get("properties") or {})
    return Subscription(str(content.get("name") or "(no name)"), properties, destination, filtered)


def _get(resource_id: str, resource_manager: ResourceManager) -> Json:
    """Read the subscription of a system topic or of another source.

    https://learn.microsoft.com/rest/api/eventgrid/controlplane/system-topic-event-subscriptions/get
    """
    response = resource_manager.get(f"{resource_manager.endpoint}{quote(resource_id)}?api-version={_API_VERSION}")
    try:
        return dict(response.json())
    except (TypeError, ValueError) as error:
        text = shorten(" ".join(response.text().split()))
        raise ResourceManagerError(f"Azure's answer is not an event subscription: {text}") from error


def _event_types(subscription: Subscription) -> Iterator[Finding]:
    included = {name.casefold() for name in subscription.filter.get("includedEventTypes") or ()}
    if included and MODEL_REGISTERED.casefold() not in included:
        message = f"the event types do not include {MODEL_REGISTERED}, so no event arrives"
        yield subscription.fault(message, "include it")
    elif len(included) != 1:
        message = "the subscription delivers other events too, and each is recorded as ignored"
        yield subscription.warning(message, f"include only {MODEL_REGISTERED}")


def _prefix(subscription: Subscription, release_map: ReleaseMap) -> Iterator[Finding]:
    prefix = subscription.folded(subscription.begins_with)
    for route in _enabled(release_map):
        text = f"models/{literal_start(route.model)}"
        if not is_glob(route.model):
            text += f":{only_version(route)}"
        subject = subscription.folded(text)
        if subject.startswith(prefix):
            continue
        setting = f"subjectBeginsWith {subscription.begins_with!r}"
        fix = f"shorten it to {_common_prefix(release_map)!r}; the release map filters"
        if subject.casefold().startswith(prefix.casefold()):
            message = f"{setting} differs in case from {text!r} and isSubjectCaseSensitive is on, so no event arrives"
            fix = "use the case of the model's name, or turn isSubjectCaseSensitive off"
        elif prefix.startswith(subject):
            message = f"{setting} excludes some models or versions that match {route.model}"
        else:
            message = f"{setting} excludes {route.model}"
        yield subscription.fault(message, fix, place_of(release_map, route))


def _suffix(subscription: Subscription, release_map: ReleaseMap) -> Iterator[Finding]:
    suffix = subscription.filter.get("subjectEndsWith") or ""
    for route in _enabled(release_map):
        subject = f"models/{'' if is_glob(route.model) else route.model}:{only_version(route)}"
        if not subscription.folded(subject).endswith(subscription.folded(suffix)):
            message = f"subjectEndsWith {suffix!r} excludes versions of {route.model} with another ending"
            fix = "leave it empty; the release map filters"
            yield subscription.fault(message, fix, place_of(release_map, route))


def _ambiguous_prefix(subscription: Subscription, release_map: ReleaseMap) -> Iterator[Finding]:
    name = subscription.begins_with.casefold().removeprefix("models/")
    named = [route.model for route in _enabled(release_map) if not is_glob(route.model)]
    globs = [literal_start(route.model).casefold() for route in _enabled(release_map) if is_glob(route.model)]
    model = next((model for model in named if model.casefold() == name), "")
    if model and not any(start.startswith(name) for start in globs):
        message = f"subjectBeginsWith {subscription.begins_with!r} also matches other models, such as {model}-v2"
        yield subscription.warning(message, f"write 'models/{model}:' with the colon, or leave it empty")


def _advanced(subscription: Subscription) -> Iterator[Finding]:
    for advanced in subscription.filter.get("advancedFilters") or ():
        values = advanced.get("values", advanced.get("value", ""))
        text = " ".join(str(part) for part in (advanced.get("key"), advanced.get("operatorType"), values) if part != "")
        message = f"the advanced filter {text} excludes events without a record"
        yield subscription.warning(message, "filter in the release map: the history then shows the reason")


def _destination(subscription: Subscription) -> Iterator[Finding]:
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
        yield subscription.fault(message, f"set it to APP_ID/functions/{_FUNCTION}")
    schema = subscription.properties.get("eventDeliverySchema") or _SCHEMAS[0]
    if schema not in _SCHEMAS:
        message = f"the delivery schema is {schema}, which the app cannot read"
        yield subscription.fault(message, f"set it to {' or '.join(_SCHEMAS)}")


def _source(subscription: Subscription, workspaces: Iterable[Workspace] | None) -> Iterator[Finding]:
    if workspaces is None:
        return
    try:
        source = Workspace.parse(str(subscription.properties.get("topic") or ""))
    # The name of a system topic does not contain its workspace.
    except ValueError:
        return
    if source not in set(workspaces):
        message = f"the source is workspace {source.id}, which is not in AML_WORKSPACES, so all its events are ignored"
        yield subscription.fault(message, "add the workspace to AML_WORKSPACES, or change the source")


def _delivery(subscription: Subscription) -> Iterator[Finding]:
    if (batch := subscription.destination.get("maxEventsPerBatch") or 1) > 1:
        message = f"a delivery has up to {batch} events, and all are delivered again if one fails"
        yield subscription.warning(message, "set maxEventsPerBatch to 1")
    properties = subscription.properties
    if not (properties.get("deadLetterDestination") or properties.get("deadLetterWithResourceIdentity")):
        message = "the subscription has no dead-letter destination, so events that fail for a day are dropped"
        yield subscription.warning(message, "add a dead-letter destination")
    if (state := properties.get("provisioningState") or "Succeeded") != "Succeeded":
        message = f"the provisioning state is {state}, not Succeeded"
        yield subscription.warning(message, "open the subscription in the portal")
    if expires := properties.get("expirationTimeUtc"):
        message = f"the subscription expires at {expires}, and no event arrives afterwards"
        yield subscription.warning(message, "remove the expiration")


def _enabled(release_map: ReleaseMap) -> list[Route]:
    return [route for route in release_map.routes if route.enabled and not route.registry]


def _common_prefix(release_map: ReleaseMap) -> str:
    """Return the longest prefix that excludes nothing of the map and matches no other model."""
    models = {route.model for route in _enabled(release_map)}
    (only,) = models if len(models) == 1 else ("*",)
    return "models/" if is_glob(only) else f"models/{only}:"
