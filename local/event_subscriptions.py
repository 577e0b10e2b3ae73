"""Event subscriptions as Azure Resource Manager describes them."""

from __future__ import annotations

import re
from typing import Any

Json = dict[str, Any]

_ID = re.compile(
    r"(?P<topic>/subscriptions/.+?)(?:/providers/Microsoft\.EventGrid)?/eventSubscriptions/(?P<name>[^/]+)",
    re.IGNORECASE,
)
FUNCTION = (
    "/subscriptions/5ac1d0de-0000-4000-8000-3b1f0e2d9c11/resourceGroups/ml-prod"
    "/providers/Microsoft.Web/sites/model-release/functions/model_registered"
)
STORAGE = (
    "/subscriptions/5ac1d0de-0000-4000-8000-3b1f0e2d9c11/resourceGroups/ml-prod"
    "/providers/Microsoft.Storage/storageAccounts/models"
)


def event_subscription(id_: str, **properties: Any) -> Json:
    """Describe a subscription of a workspace, or of its system topic, as the README creates it.

    `properties` replace the described ones.

    https://learn.microsoft.com/rest/api/eventgrid/controlplane/event-subscriptions/get
    """
    parts = _ID.fullmatch(id_)
    if not parts:
        raise ValueError(f"{id_} is not the resource ID of an event subscription")
    return {
        "id": id_,
        "name": parts["name"],
        "type": "Microsoft.EventGrid/eventSubscriptions",
        "properties": {
            "topic": parts["topic"],
            "provisioningState": "Succeeded",
            "destination": {
                "endpointType": "AzureFunction",
                "properties": {
                    "resourceId": FUNCTION,
                    "maxEventsPerBatch": 1,
                    "preferredBatchSizeInKilobytes": 64,
                    "deliveryAttributeMappings": [],
                },
            },
            "filter": event_filter(),
            "labels": [],
            "eventDeliverySchema": "EventGridSchema",
            "retryPolicy": {"maxDeliveryAttempts": 30, "eventTimeToLiveInMinutes": 1440},
            "deadLetterDestination": {
                "endpointType": "StorageBlob",
                "properties": {"resourceId": STORAGE, "blobContainerName": "dead-letters"},
            },
            **properties,
        },
    }


def event_filter(**changes: Any) -> Json:
    """Describe a filter that passes every registered model, with these changes."""
    return {
        "subjectBeginsWith": "",
        "subjectEndsWith": "",
        "includedEventTypes": ["Microsoft.MachineLearningServices.ModelRegistered"],
        "isSubjectCaseSensitive": False,
        "enableAdvancedFilteringOnArrays": False,
        "advancedFilters": [],
        **changes,
    }


def as_az_shows(subscription: Json) -> Json:
    """Return a subscription as `az eventgrid event-subscription show` prints it: without the level `properties`."""
    flat = {key: value for key, value in subscription.items() if key != "properties"}
    for key, value in subscription["properties"].items():
        nested = value.get("properties") if isinstance(value, dict) else None
        flat[key] = {**{k: v for k, v in value.items() if k != "properties"}, **nested} if nested else value
    return flat
