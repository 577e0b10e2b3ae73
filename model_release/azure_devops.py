"""Azure DevOps through its SDK, tamed: find the definition, start a release, look for one."""

from __future__ import annotations

import json
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3.exceptions
from azure.core.credentials import TokenCredential
from azure.core.exceptions import ClientAuthenticationError
from msrest.authentication import Authentication, BasicAuthentication
from msrest.exceptions import ClientException, ClientRequestError

from model_release.errors import Busy, Refused, StartError, Unknown
from model_release.events import ModelRegistered, shorten
from model_release.release_map import Start, StartedRelease, Target
from model_release.release_request import MODEL_ARTIFACT, Definition, read_definition, release_request

# The SDK writes what it learns about the server below the home folder, which a Function App may not, and does so
# as soon as it is imported. https://github.com/microsoft/azure-devops-python-api/issues/90
_CACHE = tempfile.TemporaryDirectory(prefix="azure-devops-")
os.environ.setdefault("AZURE_DEVOPS_CACHE_DIR", _CACHE.name)

from azure.devops.released.release import ReleaseClient  # noqa: E402

_SCOPE = "499b84ac-1321-427f-aa17-267ca6975798/.default"
_ARTIFACT_VERSIONS = "30fc787e-a9e0-4a07-9fbc-3e903aa051d2"
_RELEASES = "a166fde7-27ad-408e-ba75-703c2cc9d500"
_REMEMBER_SECONDS = 300
_PAGE = 100
_NOT_SENT = (urllib3.exceptions.NewConnectionError, urllib3.exceptions.ConnectTimeoutError, urllib3.exceptions.SSLError)


@dataclass(frozen=True)
class PostRequest:
    """The request that creates a release, as it goes over the wire."""

    url: str
    body: str


@dataclass(frozen=True)
class _Answer:
    status: int
    retry_after: timedelta | None
    continuation: str | None


class EntraSignIn(Authentication):
    """Signs each request with a token that is valid now; the SDK itself would keep the first one."""

    def __init__(self, credential: TokenCredential) -> None:
        self._credential = credential

    def signed_session(self, session: requests.Session | None = None) -> requests.Session:
        """Called by the SDK before every request."""
        session = session or requests.Session()
        session.headers["Authorization"] = f"Bearer {self._credential.get_token(_SCOPE).token}"
        return session


def pat_sign_in(token: str) -> Authentication:
    """Sign in with a personal access token."""
    return BasicAuthentication("", token)


