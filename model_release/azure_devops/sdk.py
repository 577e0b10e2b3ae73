"""The azure-devops SDK, tamed: sign-in, its clients, and what its errors mean."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import requests
import urllib3.exceptions
from azure.core.credentials import TokenCredential
from azure.core.exceptions import AzureError
from msrest.authentication import Authentication, BasicAuthentication
from msrest.exceptions import ClientException, ClientRequestError
from yaml import YAMLError

from model_release.domain.events import shorten
from model_release.errors import Busy, Refused, StartError, Unknown

# The SDK writes what it learns about the server below the home folder, which a Function App may not, and does so
# as soon as it is imported. https://github.com/microsoft/azure-devops-python-api/issues/90
_CACHE = tempfile.TemporaryDirectory(prefix="azure-devops-")
os.environ.setdefault("AZURE_DEVOPS_CACHE_DIR", _CACHE.name)

_SCOPE = "499b84ac-1321-427f-aa17-267ca6975798/.default"
_MOST_LINES = 10
_LONGEST_PAUSE_SECONDS = 3600
# An SSLError is none of them: it also comes of an answer that cannot be read.
_NOT_SENT = (urllib3.exceptions.NewConnectionError, urllib3.exceptions.ConnectTimeoutError)


@dataclass(frozen=True)
class Answer:
    """What an answer of Azure DevOps says beside its body."""

    status: int
    retry_after: timedelta | None
    continuation: str | None


@dataclass(frozen=True)
class PostRequest:
    """The request that starts something, as it goes over the wire."""

    url: str
    body: str


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


class Sdk:
    """Builds the SDK's clients, and tells what comes of their calls; safe to share among threads."""

    def __init__(self, sign_in: Authentication, *, timeout: float, throttled: Callable[[timedelta], None]) -> None:
        """`timeout` is in seconds for one request; `throttled` is told how long an answer asks to be left alone."""
        self._sign_in = sign_in
        self._timeout = timeout
        self._throttled = throttled
        self._last = threading.local()
        self._signed = requests.Session()

    def client(self, kind: Callable[[str, Authentication], Any], url: str) -> Any:
        """A client that gives up in time, repeats nothing that changes something, and follows no redirection."""
        client = kind(url, self._sign_in)
        client.config.connection.timeout = (self._timeout / 4, self._timeout)
        client.config.hooks.append(self._remember_answer)
        client.config.redirect_policy.allow = False
        # Each request would read the environment anew, and a netrc file, whose password would replace the sign-in.
        found = requests.Session().merge_environment_settings(url, {}, None, None, None)
        client.config.proxies.proxies = dict(found["proxies"])
        client.config.proxies.use_env_settings = False
        client.config.connection.verify = found["verify"]
        # A replayed POST is a second release. The object is changed, since the SDK keeps hold of it.
        policy = client.config.retry_policy.policy
        policy.connect = policy.total = 1
        policy.read = policy.status = policy.other = policy.redirect = 0
        policy.status_forcelist = frozenset()
        policy.respect_retry_after_header = policy.raise_on_status = False
        policy.allowed_methods = frozenset(["GET", "OPTIONS"])
        return client

    def post(self, client: Any, location: str, route: dict[str, Any], body: Any, model: str) -> PostRequest:
        """What a client would send, and where."""
        serialize = client._serialize  # noqa: SLF001
        with self.asking():
            values = {name: serialize.url(name, value, type(value).__name__) for name, value in route.items()}
            post = client._create_request_message("POST", location, values)  # noqa: SLF001
            post.add_content(serialize.body(body, model))
        return PostRequest(post.url, post.data)

    def pages(self, ask: Callable[[str | None], list[Any]]) -> Iterator[Any]:
        """The items of all pages of a list, while asking; `ask` gets where a page begins, which the SDK leaves out."""
        token = None
        while True:
            page = ask(token)
            token = self.continuation
            yield from page
            if not token:
                return

    @property
    def continuation(self) -> str | None:
        """Where the list goes on that was answered last."""
        answer: Answer = self._last.answer
        return answer.continuation

    def sign_in(self) -> None:
        """Have a token at hand, so that the next request need not wait for one."""
        with self.asking():
            self._sign_in.signed_session(self._signed)

    def asking(self) -> AbstractContextManager[None]:
        """Translate what goes wrong in calls that change nothing, to Busy and Refused."""
        return self._translating(Busy)

    def starting(self) -> AbstractContextManager[None]:
        """Translate what goes wrong in the call that creates something, to Busy, Refused and Unknown."""
        return self._translating(Unknown)

    def _remember_answer(self, response: requests.Response, *_: Any, **__: Any) -> None:
        seconds = response.headers.get("Retry-After", "")
        pause = min(int(seconds), _LONGEST_PAUSE_SECONDS) if seconds.isdecimal() else None
        retry_after = None if pause is None else timedelta(seconds=pause)
        continuation = response.headers.get("x-ms-continuationtoken")
        self._last.answer = Answer(response.status_code, retry_after, continuation)
        self._last.pause = max(self._last.pause, retry_after or timedelta())

    @contextmanager
    def _translating(self, perhaps: type[StartError]) -> Iterator[None]:
        """A Retry-After is told when all is said: what fails in telling must not pass for Azure DevOps' answer.

        It comes on successes too. https://learn.microsoft.com/azure/devops/integrate/concepts/rate-limits
        """
        self._last.answer, self._last.pause = None, timedelta()
        try:
            yield
        except StartError:
            raise
        # Of all that is called here, only the sign-in speaks so.
        except AzureError as error:
            msg = f"no token for Azure DevOps could be had: {shorten(error.message)}"
            raise Busy(msg) from error
        # The SDK lets these through for bodies that are cut off, and answers that are no JSON or not what it expects.
        except (ClientException, OSError, ValueError, AttributeError, TypeError, KeyError, YAMLError) as error:
            raise _translated(error, self._last.answer, perhaps) from error
        finally:
            if self._last.pause:
                self._throttled(self._last.pause)


