"""Azure DevOps: find a target, create a release or run there once, and find it by its marker."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextlib import suppress
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from model_release.azure_devops.session import SignIn
from model_release.domain.events import ModelRegistered
from model_release.domain.targets import Created, Plan, Stage, Target, TargetId
from model_release.errors import RefusedError, TemporaryError, UnknownOutcomeError
from model_release.reason import ReasonKind
from model_release.settings import is_service
from model_release.tracing import traced

if TYPE_CHECKING:
    from model_release.azure_devops.pipelines import PipelineTargets
    from model_release.azure_devops.releases import ReleaseTargets
    from model_release.azure_devops.sdk import PostRequest, Sdk

_REMEMBER_SECONDS = 300
# A result that nobody waited for is not used later.
_AHEAD_SECONDS = 60


class AzureDevOps:
    """The targets of one organization; safe to share among threads.

    Every method raises TemporaryError, RefusedError or UnknownOutcomeError, and no other error of Azure DevOps or the
    network.
    """

    def __init__(
        self,
        url: str,
        sign_in: SignIn,
        *,
        timeout: float,
        throttled: Callable[[timedelta], None] = lambda _: None,
        monotonic: Callable[[], float] = time.monotonic,
        threads: Executor | None = None,
    ) -> None:
        """`timeout` is in seconds for one request; `throttled` receives each Retry-After; `threads` read ahead."""
        self._sign_in = sign_in
        self._timeout = timeout
        self._throttled = throttled
        self._url = url
        self._monotonic = monotonic
        self._threads = threads
        self._lock = threading.RLock()
        self._memory: dict[str, tuple[float, Any]] = {}
        self._ahead: dict[str, tuple[float, Future[Any]]] = {}

    @traced("create")
    def create(
        self, plan: Plan, event: ModelRegistered, marker: str, deadline: float, definition_id: int = 0
    ) -> Created:
        """Create the release or run with the marker in it; sends nothing after the deadline of the monotonic clock.

        With the ID of a definition nothing is sent to another one, whatever the target's name means by then.

        A request is never sent twice: if it was refused and the target is not as it was remembered, the next attempt
        searches for the release, and then builds the request from the target as it is.
        """
        remembered = self._remembered(plan.target)
        found = self._identified(plan.target, definition_id)
        try:
            body = self._prepared(found, plan, event, marker, deadline)
        except RefusedError:
            if not (remembered and self._has_changed(plan.target, remembered)):
                raise
            found = self._identified(plan.target, definition_id)
            body = self._prepared(found, plan, event, marker, deadline)
        try:
            return self._api(plan.target).create(found, plan.target, body)
        except RefusedError as refusal:
            if self._has_changed(plan.target, found):
                # What the target refuses as it is now says more than the refusal of an outdated request.
                with suppress(TemporaryError):
                    self._body(self.find(plan.target), plan, event, marker)
                problem = f"{plan.target} has changed meanwhile; {refusal}"
                raise UnknownOutcomeError(problem, kind=ReasonKind.TARGET_CHANGED) from refusal
            raise

    def _has_changed(self, target: Target, found: Any) -> bool:
        self._memory.pop(target.key, None)
        try:
            return bool(self.find(target) != found)
        except TemporaryError:
            return False

    def find(self, target: Target) -> Any:
        """Read the target, or remember it for five minutes; raises RefusedError unless there is exactly one."""
        found = self._remembered(target)
        if found is None and (ahead := self._ahead.get(target.key)) and self._monotonic() < ahead[0]:
            try:
                found = ahead[1].result()
            finally:
                self._ahead.pop(target.key, None)
        return self._read(target) if found is None else found

    def reads_ahead(self, target: Target) -> bool:
        """Whether `read_ahead` would begin to read: this process has never read the target."""
        return self._threads is not None and target.key not in self._memory

    def read_ahead(self, target: Target, allowed: Callable[[], bool]) -> None:
        """Begin to import the SDK, to acquire a token and to read the target; the next `find` waits for the result.

        `allowed` is called in the thread that reads; without its permission nothing is sent.
        """
        with self._lock:
            until, _ = self._ahead.get(target.key, (0, None))
            if self._threads and self.reads_ahead(target) and until <= self._monotonic():
                reading = self._threads.submit(lambda: self._read(target) if allowed() else None)
                self._ahead[target.key] = self._monotonic() + _AHEAD_SECONDS, reading

    def _read(self, target: Target) -> Any:
        found = self._api(target).find(target)
        self._memory[target.key] = self._monotonic() + _REMEMBER_SECONDS, found
        return found

    def _identified(self, target: Target, definition_id: int) -> Any:
        found = self.find(target)
        if definition_id and found.id != definition_id:
            problem = f"the name {target} has come to mean ID {found.id} instead of {definition_id}"
            raise TemporaryError(problem, kind=ReasonKind.TARGET_CHANGED)
        return found

    def request(self, plan: Plan, event: ModelRegistered, marker: str) -> "PostRequest":
        """Build the request that `create` would send; creates nothing."""
        api, found = self._api(plan.target), self.find(plan.target)
        return api.post_request(found, plan.target, self._body(found, plan, event, marker))

    def has_permissions(self, namespace: str, permissions: int, token: str) -> bool:
        """Return whether this identity has all of these permissions.

        https://learn.microsoft.com/rest/api/azure/devops/security/permissions/has-permissions
        """
        with self._sdk.reading():
            return all(self._security.has_permissions(namespace, permissions, token, always_allow_administrators=True))

    def preview(self, plan: Plan, event: ModelRegistered, marker: str) -> None:
        """Raise what `create` would raise, as far as Azure DevOps can check it without creating anything."""
        api, found = self._api(plan.target), self.find(plan.target)
        api.preview(found, plan.target, self._body(found, plan, event, marker))

    def identify(self, target: Target) -> TargetId:
        """Resolve the target to the IDs of its project and definition."""
        found = self.find(target)
        return TargetId(target.kind, found.project_id or target.project, found.id)

    def find_by_marker(
        self, target: Target, definition_id: int, marker: str, since: datetime, deadline: float
    ) -> Created | None:
        """Find the release or run that has the marker among all that this definition created since then."""

        def check_time() -> None:
            if self._monotonic() > deadline:
                raise TemporaryError("searching all releases took longer than the lease", kind=ReasonKind.LEASE_USED_UP)

        return self._api(target).find_by_marker(target.project, definition_id, marker, since, check_time)

    def stages(self, target: Target, created_id: int) -> tuple[Stage, ...]:
        """Read the stages of a release or run, with who approved them."""
        return self._api(target).stages(target.project, created_id)

    def probe(self, target: Target) -> None:
        """Sign in, and read one target of this kind in the project."""
        self._api(target).probe(target.project)

    def _prepared(self, found: Any, plan: Plan, event: ModelRegistered, marker: str, deadline: float) -> dict[str, Any]:
        """Build the body and acquire a token; raises TemporaryError after the deadline."""
        body = self._body(found, plan, event, marker)
        self._sdk.sign_in()
        if self._monotonic() > deadline:
            raise TemporaryError("preparing the request used up the lease; trying again", kind=ReasonKind.LEASE_USED_UP)
        return body

    def _body(self, found: Any, plan: Any, event: ModelRegistered, marker: str) -> dict[str, Any]:
        return self._api(plan.target).body(found, plan, event, marker)

    def _api(self, target: Target) -> "ReleaseTargets | PipelineTargets":
        # From Python 3.12 on, threads may build a cached property at the same time.
        with self._lock:
            return self._pipelines if target.kind == "pipeline" else self.releases

    @cached_property
    def _sdk(self) -> "Sdk":
        from model_release.azure_devops.sdk import Sdk  # noqa: PLC0415  slow to import, and read ahead

        return Sdk(
            self._sign_in,
            timeout=self._timeout,
            throttled=self._throttled,
            is_service=is_service(urlsplit(self._url).hostname or ""),
        )

    @cached_property
    def releases(self) -> "ReleaseTargets":
        """The release definitions of the organization."""
        from model_release.azure_devops.releases import ReleaseTargets  # noqa: PLC0415  as above

        return ReleaseTargets(self._sdk, self._url)

    @cached_property
    def _pipelines(self) -> "PipelineTargets":
        from model_release.azure_devops.pipelines import PipelineTargets  # noqa: PLC0415  only some maps need it

        return PipelineTargets(self._sdk, self._url)

    @cached_property
    def _security(self) -> Any:
        from azure.devops.released.security import SecurityClient  # noqa: PLC0415  only `check` needs it

        return self._sdk.client(SecurityClient, self._url)

    def _remembered(self, target: Target) -> Any:
        until, found = self._memory.get(target.key, (0, None))
        return found if self._monotonic() < until else None