class AzureDevOps:
    """The release definitions of one organization; safe to share among threads.

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
        self._url, self._sign_in, self._timeout = url, sign_in, timeout
        self._client = _tamed(ReleaseClient(release_url(url), sign_in), timeout, self._remember_answer)
        self._patience = patience
        self._monotonic = monotonic
        self._throttled = throttled
        self._last = threading.local()
        self._definitions: dict[str, tuple[float, Definition]] = {}
        self._version_id: Callable[[str, str], str] | None = None

    def start(self, start: Start, event: ModelRegistered, marker: str) -> StartedRelease:
        """Create the release; what was remembered of the definition is asked anew before a refusal stands."""
        until = self._monotonic() + self._patience
        remembered = self._remembered(start.target)
        if remembered:
            try:
                return self._create(remembered, start, event, marker, until)
            except Refused:
                self._definitions.pop(start.target.key, None)
        return self._create(self._definition(start.target), start, event, marker, until)

    def request(self, start: Start, event: ModelRegistered, marker: str) -> PostRequest:
        """The request that `start` would send; asks, and creates nothing."""
        metadata = self._metadata(self._definition(start.target), start, event, marker)
        serialize = self._client._serialize  # noqa: SLF001
        with self._errors(creating=False):
            project = serialize.url("project", start.target.project, "str")
            post = self._client._create_request_message("POST", _RELEASES, {"project": project})  # noqa: SLF001
            post.add_content(serialize.body(metadata, "ReleaseStartMetadata"))
        return PostRequest(post.url, post.data)

    def definition_id(self, target: Target) -> int:
        """The id of the one release definition that the target names."""
        with self._errors(creating=False):
            return self._id_of(target)

    def has_permissions(self, namespace: str, permissions: int, token: str) -> bool:
        """Whether this identity has all of these permissions, as Azure DevOps' security service tells.

        https://learn.microsoft.com/rest/api/azure/devops/security/permissions/has-permissions
        """
        with self._errors(creating=False):
            return all(self._security.has_permissions(namespace, permissions, token, always_allow_administrators=True))

    def reach(self, project: str) -> None:
        """Sign in, and ask for one definition of the project."""
        with self._errors(creating=False):
            self._client.get_release_definitions(project, top=1)

    def send(
        self,
        method: str,
        location: str,
        version: str,
        *,
        route: dict[str, Any],
        query: dict[str, Any],
        body: Any = None,
    ) -> tuple[Any, str | None]:
        """Send one request in raw JSON, for what the SDK's models would drop; the answer, and where a list goes on."""
        with self._errors(creating=method != "GET") as answered:
            response = self._client._send(  # noqa: SLF001
                method, location, version, route_values=route, query_parameters=query, content=body
            )
            return json.loads(response.content), answered().continuation

    def look(self, target: Target, marker: str, since: datetime) -> StartedRelease | None:
        """Find the release whose description carries the marker among those created since then."""
        definition = self._definition(target)
        continuation = None
        while True:
            with self._errors(creating=False) as answered:
                page = self._client.get_releases(
                    target.project,
                    definition_id=definition.id,
                    min_created_time=since,
                    top=_PAGE,
                    continuation_token=continuation,
                )
                for release in page:
                    if marker in (release.description or ""):
                        return _started(release)
            continuation = answered().continuation
            if not continuation:
                return None

    def _create(
        self, definition: Definition, start: Start, event: ModelRegistered, marker: str, until: float
    ) -> StartedRelease:
        metadata = self._metadata(definition, start, event, marker)
        if self._monotonic() > until:
            msg = f"Azure DevOps took more than {self._patience:.0f} s to tell about definition {definition.name}"
            raise Busy(msg)
        with self._errors(creating=True):
            return _started(self._client.create_release(metadata, start.target.project))

    def _metadata(self, definition: Definition, start: Start, event: ModelRegistered, marker: str) -> Any:
        version_id = None
        if alias := definition.alias_of(event.model):
            version_id = self._version_id_of(definition, start.target.project, alias, event)
        body = release_request(definition, start, event, version_id=version_id, marker=marker)
        return self._client._deserialize.deserialize_data(body, "ReleaseStartMetadata")  # noqa: SLF001

    @cached_property
    def _security(self) -> Any:
        from azure.devops.released.security import SecurityClient  # noqa: PLC0415  the app itself has no use for it

        return _tamed(SecurityClient(self._url, self._sign_in), self._timeout, self._remember_answer)

    def _remembered(self, target: Target) -> Definition | None:
        until, definition = self._definitions.get(target.key, (0.0, None))
        return definition if self._monotonic() < until else None

    def _definition(self, target: Target) -> Definition:
        remembered = self._remembered(target)
        if remembered:
            return remembered
        with self._errors(creating=False):
            found = self._client.get_release_definition(target.project, self._id_of(target))
            definition = read_definition(self._client._serialize.body(found, "ReleaseDefinition"))  # noqa: SLF001
        self._definitions[target.key] = (self._monotonic() + _REMEMBER_SECONDS, definition)
        return definition

    def _id_of(self, target: Target) -> int:
        if isinstance(target.definition, int):
            return target.definition
        folder, slash, name = target.definition.rpartition("\\")
        path = "\\" + folder.strip("\\") if slash else None
        found = self._client.get_release_definitions(
            target.project, search_text=name, is_exact_name_match=True, path=path
        )
        exact = [
            definition
            for definition in found
            if definition.name.casefold() == name.casefold()
            and (path is None or definition.path.casefold() == path.casefold())
        ]
        if len(exact) == 1:
            return int(exact[0].id)
        where = f"project {target.project} has"
        if not exact:
            msg = f"{where} no release definition {target.definition}, or this identity may not view it"
            raise Refused(msg)
        places = ", ".join(f"{definition.path.rstrip(chr(92))}\\{name}" for definition in exact)
        msg = f"{where} {len(exact)} release definitions of that name, so write the folder too: {places}"
        raise Refused(msg)

    def _version_id_of(self, definition: Definition, project: str, alias: str, event: ModelRegistered) -> str:
        if self._version_id is None:
            self._version_id = self._learn_version_id(definition, project)
        if self._version_id is None:
            msg = (
                f"Azure DevOps does not tell how it names the versions of artifact {alias}: definition "
                f"{definition.name} has no earlier release, and its version list is empty; create one release by hand"
            )
            raise Refused(msg)
        return self._version_id(event.model, event.version)

    def _learn_version_id(self, definition: Definition, project: str) -> Callable[[str, str], str] | None:
        """Read from an earlier release, else from the version list, whether an id is `51` or `model:51`."""
        with self._errors(creating=False):
            for release in self._client.get_releases(
                project, definition_id=definition.id, expand="artifacts", artifact_type_id=MODEL_ARTIFACT
            ):
                for artifact in release.artifacts or []:
                    version = (artifact.definition_reference or {}).get("version")
                    form = version and _version_id_form(definition.models.get(artifact.alias), version.id, version.name)
                    if form:
                        return form
            # The SDK lost this call after its version 4; server and models still have it.
            response = self._client._send(  # noqa: SLF001
                "GET",
                _ARTIFACT_VERSIONS,
                "7.1-preview.1",
                route_values={"project": project},
                query_parameters={"releaseDefinitionId": definition.id},
            )
            listed = self._client._deserialize("ArtifactVersionQueryResult", response)  # noqa: SLF001
            for artifact in listed.artifact_versions or []:
                for version in artifact.versions or []:
                    form = _version_id_form(definition.models.get(artifact.alias), version.id, version.name)
                    if form:
                        return form
        return None

    def _remember_answer(self, response: requests.Response, *_: Any, **__: Any) -> None:
        seconds = response.headers.get("Retry-After", "")
        retry_after = timedelta(seconds=int(seconds)) if seconds.isdecimal() else None
        continuation = response.headers.get("x-ms-continuationtoken")
        self._last.answer = _Answer(response.status_code, retry_after, continuation)
        self._last.pause = max(self._last.pause, retry_after or timedelta())

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Tell of a Retry-After when all is said: what fails in telling must not pass for Azure DevOps' answer.

        It comes on successes too. https://learn.microsoft.com/azure/devops/integrate/concepts/rate-limits
        """
        self._last.pause = timedelta()
        try:
            yield
        finally:
            if self._last.pause:
                self._throttled(self._last.pause)

    @contextmanager
    def _errors(self, *, creating: bool) -> Iterator[Callable[[], _Answer]]:
        with self._told(), self._translating(creating=creating) as answered:
            yield answered

    @contextmanager
    def _translating(self, *, creating: bool) -> Iterator[Callable[[], _Answer]]:
        self._last.answer = None
        try:
            yield lambda: self._last.answer
        except StartError:
            raise
        except ClientAuthenticationError as error:
            msg = f"no token for Azure DevOps could be had: {shorten(error.message)}"
            raise Busy(msg) from error
        # The SDK lets these through for bodies that are cut off, and answers that are no JSON or not what it expects.
        except (ClientException, OSError, ValueError, AttributeError, TypeError, KeyError) as error:
            raise _translated(error, self._last.answer, creating=creating) from error


def release_url(url: str) -> str:
    """Where an organization keeps its releases; an on-premises collection keeps them itself."""
    parts = urlsplit(url.rstrip("/"))
    host = parts.netloc
    if host.lower() == "dev.azure.com":
        host = "vsrm.dev.azure.com"
    elif host.lower().endswith(".visualstudio.com"):
        host = host.lower().removesuffix(".visualstudio.com") + ".vsrm.visualstudio.com"
    return parts._replace(netloc=host).geturl()


def _tamed(client: Any, timeout: float, hook: Callable[..., None]) -> Any:
    client.config.connection.timeout = (timeout / 4, timeout)
    client.config.hooks.append(hook)
    client.config.redirect_policy.allow = False
    # A replayed POST is a second release. The object is changed, since the SDK keeps hold of it.
    policy = client.config.retry_policy.policy
    policy.connect = policy.total = 1
    policy.read = policy.status = policy.other = policy.redirect = 0
    policy.status_forcelist = frozenset()
    policy.respect_retry_after_header = policy.raise_on_status = False
    policy.allowed_methods = frozenset(["GET", "OPTIONS"])
    return client


def _started(release: Any) -> StartedRelease:
    if release is None or not release.id:
        msg = "the answer holds no release"
        raise ValueError(msg)
    return StartedRelease(release.id, release.name or "", release._links.additional_properties["web"]["href"])  # noqa: SLF001


def _version_id_form(model: str | None, version_id: str, name: str) -> Callable[[str, str], str] | None:
    if version_id == name:
        return lambda _model, version: version
    if version_id == f"{model}:{name}":
        return lambda model, version: f"{model}:{version}"
    return None


def _translated(error: Exception, answer: _Answer | None, *, creating: bool) -> StartError:
    perhaps = Unknown if creating else Busy
    if type(error) is ClientRequestError or isinstance(error, OSError):
        return _no_answer(getattr(error, "inner_exception", error), perhaps)
    status = answer.status if answer else 0
    retry_after = answer.retry_after if answer else None
    message = shorten(str(error))
    if status == requests.codes.too_many_requests:
        return Busy(message, retry_after)
    if status in (203, 302, 401):
        return Refused(f"Azure DevOps does not accept the sign-in (status {status}): {message}")
    if status in (0, 408) or status < 300 or status >= 500:  # noqa: PLR2004  the classes of HTTP statuses
        return perhaps(f"Azure DevOps answered {status}: {message}", retry_after)
    return Refused(message)


def _no_answer(cause: Exception, perhaps: type[StartError]) -> StartError:
    reason = cause.args[0] if isinstance(cause, requests.RequestException) and cause.args else cause
    reason = getattr(reason, "reason", reason)
    if isinstance(reason, _NOT_SENT):
        return Busy(f"Azure DevOps cannot be reached: {shorten(str(reason))}")
    return perhaps(f"Azure DevOps did not answer: {shorten(str(reason))}")
