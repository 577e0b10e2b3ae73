"""Outcome events: what became of a model version, told to an Event Grid topic at least once.

| partition | row | for |
|---|---|---|
| `outcome` | the claim's key, the state, for a refusal also a hash of its reason | an outcome to publish |

A row only points at its claim, and is written before the claim says so. What is published is what the claim then says:
a row that its claim does not bear out is of an attempt that was cut off or overtaken; it is dropped in the end.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, Protocol
from urllib.parse import urlsplit

from azure.core.credentials import TokenCredential
from azure.core.exceptions import AzureError
from azure.data.tables import TableEntity
from azure.eventgrid import EventGridPublisherClient

from model_release.domain.claims import Answer, Claim, State, digest
from model_release.domain.events import shorten
from model_release.errors import ModelReleaseError
from model_release.settings import LOOPBACK
from model_release.store.table import Table

logger = logging.getLogger(__name__)

_OUTCOME = "outcome"
_TYPES = {
    State.STARTED: "ModelRelease.Started",
    State.REFUSED: "ModelRelease.Refused",
    State.ABANDONED: "ModelRelease.Abandoned",
}


class Outbox:
    """The outcomes that wait to be published; every method raises azure-core's errors when storage fails."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def note(self, before: Claim, answer: Answer) -> None:
        """Note what an attempt came to, unless the claim says already that it was refused for the same reason."""
        key = _key(before, answer)
        if answer.state in _TYPES and key not in _answers(before):
            self._table.put(_OUTCOME, key, partition=before.partition, row=before.row)

    def waiting(self) -> Iterator[TableEntity]:
        """What waits, in no order."""
        return self._table.query("PartitionKey eq @outcome", outcome=_OUTCOME)

    def remove(self, key: str) -> None:
        """It was published, or never came to be."""
        self._table.delete(_OUTCOME, key)


class NotTaken(ModelReleaseError):  # noqa: N818  named as the answer it is, like Busy
    """The topic did not take the events, or not that anybody saw."""


class Topic:
    """A custom topic of Event Grid; a request lasts a few seconds at most, and is not repeated."""

    def __init__(self, endpoint: str, credential: TokenCredential, *, timeout: float = 5) -> None:
        """`endpoint` is such as https://TOPIC.REGION-1.eventgrid.azure.net/api/events, `timeout` in seconds."""
        self._client = EventGridPublisherClient(endpoint, credential)
        self._options: dict[str, Any] = {
            "retry_total": 0,
            "connection_timeout": timeout,
            "read_timeout": timeout,
            "enforce_https": urlsplit(endpoint).hostname not in LOOPBACK,
        }

    def send(self, events: list[dict[str, Any]]) -> None:
        """Publish CloudEvents, all or none; raises NotTaken."""
        try:
            self._client.send(events, **self._options)
        except AzureError as error:
            msg = f"the outcome topic did not take {len(events)} events: {shorten(str(error))}"
            raise NotTaken(msg) from error


class Takes(Protocol):
    """Where events are published; raises NotTaken."""

    def send(self, events: list[dict[str, Any]]) -> None:
        """Publish CloudEvents."""


class Publisher:
    """Publishes what waits in the outbox."""

    def __init__(
        self,
        outbox: Outbox,
        claim_at: Callable[[str, str], Claim | None],
        topic: Takes,
        *,
        at_once: int = 100,
    ) -> None:
        """An event has a few kilobytes, and a request may have 1 MB."""
        self._outbox = outbox
        self._claim_at = claim_at
        self._topic = topic
        self._at_once = at_once

    def publish(self, more: Callable[[], bool]) -> None:
        """Publish at least one batch, and then as long as there is time for more; what fails is left for the next time.

        Raises azure-core's errors when storage fails.
        """
        events = self._events()
        while batch := dict(islice(events, self._at_once)):
            try:
                self._topic.send(list(batch.values()))
            except NotTaken as error:
                logger.warning("outcomes are left for the next sweep: %s", error)
                return
            for key in batch:
                self._outbox.remove(key)
            if not more():
                return

    def _events(self) -> Iterator[tuple[str, dict[str, Any]]]:
        for row in self._outbox.waiting():
            key, claim = row["RowKey"], self._claim_at(row["partition"], row["row"])
            if claim and (answer := _answers(claim).get(key)):
                yield key, outcome_event(claim, answer)
            elif claim is None or claim.state.final:
                self._outbox.remove(key)


def outcome_event(claim: Claim, answer: Answer) -> dict[str, Any]:
    """The CloudEvent of an outcome; the same outcome has the same id (pure).

    https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md
    """
    return {
        "specversion": "1.0",
        "id": _key(claim, answer),
        "type": _TYPES[answer.state],
        "source": claim.workspace,
        "subject": f"models/{claim.model}:{claim.version}",
        "time": answer.when.isoformat().replace("+00:00", "Z"),
        "datacontenttype": "application/json",
        "data": {
            "workspace": claim.workspace,
            "model": claim.model,
            "version": claim.version,
            "route": claim.route,
            "target": str(claim.target),
            "decision": answer.state.value,
            "reason": answer.reason,
            "attempt": answer.attempt,
            "release": _release(claim) if answer.state is State.STARTED else None,
            "event_id": claim.event_id,
        },
    }


def _release(claim: Claim) -> dict[str, Any]:
    return {"id": claim.release_id, "name": claim.release_name, "url": claim.release_url}


def _answers(claim: Claim) -> dict[str, Answer]:
    """What the claim says its attempts came to; of one that came again the first."""
    return {_key(claim, answer): answer for answer in reversed(claim.answers) if answer.state in _TYPES}


def _key(claim: Claim, answer: Answer) -> str:
    key = f"{claim.key}-{answer.state.value}"
    return f"{key}-{digest(answer.reason)}" if answer.state is State.REFUSED else key
