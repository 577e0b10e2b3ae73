"""Publish events to an Event Grid custom topic."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click
from azure.core.credentials import AzureKeyCredential
from azure.core.exceptions import AzureError, HttpResponseError
from azure.core.messaging import CloudEvent
from azure.eventgrid import EventGridPublisherClient

from model_release import app as wiring
from model_release.domain.events import shorten

# What Event Grid adds to an event that it gives up. https://learn.microsoft.com/azure/event-grid/manage-event-delivery
_DELIVERY = (
    "deadletterreason",
    "deliveryattempts",
    "lastdeliveryoutcome",
    "lasthttpstatuscode",
    "publishtime",
    "lastdeliveryattempttime",
)
# What Event Grid writes itself, and refuses from others. https://learn.microsoft.com/azure/event-grid/event-schema
_STAMPED = ("topic", "metadataVersion")

# Given with each request: the client loses what it is made with.
_PATIENCE: Mapping[str, Any] = {"retry_total": 0, "connection_timeout": 5, "read_timeout": 30}


class Topic:
    """A custom topic; signed in by its key, or by the identity where there is none."""

    def __init__(self, endpoint: str, key: str | None) -> None:
        credential = AzureKeyCredential(key) if key else wiring.LateCredential("")
        self._client = EventGridPublisherClient(endpoint, credential)
        self._endpoint = endpoint

    def publish(self, event: dict[str, Any]) -> tuple[int, str]:
        """Publish one event; what was answered. Raises click.ClickException when nothing was."""
        try:
            self._client.send(CloudEvent.from_dict(event) if "specversion" in event else event, **_PATIENCE)
        except (KeyError, TypeError, ValueError) as error:
            return 0, f"not published: {shorten(str(error))}"
        except HttpResponseError as error:
            if error.status_code is None:
                raise click.ClickException(f"no token for Event Grid could be had: {shorten(error.message)}") from error  # noqa: EM102, TRY003
            return error.status_code, shorten(error.error.message if error.error else error.reason)
        except AzureError as error:
            raise click.ClickException(f"{self._endpoint} does not answer: {shorten(str(error))}") from error  # noqa: EM102, TRY003
        return 200, ""


def to_publish(event: Mapping[str, Any], *, cloud_events: bool) -> dict[str, Any]:
    """The event without what its delivery added; as a CloudEvent on request, as a subscription would deliver it.

    https://learn.microsoft.com/azure/event-grid/cloud-event-schema
    """
    sent = {key: value for key, value in event.items() if key.lower() not in _DELIVERY}
    if "specversion" in sent:
        return sent
    if not cloud_events:
        return {key: value for key, value in sent.items() if key not in _STAMPED}
    return {
        "specversion": "1.0",
        "id": sent.get("id"),
        "source": sent.get("topic"),
        "type": sent.get("eventType"),
        "subject": sent.get("subject"),
        "time": sent.get("eventTime"),
        "data": sent.get("data"),
    }
