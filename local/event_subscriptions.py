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
    """Describe a subscription of a workspace, or of its system topic, as the README creates it; properties replace.

    https://learn.microsoft.com/rest/api/eventgrid/controlplane/event-subscriptions/get
    """
    asked = _ID.fullmatch(id_)
    if not asked:
        msg = f"{id_} is not the resource id of an event subscription"
        raise ValueError(msg)
    return {
        "id": id_,
        "name": asked["name"],
        "type": "Microsoft.EventGrid/eventSubscriptions",
        "properties": {
            "topic": asked["topic"],
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
    """Describe a filter that lets every registered model through; changes replace."""
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
    """Return it as `az eventgrid event-subscription show` prints it: `properties` belong to what they are of."""
    flat = {key: value for key, value in subscription.items() if key != "properties"}
    for key, value in subscription["properties"].items():
        nested = value.get("properties") if isinstance(value, dict) else None
        flat[key] = {**{k: v for k, v in value.items() if k != "properties"}, **nested} if nested else value
    return flat
