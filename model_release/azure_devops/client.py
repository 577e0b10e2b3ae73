"""Azure DevOps: find a target, start something there once, look for it; each kind of target knows how."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, Protocol

from msrest.authentication import Authentication

from model_release.azure_devops.releases import ReleaseTargets
from model_release.azure_devops.sdk import PostRequest, Sdk
from model_release.domain.events import ModelRegistered
from model_release.domain.release_map import Start, StartedRelease, Target
from model_release.errors import Busy, Refused
from model_release.tracing import traced

_REMEMBER_SECONDS = 300


class Targets(Protocol):
    """One kind of target; every method raises Busy, Refused or Unknown. What `find` found is its own affair."""

    def find(self, target: Target) -> Any:
        """What must be known of the target to start something there; raises Refused when it is not one thing."""

    def request(self, found: Any, start: Any, event: ModelRegistered, marker: str) -> dict[str, Any]:
        """The body of the one request that starts it; raises Refused with every reason why it cannot be."""

    def post(self, found: Any, target: Target, request: dict[str, Any]) -> PostRequest:
        """That request, as it goes over the wire."""

    def rehearse(self, found: Any, target: Target, request: dict[str, Any]) -> None:
        """Let Azure DevOps say as far as it can whether it would take that request; starts nothing."""

    def create(self, found: Any, target: Target, request: dict[str, Any]) -> StartedRelease:
        """Send that request, once; raises Unknown when it may have been carried out."""

    def look(self, found: Any, target: Target, marker: str, since: datetime) -> StartedRelease | None:
        """What carries the marker, among all that was started since then."""

    def reach(self, project: str) -> None:
        """Ask for something small."""


@dataclass(frozen=True)
class _Remembered:
    until: float
    found: Any


class AzureDevOps:
    """The targets of one organization; safe to share among threads.

    Every method raises Busy, Refused or Unknown, and nothing else of Azure DevOps or the network.
    """

    def __init__(
        self,
        url: str,
        sign_in: Authentication,
        *,
        timeout: float,
        patience: float = 60,
        throttled: Callable[[timedelta], None] = lambda _: None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Times are in seconds: `timeout` for one request, `patience` for all that comes before the one that creates.

        `throttled` is told how long an answer asks to be left alone.
        """
        self._sdk = Sdk(sign_in, timeout=timeout, throttled=throttled)
        self.releases = ReleaseTargets(self._sdk, url)
        self._url = url
        self._patience = patience
        self._monotonic = monotonic
        self._memory: dict[str, _Remembered] = {}

    @traced("start")
    def start(self, start: Start, event: ModelRegistered, marker: str) -> StartedRelease:
        """Start it, with the marker on it; a refusal stands where the target is as it was remembered."""
        until = self._monotonic() + self._patience
        remembered = self._remembered(start.target)
        if remembered:
            try:
                return self._create(remembered.found, start, event, marker, until)
            except Refused:
                self._memory.pop(start.target.key, None)
                if self.find(start.target) == remembered.found:
                    raise
        return self._create(self.find(start.target), start, event, marker, until)

    def find(self, target: Target) -> Any:
        """What its kind knows of the target, remembered for a while; raises Refused when it is not one thing."""
        if remembered := self._remembered(target):
            return remembered.found
        found = self._kind(target).find(target)
        self._memory[target.key] = _Remembered(self._monotonic() + _REMEMBER_SECONDS, found)
        return found

    def request(self, start: Start, event: ModelRegistered, marker: str) -> PostRequest:
        """The request that `start` would send; asks, and creates nothing."""
        kind, found = self._kind(start.target), self.find(start.target)
        return kind.post(found, start.target, kind.request(found, start, event, marker))

    def has_permissions(self, namespace: str, permissions: int, token: str) -> bool:
        """Whether this identity has all of these permissions, as Azure DevOps' security service tells.

        https://learn.microsoft.com/rest/api/azure/devops/security/permissions/has-permissions
        """
        with self._sdk.asking():
            return all(self._security.has_permissions(namespace, permissions, token, always_allow_administrators=True))

    def rehearse(self, start: Start, event: ModelRegistered, marker: str) -> None:
        """Raise what `start` would raise before it starts anything, as far as it can be told."""
        kind, found = self._kind(start.target), self.find(start.target)
        kind.rehearse(found, start.target, kind.request(found, start, event, marker))

    def look(self, target: Target, marker: str, since: datetime) -> StartedRelease | None:
        """Find what carries the marker among all that was started there since then."""
        return self._kind(target).look(self.find(target), target, marker, since)

    def reach(self, target: Target) -> None:
        """Sign in, and ask for one target of this kind in the project."""
        self._kind(target).reach(target.project)

    def _create(self, found: Any, start: Start, event: ModelRegistered, marker: str, until: float) -> StartedRelease:
        kind = self._kind(start.target)
        body = kind.request(found, start, event, marker)
        self._sdk.sign_in()
        if self._monotonic() > until:
            msg = f"Azure DevOps took more than {self._patience:.0f} s to tell about {start.target}"
            raise Busy(msg)
        return kind.create(found, start.target, body)

    def _kind(self, target: Target) -> Targets:
        return self._pipelines if target.kind == "pipeline" else self.releases

    @cached_property
    def _pipelines(self) -> Targets:
        from model_release.azure_devops.pipelines import PipelineTargets  # noqa: PLC0415  many release maps name no pipeline

        return PipelineTargets(self._sdk, self._url)

    @cached_property
    def _security(self) -> Any:
        from azure.devops.released.security import SecurityClient  # noqa: PLC0415  the app itself has no use for it

        return self._sdk.client(SecurityClient, self._url)

    def _remembered(self, target: Target) -> _Remembered | None:
        remembered = self._memory.get(target.key)
        return remembered if remembered and self._monotonic() < remembered.until else None
