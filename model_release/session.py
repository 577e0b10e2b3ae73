"""HTTP sessions: without netrc files, a credential is sent to the servers that it is for, and why there is none."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import requests
from azure.core.exceptions import AzureError, ClientAuthenticationError

from model_release.errors import Fault
from model_release.settings import LOOPBACK
from model_release.text import network_reason, shorten

Origin = tuple[str, str | None, int | None]

_PORTS = {"http": 80, "https": 443}


class OtherServerError(requests.RequestException):
    """The address belongs to a server that must not receive the credential; nothing was sent."""


class PlainSession(requests.Session):
    """Reads proxies and certificates of the environment once, and never a netrc file.

    By default each request reads all three, and a password of the netrc file replaces the credential.
    """

    def __init__(self) -> None:
        super().__init__()
        self.trust_env = False
        self._found: dict[Origin, Mapping[str, Any]] = {}

    def merge_environment_settings(self, url: Any, proxies: Any, stream: Any, verify: Any, cert: Any) -> Any:
        """Return what was found for the first request to this server; no proxy is used on this machine."""
        of = origin(url)
        if of not in self._found:
            found = requests.Session().merge_environment_settings(url, proxies, stream, verify, cert)
            self._found[of] = {**found, "proxies": {}} if of[1] in LOOPBACK else found
        return {**self._found[of], "stream": stream}


class CredentialSession(PlainSession):
    """Sends requests to its own servers only, also after a redirect; raises OtherServerError for any other."""

    def __init__(self, *urls: str) -> None:
        super().__init__()
        self._own: set[Origin] = set()
        for url in urls:
            self.allow(url)

    def allow(self, url: str) -> None:
        """Add a server."""
        # An invalid address adds none, and requests to it fail.
        with suppress(requests.RequestException, UnicodeError):
            self._own.add(origin(requests.Request("GET", url).prepare().url))

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        """Send a request."""
        # The prepared address is the one that the connection is made from, whatever it was before.
        if origin(request.url) not in self._own:
            raise OtherServerError("the address belongs to another server")
        return super().send(request, **options)


def origin(url: str | None) -> Origin:
    """Return scheme, host and port; all are empty if the address is invalid."""
    try:
        parts = urlsplit(url or "")
        return parts.scheme, parts.hostname, parts.port or _PORTS.get(parts.scheme)
    except ValueError:
        return "", None, None


def is_local(url: str) -> bool:
    """Whether the address is on this machine."""
    return origin(url)[1] in LOOPBACK


def is_exposed(url: str) -> bool:
    """Whether a key would be sent to this address without encryption, and to another machine."""
    return origin(url)[0] == "http" and not is_local(url)


def no_token(service: str, error: AzureError, *, instead: str = "") -> Fault:
    """Return why there is no token for a service, and what to do; `instead` is the setting of a token.

    If no service answered, the library only lists what it tried. DefaultAzureCredential raises its base error then too.
    https://learn.microsoft.com/python/api/azure-identity/azure.identity.credentialunavailableerror
    """
    if reason := network_reason(error):
        return Fault(f"cannot get a token for {service}: {reason}")
    words = shorten(" ".join(error.message.split()))
    if not isinstance(error, ClientAuthenticationError):
        return Fault(f"cannot get a token for {service}: {words}")
    reason = "no sign-in to Azure succeeded" if error.response is None else words
    sign_in = "sign in with `az login`" + (f" or set {instead}" if instead else "")
    return Fault(
        f"cannot get a token for {service}: {reason}", f"on your machine, {sign_in}; in Azure, check the app's identity"
    )
