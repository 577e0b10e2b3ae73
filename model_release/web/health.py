"""Health: whether storage and Azure DevOps answer, whether the timers run, and what is pending."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from azure.core.exceptions import AzureError

from model_release.azure_devops.client import AzureDevOps
from model_release.domain.release_map import ReleaseMap
from model_release.domain.targets import Target
from model_release.errors import AzureDevOpsError
from model_release.store.claims import Clock
from model_release.store.pending import Pending
from model_release.text import service_problem, shorten
from model_release.web.timers import Timers


@dataclass(frozen=True)
class Health:
    """Checks each thing that a release needs."""

    release_map: ReleaseMap
    pending: Pending
    azure_devops: AzureDevOps
    timers: Timers
    clock: Clock
    confirm_models: bool
    versions: Mapping[str, str]

    def check(self) -> dict[str, Any]:
        """Return `healthy`, and whether each part is `ok`; ages are in seconds."""
        targets = [route.target for route in self.release_map.routes if route.enabled]
        parts = {
            "storage": _checked(self._storage),
            "release_map": {"ok": True, "routes": len(self.release_map.routes)},
            "azure_devops": _checked(lambda: self._azure_devops(targets)),
            "confirmation": {"ok": True, "confirm_models": self.confirm_models},
            "sweep": _checked(self.timers.sweep),
            "catch_up": _checked(self.timers.catch_up),
        }
        return {"healthy": all(part["ok"] for part in parts.values()), **parts, "versions": dict(self.versions)}

    def _storage(self) -> dict[str, Any]:
        pending = self.pending.count()
        return {"pending_claims": pending.claims, "oldest_pending_seconds": pending.age(self.clock())}

    def _azure_devops(self, targets: list[Target]) -> dict[str, Any]:
        for target in {(target.project, target.kind): target for target in targets}.values():
            self.azure_devops.probe(target)
        return {"projects": sorted({target.project for target in targets})}


def _checked(check: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return {"ok": True, **check()}
    except AzureError as error:
        return {"ok": False, "error": service_problem("storage", error)}
    except AzureDevOpsError as error:
        return {"ok": False, "error": shorten(str(error))}
