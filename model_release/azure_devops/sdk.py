"""The azure-devops SDK: sign-in, clients that send each request once, and errors that have a meaning."""

import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from typing import Any, NamedTuple

import requests
from azure.core.exceptions import AzureError
from msrest.exceptions import ClientException
from msrest.universal_http.requests import RequestsHTTPSender
from yaml import YAMLError

from model_release.azure_devops.answers import meaning_of, retry_after
from model_release.azure_devops.session import Connections, SignIn
from model_release.errors import AzureDevOpsError, TemporaryError, UnknownOutcomeError
from model_release.reason import ReasonKind
from model_release.session import CredentialSession, no_token

# The SDK writes to the home folder, which a Function App may not, and does so as soon as it is imported.
# https://github.com/microsoft/azure-devops-python-api/issues/90
_CACHE = tempfile.TemporaryDirectory(prefix="azure-devops-")
os.environ.setdefault("AZURE_DEVOPS_CACHE_DIR", _CACHE.name)


class PostRequest(NamedTuple):
    """A POST request with its serialized body."""

    url: str
    body: str


class _Sender(RequestsHTTPSender):
    """Sends with a session for each thread, which belongs to one server."""

    def __init__(self, config: Any, url: str) -> None:
        self._url = url
        super().__init__(config)

    @property
    def session(self) -> Any:
        """The session of this thread."""
        threads = self._session_mapping
        if not hasattr(threads, "session"):
            session = CredentialSession(self._url)
            self._init_session(session)
            threads.session = session
        return threads.session

    @session.setter
    def session(self, _: Any) -> None:
        """Ignore the session that the constructor sets, which may send to any server."""


class Sdk:
    """Builds the SDK's clients and translates their errors; safe to share among threads."""

    def __init__(
        self, sign_in: SignIn, *, timeout: float, throttled: Callable[[timedelta], None], is_service: bool
    ) -> None:
        """`timeout` is in seconds for one request; `throttled` receives each Retry-After; the rest as Connections."""
        self._sign_in = sign_in
        self._timeout = timeout
        self._throttled = throttled
        self._last = threading.local()
        self._signed = CredentialSession()
        self._connections = Connections(is_service=is_service)

    def client(self, kind: Callable[[str, SignIn], Any], url: str) -> Any:
        """Build a client of this server alone that times out, repeats no change, and follows no redirect."""
        client = kind(url, self._sign_in)
        client.config.pipeline._sender.driver = _Sender(client.config, url)  # noqa: SLF001
        client.config.connection.timeout = (self._timeout / 4, self._timeout)
        client.config.hooks.append(self._keep_answer)
        client.config.redirect_policy.allow = False
        # The session reads proxies and certificates of the environment itself.
        client.config.proxies.use_env_settings = False
        client.config.session_configuration_callback = self._connect
        return client

    def _connect(self, session: Any, *_: Any, **request: Any) -> dict[str, Any]:
        """Use the connections of all threads; the SDK has a session for each thread, and calls this with each request.

        https://learn.microsoft.com/python/api/msrest/msrest.configuration.configuration
        """
        for protocol in ("https://", "http://"):
            if session.adapters[protocol] is not self._connections:
                session.mount(protocol, self._connections)
        return request

    def post_request(self, client: Any, location: str, route: dict[str, Any], body: Any, model: str) -> PostRequest:
        """Build the POST request that a client would send."""
        serialize = client._serialize  # noqa: SLF001
        with self.reading():
            values = {name: serialize.url(name, value, type(value).__name__) for name, value in route.items()}
            post = client._create_request_message("POST", location, values)  # noqa: SLF001
            post.add_content(serialize.body(body, model))
        return PostRequest(post.url, post.data)

    def pages(
        self, read: Callable[[str | None], list[Any]], check_time: Callable[[], None] = lambda: None
    ) -> Iterator[Any]:
        """Read the items of all pages of a list; `read` receives the continuation token, which the SDK drops.

        `check_time` is called before each page, and may end the reading.
        """
        token = None
        while True:
            check_time()
            page = read(token)
            token = self._last.answer.headers.get("x-ms-continuationtoken")
            yield from page
            if not token:
                return

    def sign_in(self) -> None:
        """Acquire a token, so that the next request does not wait for one."""
        with self.reading():
            self._sign_in.signed_session(self._signed)

    def reading(self) -> AbstractContextManager[None]:
        """Translate the errors of calls that change nothing to TemporaryError and RefusedError."""
        return self._translating(TemporaryError)

    def creating(self) -> AbstractContextManager[None]:
        """Translate the errors of a call that creates something; UnknownOutcomeError if it may have succeeded."""
        return self._translating(UnknownOutcomeError)

    def _keep_answer(self, response: requests.Response, *_: Any, **__: Any) -> None:
        """Keep what the SDK drops: the status and the headers."""
        self._last.answer = response
        self._last.pause = max(self._last.pause, retry_after(response) or timedelta())

    @contextmanager
    def _translating(self, unproven: type[AzureDevOpsError]) -> Iterator[None]:
        """Raise `unproven` unless an error proves more; report the longest Retry-After, which successes have too.

        `throttled` is called last, so that its own errors are not translated.
        https://learn.microsoft.com/azure/devops/integrate/concepts/rate-limits
        """
        self._last.answer, self._last.pause = None, timedelta()
        try:
            yield
        except AzureDevOpsError:
            raise
        # Only the sign-in raises it here.
        except AzureError as error:
            fault = no_token("Azure DevOps", error, instead="AZURE_DEVOPS_PAT")
            raise TemporaryError(fault.problem, fault.fix, kind=ReasonKind.NO_TOKEN) from error
        # The SDK raises all of these for an answer that is cut off or not as expected.
        except (ClientException, OSError, ValueError, AttributeError, TypeError, KeyError, YAMLError) as error:
            raise meaning_of(error, self._last.answer, unproven, self._timeout) from error
        finally:
            if self._last.pause:
                self._throttled(self._last.pause)
