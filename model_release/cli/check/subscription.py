"""Whether an event subscription lets through what the release map asks for (pure)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

from model_release.cli.check.findings import Finding, State, is_glob, literal_start, only_version, place_of
from model_release.domain.events import MODEL_REGISTERED, Workspace
from model_release.domain.release_map import ReleaseMap, Route

Json = Mapping[str, Any]

_FUNCTION = "model_registered"
_SCHEMAS = ("EventGridSchema", "CloudEventSchemaV1_0")


@dataclass(frozen=True)
class Subscription:
    """An event subscription, as far as it decides what arrives; times and sizes are as Azure has them."""

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
    """Read it as Azure Resource Manager answers, or as `az eventgrid … show` prints it; raises ValueError.

    https://learn.microsoft.com/rest/api/eventgrid/controlplane/event-subscriptions/get
    """
    body = content.get("properties") or content
    identity = body.get("deliveryWithResourceIdentity") or {}
    destination = body.get("destination") or identity.get("destination")
    filtered = body.get("filter")
    if not isinstance(destination, Mapping) or not isinstance(filtered, Mapping):
        msg = "it has no filter and destination, so it is no event subscription"
        raise ValueError(msg)  # noqa: TRY004  the content is wrong, not the call
    dead_letters = body.get("deadLetterDestination") or body.get("deadLetterWithResourceIdentity")
    return Subscription(
        id=str(content.get("id") or ""),
        name=str(content.get("name") or "the subscription"),
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
    """What it holds back of the map's models, and how it delivers; `workspaces` are None if they are not known."""
    where = f"subscription {subscription.name}"
    found = [
        *_event_types(subscription, where),
        *_beginning(subscription, release_map, where),
        *_ending(subscription, release_map, where),
        *_misleading(subscription, release_map, where),
        *_advanced(subscription, where),
        *_destination(subscription, where),
        *_source(subscription, workspaces, where),
        *_delivery(subscription, where),
    ]
    yield from found
    if not any(finding.state is State.FAULT for finding in found):
        yield Finding(State.OK, "lets the map's models through to the app", where)


def _event_types(subscription: Subscription, where: str) -> Iterator[Finding]:
    included = {name.casefold() for name in subscription.event_types}
    if included and MODEL_REGISTERED.casefold() not in included:
        what = f"its event types do not include {MODEL_REGISTERED}, so no model arrives"
        yield Finding(State.FAULT, what, where, "include it")
    elif len(included) != 1:
        what = "it delivers other events too, each of which is recorded as ignored"
        yield Finding(State.WARNING, what, where, f"include {MODEL_REGISTERED} alone")


def _beginning(subscription: Subscription, release_map: ReleaseMap, where: str) -> Iterator[Finding]:
    prefix = subscription.begins_with
    wanted = _folded(prefix, subscription)
    for route in _enabled(release_map):
        subject = f"models/{literal_start(route.model)}"
        if not is_glob(route.model):
            subject += f":{only_version(route)}"
        seen = _folded(subject, subscription)
        if seen.startswith(wanted):
            continue
        place = f"{where}, {place_of(release_map, route)}"
        shown = f"subjectBeginsWith {prefix!r}"
        if seen.casefold().startswith(wanted.casefold()):
            what = f"{shown} differs in case from {subject!r}, and isSubjectCaseSensitive is on: nothing arrives"
            yield Finding(
                State.FAULT, what, place, "write it as the model is written, or switch isSubjectCaseSensitive off"
            )
        elif wanted.startswith(seen):
            what = f"{shown} lets only some of what {route.model} names through"
            yield Finding(State.FAULT, what, place, f"shorten it to {_common(release_map)!r}: the map filters")
        else:
            what = f"{shown} holds back {route.model}"
            yield Finding(State.FAULT, what, place, f"shorten it to {_common(release_map)!r}: the map filters")


def _ending(subscription: Subscription, release_map: ReleaseMap, where: str) -> Iterator[Finding]:
    suffix = subscription.ends_with
    for route in _enabled(release_map):
        subject = f"models/{'' if is_glob(route.model) else route.model}:{only_version(route)}"
        if not _folded(subject, subscription).endswith(_folded(suffix, subscription)):
            what = f"subjectEndsWith {suffix!r} holds back the versions of {route.model} that do not end so"
            yield Finding(
                State.FAULT, what, f"{where}, {place_of(release_map, route)}", "leave it empty: the map filters"
            )


