"""Publish outcome events to an Event Grid topic, at least once."""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from azure.core import PipelineClient
from azure.core.credentials import TokenCredential
from azure.core.exceptions import AzureError, HttpResponseError
from azure.core.pipeline.policies import BearerTokenCredentialPolicy, UserAgentPolicy
from azure.core.pipeline.transport import RequestsTransport
from azure.core.rest import HttpRequest, HttpResponse

from model_release.domain.claims import Attempt, Claim, State
from model_release.domain.events import parse
from model_release.errors import ModelReleaseError
from model_release.log import get_logger
from model_release.session import CredentialSession, is_local
from model_release.store.claims import Claims
from model_release.store.outbox import Outbox, outcome_key, outcomes
from model_release.text import hide_values, service_problem

logger = get_logger(__name__)

_SCOPE = "https://eventgrid.azure.net/.default"
_API = {"api-version": "2018-01-01"}
_CLOUD_EVENTS = {"Content-Type": "application/cloudevents-batch+json; charset=utf-8"}
_TYPES = {
    State.STARTED: "ModelRelease.Started",
    State.REFUSED: "ModelRelease.Refused",
    State.ABANDONED: "ModelRelease.Abandoned",
}


class TopicError(ModelReleaseError):
    """The topic did not accept the events, or its answer was lost."""


class Topic:
    """A custom topic of Event Grid; a request ends after a few seconds and is not repeated.

    https://learn.microsoft.com/azure/event-grid/post-to-custom-topic
    """

    def __init__(self, endpoint: str, credential: TokenCredential, *, timeout: float = 5) -> None:
        """Take an endpoint such as https://TOPIC.REGION-1.eventgrid.azure.net/api/events, and a timeout in seconds."""
        session = CredentialSession(endpoint)
        self._endpoint = endpoint
        # The SDK's client follows redirects and drops a transport.
        self._client: PipelineClient[HttpRequest, HttpResponse] = PipelineClient(
            endpoint,
            policies=[UserAgentPolicy("model-release"), BearerTokenCredentialPolicy(credential, _SCOPE)],
            transport=RequestsTransport(
                session=session, session_owner=False, connection_timeout=timeout, read_timeout=timeout
            ),
        )

    def send(self, events: list[dict[str, Any]]) -> None:
        """Publish CloudEvents, all or none; raises TopicError."""
        request = HttpRequest("POST", self._endpoint, params=_API, headers=_CLOUD_EVENTS, json=events)
        try:
            response = self._client.send_request(request, enforce_https=not is_local(self._endpoint))
            if response.status_code != 200:  # noqa: PLR2004  the only documented success
                raise HttpResponseError(response=response)
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
    started = attempt.state is State.STARTED
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
            # A refusal may repeat values of tags.
            "reason": hide_values(attempt.reason, () if started else parse(claim.event).values),
            "attempt": attempt.number,
            "release": _release(claim) if started else None,
            "event_id": claim.event_id,
            "by": claim.by or None,
            "by_verified": claim.by_verified,
            "comment": claim.comment or None,
        },
    }


def _release(claim: Claim) -> dict[str, Any]:
    return {"id": claim.release_id, "name": claim.release_name, "url": claim.release_url}
