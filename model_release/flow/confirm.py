"""Confirm with Azure ML what an event says: that the version is registered, and with which tags and properties."""

import json
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from datetime import timedelta
from functools import cache, partial
from typing import NamedTuple

from model_release.azure_ml.items import AzureMlError, ModelVersion
from model_release.azure_ml.models import AzureMl
from model_release.domain.claims import Claim, registration_row
from model_release.domain.events import MODEL_REGISTERED, ModelRegistered, Workspace, parse
from model_release.domain.history import NOBODY, ByHand, HistoryEntry
from model_release.domain.routing import Routing
from model_release.domain.targets import Plan
from model_release.errors import EventError
from model_release.reason import Reason, ReasonKind
from model_release.text import shorten
from model_release.tracing import traced


class NotConfirmed(NamedTuple):
    """Why Azure ML did not confirm an event; `absent` if it has no such version, or none that is ready.

    `fix` is for a person who starts the version manually.
    """

    reason: Reason
    absent: bool
    retry_after: timedelta | None = None
    fix: str = ""


class Confirmed(NamedTuple):
    """An event as Azure ML confirmed it, and what the release map plans for it.

    `matched_with` names the tags and properties of a version that a person starts.
    """

    event: ModelRegistered
    routing: Routing
    matched_with: str = ""

    @property
    def why_nothing(self) -> Reason:
        """Why a version that a person starts matches no route, and with which tags it was matched."""
        return self.routing.why_nothing.only_for_people(self.matched_with)


Ask = Callable[[], Confirmed | NotConfirmed]


class Cause(NamedTuple):
    """Why plans are attempted: an event, how to confirm it, and the last part of its claims' rows.

    Only if `delivered`, the event is delivered again. `by_hand`: a person asked for this attempt; `who` started it.
    """

    event: ModelRegistered
    confirmed: Ask
    idempotency_key: str = ""
    registration: str = ""
    delivered: bool = False
    by_hand: bool = False
    who: ByHand = NOBODY


class Confirm:
    """Reads model versions from Azure ML; without Azure ML, events are believed."""

    def __init__(self, azure_ml: AzureMl | None, threads: Executor) -> None:
        """Take the threads that read, while the caller writes to storage."""
        self._azure_ml = azure_ml
        self._threads = threads

    def ask(self, event: ModelRegistered, route: Callable[[ModelRegistered], Routing], *, manually: bool) -> Ask:
        """Begin to read the version of an event; calling what is returned waits for the answer."""
        read: Callable[[], ModelRegistered | NotConfirmed] = partial(_believed, event)
        if self._azure_ml:
            read = self._threads.submit(self._read, self._azure_ml, event).result

        @cache
        def confirmed() -> Confirmed | NotConfirmed:
            found = read()
            if isinstance(found, NotConfirmed):
                return found
            return Confirmed(found, route(found), _matched_with(found) if manually else "")

        return confirmed

    def is_gone(self, workspace: Workspace, model: str, version: str) -> bool:
        """Whether Azure ML says that it has no such version."""
        try:
            return self._azure_ml is not None and self._azure_ml.model_version(workspace, model, version) is None
        except AzureMlError:
            return False

    @traced("confirm")
    def _read(self, azure_ml: AzureMl, event: ModelRegistered) -> ModelRegistered | NotConfirmed:
        try:
            found = azure_ml.model_version(event.workspace, event.model, event.version)
        except AzureMlError as error:
            unread = Reason(ReasonKind.AZURE_ML_UNREADABLE, str(error))
            return NotConfirmed(unread, absent=False, retry_after=error.retry_after)
        if found is None:
            missing = f"Azure ML has no version {event.version} of {event.model}"
            return _absent(missing, f"compare it with workspace {event.workspace.name}")
        if not found.ready:
            state = f"version {event.version} of {event.model} is {shorten(found.provisioning_state)} in Azure ML"
            return _absent(f"{state}, not Succeeded", "try again when it is Succeeded")
        try:
            return parse(event_of(found, event.id))._replace(registered_at=found.created)
        except EventError as error:
            problem = f"version {event.version} of {event.model} cannot be released: {error}"
            return NotConfirmed(Reason(ReasonKind.EVENT_UNREADABLE, problem), absent=True)


def event_of(version: ModelVersion, event_id: str = "") -> str:
    """Build the event that Azure ML sends for a version with these tags."""
    workspace = version.workspace
    return json.dumps(
        {
            "id": event_id or f"catch-up {workspace.name} {version.model} {version.version}",
            "topic": f"{workspace.id[: -len(workspace.name)]}{workspace.name}",
            "subject": f"models/{version.model}:{version.version}",
            "eventType": MODEL_REGISTERED,
            "eventTime": version.created.isoformat(),
            "dataVersion": "",
            "metadataVersion": "1",
            "data": {
                "ModelName": version.model,
                "ModelVersion": version.version,
                "ModelTags": dict(version.tags),
                "ModelProperties": dict(version.properties),
            },
        },
        ensure_ascii=False,
    )


def as_confirmed(
    event: ModelRegistered, routing: Routing, confirmed: Confirmed | NotConfirmed
) -> tuple[ModelRegistered, Routing]:
    """Return what Azure ML confirmed, otherwise the event with the reason why it was not."""
    if isinstance(confirmed, Confirmed):
        return confirmed.event, confirmed.routing
    why, unread = routing.why_nothing, confirmed.reason
    both = Reason(unread.kind, f"{why.text}; {unread.text}", f"{why.for_log}; {unread.text}")
    return event, routing._replace(why_nothing=both)


def besides(confirmed: Confirmed | NotConfirmed, entries: list[HistoryEntry]) -> tuple[Plan, ...]:
    """Return the plans that only follow from what Azure ML says."""
    attempted = {entry.target for entry in entries}
    plans = confirmed.routing.plans if isinstance(confirmed, Confirmed) else ()
    return tuple(plan for plan in plans if str(plan.target) not in attempted)


def registered_anew(claim: Claim, cause: Cause) -> Cause | None:
    """Return the cause of another claim, if the version was deleted and registered again after this one."""
    if not claim.state.final or cause.idempotency_key or cause.registration:
        return None
    confirmed = cause.confirmed()
    event = confirmed.event if isinstance(confirmed, Confirmed) else cause.event
    if event.registered_at is None or event.registered_at <= claim.registered:
        return None
    return cause._replace(event=event, registration=registration_row(event.registered_at))


def _believed(event: ModelRegistered) -> ModelRegistered | NotConfirmed:
    """Return an event as it is, or why a version without one cannot be started."""
    if event.body:
        return event
    return _absent(
        f"{event.model}:{event.version} is not recorded, and it is not read from Azure ML: CONFIRM_MODELS is false",
        "set CONFIRM_MODELS to true, or register the version again",
    )


def _absent(problem: str, fix: str) -> NotConfirmed:
    return NotConfirmed(Reason(ReasonKind.NOT_REGISTERED, problem), absent=True, fix=fix)


def _matched_with(event: ModelRegistered) -> str:
    where = "in Azure ML now" if event.registered_at else "of its event, because CONFIRM_MODELS is false"
    return f"matched with the tags ({_listed(event.tags)}) and properties ({_listed(event.properties)}) {where}"


def _listed(values: Mapping[str, str]) -> str:
    return shorten(", ".join(f"{key} = {value}" for key, value in values.items())) or "none"
