"""Read an event subscription through Azure Resource Manager."""

import re
from typing import Any
from urllib.parse import quote

from model_release.azure_ml.resource_manager import ResourceManager, ResourceManagerError
from model_release.text import shorten

_API_VERSION = "2025-02-15"
_ID = re.compile(
    r"/subscriptions/[^/]+/resourceGroups/[^/]+/providers/.+/eventSubscriptions/[^/]+",
    re.IGNORECASE,
)


def is_subscription_id(text: str) -> bool:
    """Whether a text is the resource ID of an event subscription, of a system topic or of another source."""
    return bool(_ID.fullmatch(text))


def read_subscription(resource_manager: ResourceManager, resource_id: str) -> dict[str, Any]:
    """Read the subscription; raises ResourceManagerError.

    https://learn.microsoft.com/rest/api/eventgrid/controlplane/system-topic-event-subscriptions/get
    """
    url = f"{resource_manager.endpoint}{quote(resource_id)}?api-version={_API_VERSION}"
    response = resource_manager.get(url)
    try:
        return dict(response.json())
    except (TypeError, ValueError) as error:
        text = shorten(response.text())
        raise ResourceManagerError(f"Azure's answer is not an event subscription: {text}") from error
