"""Publish outcome events to an Event Grid topic, at least once."""

import logging
from collections.abc import Callable, Iterator
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from azure.core.credentials import TokenCredential
from azure.core.exceptions import AzureError

from model_release.domain.claims import Attempt, Claim, State
from model_release.errors import ModelReleaseError
from model_release.settings import LOOPBACK
from model_release.store.claims import Claims
from model_release.store.outbox import Outbox, outcome_key, outcomes
from model_release.text import service_problem

if TYPE_CHECKING:
    from azure.eventgrid import EventGridPublisherClient

logger = logging.getLogger(__name__)

_TYPES = {
    State.STARTED: "ModelRelease.Started",
    State.REFUSED: "ModelRelease.Refused",
    State.ABANDONED: "ModelRelease.Abandoned",
}


class TopicError(ModelReleaseError):
    """The topic did not accept the events, or its answer was lost."""


class Topic:
    """A custom topic of Event Grid; a request ends after a few seconds and is not repeated."""

    def __init__(self, endpoint: str, credential: TokenCredential, *, timeout: float = 5) -> None:
        """Take an endpoint such as https://TOPIC.REGION-1.eventgrid.azure.net/api/events, and a timeout in seconds."""
        self._endpoint = endpoint
        self._credential = credential
        self._options: dict[str, Any] = {
            "retry_total": 0,
            "connection_timeout": timeout,
            "read_timeout": timeout,
            "enforce_https": urlsplit(endpoint).hostname not in LOOPBACK,
        }

    @cached_property
    def _client(self) -> "EventGridPublisherClient":
        from azure.eventgrid import EventGridPublisherClient  # noqa: PLC0415  most processes publish nothing

        return EventGridPublisherClient(self._endpoint, self._credential)

    def send(self, events: list[dict[str, Any]]) -> None:
        """Publish CloudEvents, all or none; raises TopicError."""
        try:
            self._client.send(events, **self._options)
        except AzureError as error:
            problem = service_problem("the outcome topic", error)
            raise TopicError(f"{len(events)} events were not published: {problem}") from error


class Publisher:
    """Publishes what is in the outbox."""

    def __init__(self, outbox: Outbox, claims: Claims, topic: Topic, *, batch: int = 100) -> None:
        """Take the size of a batch: an event has a few kilobytes, and a request may have 1 MB."""
        self._outbox = outbox
        self._claims = claims
        self._topic = topic
        self._batch = batch

    def publish(self, has_time: Callable[[], bool]) -> None:
        """Publish one batch, and more while there is time; what fails is left for the next sweep.

        Raises azure-core's errors if storage fails.
        """
        events = self._events()
        while batch := dict(islice(events, self._batch)):
            try:
                self._topic.send(list(batch.values()))
            except TopicError as error:
                logger.warning("%s; the next sweep tries again", error)
                return
            for key in batch:
                self._outbox.delete(key)
            if not has_time():
                return

    def _events(self) -> Iterator[tuple[str, dict[str, Any]]]:
        for row in self._outbox.rows():
            key, claim = row["RowKey"], self._claims.find(row["partition"], row["row"])
            if claim and (attempt := outcomes(claim).get(key)):
                yield key, outcome_event(claim, attempt)
            elif claim is None or claim.state.final:
                self._outbox.delete(key)


def outcome_event(claim: Claim, attempt: Attempt) -> dict[str, Any]:
    """Build the CloudEvent of an outcome; the same outcome has the same ID (pure).

    https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md
    """
    return {
        "specversion": "1.0",
        "id": outcome_key(claim, attempt),
        "type": _TYPES[attempt.state],
        "source": claim.workspace,
        "subject": f"models/{claim.model}:{claim.version}",
        "time": attempt.time.isoformat().replace("+00:00", "Z"),
        "datacontenttype": "application/json",
        "data": {
            "workspace": claim.workspace,
            "model": claim.model,
            "version": claim.version,
            "route": claim.route,
            "target": str(claim.target),
            "state": attempt.state.value,
            "reason": attempt.reason,
            "attempt": attempt.number,
            "release": _release(claim) if attempt.state is State.STARTED else None,
            "event_id": claim.event_id,
            "by": claim.by or None,
            "by_verified": claim.by_verified,
            "comment": claim.comment or None,
        },
    }


def _release(claim: Claim) -> dict[str, Any]:
    return {"id": claim.release_id, "name": claim.release_name, "url": claim.release_url}
