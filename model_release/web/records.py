"""What the pages read, from storage that answers or fails within seconds."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from azure.core.exceptions import AzureError

from model_release.store.claims import Claims, Clock
from model_release.store.history import History
from model_release.store.overview import Overview
from model_release.store.throttle import Throttle
from model_release.text import service_problem
from model_release.web import overview as views
from model_release.web.outcome import Outcomes
from model_release.web.timers import Timers

_KEPT = "Event Grid keeps the events of new model versions for a day and delivers them again."


def storage_problem(failure: AzureError) -> str:
    """Return why storage fails, and that no event is lost."""
    return f"{service_problem('storage', failure)}. {_KEPT}"


class Records(NamedTuple):
    """The records, and what all pages show of the app; every method raises azure-core's errors if storage fails."""

    claims: Claims
    history: History
    overview: Overview
    throttle: Throttle
    timers: Timers
    clock: Clock
    versions: Mapping[str, str]
    outcomes: Outcomes
    operations_url: str = ""

    def attention(self) -> dict[str, Any]:
        """Count what needs attention: on the lines, in Azure DevOps, and of the timers."""
        problems = [found["error"] for found in (self.timers.sweep(), self.timers.catch_up()) if "error" in found]
        return views.attention(self.overview.read(), self.throttle.pause_until(), problems)