def web_page(thing: Any) -> str:
    """The address for people of something that the SDK read."""
    return str(thing._links.additional_properties["web"]["href"])  # noqa: SLF001  it is public in the REST API


def _translated(error: Exception, answer: Answer | None, perhaps: type[StartError]) -> StartError:
    if type(error) is ClientRequestError or isinstance(error, OSError):
        return _no_answer(getattr(error, "inner_exception", error), perhaps)
    status = answer.status if answer else 0
    retry_after = answer.retry_after if answer else None
    message = _message(error)
    if status == requests.codes.too_many_requests:
        return Busy(f"Azure DevOps is busy (429): {message}", retry_after)
    if status in (203, 302, 401):
        return Refused(f"Azure DevOps does not accept the sign-in (status {status}): {message}")
    if status in (0, 408) or status < 300 or status >= 500:  # noqa: PLR2004  the classes of HTTP statuses
        return perhaps(f"Azure DevOps answered {status}: {message}", retry_after)
    return Refused(message)


def _message(error: Exception) -> str:
    """Azure DevOps' own words; what is wrong with a run stands beside its message, which does not say it."""
    told = getattr(error, "custom_properties", None)
    results = told.get("ValidationResults") if isinstance(told, dict) else None
    details = [str(one.get("message")) for one in results or () if isinstance(one, dict)]
    return "; ".join(shorten(line) for line in (details or str(error).splitlines())[:_MOST_LINES])


def _no_answer(cause: Exception, perhaps: type[StartError]) -> StartError:
    reason = cause.args[0] if isinstance(cause, requests.RequestException) and cause.args else cause
    reason = getattr(reason, "reason", reason)
    if isinstance(reason, _NOT_SENT):
        return Busy(f"Azure DevOps cannot be reached: {shorten(str(reason))}")
    return perhaps(f"Azure DevOps did not answer: {shorten(str(reason))}")
