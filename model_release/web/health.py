"""Whether the app can do its work: storage, release map, sign-in, and what waits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from azure.core.exceptions import AzureError

from model_release.domain.events import shorten
from model_release.domain.release_map import ReleaseMap, Target
from model_release.errors import StartError
from model_release.store.ledger import Clock, Ledger


class Reachable(Protocol):
    """What releases are started with; raises Busy or Refused."""

    def reach(self, target: Target) -> None:
        """Sign in and ask for something small of the target's project and kind."""


@dataclass(frozen=True)
class Health:
    """Looks at each thing that a release needs."""

    release_map: ReleaseMap
    ledger: Ledger
    azure_devops: Reachable
    clock: Clock

    def look(self) -> dict[str, Any]:
        """Answer `healthy`, and of each part whether it is `ok` and what is to be known of it; ages are in seconds."""
        targets = [route.starts.target for route in self.release_map.routes if route.enabled]
        parts = {
            "storage": _tried(self._storage),
            "release_map": {"ok": True, "routes": len(self.release_map.routes)},
            "azure_devops": _tried(lambda: self._azure_devops(targets)),
        }
        return {"healthy": all(part["ok"] for part in parts.values()), **parts}

    def _storage(self) -> dict[str, Any]:
        unfinished = self.ledger.unfinished()
        return {"open_claims": unfinished.claims, "oldest_open_claim_seconds": unfinished.age(self.clock())}

    def _azure_devops(self, targets: list[Target]) -> dict[str, Any]:
        for target in {(target.project, target.kind): target for target in targets}.values():
            self.azure_devops.reach(target)
        return {"projects": sorted({target.project for target in targets})}


def _tried(look: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return {"ok": True, **look()}
    except (AzureError, StartError) as error:
        return {"ok": False, "error": shorten(str(error))}
