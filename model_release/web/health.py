"""Health: whether storage and Azure DevOps answer, whether the timers run, and what is pending."""

from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

from azure.core.exceptions import AzureError

from model_release.azure_devops.client import AzureDevOps
from model_release.domain.release_map import ReleaseMap
from model_release.errors import AzureDevOpsError
from model_release.store.claims import Clock
from model_release.store.pending import Pending
from model_release.text import shorten
from model_release.web.records import storage_problem
from model_release.web.timers import Timers


@dataclass(frozen=True, eq=False, repr=False)
class Health:
    """Checks each thing that a release needs."""

    release_map: ReleaseMap
    pending: Pending
    azure_devops: AzureDevOps
    timers: Timers
    clock: Clock
    confirm_models: bool
    versions: Mapping[str, str]
    threads: Executor

    def check(self) -> dict[str, Any]:
        """Return `healthy`, and whether each part is `ok`; ages are in seconds."""
        azure_devops = self.threads.submit(self._azure_devops)
        parts = {
            **self._recorded(),
            "release_map": {"ok": True, "routes": len(self.release_map.routes)},
            "azure_devops": azure_devops.result(),
            "confirmation": {"ok": True, "confirm_models": self.confirm_models},
        }
        return {"healthy": all(part["ok"] for part in parts.values()), **parts, "versions": dict(self.versions)}

    def _recorded(self) -> dict[str, dict[str, Any]]:
        """Check the parts that are read from storage, which is not asked again after it failed."""
        checks = {"storage": self._storage, "sweep": self.timers.sweep, "catch_up": self.timers.catch_up}
        parts: dict[str, dict[str, Any]] = {}
        try:
            for name, check in checks.items():
                parts[name] = {"ok": True, **check()}
        except AzureError as error:
            return {name: {"ok": False, "error": storage_problem(error)} for name in checks} | parts
        return parts

    def _storage(self) -> dict[str, Any]:
        pending = self.pending.count()
        return {"pending_claims": pending.claims, "oldest_pending_seconds": pending.age(self.clock())}

    def _azure_devops(self) -> dict[str, Any]:
        targets = [route.target for route in self.release_map.routes if route.enabled]
        try:
            for target in {(target.project, target.kind): target for target in targets}.values():
                self.azure_devops.probe(target)
        except AzureDevOpsError as error:
            return {"ok": False, "error": shorten(str(error))}
        return {"ok": True, "projects": sorted({target.project for target in targets})}