def _misleading(subscription: Subscription, release_map: ReleaseMap, where: str) -> Iterator[Finding]:
    name = subscription.begins_with.casefold().removeprefix("models/")
    named = [route.model for route in _enabled(release_map) if not is_glob(route.model)]
    globs = [literal_start(route.model).casefold() for route in _enabled(release_map) if is_glob(route.model)]
    example = next((model for model in named if model.casefold() == name), "")
    if example and not any(start.startswith(name) for start in globs):
        what = f"subjectBeginsWith {subscription.begins_with!r} also matches {example}-v2 and whatever begins so"
        yield Finding(State.WARNING, what, where, f"write 'models/{example}:', with the colon, or leave it empty")


def _advanced(subscription: Subscription, where: str) -> Iterator[Finding]:
    for advanced in subscription.advanced:
        values = advanced.get("values", advanced.get("value", ""))
        said = " ".join(str(part) for part in (advanced.get("key"), advanced.get("operatorType"), values) if part != "")
        what = f"the advanced filter {said} holds events back before the app sees them, and nothing records it"
        yield Finding(State.WARNING, what, where, "let the map filter: it says why in the history")


def _destination(subscription: Subscription, where: str) -> Iterator[Finding]:
    kind = subscription.destination.get("endpointType")
    function = ""
    if kind == "AzureFunction":
        function = str(subscription.destination.get("resourceId") or "").rpartition("/functions/")[2]
    elif kind == "WebHook":
        # Azure tells the whole address, with its key, only to who asks for it by itself.
        address = urlsplit(
            str(subscription.destination.get("endpointUrl") or subscription.destination.get("endpointBaseUrl"))
        )
        if address.path.casefold().rstrip("/") == "/runtime/webhooks/eventgrid":
            function = parse_qs(address.query).get("functionName", [_FUNCTION])[0]
    if function.casefold() != _FUNCTION:
        what = f"its destination is {function or kind or 'unknown'}, not the function {_FUNCTION}"
        yield Finding(State.FAULT, what, where, f"let it lead to APP_ID/functions/{_FUNCTION}")
    if subscription.schema not in _SCHEMAS:
        what = f"it delivers in the schema {subscription.schema}, which the app cannot read"
        yield Finding(State.FAULT, what, where, f"deliver in {' or '.join(_SCHEMAS)}")


def _source(subscription: Subscription, workspaces: Iterable[Workspace] | None, where: str) -> Iterator[Finding]:
    if workspaces is None:
        return
    try:
        source = Workspace.parse(subscription.topic)
    # A system topic's own name does not say whose events it has.
    except ValueError:
        return
    if source not in set(workspaces):
        what = f"it is of workspace {source.id}, which is not in AML_WORKSPACES, so all its events are ignored"
        yield Finding(State.FAULT, what, where, "add the workspace to AML_WORKSPACES, or subscribe to another")


def _delivery(subscription: Subscription, where: str) -> Iterator[Finding]:
    if (batch := subscription.destination.get("maxEventsPerBatch") or 1) > 1:
        what = f"it delivers up to {batch} events at once, and all of them again when one fails"
        yield Finding(State.WARNING, what, where, "set maxEventsPerBatch to 1")
    if not subscription.has_dead_letters:
        what = "it has no dead-letter destination, so an event that cannot be delivered for a day is dropped"
        yield Finding(State.WARNING, what, where, "give it one, to see what was lost")
    if subscription.state != "Succeeded":
        yield Finding(
            State.WARNING, f"its provisioning state is {subscription.state}", where, "look at it in the portal"
        )
    if subscription.expires:
        what = f"it expires at {subscription.expires}, and no event arrives after that"
        yield Finding(State.WARNING, what, where, "take the expiration off")


def _enabled(release_map: ReleaseMap) -> list[Route]:
    return [route for route in release_map.routes if route.enabled]


def _common(release_map: ReleaseMap) -> str:
    """The longest beginning of subjects that holds nothing of the map back and misleads nobody."""
    models = {route.model for route in _enabled(release_map)}
    (only,) = models if len(models) == 1 else ("*",)
    return "models/" if is_glob(only) else f"models/{only}:"


def _folded(text: str, subscription: Subscription) -> str:
    return text if subscription.case_sensitive else text.casefold()
